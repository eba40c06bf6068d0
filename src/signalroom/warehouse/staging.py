"""Typing: parts of the lake become one typed temporary table, and a table of what does not fit.

Used by every warehouse, so that a value means the same on all of them. The stage holds the table's columns plus
``_part`` (rank of the part), ``_row`` (NULL where the position gives it), ``_op``, ``_seq``, ``_bad`` and
:func:`unset_controls`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from signalroom.errors import DataError
from signalroom.failpoints import failpoint
from signalroom.stream import Column, Table
from signalroom.warehouse.careful import careful_tables
from signalroom.warehouse.casts import Cast, cast, duckdb_type
from signalroom.warehouse.parts import Group, StagedPart
from signalroom.warehouse.quoting import ident, literal
from signalroom.warehouse.textual import bindings, control_of, relation, text_of, unreadable, unset_field

if TYPE_CHECKING:
    import duckdb

_BATCH_REASON = "signalroom_reasons"
_NO_OBJECT = "the line is not a JSON object"
_DOUBLED = "a key stands twice in the object"


@dataclass(frozen=True, slots=True)
class Stage:
    """A typed temporary table on a DuckDB connection.

    Attributes:
        connection: Where it lives.
        name: Its name; ``<name>_parts`` ranks the parts, ``<name>_rejects`` holds what does not fit.
        table: The table it feeds.
        columns: The table's columns, in order.
        parts: The parts it was read from.
        held: The columns whose values it holds: all, unless it was only to find the winners and that every value fits.
        unset: The columns whose value some of the rows left out.
    """

    connection: duckdb.DuckDBPyConnection
    name: str
    table: Table
    columns: tuple[Column, ...]
    parts: tuple[StagedPart, ...]
    held: tuple[Column, ...]
    unset: tuple[str, ...] = ()

    def count(self, sql: str) -> int:
        """Return the single number that ``sql`` selects."""
        rows = self.connection.execute(sql).fetchall()  # all of them: an unfinished result blocks the connection
        return int(rows[0][0] or 0) if rows else 0

    def rows_of(self, alias: str) -> str:
        """Return the expression of a staged row's number within its part; needs ``<name>_parts`` as ``p``."""
        return f"coalesce({alias}._row, {alias}.rowid - p.first_rowid + 1)"

    def order_of(self, column: str) -> str:
        """Return the expression of an order column of a staged row ``s``; needs ``<name>_parts`` as ``p``."""
        if column == "_row":
            return self.rows_of("s")
        return {"_file_time": "p.file_time", "_loaded_at": "p.loaded_at", "_load_id": "p.load_id"}.get(
            column, f"s.{ident(column)}"
        )

    def drop(self) -> None:
        """Drop the stage's tables."""
        for suffix in ("", "_parts", "_rejects", "_lose"):
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{ident(self.name + suffix)}")


def stage(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: Table,
    columns: tuple[Column, ...],
    groups: Sequence[Group],
    parts: Sequence[StagedPart],
    *,
    only: Collection[str] = (),
    unset: tuple[str, ...] = (),
) -> Stage:
    """Read ``groups`` into a typed stage called ``name``; every record ends in the stage or in its rejects.

    Args:
        connection: A DuckDB connection.
        name: Name of the stage.
        table: The table it feeds.
        columns: The table's columns.
        groups: The parts with records, grouped.
        parts: All parts.
        unset: Columns whose value some of the rows left out.
        only: Columns to hold, where every value of every column fits; all of them where one does not, or none is named.

    Raises:
        DataError: When a part cannot be read, or holds another number of records than the lake counted in it.
    """
    held = tuple(column for column in columns if not only or column.name in only)
    staged = Stage(connection, name, table, columns, tuple(parts), held, unset)
    staged.drop()
    typed = "".join(f"{ident(column.name)} {duckdb_type(column.type)}, " for column in held)
    control = "_part INTEGER, _row BIGINT, _op VARCHAR, _seq BIGINT, _bad BOOLEAN"
    more = "".join(f", {column.name} {duckdb_type(column.type)}" for column in unset_controls(unset))
    connection.execute(f"CREATE TEMP TABLE {ident(name)} ({typed}{control}{more})")
    connection.execute(f"""CREATE TEMP TABLE {ident(name + "_rejects")}
        (_part INTEGER, _row BIGINT, column_name VARCHAR, value VARCHAR, reason VARCHAR, raw VARCHAR)""")
    failpoint("warehouse.stage.begin")
    for group in groups:
        _read(staged, group)
        failpoint("warehouse.stage.group")
    if len(held) < len(columns) and not _all_fits(staged):
        return stage(connection, name, table, columns, groups, parts, unset=unset)
    for group in groups:
        if group.kind in ("csv", "jsonl") and not group.careful:
            _reread_carefully(staged, group)
    _rank_parts(staged)
    for group in groups:
        if not group.careful:
            _explain_misfits(staged, group)
    _assert_counts(staged)
    return staged


