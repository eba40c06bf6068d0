"""The statements by which DuckDB applies a prepared merge; all of them inside the load's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError
from signalroom.failpoints import failpoint
from signalroom.stream import Column
from signalroom.warehouse.base import MergeResult
from signalroom.warehouse.casts import duckdb_type
from signalroom.warehouse.changes import BESIDE, cut_table
from signalroom.warehouse.history import History, settle_kind
from signalroom.warehouse.merge import Prepared, TablePlan, beats, in_live_slice, lineage_of
from signalroom.warehouse.plan import kept_columns
from signalroom.warehouse.quoting import ident, listed, literal, qualified
from signalroom.warehouse.unset import Filling

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_ORIGIN = "left(_source_ref, length(_source_ref) - length(CAST(_row AS VARCHAR)) - 1)"


def withdrawn_keys(connection: duckdb.DuckDBPyConnection, plan: TablePlan) -> pa.Table | None:
    """Return the keys whose row comes from a version that leaves, or None when none leaves."""
    if plan.table.disposition != "merge" or not plan.objects.withdraw:
        return None
    held = f"SELECT {listed(plan.table.key)} FROM {{}} WHERE {_withdrawn(plan)}"
    tables = [qualified(plan.title), *_tombstones(connection, plan.title)]
    return connection.sql(" UNION ".join(held.format(one) for one in tables)).to_arrow_table()


def _withdrawn(plan: TablePlan) -> str:
    """Return the condition that a row comes from a version that leaves."""
    keys = ", ".join(literal(version.key) for version in plan.objects.withdraw)
    return f"_file_time IS NOT NULL AND {_ORIGIN} IN ({keys})"


def _tombstones(connection: duckdb.DuckDBPyConnection, title: str) -> list[str]:
    """Return the table of a table's tombstones; nothing before its first delete."""
    schema, table = f"{title}__deleted".split(".", 1)
    found = connection.execute(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", [schema, table]
    ).fetchone()
    return [qualified(f"{title}__deleted")] if found else []


