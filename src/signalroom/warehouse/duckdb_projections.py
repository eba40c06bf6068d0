"""Rows of an app's entities in one DuckDB file: typed, guarded and committed by one connection of their own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from signalroom.errors import DataError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.projection import CHANGED_AT, VERSION_COLUMNS, Bucket, Entity, FollowState, Upserted
from signalroom.stream import Column
from signalroom.warehouse import projecting
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.casts import duckdb_type
from signalroom.warehouse.quoting import ident, listed, qualified

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

T = TypeVar("T")
_NEWER = "signalroom_newer"


@dataclass(frozen=True, slots=True)
class DuckDBProjections:
    """The projections of one DuckDB file; see :class:`signalroom.projection.ProjectionStore`.

    Attributes:
        cursor: Yields a connection to the file.
        turn: Whose holder alone writes projections: DuckDB refuses the later of two that change one table.
    """

    cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
    turn: AbstractContextManager[Any]

    def upsert(
        self, entity: Entity, rows: pa.Table, at: datetime, *,
        state: FollowState | None = None, undo: Mapping[str, int] | None = None,
    ) -> Upserted:  # fmt: skip
        """Apply rows in one transaction, each only where it is newer than what is there."""
        with self.cursor() as connection:
            misfits = projecting.stage(connection, entity, rows)  # typing, most of the work, keeps nobody waiting
            execute = _executing(connection)
            with self.turn:
                failpoint("projections.upsert.before")
                applied = _upsert(connection, execute, entity, misfits, at, state, undo)
                failpoint("projections.upsert.after")
        return Upserted(applied, rows.num_rows - applied - misfits, misfits)

    def remove(self, entity: Entity, ids: Mapping[str, int]) -> tuple[int, int]:
        """Take rows out that the leader does not know at all."""
        return self._change(lambda execute: projecting.remove(execute, entity, ids))

    def fits(self, entity: Entity) -> bool:
        """Return whether the entity's table can take its columns."""
        with self.cursor() as connection:
            return projecting.fits(_executing(connection), entity)

    def rebuild(self, entity: Entity) -> None:
        """Drop the entity's table and state."""
        self._change(lambda execute: projecting.rebuild(execute, entity))

    def states(self, projection: str) -> Mapping[str, FollowState]:
        """Return entity -> state."""
        with self.cursor() as connection:
            return projecting.states(_executing(connection), projection)

    def record(self, entity: Entity, state: FollowState) -> None:
        """Remember a state apart from any row."""
        self._change(lambda execute: projecting.record(execute, entity, state))

    def buckets(self, entity: Entity, digits: int, within: Sequence[str]) -> Mapping[str, Bucket]:
        """Return the checksums of rows by the first digits of the md5 of their ids."""
        with self.cursor() as connection:
            return projecting.buckets(_executing(connection), entity, digits, within)

    def versions(self, entity: Entity, within: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Return id -> version and hash of the rows of some buckets."""
        with self.cursor() as connection:
            return projecting.versions(_executing(connection), entity, within)

    def waiting(self, entity: Entity) -> Mapping[str, int]:
        """Return id -> version of the rows that are set aside."""
        with self.cursor() as connection:
            return projecting.waiting(_executing(connection), entity)

    def _change(self, work: Callable[[Execute], T]) -> T:
        with self.turn, self.cursor() as connection, _transaction(connection):
            return work(_executing(connection))


def _upsert(
    connection: duckdb.DuckDBPyConnection, execute: Execute, entity: Entity, misfits: int, at: datetime,
    state: FollowState | None, undo: Mapping[str, int] | None,
) -> int:  # fmt: skip
    """Apply what is typed; return how many rows became newer."""
    with _transaction(connection):
        projecting.shape(execute, entity, _column_sql, "")
        if undo:
            projecting.withdraw(execute, entity, undo)
        applied, changed_at = _apply(execute, entity, at)
        projecting.measure(execute, entity, changed_at, at)
        projecting.keep_misfits(execute, entity, misfits)
        if state is not None:
            projecting.record(execute, entity, state)
        failpoint("projections.upsert.commit")
    return applied


def _apply(execute: Execute, entity: Entity, at: datetime) -> tuple[int, datetime | None]:
    """Replace what is older, insert what is new; return how many rows that is, and when the first was changed."""
    table, names = qualified(entity.table), [*VERSION_COLUMNS, *(one.name for one in entity.columns)]
    execute(
        f"""CREATE OR REPLACE TEMP TABLE {_NEWER} AS SELECT s.*, t._id IS NOT NULL AS replaces
            FROM {projecting.STAGE} s LEFT JOIN {table} t USING (_id)
            WHERE t._id IS NULL OR t._version < s._version""",
        [],
    )
    ((newer, replaced, changed_at),) = execute(
        f"SELECT count(*), count(*) FILTER (replaces), min({CHANGED_AT}) FROM {_NEWER}", []
    )
    if replaced:
        execute(f"DELETE FROM {table} WHERE _id IN (SELECT _id FROM {_NEWER} WHERE replaces)", [])
    if newer:
        execute(f"INSERT INTO {table} ({listed(names)}, _synced_at) SELECT {listed(names)}, ? FROM {_NEWER}", [at])
    return newer, changed_at


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    import duckdb

    connection.begin()
    committed = False
    try:
        yield
        connection.commit()
        committed = True
    except duckdb.TransactionException as problem:
        raise RetryableError(
            f"Another statement changed the same table: {problem}.", mend="It is tried again."
        ) from problem
    except duckdb.Error as problem:
        said = str(problem).partition("\n")[0].rstrip(".")
        raise DataError(
            f"Rows of a projection cannot be kept: {said}.", mend="Look whether a model or a person took its name."
        ) from problem
    finally:
        if not committed:
            connection.rollback()


def _executing(connection: duckdb.DuckDBPyConnection) -> Execute:
    return partial(_execute, connection)


def _execute(connection: duckdb.DuckDBPyConnection, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    return connection.execute(sql, list(params)).fetchall()


def _column_sql(column: Column) -> str:
    return f"{ident(column.name)} {duckdb_type(column.type)}"
