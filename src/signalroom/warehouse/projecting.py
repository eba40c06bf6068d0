"""Rows of an app's entities in a warehouse: typed as text arrives, guarded by version; what both engines share.

An entity has one table of all its rows, deletions included as rows (so that a late update cannot resurrect what is
gone), and over it a plain view of the live ones, which is what people read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from signalroom.errors import DataError
from signalroom.projection import CHANGED_AT, VERSION_COLUMNS, Bucket, Entity, FollowState
from signalroom.stream import Column
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.casts import Cast, cast
from signalroom.warehouse.quoting import ident, listed, literal, qualified

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb
    import pyarrow as pa

DDL = (
    "CREATE SCHEMA IF NOT EXISTS signalroom",
    """CREATE TABLE IF NOT EXISTS signalroom.projections (
        projection text NOT NULL, entity text NOT NULL, xid text NOT NULL, leader text NOT NULL, swept_at timestamptz,
        reconciled_at timestamptz, columns text NOT NULL, PRIMARY KEY (projection, entity))""",
    "ALTER TABLE signalroom.projections ADD COLUMN IF NOT EXISTS lag_s float8",
)
"""In the same transaction as the rows, so that a lost tail takes its cursor with it."""

STAGE, MISFITS = "signalroom_pulled", "signalroom_misfits"
META = (Column("_version", "bigint"), Column("_deleted", "boolean"), Column("_hash", "bigint"))
STAGED = Column(CHANGED_AT, "timestamptz")
"""The stage's last column: when the leader changed the row; null where its lag is not measured."""

_FIELDS = "xid, leader, swept_at, reconciled_at"


def stage(duck: duckdb.DuckDBPyConnection, entity: Entity, rows: pa.Table) -> int:
    """Type ``rows`` into two temporary tables, what fits and what does not; return how many do not.

    Where all fit there is only the first: for the few rows of a pull, each statement counts.

    A value that is not exactly what its type holds sets its row aside, with the first such column, never the batch.
    """
    casts = [(column, cast(column, ident(column.name))) for column in entity.columns]
    changed_at = CHANGED_AT if CHANGED_AT in rows.column_names else "NULL"
    duck.register("signalroom_arrived", rows)
    duck.execute("""CREATE OR REPLACE TEMP TABLE signalroom_newest AS
        SELECT * REPLACE (CAST(_version AS BIGINT) AS _version, CAST(_deleted AS BOOLEAN) AS _deleted,
            CAST(_hash AS BIGINT) AS _hash) FROM signalroom_arrived
        QUALIFY row_number() OVER (PARTITION BY _id ORDER BY CAST(_version AS BIGINT) DESC) = 1""")
    duck.unregister("signalroom_arrived")
    misfit = " OR ".join([f"({one.misfit})" for _, one in casts] or ["false"])
    typed = "".join(f", {one.value} AS {ident(column.name)}" for column, one in casts)
    counted = duck.execute(f"SELECT count(*) FROM signalroom_newest WHERE {misfit}").fetchone()
    misfits = int(counted[0]) if counted else 0
    fitting = f"WHERE NOT ({misfit})" if misfits else ""
    duck.execute(f"""CREATE OR REPLACE TEMP TABLE {STAGE} AS
        SELECT {listed(VERSION_COLUMNS)}{typed}, CAST({changed_at} AS TIMESTAMPTZ) AS {CHANGED_AT}
        FROM signalroom_newest {fitting}""")
    if misfits:
        names = (*VERSION_COLUMNS, *(one.name for one in entity.columns))
        raw = ", ".join(f"{literal(name)}: {ident(name)}" for name in names)
        duck.execute(f"""CREATE OR REPLACE TEMP TABLE {MISFITS} AS
            SELECT _id, _version, {_first_misfit(casts)}, CAST(to_json({{{raw}}}) AS VARCHAR) AS raw
            FROM signalroom_newest WHERE {misfit}""")
    duck.execute("DROP TABLE signalroom_newest")
    return misfits


def _first_misfit(casts: Sequence[tuple[Column, Cast]]) -> str:
    """Return SQL of the name of the first column that does not fit, its text and the reason."""
    found = [(one.misfit, column.name, one.reason) for column, one in casts] or [("true", "", "")]
    name = "".join(f" WHEN {misfit} THEN {literal(column)}" for misfit, column, _ in found)
    value = "".join(f" WHEN {misfit} THEN {ident(column) if column else literal('')}" for misfit, column, _ in found)
    reason = "".join(f" WHEN {misfit} THEN {literal(said)}" for misfit, _, said in found)
    return f"CASE{name} END AS column_name, CASE{value} END AS value, CASE{reason} END AS reason"


