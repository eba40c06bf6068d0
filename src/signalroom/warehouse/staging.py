"""Typing: parts of the lake become one typed temporary table, and a table of what does not fit.

Used by every warehouse, so that a value means the same on all of them. The stage holds the table's columns plus
``_part`` (rank of the part), ``_row`` (NULL where the position gives it), ``_op``, ``_seq`` and ``_bad``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from signalroom.errors import DataError
from signalroom.failpoints import failpoint
from signalroom.stream import Column, Table
from signalroom.warehouse.careful import careful_tables
from signalroom.warehouse.casts import Cast, cast, duckdb_type
from signalroom.warehouse.parts import Group, StagedPart
from signalroom.warehouse.quoting import ident, literal
from signalroom.warehouse.textual import bindings, control_of, relation, text_of, unreadable

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
    """

    connection: duckdb.DuckDBPyConnection
    name: str
    table: Table
    columns: tuple[Column, ...]
    parts: tuple[StagedPart, ...]

    def count(self, sql: str) -> int:
        """Return the single number that ``sql`` selects."""
        row = self.connection.execute(sql).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def rows_of(self, alias: str) -> str:
        """Return the expression of a staged row's number within its part; needs ``<name>_parts`` as ``p``."""
        return f"coalesce({alias}._row, {alias}.rowid - p.first_rowid + 1)"

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
) -> Stage:
    """Read ``groups`` into a typed stage called ``name``; every record ends in the stage or in its rejects.

    Raises:
        DataError: When a part cannot be read, or holds another number of records than the lake counted in it.
    """
    staged = Stage(connection, name, table, columns, tuple(parts))
    staged.drop()
    typed = "".join(f"{ident(column.name)} {duckdb_type(column.type)}, " for column in columns)
    control = "_part INTEGER, _row BIGINT, _op VARCHAR, _seq BIGINT, _bad BOOLEAN"
    connection.execute(f"CREATE TEMP TABLE {ident(name)} ({typed}{control})")
    connection.execute(f"""CREATE TEMP TABLE {ident(name + "_rejects")}
        (_part INTEGER, _row BIGINT, column_name VARCHAR, value VARCHAR, reason VARCHAR, raw VARCHAR)""")
    failpoint("warehouse.stage.begin")
    for group in groups:
        _read(staged, group)
        failpoint("warehouse.stage.group")
    for group in groups:
        if group.kind in ("csv", "jsonl") and not group.careful:
            _reread_carefully(staged, group)
    _rank_parts(staged)
    for group in groups:
        if not group.careful:
            _explain_misfits(staged, group)
    _assert_counts(staged)
    return staged


def _read(staged: Stage, group: Group) -> None:
    """Read one group with the casts in the same statement: the raw text is never stored."""
    import duckdb

    _refuse_controls(staged, group)
    if group.careful:
        for part in group.parts:
            _read_carefully(staged, group, part)
        return
    try:
        staged.connection.execute(_insertion(staged, group))
    except duckdb.Error as problem:
        if group.kind not in ("csv", "jsonl"):
            raise unreadable(group, problem) from problem
        # nothing was inserted: the parts are read again, record by record


def _refuse_controls(staged: Stage, group: Group) -> None:
    """Stop before a change that no merge applies yet: a wrong table would be worse than none."""
    if "_op" not in group.fields and "_unset" not in group.fields:
        return
    op = control_of("_op", group)
    unset = f"f{group.fields.index('_unset')}" if "_unset" in group.fields and group.kind == "parquet" else "NULL"
    known = f"{op} NOT IN ('upsert', 'delete') OR (len({unset}) > 0)" if unset != "NULL" else f"{op} NOT IN ('upsert', 'delete')"
    if staged.count(f"SELECT count(*) FROM ({relation(group, ())}) WHERE {known}"):
        raise DataError(
            f"{staged.name} brings truncates or rows with values unset, which no merge applies yet.",
            mend="Nothing was loaded; leave the table out of the stream, or take a new snapshot of it.",
        )


