"""What a table looks like on the wire: its columns, their types, and which of them identify a row."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signalroom.errors import ConfigError, DataError

KINDS: Mapping[int, str] = {
    16: "bool", 17: "bytea", 18: "text", 19: "text", 20: "int8", 21: "int2", 23: "int4", 25: "text", 26: "oid",
    114: "text", 700: "float4", 701: "float8", 1042: "text", 1043: "text", 1082: "date", 1114: "timestamp",
    1184: "timestamptz", 1700: "numeric", 2950: "uuid", 3802: "jsonb",
}  # fmt: skip
"""Type OID -> how its binary form is decoded. Every other type is asked for as text."""

_WIDER = ({21, 23, 20}, {700, 701}, {1042, 1043, 25})
_WIDTH = {21: 0, 23: 1, 20: 2, 700: 0, 701: 1, 1042: 0, 1043: 0, 25: 1}


@dataclass(frozen=True, slots=True)
class Field:
    """One column on the wire.

    Attributes:
        name: Its name.
        oid: Its type; of a domain, the domain's.
        modifier: The type's modifier as the catalogue has it (of ``numeric``: precision and scale); -1 for none.
        identity: Whether it belongs to the replica identity, so that the old row of a change has it.
        kind: How its binary form is decoded (see ``KINDS``); empty for a type that only its text tells.
    """

    name: str
    oid: int
    modifier: int
    identity: bool
    kind: str

    @property
    def decimal(self) -> tuple[int, int] | None:
        """(precision, scale) of a numeric that declares one Arrow holds; None for any other."""
        if self.kind != "numeric" or self.modifier < 4:
            return None
        precision, scale = (self.modifier - 4) >> 16 & 0xFFFF, (self.modifier - 4) & 0x7FF
        return (precision, scale) if precision <= 38 and scale <= precision else None


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as a Relation message describes it.

    Attributes:
        oid: The table's OID.
        schema: Its schema.
        name: Its name.
        fields: Its columns, in the order of every tuple.
    """

    oid: int
    schema: str
    name: str
    fields: tuple[Field, ...]

    @property
    def title(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.name}"

    def record(self) -> list[list[str | int]]:
        """Return name, type and modifier of each column, as a position keeps them."""
        return [[field.name, field.oid, field.modifier] for field in self.fields]


def relation(payload: bytes, bases: Mapping[int, tuple[int, int]]) -> Shape:
    """Return the table that a Relation message describes.

    Args:
        payload: The message, its type byte first.
        bases: Domain or enum OID -> (OID that its binary form is of, modifier).

    Raises:
        DataError: It is no such message.
    """
    try:
        (oid,) = struct.unpack_from(">I", payload, 1)
        schema, at = _text(payload, 5)
        name, at = _text(payload, at)
        identity = payload[at : at + 1]
        (count,) = struct.unpack_from(">h", payload, at + 1)
        at += 3
        fields: list[Field] = []
        for _ in range(count):
            flags = payload[at]
            spelling, at = _text(payload, at + 1)
            kind, modifier = struct.unpack_from(">Ii", payload, at)
            at += 8
            base, inherited = bases.get(kind, (kind, -1))
            modifier = inherited if modifier == -1 else modifier
            fields.append(Field(spelling, kind, modifier, identity == b"f" or bool(flags & 1), KINDS.get(base, "")))
        if at != len(payload) or count < 0:
            raise ValueError(f"{len(payload) - at} bytes too many")
    except (struct.error, ValueError, IndexError) as problem:
        raise DataError(f"The database sent a Relation message that cannot be read: {problem}.") from None
    return Shape(oid, schema or "pg_catalog", name, tuple(fields))


def _text(payload: bytes, at: int) -> tuple[str, int]:
    end = payload.index(b"\0", at)
    return payload[at:end].decode(), end + 1


def require_identity(shape: Shape, key: Sequence[str]) -> None:
    """Refuse a table whose old rows do not tell their key: its deletes could not be applied.

    Raises:
        ConfigError: A key column does not exist, or is not in the replica identity.
    """
    names = {field.name for field in shape.fields}
    identity = {field.name for field in shape.fields if field.identity}
    absent = [name for name in key if name not in names]
    if absent:
        raise ConfigError(
            f"The key of {shape.title} names {absent[0]!r}, a column it does not have.",
            mend=f"Its columns are {', '.join(sorted(names))}.",
        )
    missing = [name for name in key if name not in identity]
    if missing:
        raise ConfigError(
            f"Deletes of {shape.title} do not tell {missing[0]!r}, which the key names.",
            mend=f"Name the columns of its replica identity ({', '.join(sorted(identity)) or 'it has none'}) as the "
            f"key, or run ALTER TABLE {shape.title} REPLICA IDENTITY FULL.",
        )


def require_compatible(shape: Shape, known: Sequence[Sequence[str | int]]) -> None:
    """Refuse a change of a table's shape under which rows that were captured before would mean something else.

    A new column, one that is gone, and a wider type are fine.

    Args:
        shape: The table as it is from here on.
        known: What ``Shape.record`` returned for it before; empty where it was not seen yet.

    Raises:
        ConfigError: A column got a narrower or another type, or was perhaps renamed.
    """
    if not known:
        return
    before = {str(name): (int(kind), int(modifier)) for name, kind, modifier in known}
    now = {field.name: (field.oid, field.modifier) for field in shape.fields}
    gone, new = [name for name in before if name not in now], [name for name in now if name not in before]
    mend = "Raise `snapshot` in the source's settings: a new snapshot then replaces the rows."
    if gone and new:
        raise ConfigError(f"{shape.title} lost {gone[0]!r} and got {new[0]!r}: it may be one renamed.", mend=mend)
    for name, was in before.items():
        if name in now and not _fits(was, now[name]):
            raise ConfigError(f"Column {name!r} of {shape.title} has got another, not a wider, type.", mend=mend)


def _fits(was: tuple[int, int], now: tuple[int, int]) -> bool:
    """Return whether every value of one type and modifier is the same value of the other."""
    if was == now:
        return True
    if was[0] == now[0] and was[0] == 1700:
        return now[1] < 4 or (was[1] >= 4 and _digits(was[1]) <= _digits(now[1]) and _scale(was[1]) <= _scale(now[1]))
    if was[0] != now[0]:
        family = next((one for one in _WIDER if was[0] in one and now[0] in one), None)
        return family is not None and _WIDTH[was[0]] <= _WIDTH[now[0]] and (now[1] < 0 or 0 <= was[1] <= now[1])
    return now[1] < 0 or 0 <= was[1] <= now[1]


def _digits(modifier: int) -> int:
    return ((modifier - 4) >> 16 & 0xFFFF) - _scale(modifier)


def _scale(modifier: int) -> int:
    scale = (modifier - 4) & 0x7FF
    return scale - 0x800 if scale >= 0x400 else scale
