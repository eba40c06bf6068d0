"""``_load.json``: a load as it is written down, and read back strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, cast

from signalroom.errors import DataError
from signalroom.load import Load, Part
from signalroom.position import Slice

NAME = "_load.json"
FORMAT = 1


def encode(load: Load) -> bytes:
    """Return the bytes of a load's ``_load.json``."""
    import msgspec

    record = {"format": FORMAT, **{item.name: getattr(load, item.name) for item in dataclasses.fields(load)}}
    return msgspec.json.format(msgspec.json.encode(record), indent=1)


def decode(data: bytes, where: str) -> Load:
    """Return the load that ``data`` describes.

    Args:
        data: The bytes of a ``_load.json``.
        where: Its key, for messages.

    Raises:
        DataError: The file is torn, or not one of ours.
    """
    import msgspec

    try:
        record = cast("dict[str, Any]", msgspec.json.decode(data))
        if record["format"] != FORMAT:
            raise DataError(
                f"{where} is of format {record['format']!r}, and this version reads {FORMAT}.",
                mend="Use the version of signalroom that wrote it, or a later one.",
            )
        return Load(
            load_id=_text(record["load_id"]),
            source=_text(record["source"]),
            stream=_text(record["stream"]),
            client=_text(record["client"]),
            committed_at=_moment(record["committed_at"]),
            parts=tuple(_part(part) for part in record["parts"]),
            positions=dict(record["positions"]),
            slices=tuple(_slice(item) for item in record["slices"]),
            code_version=_text(record["code_version"]),
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as problem:
        raise DataError(
            f"{where} cannot be read ({type(problem).__name__}: {problem}).",
            mend="Restore the file from a copy of the lake; the load it marks is not used until then.",
        ) from None


def _part(record: Mapping[str, Any]) -> Part:
    known = {item.name for item in dataclasses.fields(Part)}
    record = {"empty_texts": False, **record}  # which loads of earlier versions do not say
    if set(record) != known:
        raise ValueError(f"a part has the fields {sorted(set(record) ^ known)} too many or too few")
    moment = record["file_time"]
    for name in ("rows", "bytes", "stored_bytes"):
        _number(record[name])
    for name in ("name", "table", "format", "compression", "sha256", "object_key"):
        _text(record[name])
    values: dict[str, Any] = {**record, "header": tuple(record["header"])}
    values["file_time"] = None if moment is None else _moment(moment)
    return Part(**values)


def _slice(record: Mapping[str, Any]) -> Slice:
    first, last = record["first_day"], record["last_day"]
    return Slice(
        observed_at=_moment(record["observed_at"]),
        first_day=None if first is None else date.fromisoformat(first),
        last_day=None if last is None else date.fromisoformat(last),
        filters=tuple((_text(name), value) for name, value in record["filters"]),
        object_key=record["object_key"],
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text was expected, not {value!r}")
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"a count was expected, not {value!r}")
    return value


def _moment(value: object) -> datetime:
    return datetime.fromisoformat(_text(value)).astimezone(UTC)
