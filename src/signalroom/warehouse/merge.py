"""The merge, once for every warehouse: which staged rows win, and the SQL both dialects share.

A merge of one stream runs in this order. Planning looks at names only (``plan.py``, ``objects.py``, ``slices.py``).
Staging types the records on a DuckDB connection (``staging.py``). Ranking picks one winner for each key among the
staged rows by (order columns, file time, object or load, row), so the result never depends on the order in which loads
arrived. The engine then applies the survivors to its table in one transaction, which begins with the load ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from signalroom.errors import ConfigError, DataError
from signalroom.load import Load, Part
from signalroom.stream import Column, Table
from signalroom.warehouse.base import LakeReader, MergeResult
from signalroom.warehouse.changes import cut_stage, require_known
from signalroom.warehouse.infer import infer, told_types
from signalroom.warehouse.parts import Group
from signalroom.warehouse.plan import (
    TablePlan,
    TableState,
    assert_complete,
    lineage_of,
    plan_table,
    ranked,
    stay_parts,
)
from signalroom.warehouse.quoting import ident, listed, literal
from signalroom.warehouse.schema import Schema, resolve, with_types
from signalroom.warehouse.slices import DaySlice
from signalroom.warehouse.staging import Stage, reject_staged, stage, unset_controls
from signalroom.warehouse.textual import data_fields, group_parts
from signalroom.warehouse.unset import fold, unset_columns

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = [
    "Prepared",
    "TablePlan",
    "TableState",
    "Verbatim",
    "assert_complete",
    "assert_conserved",
    "beats",
    "in_live_slice",
    "lineage_of",
    "plan_table",
    "prepare",
    "stay_parts",
    "tie",
]


Verbatim = Callable[[TablePlan, Sequence[Column], Sequence[Group]], bool]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A staged and ranked table, ready to be applied.

    Attributes:
        plan: What was planned.
        schema: The table's columns after the merge.
        stage: The typed stage; ``<name>_lose`` lists the rowids that do not survive.
        superseded: Staged pending rows that lost to other staged rows, or whose slice is stale.
        rejected: Distinct pending records in the rejects.
        buries: Whether any staged row is a delete or a truncate.
        brought_back: Whether older rows were staged again for displaced keys.
    """

    plan: TablePlan
    schema: Schema
    stage: Stage
    superseded: int
    rejected: int
    buries: bool
    brought_back: bool

    @property
    def verbatim(self) -> bool:
        """Whether every value fits and the stage holds only what ranks rows: the engine takes the files' bytes."""
        return len(self.stage.held) < len(self.stage.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns the table stores, lineage included."""
        stored = (*self.schema.columns, *lineage_of(self.plan.table))
        return tuple(column.name for column in stored)

    def survivors(self) -> str:
        """Return the rows to apply as a SELECT: what is stored, ``_op``, ``_r``, ``_restored`` and what is left out."""
        stage = self.stage
        typed = "".join(f"s.{ident(column.name)}, " for column in self.schema.columns)
        row = stage.rows_of("s")
        seq = ", s._seq" if "_seq" in self.plan.table.order else ""
        part = ", p.part_name AS _part_name" if self.plan.table.disposition == "history" else ""
        unset = "".join(f", s.{column.name}" for column in unset_controls(stage.unset))
        return f"""SELECT {typed}p.load_id AS _load_id, p.loaded_at AS _loaded_at, p.client AS _client_id,
            p.source_ref || '#' || {row} AS _source_ref, p.file_time AS _file_time, {row} AS _row{seq},
            s._op, s.rowid AS _r, p.restored AS _restored{part}{unset}
            FROM {ident(stage.name)} s JOIN {ident(stage.name + "_parts")} p USING (_part)
            WHERE s.rowid NOT IN (SELECT r FROM {ident(stage.name + "_lose")})"""


def prepare(
    connection: duckdb.DuckDBPyConnection, plan: TablePlan, state: TableState, displaced: pa.Table | None,
    stay: Sequence[tuple[Load, Part]], lake: LakeReader, *, verbatim: Verbatim | None = None,
) -> Prepared:  # fmt: skip
    """Stage and rank the rows of one table.

    Args:
        connection: A DuckDB connection for the stage.
        plan: From :func:`plan_table`.
        state: The table before the merge.
        displaced: Keys whose row is withdrawn, or None; their next best rows are sought in ``stay``.
        stay: Parts of older loads whose rows may come back for those keys.
        lake: Where parts are read.
        verbatim: Tells whether the engine reads the files' bytes as they are; then the stage holds what ranks rows, and
            no more, where every value fits.
    """
    name = f"stage_{plan.title}"
    groups = group_parts(connection, plan.parts)
    found = [data_fields(group) for group in groups]
    schema = resolve(plan.table, state.columns, found, plan.title)
    told = told_types([column for column in schema.added if column not in plan.table.columns], groups)
    if not state.columns and not plan.table.columns:
        unknown = [column for column in schema.columns if column.name not in told]
        types = {**told, **(infer(connection, unknown, groups, plan.table.nulls) if unknown else {})}
        schema = Schema(with_types(schema.columns, types), with_types(schema.columns, types), notes=(
            f"{plan.title}: {len(types)} columns typed from the first load; `sync --pin` writes them to schemas/.",
        ))  # fmt: skip
    elif told:
        columns, added = with_types(schema.columns, told), with_types(schema.added, told)
        spelt = ", ".join(f"{column.name} ({column.type})" for column in added)
        schema = replace(schema, columns=columns, added=added, notes=(f"{plan.title}: new columns added: {spelt}.",))
    require_known(connection, plan.table, groups, plan.title)
    unset = unset_columns(connection, plan.table, schema.columns, groups, plan.title)
    only = {*plan.table.key, *plan.table.order} if verbatim and verbatim(plan, schema.columns, groups) else ()
    staged = stage(connection, name, plan.table, schema.columns, groups, plan.parts, only=only, unset=unset)
    brought_back = displaced is not None and displaced.num_rows > 0 and bool(stay)
    if displaced is not None and brought_back:
        _bring_back(connection, staged, displaced, stay, lake)
    superseded = _rank(staged, plan)
    rejected = staged.count(f"""SELECT count(*) FROM (SELECT DISTINCT r._part, r._row
        FROM {ident(name + "_rejects")} r JOIN {ident(name + "_parts")} p USING (_part) WHERE NOT p.restored)""")
    buries = staged.count(f"SELECT count(*) FROM (SELECT 1 FROM {ident(name)} WHERE _op <> 'upsert' LIMIT 1)") > 0
    return Prepared(plan, schema, staged, superseded, rejected, buries, brought_back)


def _bring_back(
    connection: duckdb.DuckDBPyConnection, staged: Stage, displaced: pa.Table,
    stay: Sequence[tuple[Load, Part]], lake: LakeReader,
) -> None:  # fmt: skip
    """Add to the stage the older rows of the keys whose row is withdrawn."""
    older = ranked([(load, part, True) for load, part in stay], lake)
    # one numbering for old and new, so that ties rank alike
    both = ranked([(p.load, p.part, p.restored) for p in (*older, *staged.parts)], lake)
    number = {(p.load.load_id, p.part.name): p.number for p in both}
    old = stage(connection, f"{staged.name}_old", staged.table, staged.columns, group_parts(connection, older), older)
    connection.register("signalroom_displaced", displaced)
    typed = listed([column.name for column in staged.columns], "s.")
    keys = listed(staged.table.key, "s.")
    renumber = ", ".join(f"({p.number}, {number[p.load.load_id, p.part.name]})" for p in staged.parts) or "(-1, -1)"
    again = ", ".join(f"({p.number}, {number[p.load.load_id, p.part.name]})" for p in old.parts)
    name, parts, unset = ident(staged.name), ident(staged.name + "_parts"), ", false, NULL" * len(staged.unset)
    connection.execute(f"""
        UPDATE {name} SET _row = {name}.rowid - p.first_rowid + 1 FROM {parts} p
            WHERE p._part = {name}._part AND {name}._row IS NULL;
        UPDATE {name} SET _part = m.new FROM (VALUES {renumber}) m(old, new) WHERE m.old = {name}._part;
        UPDATE {parts} SET _part = m.new FROM (VALUES {renumber}) m(old, new) WHERE m.old = {parts}._part;
        UPDATE {ident(staged.name + "_rejects")} SET _part = m.new FROM (VALUES {renumber}) m(old, new)
            WHERE m.old = {ident(staged.name + "_rejects")}._part;
        INSERT INTO {name} SELECT {typed}, m.new, {old.rows_of("s")}, s._op, s._seq, false{unset}
            FROM {ident(old.name)} s JOIN {ident(old.name + "_parts")} p USING (_part)
            JOIN (VALUES {again}) m(old, new) ON m.old = s._part
            WHERE ({keys}) IN (SELECT ({listed(staged.table.key)}) FROM signalroom_displaced);
        INSERT INTO {parts} SELECT p.* REPLACE (m.new AS _part, NULL AS first_rowid)
            FROM {ident(old.name + "_parts")} p JOIN (VALUES {again}) m(old, new) ON m.old = p._part""")
    connection.unregister("signalroom_displaced")
    old.drop()


def _rank(staged: Stage, plan: TablePlan) -> int:
    """Write ``<name>_lose``: rowids that do not survive; return how many of them are pending rows."""
    table, name, parts = plan.table, ident(staged.name), ident(staged.name + "_parts")
    lose = ident(staged.name + "_lose")
    staged.connection.execute(f"CREATE OR REPLACE TEMP TABLE {lose} (r BIGINT, restored BOOLEAN)")
    if table.disposition == "replace_slice":
        _drop_foreign(staged, plan)
        staged.connection.execute(f"""INSERT INTO {lose} SELECT s.rowid, p.restored FROM {name} s JOIN {parts} p
            USING (_part) WHERE NOT EXISTS (SELECT 1 FROM {_days(plan, plan.slices.live)} WHERE {_in_slice(plan)})""")
        if plan.slices.overlapping:
            staged.connection.execute(f"""INSERT INTO {lose} SELECT s.rowid, p.restored FROM {name} s JOIN {parts} p
                USING (_part) WHERE s.rowid NOT IN (SELECT r FROM {lose})
                AND {_newest(plan, (*plan.slices.live, *plan.slices.known), "s", load="")}
                > {_newest(plan, plan.slices.live, "s")}""")
    cut_stage(staged, parts, lose)
    fold(staged, parts, lose)
    if not staged.columns:  # a first load without records: nothing is known of the table
        return staged.count(f"SELECT count(*) FROM {lose} WHERE NOT restored")
    if table.key and table.disposition in ("merge", "replace_slice"):
        best = ", ".join([*(f"{staged.order_of(c)} DESC NULLS LAST" for c in table.order), "s._part DESC"])
        staged.connection.execute(f"""INSERT INTO {lose} SELECT r, restored FROM (
            SELECT s.rowid AS r, p.restored, row_number() OVER (
                PARTITION BY {listed(table.key, "s.")} ORDER BY {best}, {staged.rows_of("s")} DESC) AS n
            FROM {name} s JOIN {parts} p USING (_part)
            WHERE s.rowid NOT IN (SELECT r FROM {lose})) WHERE n > 1""")
    return staged.count(f"SELECT count(*) FROM {lose} WHERE NOT restored")


def _drop_foreign(staged: Stage, plan: TablePlan) -> None:
    """Set aside rows that lie outside every slice their load is authoritative for."""
    name, parts = ident(staged.name), ident(staged.name + "_parts")
    outside = f"NOT EXISTS (SELECT 1 FROM {_days(plan, plan.slices.days)} WHERE {_in_slice(plan)})"
    reason = "lies outside the days and filters its load is authoritative for"
    reject_staged(staged, plan.table.slice_column, reason, outside)
    staged.connection.execute(f"""DELETE FROM {name} WHERE rowid IN (
        SELECT s.rowid FROM {name} s JOIN {parts} p USING (_part) WHERE {outside})""")


def filters_of(plan: TablePlan) -> tuple[str, ...]:
    """Return the columns that the plan's slices filter by; raises ConfigError for one outside the key."""
    days = (*plan.slices.days, *plan.slices.known)
    names = tuple(dict.fromkeys(name for day in days for name, _ in day.filters))
    for name in (*names, plan.table.slice_column):
        if plan.table.key and name not in plan.table.key:
            raise ConfigError(
                f"{plan.title} is replaced by slices of {name!r}, which its key does not hold.",
                mend=f"Add {name!r} to the key: otherwise two slices could claim one row.",
            )
    return names


def _days(plan: TablePlan, chosen: Sequence[DaySlice]) -> str:
    """Return slices as a relation ``l(load_id, rank, day, f_…)`` of literals."""
    names = filters_of(plan)
    rows = [
        f"({literal(d.load_id)}, {d.rank}, DATE '{d.day}'"
        f"{''.join(f', {_as_text(dict(d.filters).get(n))}' for n in names)})"
        for d in chosen
    ] or [f"('', -1, CAST(NULL AS DATE){', CAST(NULL AS text)' * len(names)})"]
    head = "".join(f", {ident('f_' + name)}" for name in names)
    return f"(VALUES {', '.join(rows)}) AS l(load_id, rank, day{head})"


def _as_text(value: str | int | None) -> str:
    """Return a filter's value as a text literal: a list of nulls and numbers has no one type in every dialect."""
    return "CAST(NULL AS text)" if value is None else literal(str(value))


def _in_slice(plan: TablePlan, row: str = "s", *, load: str = "p.load_id") -> str:
    filters = "".join(
        f" AND (l.{ident('f_' + n)} IS NULL OR l.{ident('f_' + n)} = CAST({row}.{ident(n)} AS text))"
        for n in filters_of(plan)
    )
    same_load = f"l.load_id = {load} AND " if load else ""
    return f"{same_load}l.day = {row}.{ident(plan.table.slice_column)}{filters}"


def _newest(plan: TablePlan, chosen: Sequence[DaySlice], row: str, *, load: str = "p.load_id") -> str:
    """Return the rank of the newest of the ``chosen`` observations that ``row`` lies in; -1 where it lies in none."""
    return f"coalesce((SELECT max(l.rank) FROM {_days(plan, chosen)} WHERE {_in_slice(plan, row, load=load)}), -1)"


def in_live_slice(plan: TablePlan, row: str) -> str:
    """Return the condition that a table's row lies in a slice that is replaced; reads alike in both dialects."""
    if plan.slices.overlapping:
        newest = _newest(plan, plan.slices.live, row, load="")
        return f"{newest} > {_newest(plan, plan.slices.known, row, load='')}"
    return f"EXISTS (SELECT 1 FROM {_days(plan, plan.slices.live)} WHERE {_in_slice(plan, row, load='')})"


def beats(table: Table, new: str, old: str) -> str:
    """Return the condition that row ``new`` beats row ``old`` of the same key; equal rows do not beat.

    The order is that of the ranking: order columns (null least), file time, object or load, row.
    """
    condition = "false"
    for column in reversed([*(ident(c) for c in table.order), "_file_time", "", "_row"]):
        a, b = (f"{new}.{column}", f"{old}.{column}") if column else (tie(new), tie(old))
        greater = f"(coalesce({a} > {b}, false) OR ({a} IS NOT NULL AND {b} IS NULL))"
        condition = f"({greater} OR ({a} IS NOT DISTINCT FROM {b} AND {condition}))"
    return condition


def tie(row: str) -> str:
    """Return the object a row came from, or its load where it came from none; compared as bytes."""
    origin = f"left({row}._source_ref, length({row}._source_ref) - length(CAST({row}._row AS VARCHAR)) - 1)"
    return f'(CASE WHEN {row}._file_time IS NULL THEN {row}._load_id ELSE {origin} END COLLATE "C")'


def assert_conserved(title: str, result: MergeResult) -> None:
    """Fail the merge when a row is unaccounted for; asserted on every production load, before the commit."""
    out = result.rows_merged + result.rows_superseded + result.rows_rejected
    if result.rows_in != out:
        raise DataError(
            f"{title}: {result.rows_in} rows came in, but {result.rows_merged} were merged, {result.rows_superseded} "
            f"superseded and {result.rows_rejected} rejected ({out}).",
            mend="Nothing was committed; report this with the load ids " + ", ".join(result.load_ids) + ".",
        )
