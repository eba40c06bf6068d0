"""The statements by which Postgres applies a prepared merge; all of them inside the load's transaction.

The survivors, deduplicated already, come in through ``signalroom.incoming_…``: a table that N connections fill by COPY
before anything is applied. A table that does not exist yet *is* that table, renamed; so its rows are written once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError
from signalroom.failpoints import failpoint
from signalroom.stream import Column
from signalroom.warehouse.base import MergeResult
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.changes import BESIDE, cut_table
from signalroom.warehouse.history import History, settle_kind
from signalroom.warehouse.merge import Prepared, beats, in_live_slice
from signalroom.warehouse.plan import TablePlan, kept_columns, lineage_of
from signalroom.warehouse.postgres_release import release
from signalroom.warehouse.quoting import ident, listed, literal, qualified
from signalroom.warehouse.staging import unset_controls
from signalroom.warehouse.unset import Filling

if TYPE_CHECKING:
    import pyarrow as pa

_TYPES = {"text": 'text COLLATE "C"', "double": "double precision"}
_ORIGIN = "left(_source_ref, length(_source_ref) - length(CAST(_row AS text)) - 1)"
CONTROL = (Column("_op", "text"), Column("_restored", "boolean"))
"""What an incoming table holds besides the stored columns, ``_part_name`` for a history and what rows left out."""


@dataclass(frozen=True, slots=True)
class Target:
    """A table in Postgres on its way through one merge.

    Attributes:
        execute: Runs a statement in the load's transaction.
        prepared: What is to be applied.
        exists: Whether the table was there before.
        incoming: The quoted name of the table that holds the survivors.
        shipped: How many there are.
    """

    execute: Execute
    prepared: Prepared
    exists: bool
    incoming: str
    shipped: int

    @property
    def plan(self) -> TablePlan:
        """The plan of the merge."""
        return self.prepared.plan

    @property
    def name(self) -> str:
        """The quoted name of the table."""
        return qualified(self.plan.title)

    @property
    def tombstones(self) -> str:
        """The quoted name of the table of deleted keys; it need not exist."""
        return qualified(f"{self.plan.title}__deleted")


def incoming_name(title: str) -> str:
    """Return the incoming table's name for a table: fixed, so that a crashed merge's leftover is found and dropped."""
    return f"signalroom.incoming_{hashlib.sha256(title.encode()).hexdigest()[:16]}"


def column_sql(column: Column) -> str:
    """Return one column of a CREATE TABLE; text compares by bytes, as on every other engine."""
    kind = column.type.replace("decimal", "numeric")
    return f"{ident(column.name)} {_TYPES.get(kind, kind)}"


def stored(prepared: Prepared) -> tuple[Column, ...]:
    """Return the columns the table stores, lineage included."""
    return (*prepared.schema.columns, *lineage_of(prepared.plan.table))


def incoming_columns(prepared: Prepared, *, publish: bool) -> tuple[Column, ...]:
    """Return the columns of an incoming table; one that is to become the table itself has the stored ones only."""
    if publish:
        return stored(prepared)
    part = (Column("_part_name", "text"),) if prepared.plan.table.disposition == "history" else ()
    unset = unset_controls(prepared.stage.unset)
    return (*stored(prepared), *CONTROL, *part, *([Column("_r", "bigint"), *unset] if unset else []))


def exists(execute: Execute, title: str) -> bool:
    """Return whether ``schema.table`` is there."""
    return execute("SELECT to_regclass(?) IS NOT NULL", [qualified(title)])[0][0] is True


def withdrawn_keys(execute: Execute, plan: TablePlan) -> pa.Table | None:
    """Return the keys whose row comes from a version that leaves, or None when none leaves; typed as text."""
    if plan.table.disposition != "merge" or not plan.objects.withdraw or not exists(execute, plan.title):
        return None
    import pyarrow as pa

    keys = ", ".join(f"CAST({ident(key)} AS text)" for key in plan.table.key)
    held = [plan.title, *([f"{plan.title}__deleted"] if exists(execute, f"{plan.title}__deleted") else [])]
    rows = execute(" UNION ".join(f"SELECT {keys} FROM {qualified(one)} WHERE {_withdrawn(plan)}" for one in held), [])
    values = list(zip(*rows, strict=True)) if rows else [() for _ in plan.table.key]
    columns = zip(plan.table.key, values, strict=True)
    return pa.table({key: pa.array(list(column), pa.string()) for key, column in columns})


def _withdrawn(plan: TablePlan) -> str:
    keys = ", ".join(literal(version.key) for version in plan.objects.withdraw)
    return f"_file_time IS NOT NULL AND {_ORIGIN} IN ({keys})"


def publishes(prepared: Prepared, *, exists: bool) -> bool:
    """Return whether the incoming table can become the table itself: it is the first, and nothing needs sorting out."""
    if prepared.plan.table.disposition == "history":
        return False
    plain = not prepared.buries and not prepared.stage.unset
    return not exists and plain and not any(part.restored for part in prepared.plan.parts)


def apply(target: Target, load_ids: Sequence[str], *, replay: bool) -> MergeResult:
    """Apply one prepared table and return its counts; ``rows_in`` is the lake's."""
    plan, prepared = target.plan, target.prepared
    late = lost = 0

    def run(sql: str) -> list[tuple[Any, ...]]:
        return target.execute(sql, [])

    if publishes(prepared, exists=target.exists):
        merged, restored = _publish(target), 0
    else:
        settle_kind(run, prepared, replay=replay and target.exists)
        _shape(target, replay=replay)
        failpoint("warehouse.apply.shape")
        if plan.table.disposition == "history":
            withdrawn = _withdrawn(plan) if plan.objects.withdraw else ""
            return History(run, prepared, target.incoming, withdrawn, column_sql, indexed=True).apply(load_ids)
        _make_room(target, replay=replay)
        if plan.table.disposition in ("merge", "append") and prepared.schema.columns:
            late, lost = _displace(target)
        failpoint("warehouse.apply.delete")
        merged, restored = _insert(target, restored=False), _insert(target, restored=True)
    failpoint("warehouse.apply.insert")
    return MergeResult(
        load_ids=tuple(load_ids),
        rows_in=sum(part.part.rows for part in plan.parts if not part.restored) + plan.superseded,
        rows_merged=merged,
        rows_superseded=plan.superseded + prepared.superseded + late,
        rows_rejected=prepared.rejected + lost,
        rows_restored=restored,
        skipped_objects=tuple(version.key for version in plan.objects.skipped),
    )