def apply(
    connection: duckdb.DuckDBPyConnection, prepared: Prepared, load_ids: Sequence[str], *, replay: bool
) -> MergeResult:
    """Apply one prepared table and return its counts; ``rows_in`` is the lake's."""
    plan = prepared.plan
    target = qualified(plan.title)

    def run(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    settle_kind(run, prepared, replay=replay)
    _shape(connection, prepared, target, replay=replay)
    failpoint("warehouse.apply.shape")
    if plan.table.disposition == "history":
        withdrawn = _withdrawn(plan) if plan.objects.withdraw else ""
        return History(run, prepared, f"({prepared.survivors()})", withdrawn, _column).apply(load_ids)
    if plan.clear:
        connection.execute(f"DELETE FROM {target}")
    if plan.objects.withdraw and not plan.clear:
        for held_in in (target, *_tombstones(connection, plan.title)):
            connection.execute(f"DELETE FROM {held_in} WHERE {_withdrawn(plan)}")
    if plan.slices.live:
        connection.execute(f"DELETE FROM {target} AS t WHERE {in_live_slice(plan, 't')}")
    late, lost = _displace(connection, prepared, target) if prepared.schema.columns else (0, 0)
    failpoint("warehouse.apply.delete")
    merged = _insert(connection, prepared, target, restored=False)
    failpoint("warehouse.apply.insert")
    restored = _insert(connection, prepared, target, restored=True)
    return MergeResult(
        load_ids=tuple(load_ids),
        rows_in=sum(part.part.rows for part in plan.parts if not part.restored) + plan.superseded,
        rows_merged=merged,
        rows_superseded=plan.superseded + prepared.superseded + late,
        rows_rejected=prepared.rejected + lost,
        rows_restored=restored,
        skipped_objects=tuple(version.key for version in plan.objects.skipped),
    )


def _shape(connection: duckdb.DuckDBPyConnection, prepared: Prepared, target: str, *, replay: bool) -> None:
    """Create the table, or give it the columns this merge adds; a replay starts from an empty one."""
    plan, schema = prepared.plan, prepared.schema
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(plan.title.split('.', 1)[0])}")
    columns = ", ".join(_column(column) for column in (*schema.columns, *lineage_of(plan.table)))
    if replay:
        connection.execute(f"CREATE OR REPLACE TABLE {target} ({columns})")
        for beside in BESIDE:
            connection.execute(f"DROP TABLE IF EXISTS {qualified(plan.title + beside)}")
        return
    connection.execute(f"CREATE TABLE IF NOT EXISTS {target} ({columns})")
    if schema.retyped:
        named = ", ".join(f"{column.name} as {column.type}" for column in schema.retyped)
        raise ConfigError(
            f"{plan.title} was loaded with other types than its pin now says ({named}).",
            mend=f"Run `signalroom replay --source {plan.title.split('.', 1)[0]}` to type its rows again.",
        )
    for column in schema.added:
        connection.execute(f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {_column(column)}")


def _column(column: Column) -> str:
    return f"{ident(column.name)} {duckdb_type(column.type)}"


def _displace(connection: duckdb.DuckDBPyConnection, prepared: Prepared, target: str) -> tuple[int, int]:
    """Delete the rows that winners displace; return how many pending ones came too late, and how many lack a value.

    A deleted key keeps a tombstone with its order, so that an older row that arrives later stays out.
    """
    plan, stage = prepared.plan, prepared.stage
    table, lose, survivors = plan.table, ident(stage.name + "_lose"), f"({prepared.survivors()})"
    if table.disposition not in ("merge", "append"):
        return 0, 0
    kept = listed(kept_columns(table))
    if prepared.buries:
        connection.execute(f"""CREATE TABLE IF NOT EXISTS {qualified(plan.title + "__deleted")} AS
            SELECT {kept} FROM {target} LIMIT 0""")
    tombstones = _tombstones(connection, plan.title)

    def run(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    def drop(condition: str, held: str = "") -> int:
        run(f"""CREATE OR REPLACE TEMP TABLE signalroom_late AS
            SELECT n._r AS r, n._restored AS restored FROM {survivors} n{held} WHERE {condition}""")
        run(f"INSERT INTO {lose} SELECT r, restored FROM signalroom_late")
        return stage.count("SELECT count(*) FROM signalroom_late WHERE NOT restored")

    late = 0
    if tombstones and table.order[:1] == ("_seq",):
        late = cut_table(run, drop, table, target, tombstones[0], survivors)
    if table.disposition == "append":
        return late, 0
    alive = f"n.rowid NOT IN (SELECT r FROM {lose})"
    filling = Filling.of(run, drop, plan.title, stage, survivors, ident(stage.name), alive)
    if filling:
        filling.hand_on()
    displaces = bool(tombstones) or stage.count(f"SELECT count(*) FROM (SELECT 1 FROM {target} LIMIT 1)") > 0
    if displaces:
        held = " UNION ALL ".join(f"SELECT {kept} FROM {held_in}" for held_in in (target, *tombstones))
        same = " AND ".join(f"n.{ident(k)} = t.{ident(k)}" for k in table.key)
        late += drop(f"NOT {beats(table, 'n', 't')}", f" JOIN ({held}) t ON {same}")
    lost = filling.settle() if filling else 0
    for held_in in (target, *tombstones) if displaces else ():
        connection.execute(f"""DELETE FROM {held_in} WHERE ({listed(table.key)}) IN
            (SELECT ({listed(table.key)}) FROM {survivors})""")
    if filling:
        filling.remember()
    return late, lost


def _insert(connection: duckdb.DuckDBPyConnection, prepared: Prepared, target: str, *, restored: bool) -> int:
    """Insert the survivors and return how many there were; deletes and truncates become tombstones, and are merged."""
    names = listed(prepared.columns)
    wanted = "_restored" if restored else "NOT _restored"
    if restored and not any(part.restored for part in prepared.plan.parts) and not prepared.brought_back:
        return 0
    inserted = _count(connection, f"""INSERT INTO {target} ({names})
        SELECT {names} FROM ({prepared.survivors()}) WHERE {wanted} AND _op = 'upsert'""")  # fmt: skip
    if prepared.buries:
        kept = listed(kept_columns(prepared.plan.table))
        inserted += _count(connection, f"""INSERT INTO {qualified(prepared.plan.title + "__deleted")} ({kept})
            SELECT {kept} FROM ({prepared.survivors()}) WHERE {wanted} AND _op <> 'upsert'""")  # fmt: skip
    return inserted


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0
