"""JSON objects as declarations: fields with a type, from which rows, schemas and reference pages are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["integer", "number", "string", "boolean", "moment", "any"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        name: As JSON spells it.
        kind: Its type; a ``moment`` is text such as ``2026-11-20T12:00:00.000Z``.
        doc: What it is.
        column: The column of a table it is read from; empty for none.
        null: Whether it may be null.
        choices: The only values it has, where they are few.
        many: Whether it is a list of such values.
        optional: Whether a request may leave it out.
    """

    name: str
    kind: Kind | Shape
    doc: str
    column: str = ""
    null: bool = False
    choices: tuple[str, ...] = ()
    many: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A JSON object: its name, what it is, and its fields in order."""

    name: str
    doc: str
    fields: tuple[Field, ...]

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the object of one row, each field read from its column."""
        return {one.name: plain(values[one.column]) for one in self.fields}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns its fields are read from."""
        return tuple(one.column for one in self.fields)


def plain(value: Any) -> Any:
    """Return a value as JSON carries it: moments as UTC text with milliseconds."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
    return value


def schema(shape: Shape) -> dict[str, Any]:
    """Return a shape as JSON Schema, as OpenAPI 3.1 has it."""
    return {
        "type": "object",
        "description": shape.doc,
        "properties": {one.name: _field_schema(one) for one in shape.fields},
        "required": [one.name for one in shape.fields if not one.optional],
        "additionalProperties": False,
    }


def reference(shape: Shape, *, many: bool = False) -> dict[str, Any]:
    """Return a reference to a shape's schema, or to a list of them."""
    one = {"$ref": f"#/components/schemas/{shape.name}"}
    return {"type": "array", "items": one} if many else one


def _field_schema(field: Field) -> dict[str, Any]:
    if isinstance(field.kind, Shape):
        made = reference(field.kind, many=field.many)
        if field.null:
            made = {"anyOf": [made, {"type": "null"}]}
        return {**made, "description": field.doc}
    made: dict[str, Any] = {} if field.kind == "any" else {"type": "string" if field.kind == "moment" else field.kind}
    if field.kind == "moment":
        made["format"] = "date-time"
    if field.choices:
        made["enum"] = list(field.choices)
    if field.many:
        made = {"type": "array", "items": made}
    if field.null and "type" in made:
        made["type"] = [made["type"], "null"]
    return {**made, "description": field.doc}


def every_shape(shapes: Sequence[Shape]) -> dict[str, Shape]:
    """Return name -> shape of the shapes given and of those in their fields."""
    found: dict[str, Shape] = {}
    for shape in shapes:
        found[shape.name] = shape
        found |= every_shape([one.kind for one in shape.fields if isinstance(one.kind, Shape)])
    return found