def shape(execute: Execute, entity: Entity, column_sql: Callable[[Column], str], key: str) -> list[str]:
    """Make the entity's table and view, or add the columns that are new; raises DataError for a changed type.

    Returns:
        The columns that the leader no longer has: they stay, and are null in the rows that come from then on.
    """
    known = _known(execute, entity)
    gone = [one.name for one in known if one.name not in {column.name for column in entity.columns}]
    if known and all(one in known for one in entity.columns):
        return gone
    types = {one.name: one.type for one in known}
    if retyped := _retyped(known, entity):
        named = ", ".join(f"{one.name} was {types[one.name]} and is {one.type}" for one in retyped)
        raise DataError(
            f"{entity.title} has other types on the leader than here ({named}).",
            mend=f"Run `signalroom follow --resync {entity.title}` to copy it anew.",
        )
    new = [one for one in entity.columns if one.name not in types]
    if not known:
        execute(f"CREATE SCHEMA IF NOT EXISTS {ident(entity.projection)}", [])
        held = [Column("_id"), *META, Column("_synced_at", "timestamptz"), *new]
        made = ", ".join(column_sql(one) for one in held)
        execute(f"CREATE TABLE {qualified(entity.table)} ({made}{key})", [])
    else:
        for one in new:
            execute(f"ALTER TABLE {qualified(entity.table)} ADD COLUMN {column_sql(one)}", [])
    # What is new comes last: Postgres replaces a view under its readers only where it grows at its end.
    shown = ["_id", "_version", "_synced_at", *types, *(one.name for one in new)]
    execute(
        f"CREATE OR REPLACE VIEW {qualified(entity.title)} AS SELECT {listed(shown)} FROM {qualified(entity.table)} "
        "WHERE NOT _deleted",
        [],
    )
    _write(execute, entity, FollowState(), _encoded((*known, *new)), known=bool(known))
    return gone


def keep_misfits(execute: Execute, entity: Entity, misfits: int) -> None:
    """Record what does not fit, unless a newer version of its row is here, and forget what a newer version healed.

    ``misfits`` is how many there are: their table is there where it is not 0.

    In ``signalroom.rejects`` the part is the row's id and the row number its version.
    """
    table, mine = qualified(entity.table), [entity.projection, entity.name]
    healed = "r.source = ? AND r.stream = ? AND r.part IN (SELECT _id FROM {})"
    execute(
        f"""DELETE FROM signalroom.rejects AS r WHERE {healed.format(STAGE)}
            AND r.row_number <= (SELECT t._version FROM {table} t WHERE t._id = r.part)""",
        mine,
    )
    if not misfits:
        return
    execute(
        f"""DELETE FROM signalroom.rejects AS r WHERE {healed.format(MISFITS)}
            AND r.row_number <= (SELECT m._version FROM {MISFITS} m WHERE m._id = r.part)""",
        mine,
    )
    execute(
        f"""INSERT INTO signalroom.rejects (load_id, source, stream, table_name, part, row_number, column_name, value,
                reason, raw, part_name)
            SELECT '', {literal(entity.projection)}, {literal(entity.name)}, {literal(entity.name)}, m._id, m._version,
                m.column_name, m.value, m.reason, m.raw, ''
            FROM {MISFITS} m
            WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE t._id = m._id AND t._version >= m._version)
                AND NOT EXISTS (SELECT 1 FROM signalroom.rejects r WHERE r.source = ? AND r.stream = ?
                    AND r.part = m._id)""",
        mine,
    )


def fits(execute: Execute, entity: Entity) -> bool:
    """Return whether the entity's table can take its columns."""
    return not _retyped(_known(execute, entity), entity)


def _known(execute: Execute, entity: Entity) -> tuple[Column, ...]:
    import orjson

    found = execute(
        "SELECT columns FROM signalroom.projections WHERE projection = ? AND entity = ?",
        [entity.projection, entity.name],
    )
    return tuple(Column(**one) for one in orjson.loads(found[0][0])) if found else ()


def _retyped(known: Sequence[Column], entity: Entity) -> list[Column]:
    types = {one.name: one.type for one in known}
    return [one for one in entity.columns if types.get(one.name, one.type) != one.type]


def withdraw(execute: Execute, entity: Entity, versions_of: Mapping[str, int]) -> tuple[int, int]:
    """Take the rows out that are here in just these versions; return how many were live, and how many tombstones."""
    gone = execute(
        f"""DELETE FROM {qualified(entity.table)} AS t
            USING (SELECT unnest(CAST(? AS text[])) AS id, unnest(CAST(? AS bigint[])) AS version) u
            WHERE t._id = u.id AND t._version = u.version RETURNING t._deleted""",
        [list(versions_of), list(versions_of.values())],
    )
    tombstones = sum(deleted for (deleted,) in gone)
    return len(gone) - tombstones, tombstones