def unset_controls(unset: Sequence[str]) -> tuple[Column, ...]:
    """Return what a row carries for each column that rows left out: whether it is missing, and since which ``_seq``."""
    each = ((Column(f"_unset_{n}", "boolean"), Column(f"_from_{n}", "bigint")) for n in range(len(unset)))
    return tuple(column for pair in each for column in pair)


def _read(staged: Stage, group: Group) -> None:
    """Read one group with the casts in the same statement: the raw text is never stored."""
    import duckdb

    if group.careful:
        _read_carefully(staged, group)
        return
    try:
        staged.connection.execute(_insertion(staged, group))
    except duckdb.Error as problem:
        if group.kind not in ("csv", "jsonl"):
            raise unreadable(group, problem) from problem
        # nothing was inserted: the parts are read again, record by record


def _insertion(staged: Stage, group: Group) -> str:
    casts = _casts(staged, group)
    values = "".join(
        f"{one.value} AS {ident(column.name)}, "
        for column, one in zip(staged.columns, casts, strict=True)
        if column in staged.held
    )
    misfits = " OR ".join([_no_record(group), *(one.misfit for one in casts if one.misfit != "false")])
    controls = f"{control_of('_op', group)} AS _op, {control_of('_seq', group)} AS _seq"
    listing = unset_field(staged.columns, group) or "CAST(NULL AS VARCHAR[])"
    missing = f"{control_of('_op', group)} = 'upsert' AND list_contains({listing}, {{}})"
    unset = "".join(f", coalesce({missing.format(literal(name))}, false), NULL" for name in staged.unset)
    source = relation(group, staged.table.nulls)
    selected = f"{values}_part, _row, {controls}, ({misfits}) AS _bad{unset}"
    return f"INSERT INTO {ident(staged.name)} SELECT {selected} FROM ({source})"


def _casts(staged: Stage, group: Group) -> list[Cast]:
    """Return the cast of each column; a key that is null does not fit, nor does a text that not every store holds."""
    bound = bindings(staged.columns, group)
    casts: list[Cast] = []
    for column in staged.columns:
        text = text_of(column, group, bound, staged.table.nulls)
        if text is None:
            one = Cast(f"CAST(NULL AS {duckdb_type(column.type)})", "false", "")
            text = "CAST(NULL AS VARCHAR)"
        else:
            one = cast(column, text)
            if column.type == "text" and group.kind != "csv":  # a csv part with NUL is read carefully
                one = replace(one, misfit=f"coalesce(contains({text}, chr(0)), false)", reason="holds a NUL")
        if column.name in staged.table.key:
            missing = f"{text} IS NULL{_keyed(group)}"
            one = replace(one, misfit=missing if one.misfit == "false" else f"({one.misfit} OR {missing})")
        casts.append(one)
    return casts


def _keyed(group: Group) -> str:
    """Return what to add to a condition that holds only for changes with a key: a truncate has none."""
    brings = group.kind == "parquet" and "_op" in group.fields
    return f" AND {control_of('_op', group)} <> 'truncate'" if brings else ""


def _no_record(group: Group) -> str:
    """Return the condition that a line is no record at all."""
    if not group.json:
        return "false"
    no_object = "NOT coalesce(json_type(exact) = 'OBJECT', false)"
    return f"({no_object} OR {_doubled()})" if group.doubled else no_object


def _doubled() -> str:
    return "coalesce(len(json_keys(exact)) > len(list_distinct(json_keys(exact))), false)"


