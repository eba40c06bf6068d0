"""Parts of the lake as relations of raw text: one row a record, with its part and, where known, its row number.

DuckDB reads every format straight from the lake's files. A csv or JSON Lines part that its scan called irregular, or
whose records DuckDB counted otherwise, goes through the careful reader instead (see ``careful.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from signalroom.errors import DataError
from signalroom.stream import Column
from signalroom.warehouse.careful import careful_tables
from signalroom.warehouse.parts import Group, StagedPart
from signalroom.warehouse.quoting import ident, literal
from signalroom.warehouse.schema import CONTROL, bind, is_json_path

if TYPE_CHECKING:
    import duckdb

_MAX_LINE_BYTES = 16 << 20
_MIN_DOCUMENT_BYTES, _MAX_DOCUMENT_BYTES = 16 << 20, 1 << 30
_INFLATION = 50  # text rarely shrinks more; only for documents that arrived compressed
_FLOAT_DIGITS = 17  # no printer of floats writes more; a longer number was meant as a decimal
_LONG = "|".join(
    [f"[1-9][0-9]{{{n - 1},}}\\.[0-9]{{{_FLOAT_DIGITS + 1 - n},}}" for n in range(1, _FLOAT_DIGITS + 1)]
    + [f"[1-9][0-9]{{{_FLOAT_DIGITS},}}\\.[0-9]+", f"0\\.0*[1-9][0-9]{{{_FLOAT_DIGITS},}}"]
)
_LONG_NUMBER = rf"([:\[,][ \t\r\n]*)(-?(?:{_LONG})(?:[eE][+-]?[0-9]+)?)"


def group_parts(connection: duckdb.DuckDBPyConnection, parts: Sequence[StagedPart]) -> list[Group]:
    """Return the parts that hold records, grouped so that each group is one read.

    Raises:
        DataError: When a part cannot be read at all.
    """
    parts_of: dict[tuple[object, ...], tuple[Group, list[StagedPart]]] = {}
    for staged in parts:
        part = staged.part
        if part.rows == 0:
            continue
        group = Group(part.format, (staged,), part.header, decoded=part.empty_texts)
        if part.format == "parquet":
            group = replace(_parquet(connection, group), decoded=not part.object_key)
        elif part.irregular and part.format in ("csv", "jsonl"):
            group = replace(group, careful=True)
        how = () if group.careful else (part.compression, part.delimiter, part.records, part.encoding)
        same = (group.kind, group.fields, group.types, group.careful, group.decoded, *how)
        parts_of.setdefault(same, (group, []))[1].append(staged)
    grouped = [replace(group, parts=tuple(found)) for group, found in parts_of.values()]
    return [_with_keys(connection, group) if group.json else group for group in grouped]


def unreadable(group: Group, problem: Exception) -> DataError:
    """Return the error of a group whose files cannot be read."""
    names = ", ".join(f"{part.source_ref} of load {part.load.load_id}" for part in group.parts[:3])
    return DataError(
        f"{names} cannot be read as {group.kind}: {str(problem).splitlines()[0]}",
        mend="Nothing was loaded; ask for the file again, and exclude it from the stream's path meanwhile.",
    )


def _parquet(connection: duckdb.DuckDBPyConnection, group: Group) -> Group:
    """Return the group with the fields and types of its file."""
    import duckdb

    try:
        found = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({_files(group)})").fetchall()
    except duckdb.Error as problem:
        raise unreadable(group, problem) from problem
    return replace(group, fields=tuple(str(row[0]) for row in found), types=tuple(str(row[1]) for row in found))


def _with_keys(connection: duckdb.DuckDBPyConnection, group: Group) -> Group:
    """Return the group with the keys of its records, to be read carefully where only the careful reader can."""
    import duckdb

    try:
        if not group.careful:
            return _with_keys_of(connection, group)
    except duckdb.Error as problem:
        if group.kind == "json":
            raise unreadable(group, problem) from problem
    group = replace(group, careful=True)
    fields: set[str] = set()
    for records, _ in careful_tables(group.parts):
        connection.register("signalroom_careful", records)
        group = _with_keys_of(connection, group)
        connection.unregister("signalroom_careful")
        fields.update(group.fields)
    return replace(group, fields=tuple(sorted(fields)))


def _with_keys_of(connection: duckdb.DuckDBPyConnection, group: Group) -> Group:
    keys = f"""
        SELECT key, bool_or(doubled) FROM (
            SELECT unnest(list_distinct(keys)) AS key, len(keys) > len(list_distinct(keys)) AS doubled FROM (
                SELECT json_keys(exact) AS keys FROM ({relation(group, ())}) WHERE json_type(exact) = 'OBJECT'))
        GROUP BY key ORDER BY key"""
    found = connection.execute(keys).fetchall()
    doubled = group.doubled or any(bool(row[1]) for row in found)
    return replace(group, fields=tuple(str(row[0]) for row in found), doubled=doubled)


def _files(group: Group) -> str:
    return "[" + ", ".join(literal(_path(staged.path)) for staged in group.parts) + "]"


def _path(path: Path) -> str:
    """Return a path that DuckDB takes as a name, not as a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def relation(group: Group, nulls: Sequence[str]) -> str:
    """Return a SELECT of ``_part``, ``_row`` and the raw fields, in file order.

    The fields are ``f0``, ``f1`` and so on of a csv or parquet part, or ``doc`` and ``exact`` of JSON: ``exact`` has
    long numbers as strings, which DuckDB would read as floats, and is NULL where ``doc`` is not JSON. ``_row`` is NULL
    where the position within the statement gives it.
    """
    if group.careful:
        return f"SELECT *, {_exact('doc')} AS exact FROM signalroom_careful" if group.json else _CAREFUL
    numbers = "[" + ", ".join(str(staged.number) for staged in group.parts) + "]"
    part = f"CAST({numbers}[CAST(file_index AS BIGINT) + 1] AS INTEGER) AS _part"
    first = group.parts[0].part
    packed = literal(first.compression)
    if group.kind == "csv":
        columns = ", ".join(f"'f{n}': 'VARCHAR'" for n in range(len(group.fields)))
        # of what a database wrote, only the unquoted empty field is null here; `text_of` sees to other spellings
        spellings = [""] if group.decoded else ["", *nulls]
        nullstr = ", ".join(literal(spelling) for spelling in dict.fromkeys(spellings))
        return f"""SELECT {part}, CAST(NULL AS BIGINT) AS _row, * FROM read_csv({_files(group)}, header = true,
            auto_detect = false, delim = {literal(first.delimiter)}, quote = '"', escape = '"', nullstr = [{nullstr}],
            allow_quoted_nulls = {"false" if group.decoded else "true"}, compression = {packed}, store_rejects = true,
            rejects_limit = 1, columns = {{{columns}}})"""
    if group.kind == "jsonl":
        return f"""SELECT {part}, CAST(NULL AS BIGINT) AS _row, doc, {_exact("doc")} AS exact
            FROM read_csv({_files(group)}, header = false,
            auto_detect = false, delim = '\x1f', quote = '', escape = '', compression = {packed},
            max_line_size = {_MAX_LINE_BYTES}, columns = {{'doc': 'VARCHAR'}}) WHERE trim(doc, ' \r\t') <> ''"""
    if group.kind == "json":
        array = literal(f"{first.records}[*]")
        return f"""SELECT _part, CAST(NULL AS BIGINT) AS _row, doc, doc AS exact FROM (
            SELECT {part}, CAST(unnest(json_extract({_exact("CAST(json AS VARCHAR)")}, {array})) AS VARCHAR) AS doc
            FROM read_json_objects({_files(group)}, format = 'unstructured', compression = {packed},
            maximum_object_size = {_document_bytes(group)}))"""
    fields = "".join(f", {_parquet_text(group, n)} AS f{n}" for n in range(len(group.fields)))
    return f"""SELECT {part}, file_row_number + 1 AS _row{fields}
        FROM read_parquet({_files(group)}, file_row_number = true)"""


