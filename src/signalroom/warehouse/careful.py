"""Irregular csv and JSON Lines parts, read record by record into Arrow: exact where DuckDB's reader gives up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from signalroom.records import Record, careful, careful_lines
from signalroom.warehouse.parts import StagedPart

if TYPE_CHECKING:
    import pyarrow as pa

_RECORDS_AT_ONCE = 20_000


def careful_tables(parts: Sequence[StagedPart]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield (records, problems) of parts with the same fields, a bounded number at a time.

    ``records`` has ``_part``, ``_row`` and a text column ``fN`` for each field of the header (``doc`` for JSON Lines);
    ``problems`` has ``_part``, ``_row``, ``problem`` (a sentence) and ``raw`` (the record's text).
    """
    first = parts[0].part
    names = ["doc"] if first.format == "jsonl" else [f"f{number}" for number in range(len(first.header))]
    records = ((staged.number, record) for staged in parts for record in _read(staged))
    while taken := list(islice(records, _RECORDS_AT_ONCE)):
        yield _records(names, taken), _problems(taken)


def _read(staged: StagedPart) -> Iterator[Record]:
    part = staged.part
    if part.format == "jsonl":
        return careful_lines(staged.chunks(), encoding=part.encoding)
    return careful(staged.chunks(), encoding=part.encoding, delimiter=part.delimiter, empty_texts=part.empty_texts)


def _records(names: Sequence[str], taken: Sequence[tuple[int, Record]]) -> pa.Table:
    import pyarrow as pa

    good = [(number, record) for number, record in taken if not record.problem]
    columns: dict[str, pa.Array[Any]] = {
        "_part": pa.array([number for number, _ in good], pa.int32()),
        "_row": pa.array([record.row for _, record in good], pa.int64()),
    }
    fields = list(zip(*(record.fields or () for _, record in good), strict=True)) if good else [() for _ in names]
    for name, values in zip(names, fields, strict=True):
        columns[name] = pa.array(list(values), pa.string())
    return pa.table(columns)


def _problems(taken: Sequence[tuple[int, Record]]) -> pa.Table:
    import pyarrow as pa

    bad = [(number, record) for number, record in taken if record.problem]
    return pa.table(
        {
            "_part": pa.array([number for number, _ in bad], pa.int32()),
            "_row": pa.array([record.row for _, record in bad], pa.int64()),
            "problem": pa.array([record.problem for _, record in bad], pa.string()),
            "raw": pa.array([_storable(record.raw) for _, record in bad], pa.string()),
        }
    )


def _storable(raw: str) -> str:
    """Return text that every warehouse can store: bytes that were not text and NUL are written as escapes."""
    return raw.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
