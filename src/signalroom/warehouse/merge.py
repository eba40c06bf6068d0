"""The merge plan, once for every warehouse: what is staged, which rows lose, and the SQL both dialects share.

A merge of one stream runs in this order. Planning looks at names only (``objects.py``, ``slices.py``). Staging types
the records on a DuckDB connection (``staging.py``). Ranking picks one winner for each key among the staged rows by (order
columns, file time, object or load, row), so the result never depends on the order in which loads arrived. The engine
then applies the survivors to its table in one transaction, which begins with the load ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from signalroom.errors import ConfigError, DataError, nearest
from signalroom.load import Load, Part
from signalroom.position import Json
from signalroom.stream import Column, Stream, Table
from signalroom.warehouse.base import LakeReader, MergeResult
from signalroom.warehouse.infer import infer
from signalroom.warehouse.objects import ObjectPlan, Version, arrived_versions, plan_objects, stored_versions
from signalroom.warehouse.parts import BEGINNING, StagedPart, file_time
from signalroom.warehouse.quoting import ident, listed, literal
from signalroom.warehouse.schema import LINEAGE, Schema, resolve, with_types
from signalroom.warehouse.slices import DaySlice, SlicePlan, plan_slices
from signalroom.warehouse.staging import Stage, stage
from signalroom.warehouse.textual import data_fields, group_parts

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class TableState:
    """What the warehouse knows of a table before a merge.

    Attributes:
        columns: The columns in force; empty before the first load.
        positions: The stream's positions; empty under replay.
        newest_load: Greatest load id merged so far; empty before the first load and under replay.
        owners: Partition -> the load that its position comes from; empty under replay.
    """

    columns: tuple[Column, ...]
    positions: Mapping[str, Json]
    newest_load: str = ""
    owners: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What a merge does to one table, before any row is read.

    Attributes:
        table: The table.
        title: ``source.table``.
        parts: Pending parts whose rows are staged, in rank order.
        objects: The plan for objects, when the stream reads objects.
        slices: The plan for day slices, under ``replace_slice``.
        clear: Whether the table's rows all leave first (``replace`` with a newer snapshot).
        superseded: Records of pending parts that are not read at all: copies, replaced or older snapshots.
        positions: Partition values to write.
        owners: Partition -> the load its value comes from.
    """

    table: Table
    title: str
    parts: tuple[StagedPart, ...]
    objects: ObjectPlan
    slices: SlicePlan
    clear: bool
    superseded: int
    positions: Mapping[str, Json]
    owners: Mapping[str, str]


def lineage_of(table: Table) -> tuple[Column, ...]:
    """Return the lineage columns a table stores; ``_seq`` is one of them where it is the order."""
    return (*LINEAGE, Column("_seq", "bigint")) if "_seq" in table.order else LINEAGE


def plan_table(stream: Stream, table: Table, loads: Sequence[Load], state: TableState, lake: LakeReader) -> TablePlan:
    """Decide what the pending ``loads`` (oldest first) do to ``table``; reads no row."""
    _refuse_unknown(stream, loads)
    arrived = arrived_versions(loads, table.name)
    newest_only = table.disposition == "replace"
    written, owners = _advanced(loads, state)
    recorded = {**state.positions, **written}
    stored = stored_versions(state.positions, table.name)
    objects = plan_objects(stored, arrived, recorded, newest_only=newest_only, table=table.name)
    slices = plan_slices(state.positions, loads if table.disposition == "replace_slice" else ())
    entering = {(version.load_id, version.part) for version in objects.enter}
    pending = [(load, part) for load in loads for part in load.parts if part.table == table.name]
    chosen = [(load, part) for load, part in pending if not part.object_key or (load.load_id, part.name) in entering]
    if newest_only and not arrived:
        newest = max((load.load_id for load, _ in chosen), default="")
        chosen = [(load, part) for load, part in chosen if load.load_id == newest and newest > state.newest_load]
    read = {(load.load_id, part.name) for load, part in chosen}
    older = _fetch(stream, [v for v in objects.enter if (v.load_id, v.part) not in read], lake)
    parts = _ranked([(load, part, False) for load, part in chosen] + [(load, part, True) for load, part in older], lake)
    clear = newest_only and (bool(objects.enter) if arrived or objects.stay else bool(chosen))
    settled = {part.object_key for load in loads for part in load.parts} | {
        one.partition(day) for load in loads for one in load.slices for day in one.days()
    }  # what objects and slices decide for themselves
    return TablePlan(
        table=table,
        title=f"{stream.source}.{table.name}",
        parts=parts,
        objects=objects,
        slices=slices,
        clear=clear,
        superseded=sum(part.rows for load, part in pending if (load.load_id, part.name) not in read),
        positions={
            **{name: value for name, value in written.items() if name not in settled},
            **objects.positions,
            **slices.positions,
        },
        owners={**owners, **{v.key: v.load_id for v in (*stored.values(), *arrived)}, **slices.owners},
    )