def _publish(target: Target) -> int:
    """Make the incoming table the table: its rows are written once and its key is built over them."""
    run, plan = target.execute, target.plan
    schema, table = plan.title.split(".", 1)
    run(f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}", [])
    run(f"ALTER TABLE {target.incoming} SET SCHEMA {ident(schema)}", [])
    run(f"ALTER TABLE {ident(schema)}.{target.incoming.split('.', 1)[1]} RENAME TO {ident(table)}", [])
    _key(target)
    return target.shipped


def _key(target: Target) -> None:
    table = target.plan.table
    if table.key and table.disposition in ("merge", "replace_slice") and target.prepared.schema.columns:
        target.execute(f"ALTER TABLE {target.name} ADD PRIMARY KEY ({listed(table.key)})", [])


def _shape(target: Target, *, replay: bool) -> None:
    """Create the table, or give it the columns this merge adds; a replay empties it and types it anew."""
    run, plan, schema = target.execute, target.plan, target.prepared.schema
    if not target.exists:
        run(f"CREATE SCHEMA IF NOT EXISTS {ident(plan.title.split('.', 1)[0])}", [])
        run(f"CREATE TABLE {target.name} ({', '.join(column_sql(column) for column in stored(target.prepared))})", [])
        _key(target)
        return
    if schema.retyped and not replay:
        named = ", ".join(f"{column.name} as {column.type}" for column in schema.retyped)
        raise ConfigError(
            f"{plan.title} was loaded with other types than its pin now says ({named}).",
            mend=f"Run `signalroom replay --source {plan.title.split('.', 1)[0]}` to type its rows again.",
        )
    if replay:
        run(f"TRUNCATE {target.name}", [])
        if plan.table.disposition == "history":  # versions share a key
            run(f"ALTER TABLE {target.name} DROP CONSTRAINT IF EXISTS {ident(plan.table.name + '_pkey')}", [])
        for beside in BESIDE:
            run(f"DROP TABLE IF EXISTS {qualified(plan.title + beside)}", [])
        if schema.retyped:
            release(run, plan.title, [column.name for column in schema.retyped])
        for column in schema.retyped:
            name, kind = ident(column.name), column_sql(column).split(" ", 1)[1]
            run(f"ALTER TABLE {target.name} ALTER COLUMN {name} TYPE {kind} USING NULL", [])
    for column in schema.added:
        run(f"ALTER TABLE {target.name} ADD COLUMN IF NOT EXISTS {column_sql(column)}", [])
    if set(plan.table.key) & {column.name for column in schema.added}:
        _key(target)  # the loads before this one brought no columns