def remove(execute: Execute, entity: Entity, ids: Mapping[str, int]) -> tuple[int, int]:
    """Take rows out, and whatever of them is set aside; return how many were live, and how many tombstones."""
    execute(
        "DELETE FROM signalroom.rejects WHERE source = ? AND stream = ? AND part IN (SELECT unnest(CAST(? AS text[])))",
        [entity.projection, entity.name, list(ids)],
    )
    return withdraw(execute, entity, ids)


def rebuild(execute: Execute, entity: Entity) -> None:
    """Drop the entity's table with its view, its state and what is set aside of it."""
    execute(f"DROP VIEW IF EXISTS {qualified(entity.title)}", [])
    execute(f"DROP TABLE IF EXISTS {qualified(entity.table)}", [])
    mine = [entity.projection, entity.name]
    execute("DELETE FROM signalroom.rejects WHERE source = ? AND stream = ?", mine)
    execute("DELETE FROM signalroom.projections WHERE projection = ? AND entity = ?", mine)


def measure(execute: Execute, entity: Entity, changed_at: datetime | None, at: datetime) -> None:
    """Keep the lag of rows that are committed ``at``, the first of which the leader changed at ``changed_at``."""
    if changed_at is not None:
        lag_s = max(0.0, (at - changed_at).total_seconds())  # two machines, two clocks
        execute(
            "UPDATE signalroom.projections SET lag_s = ? WHERE projection = ? AND entity = ?",
            [lag_s, entity.projection, entity.name],
        )


def states(execute: Execute, projection: str) -> dict[str, FollowState]:
    """Return entity -> state."""
    rows = execute(f"SELECT entity, {_FIELDS}, lag_s FROM signalroom.projections WHERE projection = ?", [projection])
    return {str(name): FollowState(*values) for name, *values in rows}


def record(execute: Execute, entity: Entity, state: FollowState) -> None:
    """Remember a state, inside the transaction that changes the rows it is about."""
    _write(execute, entity, state, None, known=True)


def buckets(execute: Execute, entity: Entity, digits: int, within: Sequence[str]) -> dict[str, Bucket]:
    """Return the checksums of rows; see :class:`~signalroom.projection.ProjectionStore`."""
    rows = execute(
        f"""SELECT substr(md5(_id), 1, {digits:d}), count(*), CAST(sum(_version) AS text), CAST(sum(_hash) AS text)
            FROM {qualified(entity.table)} WHERE {_within(within)} GROUP BY 1""",
        [],
    )
    return {str(name): Bucket(int(count), int(versions), int(hashes)) for name, count, versions, hashes in rows}


def versions(execute: Execute, entity: Entity, within: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return id -> version and hash of the rows of some buckets."""
    sql = f"SELECT _id, _version, _hash FROM {qualified(entity.table)} WHERE {_within(within)}"
    return {str(name): (int(version), int(hashed)) for name, version, hashed in execute(sql, [])}


def waiting(execute: Execute, entity: Entity) -> dict[str, int]:
    """Return id -> version of the rows that are set aside."""
    sql = "SELECT part, row_number FROM signalroom.rejects WHERE source = ? AND stream = ?"
    return {str(name): int(version) for name, version in execute(sql, [entity.projection, entity.name])}


def _within(prefixes: Sequence[str]) -> str:
    """Return the condition that a row is in one of the buckets; prefixes of one length are one list."""
    lengths = sorted({len(one) for one in prefixes})
    tests = [
        f"substr(md5(_id), 1, {size:d}) IN ({', '.join(literal(one) for one in prefixes if len(one) == size)})"
        for size in lengths
    ]
    return f"({' OR '.join(tests)})" if tests else "true"


def _write(execute: Execute, entity: Entity, state: FollowState, columns: str | None, *, known: bool) -> None:
    mine = [entity.projection, entity.name]
    values = [state.cursor, state.leader, state.swept_at, state.reconciled_at]
    if not known:
        sql = f"INSERT INTO signalroom.projections (projection, entity, {_FIELDS}, columns) VALUES (?,?,?,?,?,?,?)"
        execute(sql, [*mine, *values, columns])
    elif columns is not None:
        execute("UPDATE signalroom.projections SET columns = ? WHERE projection = ? AND entity = ?", [columns, *mine])
    else:
        fields = ", ".join(f"{name.strip()} = ?" for name in _FIELDS.split(","))
        execute(f"UPDATE signalroom.projections SET {fields} WHERE projection = ? AND entity = ?", [*values, *mine])


def _encoded(columns: Sequence[Column]) -> str:
    import orjson

    return orjson.dumps([asdict(one) for one in columns]).decode()