def _refuse_unknown(stream: Stream, loads: Sequence[Load]) -> None:
    """Stop before a load's rows would be passed over because nobody names their table."""
    named = {table.name for table in stream.tables}
    for load in loads:
        for part in load.parts:
            if part.table not in named:
                raise ConfigError(
                    f"Load {load.load_id} of {stream.title} holds rows of {part.table!r}, a table the stream does not name.",
                    mend=nearest(part.table, named) or "Put the table back into the stream until the load is merged.",
                )


def _advanced(loads: Sequence[Load], state: TableState) -> tuple[dict[str, Json], dict[str, str]]:
    """Return the partition values that loads bring and whose they are; a late load takes none back."""
    values: dict[str, Json] = {}
    owners: dict[str, str] = {}
    for load in loads:
        for name, value in load.positions.items():
            if load.load_id >= owners.get(name, state.owners.get(name, "")):
                values[name], owners[name] = value, load.load_id
    return values, owners


def assert_complete(stream: Stream, loads: Sequence[Load], merged: Set[str]) -> None:
    """Fail a replay that would leave out loads the tables hold: their rows would be gone."""
    missing = sorted(merged - {load.load_id for load in loads})
    if missing:
        raise DataError(
            f"A replay of {stream.title} must read all of its merged loads, and {len(missing)} are missing: "
            f"{', '.join(missing[:3])}.",
            mend="Nothing was changed; restore them in the lake, then replay the whole stream.",
        )


def stay_parts(stream: Stream, plan: TablePlan, lake: LakeReader) -> list[tuple[Load, Part]]:
    """Return the parts whose rows stay in the table: where displaced keys find their next best row."""
    return _fetch(stream, plan.objects.stay, lake)


def _fetch(stream: Stream, versions: Sequence[Version], lake: LakeReader) -> list[tuple[Load, Part]]:
    """Return (load, part) of object versions that older loads hold."""
    wanted = {(version.load_id, version.part) for version in versions}
    if not wanted:
        return []
    loads = lake.loads(stream.source, stream.name, sorted({load_id for load_id, _ in wanted}))
    return [(load, part) for load in loads for part in load.parts if (load.load_id, part.name) in wanted]