_CAREFUL = "SELECT * FROM signalroom_careful"


def _exact(doc: str) -> str:
    """Return ``doc`` with the numbers that no float holds written as strings; NULL where it is not JSON.

    Text that looks like one is left alone: a quote put inside a string would make the document invalid.
    """
    quoted = f"""regexp_replace({doc}, {literal(_LONG_NUMBER)}, '\\1"\\2"', 'g')"""
    return f"""CASE WHEN NOT json_valid({doc}) THEN NULL
        WHEN regexp_matches({doc}, {literal(_LONG_NUMBER)}) AND json_valid({quoted}) THEN {quoted} ELSE {doc} END"""


def _parquet_text(group: Group, number: int) -> str:
    """Return a parquet field as text: nested values as JSON, control columns as they are."""
    field, kind = ident(group.fields[number]), group.types[number]
    if group.fields[number] in CONTROL:
        return field
    nested = kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION"))
    return f"CAST({f'to_json({field})' if nested else field} AS VARCHAR)"


def _document_bytes(group: Group) -> int:
    """Return how large a document of the group may be: DuckDB allocates twice as much at once."""
    arrived = (p.part.bytes if p.part.stored_bytes != p.part.bytes else p.part.bytes * _INFLATION for p in group.parts)
    return min(_MAX_DOCUMENT_BYTES, max(_MIN_DOCUMENT_BYTES, *arrived))