def _insertion(staged: Stage, group: Group) -> str:
    casts = _casts(staged, group)
    values = "".join(
        f"{one.value} AS {ident(column.name)}, " for column, one in zip(staged.columns, casts, strict=True)
    )
    misfits = " OR ".join(["false", *(one.misfit for one in casts if one.misfit != "false")])
    controls = f"{control_of('_op', group)} AS _op, {control_of('_seq', group)} AS _seq"
    source = relation(group, staged.table.nulls)
    return (
        f"INSERT INTO {ident(staged.name)} SELECT {values}_part, _row, {controls}, ({misfits}) AS _bad FROM ({source})"
    )


def _casts(staged: Stage, group: Group) -> list[Cast]:
    """Return the cast of each column; a key that is null does not fit."""
    bound = bindings(staged.columns, group)
    casts: list[Cast] = []
    for column in staged.columns:
        text = text_of(column, group, bound, staged.table.nulls)
        if text is None:
            one = Cast(f"CAST(NULL AS {duckdb_type(column.type)})", "false", "")
            text = "CAST(NULL AS VARCHAR)"
        else:
            one = cast(column, text)
        if column.name in staged.table.key:
            missing = f"{text} IS NULL"
            one = replace(one, misfit=missing if one.misfit == "false" else f"({one.misfit} OR {missing})")
        if column.name == staged.columns[0].name and group.kind in ("json", "jsonl"):
            one = replace(one, misfit=f"({one.misfit} OR NOT {_is_record()})")
        casts.append(one)
    return casts


def _is_record() -> str:
    return "coalesce(CASE WHEN json_valid(doc) THEN json_type(doc) = 'OBJECT' END, false)"


def _read_carefully(staged: Stage, group: Group, part: StagedPart) -> None:
    """Read one part record by record; a record that is none becomes a reject."""
    rejects = ident(staged.name + "_rejects")
    for records, problems in careful_tables(part):
        if records.num_rows:
            staged.connection.register("signalroom_careful", records)
            staged.connection.execute(_insertion(staged, group))
            _explain(
                staged, group, f"SELECT _part, _row FROM {ident(staged.name)} WHERE _bad AND _part = {part.number}"
            )
            staged.connection.execute(f"DELETE FROM {ident(staged.name)} WHERE _bad")
            staged.connection.unregister("signalroom_careful")
        if problems.num_rows:
            staged.connection.register("signalroom_problems", problems)
            staged.connection.execute(f"""INSERT INTO {rejects}
                SELECT _part, _row, NULL, NULL, problem, raw FROM signalroom_problems""")
            staged.connection.unregister("signalroom_problems")


def _reread_carefully(staged: Stage, group: Group) -> None:
    """Read again, record by record, the csv parts in which DuckDB did not find what the lake counted."""
    found = dict(
        staged.connection.execute(
            f"SELECT _part, count(*) FROM {ident(staged.name)} WHERE _row IS NULL GROUP BY _part"
        ).fetchall()
    )
    for part in group.parts:
        if found.get(part.number, 0) != part.part.rows:
            staged.connection.execute(f"DELETE FROM {ident(staged.name)} WHERE _part = {part.number}")
            careful = replace(group, kind="careful", parts=(part,))
            _read_carefully(staged, careful, part)


def _rank_parts(staged: Stage) -> None:
    """Write ``<name>_parts``: what each part contributes to a row's lineage, and where its rows start."""
    import pyarrow as pa

    columns: dict[str, list[object]] = {
        "_part": [part.number for part in staged.parts],
        "load_id": [part.load.load_id for part in staged.parts],
        "loaded_at": [part.load.committed_at for part in staged.parts],
        "client": [part.load.client or None for part in staged.parts],
        "source_ref": [part.part.source_ref or part.part.object_key or part.part.name for part in staged.parts],
        "file_time": [part.part.file_time for part in staged.parts],
        "restored": [part.restored for part in staged.parts],
    }
    kinds = {
        "_part": pa.int32(), "load_id": pa.string(), "loaded_at": pa.timestamp("us", "UTC"), "client": pa.string(),
        "source_ref": pa.string(), "file_time": pa.timestamp("us", "UTC"), "restored": pa.bool_(),
    }  # fmt: skip
    table = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
    staged.connection.register("signalroom_parts", table)
    staged.connection.execute(f"""CREATE TEMP TABLE {ident(staged.name + "_parts")} AS
        SELECT p.*, s.first_rowid FROM signalroom_parts p LEFT JOIN
        (SELECT _part, min(rowid) AS first_rowid FROM {ident(staged.name)} GROUP BY _part) s USING (_part)""")
    staged.connection.unregister("signalroom_parts")


