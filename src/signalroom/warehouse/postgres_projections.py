"""Rows of an app's entities in Postgres: typed in a private DuckDB, copied to temporary tables, guarded by version."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from signalroom.failpoints import failpoint
from signalroom.projection import CHANGED_AT, VERSION_COLUMNS, Bucket, Entity, FollowState, Upserted
from signalroom.stream import Column
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse import projecting
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.postgres_apply import column_sql
from signalroom.warehouse.postgres_copy import send, write_csv
from signalroom.warehouse.quoting import ident, listed, qualified

if TYPE_CHECKING:
    import duckdb
    import psycopg
    import pyarrow as pa

T = TypeVar("T")
_KEY = ", PRIMARY KEY (_id)"
_MISFIT = [Column("_id"), Column("_version", "bigint"), *map(Column, ("column_name", "value", "reason", "raw"))]


@dataclass(frozen=True, slots=True)
class PostgresProjections:
    """The projections of one Postgres database; see :class:`signalroom.projection.ProjectionStore`.

    Attributes:
        connect: Lends a connection that nobody else uses meanwhile.
        typing: Yields a connection to a private DuckDB, for typing.
    """

    connect: Callable[[], AbstractContextManager[psycopg.Connection[tuple[Any, ...]]]]
    typing: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]

    @classmethod
    def of(
        cls, connect: Callable[[], AbstractContextManager[psycopg.Connection[tuple[Any, ...]]]],
        typing: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]],
    ) -> Self:  # fmt: skip
        """Return the projections of a database, its table of states made where it is missing."""
        with connect() as connection, session.explained("make the table of projections"):
            if not _is_made(partial(session.execute, connection)):
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(7347)")
                    for statement in projecting.DDL:
                        session.execute(connection, statement, [])
        return cls(connect, typing)

    def upsert(
        self, entity: Entity, rows: pa.Table, at: datetime, *,
        state: FollowState | None = None, undo: Mapping[str, int] | None = None,
    ) -> Upserted:  # fmt: skip
        """Apply rows in one transaction, each only where it is newer than what is there."""
        with self.typing() as duck:
            misfits = projecting.stage(duck, entity, rows)
            applied = self._upsert(entity, duck, misfits, at, state, undo)
        return Upserted(applied, rows.num_rows - applied - misfits, misfits)

    def _upsert(
        self, entity: Entity, duck: duckdb.DuckDBPyConnection, misfits: int, at: datetime, state: FollowState | None,
        undo: Mapping[str, int] | None,
    ) -> int:  # fmt: skip
        """Apply what is typed; return how many rows became newer."""
        with self._transaction(entity.title) as connection:
            execute: Execute = partial(session.execute, connection)
            failpoint("projections.upsert.before")
            gone = projecting.shape(execute, entity, column_sql, _KEY)
            held = [Column("_id"), *projecting.META, *entity.columns, projecting.STAGED]
            _copy(connection, duck, projecting.STAGE, held)
            if misfits:
                _copy(connection, duck, projecting.MISFITS, _MISFIT)
            if undo:
                projecting.withdraw(execute, entity, undo)
            applied, changed_at = _apply(execute, entity, gone, at)
            projecting.measure(execute, entity, changed_at, at)
            projecting.keep_misfits(execute, entity, misfits)
            if state is not None:
                projecting.record(execute, entity, state)
            failpoint("projections.upsert.commit")
        failpoint("projections.upsert.after")
        return applied

    def remove(self, entity: Entity, ids: Mapping[str, int]) -> tuple[int, int]:
        """Take rows out that the leader does not know at all."""
        return self._change(entity.title, lambda execute: projecting.remove(execute, entity, ids))

    def fits(self, entity: Entity) -> bool:
        """Return whether the entity's table can take its columns."""
        return self._read(lambda execute: projecting.fits(execute, entity))

    def rebuild(self, entity: Entity) -> None:
        """Drop the entity's table and state."""
        self._change(entity.title, lambda execute: projecting.rebuild(execute, entity))

    def states(self, projection: str) -> Mapping[str, FollowState]:
        """Return entity -> state."""
        return self._read(lambda execute: projecting.states(execute, projection))

    def record(self, entity: Entity, state: FollowState) -> None:
        """Remember a state apart from any row."""
        self._change(entity.title, lambda execute: projecting.record(execute, entity, state))

    def buckets(self, entity: Entity, digits: int, within: Sequence[str]) -> Mapping[str, Bucket]:
        """Return the checksums of rows by the first digits of the md5 of their ids."""
        return self._read(lambda execute: projecting.buckets(execute, entity, digits, within))

    def versions(self, entity: Entity, within: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Return id -> version and hash of the rows of some buckets."""
        return self._read(lambda execute: projecting.versions(execute, entity, within))

    def waiting(self, entity: Entity) -> Mapping[str, int]:
        """Return id -> version of the rows that are set aside."""
        return self._read(lambda execute: projecting.waiting(execute, entity))

    def _read(self, work: Callable[[Execute], T]) -> T:
        with self.connect() as connection, session.explained("read a projection"):
            return work(partial(session.execute, connection))

    def _change(self, title: str, work: Callable[[Execute], T]) -> T:
        with self._transaction(title) as connection:
            return work(partial(session.execute, connection))

    @contextmanager
    def _transaction(self, title: str) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
        with self.connect() as connection, session.explained(f"keep rows of {title}"), connection.transaction():
            # what was acknowledged is on disk, whatever the server's default
            connection.execute("SET LOCAL synchronous_commit = on")
            # one at a time for an entity: two followers neither make its table twice nor wait in a circle
            session.execute(connection, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", [title])
            yield connection


def _copy(
    connection: psycopg.Connection[tuple[Any, ...]], duck: duckdb.DuckDBPyConnection, name: str,
    columns: Sequence[Column],
) -> None:  # fmt: skip
    """Make a temporary table of this transaction and fill it with DuckDB's of the same name."""
    made: Any = f"CREATE TEMP TABLE {name} ({', '.join(map(column_sql, columns))}) ON COMMIT DROP"
    connection.execute(made)
    names = listed([one.name for one in columns])
    with tempfile.TemporaryDirectory(prefix="signalroom-pulled-") as folder:
        write_csv(duck, f"SELECT {names} FROM {name}", Path(folder, "rows"))
        for file in sorted(Path(folder, "rows").glob("*.csv")):
            send(connection, name, names, file)


def _is_made(execute: Execute) -> bool:
    """Return whether the table of states is there, with the newest of its columns."""
    return bool(
        execute(
            "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('signalroom.projections') AND attname = 'lag_s'",
            [],
        )
    )


def _apply(execute: Execute, entity: Entity, gone: Sequence[str], at: datetime) -> tuple[int, datetime | None]:
    """Upsert what is newer; return how many rows that is, and when the first of them was changed."""
    names = [*VERSION_COLUMNS, *(one.name for one in entity.columns)]
    changed = ", ".join(f"{ident(name)} = excluded.{ident(name)}" for name in (*names[1:], *gone, "_synced_at"))
    ((applied, changed_at),) = execute(
        f"""WITH newer AS (
                INSERT INTO {qualified(entity.table)} AS t ({listed(names)}, _synced_at)
                SELECT {listed(names)}, ? FROM {projecting.STAGE}
                ON CONFLICT (_id) DO UPDATE SET {changed} WHERE t._version < excluded._version
                RETURNING t._id)
            SELECT count(*), min(s.{CHANGED_AT}) FROM newer JOIN {projecting.STAGE} s USING (_id)""",
        [at],
    )
    return int(applied), changed_at