def _read_carefully(staged: Stage, group: Group) -> None:
    """Read a group's parts record by record; a record that is none becomes a reject."""
    name, rejects = ident(staged.name), ident(staged.name + "_rejects")
    bad = f"FROM {name} WHERE _bad AND _part IN ({', '.join(str(part.number) for part in group.parts)})"
    for records, problems in careful_tables(group.parts):
        if records.num_rows:
            staged.connection.register("signalroom_careful", records)
            staged.connection.execute(_insertion(staged, group))
            if staged.count(f"SELECT count(*) {bad}"):
                _explain(staged, group, f"SELECT _part, _row {bad}")
                staged.connection.execute(f"DELETE {bad}")
            staged.connection.unregister("signalroom_careful")
        if problems.num_rows:
            staged.connection.register("signalroom_problems", problems)
            staged.connection.execute(f"""INSERT INTO {rejects}
                SELECT _part, _row, NULL, NULL, problem, raw FROM signalroom_problems""")
            staged.connection.unregister("signalroom_problems")


def _all_fits(staged: Stage) -> bool:
    """Return whether each part's records were all found, and each of their values fits."""
    found = dict(
        staged.connection.execute(
            f"SELECT _part, count(*) FILTER (WHERE NOT _bad) FROM {ident(staged.name)} GROUP BY _part"
        ).fetchall()
    )
    return all(found.get(part.number, 0) == part.part.rows for part in staged.parts)


def _reread_carefully(staged: Stage, group: Group) -> None:
    """Read again, record by record, the parts in which DuckDB did not find what the lake counted."""
    found = dict(
        staged.connection.execute(
            f"SELECT _part, count(*) FROM {ident(staged.name)} WHERE _row IS NULL GROUP BY _part"
        ).fetchall()
    )
    again = tuple(part for part in group.parts if found.get(part.number, 0) != part.part.rows)
    if again:
        numbers = ", ".join(str(part.number) for part in again)
        staged.connection.execute(f"DELETE FROM {ident(staged.name)} WHERE _part IN ({numbers})")
        _read_carefully(staged, replace(group, careful=True, parts=again))


def _rank_parts(staged: Stage) -> None:
    """Write ``<name>_parts``: what each part contributes to a row's lineage, and where its rows start."""
    import pyarrow as pa

    columns: dict[str, list[object]] = {
        "_part": [part.number for part in staged.parts],
        "load_id": [part.load.load_id for part in staged.parts],
        "loaded_at": [part.load.committed_at for part in staged.parts],
        "client": [part.load.client or None for part in staged.parts],
        "source_ref": [part.source_ref for part in staged.parts],
        "part_name": [part.part.name for part in staged.parts],
        "file_time": [part.file_time for part in staged.parts],
        "restored": [part.restored for part in staged.parts],
    }
    kinds = {
        "_part": pa.int32(), "load_id": pa.string(), "loaded_at": pa.timestamp("us", "UTC"), "client": pa.string(),
        "source_ref": pa.string(), "part_name": pa.string(), "file_time": pa.timestamp("us", "UTC"),
        "restored": pa.bool_(),
    }  # fmt: skip
    table = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
    staged.connection.register("signalroom_parts", table)
    staged.connection.execute(f"""CREATE TEMP TABLE {ident(staged.name + "_parts")} AS
        SELECT p.*, s.first_rowid FROM signalroom_parts p LEFT JOIN
        (SELECT _part, min(rowid) AS first_rowid FROM {ident(staged.name)} GROUP BY _part) s USING (_part)""")
    staged.connection.unregister("signalroom_parts")


def _explain_misfits(staged: Stage, group: Group) -> None:
    """Move the rows that do not fit to the rejects, each value with its reason and the record as text."""
    name = ident(staged.name)
    numbers = ", ".join(str(part.number) for part in group.parts)
    staged.connection.execute(f"""CREATE OR REPLACE TEMP TABLE signalroom_misfits AS
        SELECT s._part, {staged.rows_of("s")} AS _row FROM {name} s JOIN {ident(staged.name + "_parts")} p USING (_part)
        WHERE s._bad AND s._part IN ({numbers})""")
    found = {row[0] for row in staged.connection.execute("SELECT DISTINCT _part FROM signalroom_misfits").fetchall()}
    if found:
        parts = tuple(part for part in group.parts if part.number in found)
        _explain(staged, replace(group, parts=parts), "SELECT _part, _row FROM signalroom_misfits")
    staged.connection.execute("DROP TABLE temp.signalroom_misfits")