def _explain_misfits(staged: Stage, group: Group) -> None:
    """Move the rows that do not fit to the rejects, each value with its reason and the record as text."""
    numbers = ", ".join(str(part.number) for part in group.parts)
    name = ident(staged.name)
    misfits = f"SELECT s._part, {staged.rows_of('s')} AS _row FROM {name} s JOIN {ident(staged.name + '_parts')} p USING (_part) WHERE s._bad AND s._part IN ({numbers})"
    if not staged.count(f"SELECT count(*) FROM ({misfits})"):
        return
    staged.connection.execute(f"CREATE OR REPLACE TEMP TABLE signalroom_misfits AS {misfits}")
    parts = tuple(
        part for part in group.parts
        if staged.count(f"SELECT count(*) FROM signalroom_misfits WHERE _part = {part.number}")
    )  # fmt: skip
    _explain(staged, replace(group, parts=parts), "SELECT _part, _row FROM signalroom_misfits")
    staged.connection.execute("DROP TABLE temp.signalroom_misfits")


def _explain(staged: Stage, group: Group, misfits: str) -> None:
    """Insert one reject for each value that does not fit, among the rows that ``misfits`` selects."""
    casts = _casts(staged, group)
    bound = bindings(staged.columns, group)
    number = "coalesce(_row, row_number() OVER (PARTITION BY _part))"
    source = f"SELECT * REPLACE ({number} AS _row) FROM ({relation(group, staged.table.nulls)})"
    staged.connection.execute(f"""CREATE OR REPLACE TEMP TABLE {_BATCH_REASON} AS
        SELECT * FROM ({source}) WHERE (_part, _row) IN ({misfits})""")
    raw = _raw(group)
    for column, one in zip(staged.columns, casts, strict=True):
        if one.misfit == "false":
            continue
        text = text_of(column, group, bound, staged.table.nulls) or "NULL"
        reason = literal(one.reason or "is not a record")
        if group.kind in ("json", "jsonl") and column is staged.columns[0]:
            reason = f"CASE WHEN NOT {_is_record()} THEN 'the line is not a JSON object' ELSE {reason} END"
            text = f"CASE WHEN {_is_record()} THEN {text} END"
        if column.name in staged.table.key:
            reason = (
                f"CASE WHEN {text} IS NULL AND {_readable(group)} THEN 'is null, and it is the key' ELSE {reason} END"
            )
        staged.connection.execute(f"""INSERT INTO {ident(staged.name + "_rejects")}
            SELECT _part, _row, {literal(column.name)}, {text}, {reason}, {raw} FROM {_BATCH_REASON} WHERE {one.misfit}""")
    staged.connection.execute(f"DROP TABLE temp.{_BATCH_REASON}")


def _readable(group: Group) -> str:
    return _is_record() if group.kind in ("json", "jsonl") else "true"


def _raw(group: Group) -> str:
    """Return the expression of a whole record as JSON, under the spellings it arrived with."""
    if group.kind in ("json", "jsonl"):
        return "doc"
    fields = [ident(f) if group.kind == "parquet" else f"f{n}" for n, f in enumerate(group.fields)]
    pairs = ", ".join(f"{literal(spelling)}, {field}" for spelling, field in zip(group.fields, fields, strict=True))
    return f"CAST(json_object({pairs}) AS VARCHAR)"


def _assert_counts(staged: Stage) -> None:
    """Every record the lake counted is in the stage or in the rejects, part by part."""
    name, rejects = ident(staged.name), ident(staged.name + "_rejects")
    staged.connection.execute(f"DELETE FROM {name} WHERE _bad")
    found = dict(
        staged.connection.execute(f"""SELECT _part, count(*) FROM (
            SELECT _part, rowid FROM {name} UNION ALL SELECT DISTINCT _part, -_row FROM {rejects}) GROUP BY _part""").fetchall()
    )
    for part in staged.parts:
        if found.get(part.number, 0) != part.part.rows:
            raise DataError(
                f"{part.part.source_ref or part.part.name} of load {part.load.load_id} holds {part.part.rows} records by "
                f"the lake's count, but {found.get(part.number, 0)} were read.",
                mend="Nothing was loaded; report this file, and exclude it from the stream's path meanwhile.",
            )
