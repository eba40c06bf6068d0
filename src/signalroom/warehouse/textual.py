"""Parts of the lake as relations of raw text: one row a record, with its part and, where known, its row number.

DuckDB reads every format straight from the lake's files. A csv part that its scan called irregular, or whose records
DuckDB counted otherwise, goes through the careful reader instead (see ``careful.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from signalroom.load import Load, Part
from signalroom.stream import Column
from signalroom.warehouse.quoting import ident, literal
from signalroom.warehouse.schema import CONTROL, bind

if TYPE_CHECKING:
    import duckdb

_MAX_LINE_BYTES = 16 << 20
_MAX_DOCUMENT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part on its way into a table.

    Attributes:
        number: Its rank among all parts of the merge: file time, then object, then load; ties of rows follow it.
        load: The load it belongs to.
        part: The part itself.
        path: Local file with its stored bytes.
        restored: True for a part of an older load that is consulted again.
    """

    number: int
    load: Load
    part: Part
    path: Path
    restored: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that one statement reads: same format, same fields.

    Attributes:
        kind: ``csv``, ``careful``, ``jsonl``, ``json`` or ``parquet``.
        parts: The parts.
        fields: Spellings of the fields, in order (csv, parquet); the keys found (json).
    """

    kind: str
    parts: tuple[StagedPart, ...]
    fields: tuple[str, ...]


def group_parts(connection: duckdb.DuckDBPyConnection, parts: Sequence[StagedPart]) -> list[Group]:
    """Return the parts that hold records, grouped so that each group is one read."""
    groups: dict[tuple[object, ...], list[StagedPart]] = {}
    for staged in parts:
        part = staged.part
        if part.rows == 0:
            continue
        kind = "careful" if part.format == "csv" and part.irregular else part.format
        fields: tuple[str, ...] = part.header
        if kind == "parquet":
            fields = _parquet_fields(connection, staged.path)
        same = (kind, fields, part.compression, part.delimiter, part.records, part.encoding)
        groups.setdefault((*same, staged.number) if kind == "careful" else same, []).append(staged)
    made = [Group(str(key[0]), tuple(found), tuple(found[0].part.header)) for key, found in groups.items()]
    return [_with_fields(connection, group) for group in made]


def _parquet_fields(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[str, ...]:
    rows = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(str(path))})").fetchall()
    return tuple(str(row[0]) for row in rows)


def _with_fields(connection: duckdb.DuckDBPyConnection, group: Group) -> Group:
    """Return the group with the fields its records have (csv headers are known already)."""
    if group.kind == "parquet":
        return Group(group.kind, group.parts, _parquet_fields(connection, group.parts[0].path))
    if group.kind in ("json", "jsonl"):
        keys = f"""
            SELECT DISTINCT key FROM (
                SELECT unnest(json_keys(doc)) AS key FROM ({relation(group, ())})
                WHERE json_valid(doc) AND json_type(doc) = 'OBJECT')
            ORDER BY key"""
        return Group(group.kind, group.parts, tuple(str(row[0]) for row in connection.execute(keys).fetchall()))
    return group


def relation(group: Group, nulls: Sequence[str]) -> str:
    """Return a SELECT of ``_part``, ``_row`` and the raw fields (``f0``, ``f1``… of a csv, ``doc`` of json).

    The rows come in file order. ``_row`` is NULL where the position within the statement gives it.
    """
    files = "[" + ", ".join(literal(str(staged.path)) for staged in group.parts) + "]"
    numbers = "[" + ", ".join(str(staged.number) for staged in group.parts) + "]"
    part = f"CAST({numbers}[CAST(file_index AS BIGINT) + 1] AS INTEGER) AS _part"
    first = group.parts[0].part
    packed = literal("none" if group.kind == "parquet" else first.compression)
    if group.kind == "csv":
        columns = ", ".join(f"'f{n}': 'VARCHAR'" for n in range(len(group.fields)))
        nullstr = ", ".join(literal(spelling) for spelling in dict.fromkeys(["", *nulls]))
        return f"""SELECT {part}, CAST(NULL AS BIGINT) AS _row, * FROM read_csv({files}, header = true,
            auto_detect = false, delim = {literal(first.delimiter)}, quote = '"', escape = '"', nullstr = [{nullstr}],
            compression = {packed}, store_rejects = true, rejects_limit = 1, columns = {{{columns}}})"""
    if group.kind == "jsonl":
        return f"""SELECT {part}, CAST(NULL AS BIGINT) AS _row, doc FROM read_csv({files}, header = false,
            auto_detect = false, delim = '\x1f', quote = '', escape = '', compression = {packed},
            max_line_size = {_MAX_LINE_BYTES}, columns = {{'doc': 'VARCHAR'}}) WHERE trim(doc, ' \r\t') <> ''"""
    if group.kind == "json":
        array = literal(f"{first.records}[*]")
        return f"""SELECT {part}, CAST(NULL AS BIGINT) AS _row,
            CAST(unnest(json_extract(json, {array})) AS VARCHAR) AS doc FROM read_json_objects({files},
            format = 'unstructured', compression = {packed}, maximum_object_size = {_MAX_DOCUMENT_BYTES})"""
    if group.kind == "parquet":
        return f"SELECT {part}, file_row_number + 1 AS _row, * FROM read_parquet({files}, file_row_number = true)"
    return "SELECT * FROM signalroom_careful"


def text_of(column: Column, group: Group, bound: dict[str, int], nulls: Sequence[str]) -> str | None:
    """Return the SQL expression of a column's raw text in ``relation(group)``, or None where it is absent."""
    if group.kind in ("json", "jsonl"):
        path = column.path if column.path.startswith("$") else '$."' + (column.path or column.name) + '"'
        return _nullified(f"json_extract_string(doc, {literal(path)})", nulls)
    if column.name not in bound:
        return None
    number = bound[column.name]
    if group.kind == "csv":
        return f"f{number}"
    if group.kind == "careful":
        return _nullified(f"f{number}", nulls)
    return _nullified(f"CAST({ident(group.fields[number])} AS VARCHAR)", nulls)


def _nullified(text: str, nulls: Sequence[str]) -> str:
    expression = f"nullif({text}, '')"
    for spelling in nulls:
        expression = f"nullif({expression}, {literal(spelling)})" if spelling else expression
    return expression


def control_of(name: str, group: Group) -> str:
    """Return the SQL expression of a control column (`_op`, `_seq`), with its default where it did not arrive."""
    default = {"_op": "'upsert'", "_seq": "CAST(NULL AS BIGINT)"}[name]
    return ident(name) if group.kind == "parquet" and name in group.fields else default


def data_fields(group: Group) -> tuple[str, ...]:
    """Return the group's fields without control columns."""
    return tuple(field for field in group.fields if field not in CONTROL)


def bindings(columns: Sequence[Column], group: Group) -> dict[str, int]:
    """Return column name -> field index within the group."""
    return dict(bind(columns, group.fields))