def text_of(column: Column, group: Group, bound: dict[str, int], nulls: Sequence[str]) -> str | None:
    """Return the SQL expression of a column's raw text in ``relation(group)``, or None where it is absent."""
    number = bound.get(column.name)
    if group.json:
        if number is None and not is_json_path(column.path):
            return None
        path = column.path if number is None else _pointer(group.fields[number])
        return _nullified(f"json_extract_string(exact, {literal(path)})", ("", *nulls))
    if number is None:
        return None
    if group.kind == "csv" and not group.careful and not group.decoded:
        return f"f{number}"
    # an empty text is null to a column that is pinned as no text
    kept = group.decoded and (group.kind != "csv" or column.type == "text")
    return _nullified(f"f{number}", nulls if kept else ("", *nulls))


def _pointer(key: str) -> str:
    """Return the JSON pointer of a key: unlike a path, it can spell every key."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _nullified(text: str, nulls: Sequence[str]) -> str:
    for spelling in dict.fromkeys(nulls):
        text = f"nullif({text}, {literal(spelling)})"
    return text


def control_of(name: str, group: Group) -> str:
    """Return the SQL expression of a control column (`_op`, `_seq`), with its default where it did not arrive."""
    default = {"_op": "'upsert'", "_seq": "CAST(NULL AS BIGINT)"}[name]
    if group.kind == "parquet" and name in group.fields:
        return f"coalesce(f{group.fields.index(name)}, {default})"
    return default


def unset_field(columns: Sequence[Column], group: Group) -> str | None:
    """Return the SQL expression of the list of columns whose value did not arrive, or None where no row has one."""
    if group.kind != "parquet" or "_unset" not in group.fields:
        return None
    place = group.fields.index("_unset")
    field = f"CAST(f{place} AS VARCHAR[])" if group.types[place].endswith("]") else f"[CAST(f{place} AS VARCHAR)]"
    spelt = {name: group.fields[at] for name, at in bindings(columns, group).items() if group.fields[at] != name}
    if not spelt:
        return field
    named = " ".join(f"WHEN {literal(spelling)} THEN {literal(name)}" for name, spelling in spelt.items())
    return f"list_transform({field}, lambda one: CASE one {named} ELSE one END)"


def data_fields(group: Group) -> tuple[str, ...]:
    """Return the group's fields without control columns, which only decoded batches have."""
    return tuple(group.fields[place] for place in _data_places(group))


def _data_places(group: Group) -> list[int]:
    steer = CONTROL if group.kind == "parquet" else ()
    return [place for place, field in enumerate(group.fields) if field not in steer]


def bindings(columns: Sequence[Column], group: Group) -> dict[str, int]:
    """Return column name -> field index within the group."""
    places = _data_places(group)
    return {name: places[place] for name, place in bind(columns, data_fields(group)).items()}