def _ranked(found: Sequence[tuple[Load, Part, bool]], lake: LakeReader) -> tuple[StagedPart, ...]:
    """Number parts by file time, then object (or load, where there is none): the order in which ties are broken."""

    def rank(item: tuple[Load, Part, bool]) -> tuple[bool, datetime, str, str]:
        load, part, _ = item
        moment = file_time(part)
        tie = part.object_key or part.source_ref if moment else load.load_id
        return (moment is not None, moment or BEGINNING, tie, part.name)

    return tuple(
        StagedPart(number, load, part, lake.local(load, part), restored)
        for number, (load, part, restored) in enumerate(sorted(found, key=rank))
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A staged and ranked table, ready to be applied.

    Attributes:
        plan: What was planned.
        schema: The table's columns after the merge.
        stage: The typed stage; ``<name>_lose`` lists the rowids that do not survive.
        superseded: Staged pending rows that lost to other staged rows, or whose slice is stale.
        rejected: Distinct pending records in the rejects.
        deletes: Whether any staged row is a delete.
        brought_back: Whether older rows were staged again for displaced keys.
    """

    plan: TablePlan
    schema: Schema
    stage: Stage
    superseded: int
    rejected: int
    deletes: bool
    brought_back: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns the table stores, lineage included."""
        stored = (*self.schema.columns, *lineage_of(self.plan.table))
        return tuple(column.name for column in stored)

    def survivors(self) -> str:
        """Return the SELECT of the rows to apply: the stored columns, then ``_op``, ``_r`` and ``_restored``."""
        stage = self.stage
        typed = "".join(f"s.{ident(column.name)}, " for column in self.schema.columns)
        row = stage.rows_of("s")
        seq = ", s._seq" if "_seq" in self.plan.table.order else ""
        return f"""SELECT {typed}p.load_id AS _load_id, p.loaded_at AS _loaded_at, p.client AS _client_id,
            p.source_ref || '#' || {row} AS _source_ref, p.file_time AS _file_time, {row} AS _row{seq},
            s._op, s.rowid AS _r, p.restored AS _restored
            FROM {ident(stage.name)} s JOIN {ident(stage.name + "_parts")} p USING (_part)
            WHERE s.rowid NOT IN (SELECT r FROM {ident(stage.name + "_lose")})"""


def prepare(
    connection: duckdb.DuckDBPyConnection, plan: TablePlan, state: TableState, displaced: pa.Table | None,
    stay: Sequence[tuple[Load, Part]], lake: LakeReader,
) -> Prepared:  # fmt: skip
    """Stage and rank the rows of one table.

    Args:
        connection: A DuckDB connection for the stage.
        plan: From :func:`plan_table`.
        state: The table before the merge.
        displaced: Keys whose row is withdrawn, or None; their next best rows are sought in ``stay``.
        stay: Parts of older loads whose rows may come back for those keys.
        lake: Where parts are read.
    """
    name = f"stage_{plan.title}"
    groups = group_parts(connection, plan.parts)
    found = [data_fields(group) for group in groups]
    schema = resolve(plan.table, state.columns, found, plan.title)
    if not state.columns and not plan.table.columns:
        types = infer(connection, schema.columns, groups, plan.table.nulls)
        schema = Schema(with_types(schema.columns, types), with_types(schema.columns, types), notes=(
            f"{plan.title}: {len(types)} columns typed from the first load; `sync --pin` writes them to schemas/.",
        ))  # fmt: skip
    staged = stage(connection, name, plan.table, schema.columns, groups, plan.parts)
    brought_back = displaced is not None and displaced.num_rows > 0 and bool(stay)
    if displaced is not None and brought_back:
        _bring_back(connection, staged, displaced, stay, lake)
    superseded = _rank(staged, plan)
    rejected = staged.count(f"""SELECT count(*) FROM (SELECT DISTINCT r._part, r._row
        FROM {ident(name + "_rejects")} r JOIN {ident(name + "_parts")} p USING (_part) WHERE NOT p.restored)""")
    deletes = staged.count(f"SELECT count(*) FROM (SELECT 1 FROM {ident(name)} WHERE _op = 'delete' LIMIT 1)") > 0
    return Prepared(plan, schema, staged, superseded, rejected, deletes, brought_back)


def _bring_back(
    connection: duckdb.DuckDBPyConnection, staged: Stage, displaced: pa.Table,
    stay: Sequence[tuple[Load, Part]], lake: LakeReader,
) -> None:  # fmt: skip
    """Add to the stage the older rows of the keys whose row is withdrawn."""
    older = _ranked([(load, part, True) for load, part in stay], lake)
    # one numbering for old and new, so that ties rank alike
    both = _ranked([(p.load, p.part, p.restored) for p in (*older, *staged.parts)], lake)
    number = {(p.load.load_id, p.part.name): p.number for p in both}
    old = stage(connection, f"{staged.name}_old", staged.table, staged.columns, group_parts(connection, older), older)
    connection.register("signalroom_displaced", displaced)
    typed = listed([column.name for column in staged.columns], "s.")
    keys = listed(staged.table.key, "s.")
    renumber = ", ".join(f"({p.number}, {number[p.load.load_id, p.part.name]})" for p in staged.parts) or "(-1, -1)"
    again = ", ".join(f"({p.number}, {number[p.load.load_id, p.part.name]})" for p in old.parts)
    name, parts = ident(staged.name), ident(staged.name + "_parts")
    connection.execute(f"""
        UPDATE {name} SET _row = {name}.rowid - p.first_rowid + 1 FROM {parts} p
            WHERE p._part = {name}._part AND {name}._row IS NULL;
        UPDATE {name} SET _part = m.new FROM (VALUES {renumber}) m(old, new) WHERE m.old = {name}._part;
        UPDATE {parts} SET _part = m.new FROM (VALUES {renumber}) m(old, new) WHERE m.old = {parts}._part;
        UPDATE {ident(staged.name + "_rejects")} SET _part = m.new FROM (VALUES {renumber}) m(old, new)
            WHERE m.old = {ident(staged.name + "_rejects")}._part;
        INSERT INTO {name} SELECT {typed}, m.new, {old.rows_of("s")}, s._op, s._seq, false
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
    if not plan.parts or not staged.columns:
        return staged.count(f"SELECT count(*) FROM {lose} WHERE NOT restored")
    if table.key and table.disposition in ("merge", "replace_slice"):
        best = ", ".join([*(f"{_order_of(staged, c)} DESC NULLS LAST" for c in table.order), "s._part DESC"])
        staged.connection.execute(f"""INSERT INTO {lose} SELECT r, restored FROM (
            SELECT s.rowid AS r, p.restored, row_number() OVER (
                PARTITION BY {listed(table.key, "s.")} ORDER BY {best}, {staged.rows_of("s")} DESC) AS n
            FROM {name} s JOIN {parts} p USING (_part)
            WHERE s.rowid NOT IN (SELECT r FROM {lose})) WHERE n > 1""")
    return staged.count(f"SELECT count(*) FROM {lose} WHERE NOT restored")


def _order_of(staged: Stage, column: str) -> str:
    if column == "_row":
        return staged.rows_of("s")
    return {"_file_time": "p.file_time", "_loaded_at": "p.loaded_at", "_load_id": "p.load_id"}.get(
        column, f"s.{ident(column)}"
    )


def _drop_foreign(staged: Stage, plan: TablePlan) -> None:
    """Set aside rows that lie outside every slice their load is authoritative for."""
    name, parts = ident(staged.name), ident(staged.name + "_parts")
    foreign = f"""FROM {name} s JOIN {parts} p USING (_part)
        WHERE NOT EXISTS (SELECT 1 FROM {_days(plan, plan.slices.days)} WHERE {_in_slice(plan)})"""
    column = plan.table.slice_column
    reason = literal("lies outside the days and filters its load is authoritative for")
    raw = ", ".join(f"{literal(c.path or c.name)}, CAST(s.{ident(c.name)} AS VARCHAR)" for c in staged.columns)
    staged.connection.execute(f"""
        INSERT INTO {ident(staged.name + "_rejects")} SELECT s._part, {staged.rows_of("s")}, {literal(column)},
            CAST(s.{ident(column)} AS VARCHAR), {reason}, CAST(json_object({raw}) AS VARCHAR) {foreign};
        DELETE FROM {name} WHERE rowid IN (SELECT s.rowid {foreign})""")


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
        f"{''.join(f', {literal(dict(d.filters).get(n))}' for n in names)})"
        for d in chosen
    ] or [f"('', -1, CAST(NULL AS DATE){', NULL' * len(names)})"]
    head = "".join(f", {ident('f_' + name)}" for name in names)
    return f"(VALUES {', '.join(rows)}) AS l(load_id, rank, day{head})"


def _in_slice(plan: TablePlan, row: str = "s", *, load: str = "p.load_id") -> str:
    filters = "".join(
        f" AND (l.{ident('f_' + n)} IS NULL OR l.{ident('f_' + n)} = {row}.{ident(n)})" for n in filters_of(plan)
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
        a, b = (f"{new}.{column}", f"{old}.{column}") if column else (_tie(new), _tie(old))
        greater = f"(coalesce({a} > {b}, false) OR ({a} IS NOT NULL AND {b} IS NULL))"
        condition = f"({greater} OR ({a} IS NOT DISTINCT FROM {b} AND {condition}))"
    return condition


def _tie(row: str) -> str:
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
