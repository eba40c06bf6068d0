"""Values on their way into the process that renders: JSON that keeps Decimal, date and datetime apart.

What enters is checked here, once: a value that a message must not show (NaN, bytes) is refused with the query and
column it came from, and characters that XML cannot carry are dropped from text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from signalroom.errors import DataError
from signalroom.position import Json

_TAG = "\x00"  # no column can be called this: it is dropped from every name
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def pack(value: object, where: str = "") -> Json:
    """Return ``value`` as JSON that :func:`unpack` turns back into equal values.

    Args:
        value: None, bool, int, float, str, Decimal, date, datetime, UUID, or sequences and mappings of them.
        where: What an error should name, e.g. ``overall.cpa``.

    Raises:
        DataError: A value no message can show, with ``where``.
    """
    match value:
        case None | bool() | int():
            return value
        case str():
            return _UNPRINTABLE.sub("", value)
        case UUID():
            return str(value)
        case float() | Decimal():
            if not Decimal(value).is_finite():
                raise DataError(f"{where} is {value}.", mend="Turn it into null in the query.")
            return {_TAG: "decimal", "value": str(value)} if isinstance(value, Decimal) else value
        case datetime():
            return {_TAG: "datetime", "value": value.isoformat(), "fold": value.fold}
        case date():
            return {_TAG: "date", "value": value.isoformat()}
        case Mapping():
            return {_UNPRINTABLE.sub("", str(key)): pack(inner, _path(where, key)) for key, inner in value.items()}
        case bytes() | bytearray():
            raise DataError(f"{where} holds bytes.", mend="Select it as text.")
        case Sequence():
            return [pack(inner, where) for inner in value]
        case _:
            raise DataError(f"{where} is a {type(value).__name__}.", mend="Cast it in the query, e.g. to VARCHAR.")


def unpack(value: Any) -> Any:
    """Return the value that :func:`pack` was given (a tuple comes back as a list, a UUID as text)."""
    if isinstance(value, list):
        return [unpack(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    match value.get(_TAG):
        case None:
            return {key: unpack(inner) for key, inner in value.items()}
        case "decimal":
            return Decimal(value["value"])
        case "date":
            return date.fromisoformat(value["value"])
        case _:
            return datetime.fromisoformat(value["value"]).replace(fold=value["fold"])


def plain(value: Json) -> Json:
    """Return packed JSON with each tagged value as its text: the form in which a message stores what it showed."""
    if isinstance(value, Mapping):
        return value["value"] if _TAG in value else {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    return value


def encode(value: Json) -> bytes:
    """Return one frame: four bytes of length, then JSON."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return len(body).to_bytes(4, "big") + body


def _path(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