def _explain(staged: Stage, group: Group, misfits: str) -> None:
    """Insert one reject for each value that does not fit, among the rows that ``misfits`` selects."""
    _raw_rows(staged, group, misfits)
    bound = bindings(staged.columns, group)
    none = _no_record(group)
    found: list[str] = []
    if group.json:
        reason = f"CASE WHEN {_doubled()} THEN {literal(_DOUBLED)} ELSE {literal(_NO_OBJECT)} END"
        found.append(_reject(none, "CAST(NULL AS VARCHAR)", "CAST(NULL AS VARCHAR)", reason))
    for column, one in zip(staged.columns, _casts(staged, group), strict=True):
        if one.misfit == "false":
            continue
        text = text_of(column, group, bound, staged.table.nulls) or "CAST(NULL AS VARCHAR)"
        reason = literal(one.reason)
        if column.name in staged.table.key:
            reason = f"CASE WHEN {text} IS NULL THEN 'is null, and it is the key' ELSE {reason} END"
        shown = text if group.kind == "csv" else f"replace({text}, chr(0), '\\x00')"
        found.append(_reject(f"{one.misfit} AND NOT {none}", literal(column.name), shown, reason))
    if found:
        staged.connection.execute(f"""INSERT INTO {ident(staged.name + "_rejects")}
            SELECT _part, _row, one.c, one.v, one.r, raw FROM (
                SELECT _part, _row, {_raw(group)} AS raw, unnest([{", ".join(found)}]) AS one FROM {_BATCH_REASON})
            WHERE one IS NOT NULL""")
    staged.connection.execute(f"DROP TABLE temp.{_BATCH_REASON}")


def _reject(condition: str, column: str, value: str, reason: str) -> str:
    return f"CASE WHEN {condition} THEN {{'c': {column}, 'v': {value}, 'r': {reason}}} END"


def reject_staged(staged: Stage, column: str, reason: str, condition: str) -> None:
    """Copy the staged rows ``s`` that meet a condition to the rejects, for the sake of one column."""
    raw = ", ".join(f"{literal(c.path or c.name)}, CAST(s.{ident(c.name)} AS VARCHAR)" for c in staged.columns)
    staged.connection.execute(f"""INSERT INTO {ident(staged.name + "_rejects")}
        SELECT s._part, {staged.rows_of("s")}, {literal(column)}, CAST(s.{ident(column)} AS VARCHAR), {literal(reason)},
            CAST(json_object({raw}) AS VARCHAR)
        FROM {ident(staged.name)} s JOIN {ident(staged.name + "_parts")} p USING (_part) WHERE {condition}""")


def _raw_rows(staged: Stage, group: Group, misfits: str) -> None:
    """Read the rows that ``misfits`` selects again, as text, numbered within their part."""
    # part by part: only over a whole statement is a row's number its place in the file
    groups = [group] if group.careful else [replace(group, parts=(part,)) for part in group.parts]
    verb = f"CREATE OR REPLACE TEMP TABLE {_BATCH_REASON} AS"
    for one in groups:
        source = relation(one, staged.table.nulls)
        staged.connection.execute(f"""{verb} SELECT * FROM (
            SELECT * REPLACE (coalesce(_row, row_number() OVER ()) AS _row) FROM ({source}))
            WHERE (_part, _row) IN ({misfits})""")
        verb = f"INSERT INTO {_BATCH_REASON}"


def _raw(group: Group) -> str:
    """Return the expression of a whole record as JSON, under the spellings it arrived with."""
    if group.json:
        return "doc"
    pairs = ", ".join(f"{literal(spelling)}, f{n}" for n, spelling in enumerate(group.fields))
    return f"CAST(json_object({pairs}) AS VARCHAR)"


def _assert_counts(staged: Stage) -> None:
    """Every record the lake counted is in the stage or in the rejects, part by part."""
    name, rejects = ident(staged.name), ident(staged.name + "_rejects")
    staged.connection.execute(f"DELETE FROM {name} WHERE _bad")
    counted = f"""SELECT _part, count(*) FROM (
        SELECT _part, rowid FROM {name} UNION ALL SELECT DISTINCT _part, -_row FROM {rejects}) GROUP BY _part"""
    found = dict(staged.connection.execute(counted).fetchall())
    for part in staged.parts:
        if found.get(part.number, 0) != part.part.rows:
            raise DataError(
                f"{part.source_ref} of load {part.load.load_id} holds {part.part.rows} records by the lake's count, "
                f"but {found.get(part.number, 0)} were read.",
                mend="Nothing was loaded; report this file, and exclude it from the stream's path meanwhile.",
            )