def _make_room(target: Target, *, replay: bool) -> None:
    """Delete the rows that leave: a snapshot's, a withdrawn version's, a slice's."""
    run, plan = target.execute, target.plan
    if plan.clear and not replay:
        run(f"DELETE FROM {target.name}", [])
    elif plan.objects.withdraw:
        buried = [target.tombstones] if exists(run, f"{plan.title}__deleted") else []
        for held_in in (target.name, *buried):
            run(f"DELETE FROM {held_in} WHERE {_withdrawn(plan)}", [])
    if plan.slices.live:
        run(f"DELETE FROM {target.name} AS t WHERE {in_live_slice(plan, 't')}", [])


def _displace(target: Target) -> tuple[int, int]:
    """Delete the rows that winners displace; return how many pending ones came too late, and how many lack a value."""
    table, incoming = target.plan.table, target.incoming
    kept = listed(kept_columns(table))

    def run(sql: str) -> list[tuple[Any, ...]]:
        return target.execute(sql, [])

    def drop(condition: str, held: str = "") -> int:
        gone = f"DELETE FROM {incoming} AS n{held} WHERE {condition} RETURNING n._restored"
        return int(run(f"WITH gone AS ({gone}) SELECT count(*) FILTER (WHERE NOT _restored) FROM gone")[0][0])

    if target.prepared.buries:
        run(f"CREATE TABLE IF NOT EXISTS {target.tombstones} AS SELECT {kept} FROM {target.name} LIMIT 0")
    buried = [target.tombstones] if exists(target.execute, f"{target.plan.title}__deleted") else []
    late = 0
    if buried and table.order[:1] == ("_seq",):
        late = cut_table(run, drop, table, target.name, buried[0], incoming)
    if table.disposition == "append":
        return late, 0
    filling = Filling.of(run, drop, target.plan.title, target.prepared.stage, incoming, incoming, "true")
    same = " AND ".join(f"n.{ident(key)} = t.{ident(key)}" for key in table.key)
    # one join finds who meets whom; their places in the tables then say which rows leave, without another
    run(f"""CREATE TEMP TABLE signalroom_met ON COMMIT DROP AS SELECT n.ctid AS new, t.ctid AS old,
        NOT {beats(table, "n", "t")} AS late FROM {incoming} AS n JOIN {target.name} AS t ON {same}""")
    if run("SELECT 1 FROM signalroom_met WHERE late LIMIT 1"):
        if filling:
            filling.hand_on()
        late += drop("n.ctid = ANY(ARRAY(SELECT new FROM signalroom_met WHERE late))")
    for tombstones in buried:
        late += drop(f"{same} AND NOT {beats(table, 'n', 't')}", f" USING {tombstones} AS t")
    lost = filling.settle() if filling else 0
    if buried or lost:
        for held_in in (target.name, *buried):
            run(f"DELETE FROM {held_in} AS t USING {incoming} AS n WHERE {same}")
    else:
        run(f"DELETE FROM {target.name} WHERE ctid = ANY(ARRAY(SELECT old FROM signalroom_met WHERE NOT late))")
    run("DROP TABLE signalroom_met")
    if filling:
        filling.remember()
    return late, lost


def _insert(target: Target, *, restored: bool) -> int:
    """Insert the survivors and return how many there were; deletes and truncates become tombstones, and are merged."""
    names, table = listed(target.prepared.columns), target.plan.table
    if restored and not any(part.restored for part in target.plan.parts) and not target.prepared.brought_back:
        return 0
    wanted = "_restored" if restored else "NOT _restored"
    rows = f"FROM {target.incoming} WHERE {wanted} AND _op"
    moved = _counted(target, f"INSERT INTO {target.name} ({names}) SELECT {names} {rows} = 'upsert'")
    if target.prepared.buries:
        kept = listed(kept_columns(table))
        moved += _counted(target, f"INSERT INTO {target.tombstones} ({kept}) SELECT {kept} {rows} <> 'upsert'")
    return moved


def _counted(target: Target, statement: str) -> int:
    return int(target.execute(f"WITH moved AS ({statement} RETURNING 1) SELECT count(*) FROM moved", [])[0][0])
