"""DuckDB as a warehouse: one file, owned by one process.

The writer connects with no configuration and uses SET, so that dbt in the same process shares it. Merges of one process
take turns. Closing never checkpoints: after a small merge that would cost seconds for milliseconds of work; the
write-ahead log is replayed at the next start and folded in once it has grown.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.load import Load
from signalroom.position import Position
from signalroom.run import OnProgress, Progress, ignore_progress
from signalroom.stream import Stream, Table
from signalroom.warehouse import bookkeeping
from signalroom.warehouse.base import Ask, LakeReader, MergeResult
from signalroom.warehouse.checksum import checksum_sql
from signalroom.warehouse.duckdb_apply import apply, withdrawn_keys
from signalroom.warehouse.merge import (
    Prepared,
    TableState,
    assert_complete,
    assert_conserved,
    plan_table,
    prepare,
    stay_parts,
)
from signalroom.warehouse.quoting import ident, literal, qualified
from signalroom.warehouse.retrying import SetAside
from signalroom.warehouse.turns import Turns
from signalroom.warehouse.view_turns import Turnstile
from signalroom.workspace.settings import injected, setting

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from signalroom.warehouse.duckdb_projections import DuckDBProjections
    from signalroom.warehouse.duckdb_views import DuckDBViews

_NAMED = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)", re.IGNORECASE)
_MEMORY_MB = 2560


def _default_memory_mb() -> int:
    """Return a limit under which a file of 130 columns is typed on two threads.

    DuckDB keeps rows in their order only where each thread has 8 MB for a column; with less it uses one thread.
    """
    if not hasattr(os, "sysconf"):
        return _MEMORY_MB
    return min(_MEMORY_MB, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 21)


@dataclass(slots=True)
class DuckDBWarehouse:
    """An embedded warehouse in one file; needs no server."""

    kind = "duckdb"
    path: str = setting(
        "File of the database, relative to the workspace.",
        default=".signalroom/warehouse.duckdb",
        example='path = ".signalroom/warehouse.duckdb"',
    )
    memory_mb: int = setting(
        "Memory DuckDB may use before it spills to disk; 0 means 2560, or half the machine's where that is less.",
        default=0,
        unit="MB",
    )
    threads: int = setting("Threads DuckDB may use; 0 means one for each core.", default=0)
    root: Path = injected(default=Path())
    _connection: Any = field(default=None, init=False, repr=False)
    _lock: Any = field(default_factory=threading.RLock, init=False, repr=False)
    _projecting: Turns = field(default_factory=Turns, init=False, repr=False)
    _refreshes: Turnstile = field(default_factory=Turnstile, init=False, repr=False)
    _cursors: set[Any] = field(default_factory=set[Any], init=False, repr=False)

    @property
    def dialect(self) -> str:
        """``duckdb``."""
        return "duckdb"

    @property
    def file(self) -> Path:
        """The database file."""
        return self.root / self.path

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return the one writer connection, opened at first use.

        Raises:
            ConfigError: When another process owns the file.
        """
        with self._lock:
            if self._connection is None:
                self._connection = self._open()
            return self._connection

    def _open(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self.file.exists():
                # readable by DuckDB 1.5 too, so that an upgrade can be undone
                with duckdb.connect() as maker:
                    maker.execute(f"ATTACH {literal(str(self.file))} AS made (STORAGE_VERSION 'v1.5.0')")
            connection = duckdb.connect(str(self.file))
        except duckdb.IOException as problem:
            if "lock" not in str(problem):
                raise ConfigError(
                    f"The warehouse {self.file} cannot be opened: {problem}.", mend="Check the path."
                ) from problem
            found = re.search(r"PID (\d+)", str(problem))
            whose = f"process {found[1]}" if found else "another process"
            raise ConfigError(
                f"The warehouse {self.file} is owned by {whose}, and DuckDB lets one process own its file.",
                mend="Stop that process, or use Postgres when several must write.",
            ) from problem
        for name, value in self._settings().items():
            connection.execute(f"SET GLOBAL {name} = {value}")  # for the cursors of other threads too
        for statement in bookkeeping.DDL:
            connection.execute(statement)
        return connection

    def _settings(self) -> Mapping[str, str]:
        settings = {
            "TimeZone": "'UTC'",
            "memory_limit": f"'{self.memory_mb or _default_memory_mb()}MB'",
            "temp_directory": literal(str(self.file) + ".tmp"),
            "wal_autocheckpoint": "'256MB'",
        }
        if self.threads:
            settings["threads"] = str(self.threads)
        return settings

    def _execute(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self.connect().execute(sql, list(params)).fetchall()

    def positions(self, source: str, stream: str) -> Position:
        """Return where the merged loads of a stream stopped."""
        with self._lock:
            return Position(bookkeeping.positions(self._execute, source, stream))

    def merged(self, source: str, stream: str) -> set[str]:
        """Return the ids of the loads of a stream that are in the tables."""
        with self._lock:
            return bookkeeping.merged(self._execute, source, stream)

    def merge(
        self, stream: Stream, loads: Sequence[Load], lake: LakeReader, *,
        replay: bool = False, progress: OnProgress = ignore_progress,
    ) -> MergeResult:  # fmt: skip
        """Merge loads in one transaction; see :class:`~signalroom.warehouse.base.Warehouse`."""
        with self._lock:
            done = self.merged(stream.source, stream.name)
            if replay:
                assert_complete(stream, loads, done)
            pending = sorted((one for one in loads if replay or one.load_id not in done), key=lambda one: one.load_id)
            already = tuple(load.load_id for load in loads if not replay and load.load_id in done)
            if not pending and not replay:
                return MergeResult(load_ids=(), already=already)
            return replace(self._merge(stream, pending, lake, progress, replay=replay), already=already)

    def retry(
        self, stream: Stream, lake: LakeReader, *, load_id: str = "", progress: OnProgress = ignore_progress
    ) -> MergeResult:
        """Type rows that were set aside again; see :class:`~signalroom.warehouse.base.Warehouse`."""
        with self._lock:
            asked = SetAside.of(self._execute, stream, load_id)
            in_force = partial(bookkeeping.columns_in_force, self._execute, stream.source)
            if not asked.some_fit(self.connect(), stream, lake, in_force):
                return asked.unchanged()
            loads = lake.loads(stream.source, stream.name, sorted(self.merged(stream.source, stream.name)))
            aside = SetAside.of(self._execute, stream)
            return self._merge(stream, loads, lake, progress, replay=True, retried=aside)

    def _merge(
        self, stream: Stream, loads: Sequence[Load], lake: LakeReader, progress: OnProgress, *,
        replay: bool, retried: SetAside | None = None,
    ) -> MergeResult:  # fmt: skip
        progress(Progress(f"typing {stream.title}", total_bytes=sum(load.bytes for load in loads)))
        prepared = [self._prepare(stream, table, loads, lake, replay=replay) for table in stream.tables]
        try:
            progress(Progress(f"merging {stream.title}", rows=sum(load.rows for load in loads)))
            return self._commit(stream, prepared, loads, replay=replay, retried=retried)
        finally:
            for one in prepared:
                one.stage.drop()

    def _prepare(
        self, stream: Stream, table: Table, loads: Sequence[Load], lake: LakeReader, *, replay: bool
    ) -> Prepared:
        connection = self.connect()
        columns = bookkeeping.columns_in_force(self._execute, stream.source, table.name)
        stored = {} if replay else bookkeeping.positions(self._execute, stream.source, stream.name)
        newest = "" if replay else max(self.merged(stream.source, stream.name), default="")
        owners = {} if replay else bookkeeping.owners(self._execute, stream.source, stream.name)
        state = TableState(columns, stored, newest, owners)
        plan = plan_table(stream, table, loads, state, lake)
        displaced = withdrawn_keys(connection, plan) if columns and not replay else None
        stay = stay_parts(stream, plan, lake) if displaced is not None and displaced.num_rows else ()
        return prepare(connection, plan, state, displaced, stay, lake)

    def _commit(
        self, stream: Stream, prepared: Sequence[Prepared], loads: Sequence[Load], *,
        replay: bool, retried: SetAside | None,
    ) -> MergeResult:  # fmt: skip
        connection = self.connect()
        now = datetime.now(UTC)
        failpoint("warehouse.begin")
        connection.begin()
        try:
            for load in loads:
                if not bookkeeping.write_load(self._execute, load, now, replay=replay):
                    raise RetryableError(f"Load {load.load_id} was merged meanwhile.", mend="Run the sync again.")
            failpoint("warehouse.loads")
            results: list[MergeResult] = []
            for one in prepared:
                result = apply(connection, one, [load.load_id for load in loads], replay=replay)
                assert_conserved(one.plan.title, result)
                self._keep_rejects(stream, one, replay=replay)
                self._keep_schema(stream, one, loads)
                bookkeeping.write_positions(
                    self._execute, stream.source, stream.name, one.plan.positions, one.plan.owners
                )
                results.append(result)
            done = bookkeeping.total(results, loads, [note for one in prepared for note in one.schema.notes])
            if retried is not None:
                done = replace(retried.became(prepared), notes=done.notes)
                bookkeeping.write_retry(self._execute, stream.source, stream.name, now, done)
            failpoint("warehouse.commit.before")
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        failpoint("warehouse.commit.after")
        return done

    def _keep_schema(self, stream: Stream, one: Prepared, loads: Sequence[Load]) -> None:
        known = bookkeeping.columns_in_force(self._execute, stream.source, one.plan.table.name)
        if loads and known != one.schema.columns:
            bookkeeping.write_columns(
                self._execute, stream.source, one.plan.table.name, loads[-1].load_id, one.schema.columns
            )

    def _keep_rejects(self, stream: Stream, one: Prepared, *, replay: bool) -> None:
        """Move the stage's rejects to ``signalroom.rejects``; those of rows that leave go first."""
        connection, name, table = self.connect(), one.stage.name, one.plan.table.name
        leaving = [(version.load_id, version.key) for version in one.plan.objects.withdraw]
        all_of_them = None if replay or one.plan.clear else leaving
        bookkeeping.forget_rejects(self._execute, stream.source, stream.name, table, all_of_them)
        connection.execute(f"""INSERT INTO signalroom.rejects
            SELECT p.load_id, {literal(stream.source)}, {literal(stream.name)}, {literal(table)}, p.source_ref, r._row,
                r.column_name, r.value, r.reason, r.raw, p.part_name
            FROM {ident(name + "_rejects")} r JOIN {ident(name + "_parts")} p USING (_part)""")

    def run(self, sql: str) -> None:
        """Run statements of our own."""
        with self._cursor() as cursor:
            cursor.execute(sql)

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Run one SELECT with named parameters (``:name``) and return its rows."""
        with self._cursor() as cursor:
            return _select(cursor, sql, params)

    @contextmanager
    def snapshot(self) -> Generator[Ask]:
        """Yield a function whose SELECTs all see one moment."""
        with self._cursor() as cursor:
            cursor.begin()
            try:
                yield lambda sql, params=None: _select(cursor, sql, params)
            finally:
                cursor.rollback()

    def newest_loads(self) -> Mapping[str, str]:
        """Return ``source.stream`` -> id of its newest merged load."""
        with self._lock:
            return bookkeeping.newest_loads(self._execute)

    def record_build(
        self, started_at: datetime, finished_at: datetime, before: Mapping[str, str], after: Mapping[str, str]
    ) -> None:
        """Record one build of the models."""
        with self._lock:
            bookkeeping.write_build(self._execute, started_at, finished_at, before, after)

    def built_from(self, ask: Ask) -> tuple[str, ...]:
        """Return the newest load of each stream that the last build saw; of any, where nothing was ever built."""
        return bookkeeping.built_from(ask)

    def checksum(self, table: str, *, exclude: Sequence[str] = ()) -> str:
        """Return a hash of the rows of ``schema.table`` that ignores their order; equal on every engine."""
        source, name = table.split(".", 1)
        with self._lock:  # a merge of another thread goes on in this very connection
            stored = bookkeeping.stored_columns(self._execute, source, name)
            columns = [column for column in stored if column.name not in exclude]
            rows, digest = self._execute(checksum_sql(qualified(table), columns, "duckdb"), [])[0]
        return f"{rows}:{int(digest):x}"

    @contextmanager
    def _cursor(self) -> Generator[duckdb.DuckDBPyConnection]:
        with self._lock:
            cursor = self.connect().cursor()
            self._cursors.add(cursor)
        try:
            yield cursor
        finally:
            self._cursors.discard(cursor)
            cursor.close()

    def views(self) -> DuckDBViews:
        """Return what keeps report views in this file."""
        from signalroom.warehouse.duckdb_views import DuckDBViews

        return DuckDBViews(self._cursor, self._lock, self._refreshes)

    def projections(self) -> DuckDBProjections:
        """Return what keeps rows of an app's entities in this file; it waits for no merge."""
        from signalroom.warehouse import projecting
        from signalroom.warehouse.duckdb_projections import DuckDBProjections

        with self._projecting, self._cursor() as connection:
            for statement in projecting.DDL:
                connection.execute(statement)
        return DuckDBProjections(self._cursor, self._projecting)

    def dbt_profile(self) -> Mapping[str, object]:
        """Return one output of a dbt profile that shares this process's database."""
        self.connect()
        return {"type": "duckdb", "path": str(self.file), "schema": "main", "threads": 1}

    def check(self) -> Sequence[str]:
        """Return each problem with the file as one sentence with its mend."""
        try:
            self.connect()
        except ConfigError as problem:
            return [str(problem)]
        return []

    def interrupt(self) -> None:
        """End what is computed now; whoever asked for it gets an error."""
        for one in (self._connection, *tuple(self._cursors)):  # no lock: whoever computes may hold it
            if one is not None:
                one.interrupt()

    def close(self) -> None:
        """Close the file without a checkpoint; the write-ahead log keeps what was committed."""
        with self._lock:
            if self._connection is not None:
                self._connection.execute("PRAGMA disable_checkpoint_on_shutdown")
                self._connection.close()
                self._connection = None


def _select(cursor: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any] | None) -> pa.Table:
    import duckdb

    bound = {name: (params or {})[name] for name in set(_NAMED.findall(sql)) & set(params or {})}
    statement = _NAMED.sub(lambda found: f"${found[1]}" if found[1] in bound else found[0], sql)
    try:
        kinds = [one.type for one in duckdb.extract_statements(statement)]
        if len(kinds) != 1 or kinds[0] not in {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}:
            raise ConfigError("A query is one SELECT and nothing else.", mend="Write SELECT, WITH, FROM or DESCRIBE.")
        found = cursor.sql(statement, params=bound) if bound else cursor.sql(statement)
        return found.to_arrow_table()
    except duckdb.Error as problem:
        raise DataError(f"The query failed: {problem}", mend="Correct the SQL.") from problem
