"""Postgres as a warehouse (Supabase and its pooler included): shared, written and read by several processes.

Typing and deduplication happen in a private DuckDB, so a value means the same as on every other engine; Postgres gets
rows that are final but for what it already holds. The load's transaction opens first: a lock for the stream and every
load id under its unique key, so that a second process, or a retry after a cut COMMIT, waits there and then finds the
work done. It needs no session state, hence works behind a pooler in transaction mode.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from signalroom.errors import SignalRoomError
from signalroom.failpoints import failpoint
from signalroom.load import Load
from signalroom.position import Position
from signalroom.run import OnProgress, Progress, ignore_progress
from signalroom.stream import Stream, Table
from signalroom.warehouse import bookkeeping
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.base import Ask, LakeReader, MergeResult
from signalroom.warehouse.casts import duckdb_type
from signalroom.warehouse.checksum import checksum_sql
from signalroom.warehouse.merge import Prepared, assert_conserved, prepare
from signalroom.warehouse.plan import TableState, assert_complete, plan_table, stay_parts
from signalroom.warehouse.postgres_apply import Target, apply, exists, incoming_name, publishes, withdrawn_keys
from signalroom.warehouse.postgres_bytes import RefusedError, ship_bytes, verbatim
from signalroom.warehouse.postgres_copy import make_incoming, send_rejects, ship
from signalroom.warehouse.postgres_kept import KeptConnections, KeptTyping
from signalroom.warehouse.postgres_reading import snapshot
from signalroom.warehouse.quoting import ident, literal, qualified
from signalroom.warehouse.retrying import SetAside
from signalroom.workspace.settings import Secret, setting

if TYPE_CHECKING:
    import duckdb
    import psycopg
    import pyarrow as pa

    from signalroom.warehouse.postgres_projections import PostgresProjections
    from signalroom.warehouse.postgres_views import PostgresViews

_OLDEST = 13


@dataclass(slots=True)
class PostgresWarehouse:
    """A Postgres database, 13 or newer, directly or behind a pooler."""

    kind = "postgres"
    url: Secret = setting("Address of the database.", example='url = "env:WAREHOUSE_URL"')
    connections: int = setting("Connections that copy rows at the same time.", default=2)
    memory_mb: int = setting("Memory for typing a load before it spills to disk.", default=1024, unit="MB")
    connect_timeout_s: int = setting("How long to wait for the server.", default=10, unit="s")
    statement_timeout_s: int = setting("Longest a query of a report may take; 0 for no limit.", default=300, unit="s")
    _connection: Any = field(default=None, init=False, repr=False)
    _kept: KeptConnections = field(init=False, repr=False)
    _typing: KeptTyping = field(default_factory=KeptTyping, init=False, repr=False)
    _lock: Any = field(default_factory=threading.RLock, init=False, repr=False)

    def __post_init__(self) -> None:
        self._kept = KeptConnections(self._opened)

    @property
    def dialect(self) -> str:
        """``postgres``."""
        return "postgres"

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return the connection of merges and bookkeeping, opened (again) where needed; its tables are made."""
        with self._lock:
            if self._connection is None or self._connection.closed:
                with ExitStack() as undo:  # where they cannot be made, the next call starts over
                    opened = session.connect(self.url.reveal(), timeout_s=self.connect_timeout_s)
                    undo.callback(opened.close)
                    self._make_tables(opened)
                    undo.pop_all()
                self._connection = opened
            return self._connection

    @staticmethod
    def _make_tables(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        with session.explained("make its own tables"):
            if exists(lambda sql, params: session.execute(connection, sql, params), "signalroom.retries"):
                return
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(7347)")
                for statement in bookkeeping.DDL:
                    connection.execute(statement)

    def _execute(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        with session.explained("run a statement of the merge"):
            return session.execute(self.connect(), sql, params)

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
        with self._merging(stream) as duck:
            if replay:
                assert_complete(stream, loads, self.merged(stream.source, stream.name))
            return self._merge(duck, stream, loads, lake, progress, replay=replay)

    def retry(
        self, stream: Stream, lake: LakeReader, *, load_id: str = "", progress: OnProgress = ignore_progress
    ) -> MergeResult:
        """Type rows that were set aside again; see :class:`~signalroom.warehouse.base.Warehouse`."""
        with self._merging(stream) as duck:
            asked = SetAside.of(self._execute, stream, load_id)
            in_force = partial(bookkeeping.columns_in_force, self._execute, stream.source)
            if not asked.some_fit(duck, stream, lake, in_force):
                return asked.unchanged()
            loads = lake.loads(stream.source, stream.name, sorted(self.merged(stream.source, stream.name)))
            aside = SetAside.of(self._execute, stream)
            return self._merge(duck, stream, loads, lake, progress, replay=True, retried=aside)

    @contextmanager
    def _merging(self, stream: Stream) -> Generator[duckdb.DuckDBPyConnection]:
        """Open the one transaction of a merge, wait for the stream's lock, and yield a DuckDB that types."""
        with self._lock, self._staging() as duck, session.explained(f"merge {stream.title}"):
            connection = self.connect()
            failpoint("warehouse.begin")
            with connection.transaction():
                # whatever the server's default: a load that was acknowledged is on disk
                connection.execute("SET LOCAL synchronous_commit = on")
                connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                connection.execute("SET LOCAL statement_timeout = 0")
                self._execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", [stream.title])
                yield duck
                failpoint("warehouse.commit.before")
            failpoint("warehouse.commit.after")
            for table in stream.tables:
                self._drop_left(f"{stream.source}.{table.name}")

    def _merge(
        self, duck: duckdb.DuckDBPyConnection, stream: Stream, loads: Sequence[Load], lake: LakeReader,
        progress: OnProgress, *, replay: bool, retried: SetAside | None = None,
    ) -> MergeResult:  # fmt: skip
        newest = "" if replay else max(self.merged(stream.source, stream.name), default="")
        pending, already = self._record(loads, replay=replay)
        failpoint("warehouse.loads")
        if not pending and not replay:
            return MergeResult(load_ids=(), already=already)
        progress(Progress(f"typing {stream.title}", total_bytes=sum(load.bytes for load in pending)))
        results: list[MergeResult] = []
        prepared: list[Prepared] = []
        for table in stream.tables:
            ask = partial(self._prepare, duck, stream, table, pending, lake, newest)
            one = ask(replay=replay)
            progress(Progress(f"merging {stream.title}", rows=sum(load.rows for load in pending)))
            try:
                result = self._apply(duck, stream, one, pending, replay=replay)
            except RefusedError:  # before anything was applied: what it read as bytes is typed instead
                one = ask(replay=replay, bytewise=False)
                result = self._apply(duck, stream, one, pending, replay=replay)
            results.append(result)
            prepared.append(one)
        done = bookkeeping.total(results, pending, [note for one in prepared for note in one.schema.notes])
        if retried is not None:
            done = replace(retried.became(prepared), notes=done.notes)
            bookkeeping.write_retry(self._execute, stream.source, stream.name, datetime.now(UTC), done)
        return replace(done, already=already)

    def _record(self, loads: Sequence[Load], *, replay: bool) -> tuple[list[Load], tuple[str, ...]]:
        """Insert the load ids under their unique key; return the loads that were not there, and the ids that were."""
        now = datetime.now(UTC)
        pending: list[Load] = []
        already: list[str] = []
        for load in sorted(loads, key=lambda one: one.load_id):
            if bookkeeping.write_load(self._execute, load, now, replay=replay):
                pending.append(load)
            else:
                already.append(load.load_id)
        return pending, tuple(already)

    def _prepare(
        self, duck: duckdb.DuckDBPyConnection, stream: Stream, table: Table, loads: Sequence[Load], lake: LakeReader,
        newest: str, *, replay: bool, bytewise: bool = True,
    ) -> Prepared:  # fmt: skip
        columns = bookkeeping.columns_in_force(self._execute, stream.source, table.name)
        stored = {} if replay else bookkeeping.positions(self._execute, stream.source, stream.name)
        owners = {} if replay else bookkeeping.owners(self._execute, stream.source, stream.name)
        state = TableState(columns, stored, newest, owners)
        plan = plan_table(stream, table, loads, state, lake)
        found = withdrawn_keys(self._execute, plan) if columns and not replay else None
        displaced = None
        if found is not None and found.num_rows:
            kinds = {column.name: duckdb_type(column.type) for column in columns}
            duck.register("signalroom_keys", found)
            typed = ", ".join(f"CAST({ident(key)} AS {kinds[key]}) AS {ident(key)}" for key in table.key)
            displaced = duck.sql(f"SELECT {typed} FROM signalroom_keys").to_arrow_table()
        stay = stay_parts(stream, plan, lake) if displaced is not None else ()
        first = bytewise and not exists(self._execute, plan.title)
        return prepare(duck, plan, state, displaced, stay, lake, verbatim=verbatim if first else None)

    def _apply(
        self, duck: duckdb.DuckDBPyConnection, stream: Stream, one: Prepared, loads: Sequence[Load], *, replay: bool
    ) -> MergeResult:
        there, incoming = exists(self._execute, one.plan.title), self._incoming(one.plan.title)
        url, timeout_s, lines = self.url.reveal(), self.connect_timeout_s, self.connections
        publish = publishes(one, exists=there)
        make_incoming(one, url, incoming, publish=publish, timeout_s=timeout_s)
        if one.verbatim:
            shipped = ship_bytes(one, url, incoming, connections=lines, timeout_s=timeout_s)
        else:
            shipped = ship(duck, one, url, incoming, publish=publish, connections=lines, timeout_s=timeout_s)
        target = Target(self._execute, one, there, incoming, shipped)
        result = apply(target, [load.load_id for load in loads], replay=replay)
        assert_conserved(one.plan.title, result)
        self._execute(f"DROP TABLE IF EXISTS {incoming}", [])
        leaving = [(version.load_id, version.key) for version in one.plan.objects.withdraw]
        table, all_of_them = one.plan.table.name, None if replay or one.plan.clear else leaving
        bookkeeping.forget_rejects(self._execute, stream.source, stream.name, table, all_of_them)
        send_rejects(duck, self.connect(), one, stream.source, stream.name)
        known = bookkeeping.columns_in_force(self._execute, stream.source, table)
        if loads and known != one.schema.columns:
            bookkeeping.write_columns(self._execute, stream.source, table, loads[-1].load_id, one.schema.columns)
        bookkeeping.write_positions(self._execute, stream.source, stream.name, one.plan.positions, one.plan.owners)
        return result

    def _incoming(self, title: str) -> str:
        """Return the name of this merge's incoming table, which no other merge has.

        A merge that lost its connection, and so the stream's lock, may still be copying: into a table of its own.
        """
        return f"{incoming_name(title)}_{self._execute('SELECT txid_current()', [])[0][0]}"

    def _drop_left(self, title: str) -> None:
        """Drop the incoming tables that crashed merges left, but for those that somebody still writes to."""
        import psycopg

        left = self._execute(
            """SELECT 'signalroom.' || relname FROM pg_class WHERE relnamespace = CAST('signalroom' AS regnamespace)
                AND relkind = 'r' AND starts_with('signalroom.' || relname, ?)""",
            [incoming_name(title)],
        )
        for (name,) in left:
            try:
                with self.connect().transaction():
                    self.connect().execute("SET LOCAL lock_timeout = '2s'")
                    session.execute(self.connect(), f"DROP TABLE IF EXISTS {name}", [])
            except psycopg.errors.LockNotAvailable:
                continue  # the next merge drops it

    @contextmanager
    def _staging(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Yield a private DuckDB that types and ranks one merge; what it spills is removed."""
        import duckdb

        with tempfile.TemporaryDirectory(prefix="signalroom-stage-") as spill, duckdb.connect() as duck:
            for name, value in {
                "TimeZone": "'UTC'", "memory_limit": f"'{self.memory_mb}MB'", "temp_directory": literal(spill),
            }.items():  # fmt: skip
                duck.execute(f"SET GLOBAL {name} = {value}")
            yield duck

    def run(self, sql: str) -> None:
        """Run statements of our own."""
        with self._reading() as connection, session.explained("run the statement"):
            statement: Any = sql
            connection.execute(statement)

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Run one SELECT with named parameters (``:name``) and return its rows."""
        with self.snapshot() as ask:
            return ask(sql, params)

    @contextmanager
    def snapshot(self) -> Generator[Ask]:
        """Yield a function whose SELECTs all see one moment, in a transaction that cannot write."""
        with self._reading() as connection, snapshot(connection, self.statement_timeout_s) as ask:
            yield ask

    @contextmanager
    def _reading(self) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
        """Yield a connection of its own, so that a reader never waits for a merge."""
        with self._opened() as connection:
            yield connection

    def _opened(self) -> psycopg.Connection[tuple[Any, ...]]:
        self.connect()
        return session.connect(self.url.reveal(), timeout_s=self.connect_timeout_s)

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
        with self._lock:
            stored = bookkeeping.stored_columns(self._execute, source, name)
            columns = [column for column in stored if column.name not in exclude]
            rows, digest = self._execute(checksum_sql(qualified(table), columns, "postgres"), [])[0]
        return f"{rows}:{int(digest):x}"

    def views(self) -> PostgresViews:
        """Return what keeps report views in this database."""
        from signalroom.warehouse.postgres_views import PostgresViews

        return PostgresViews(self._reading)

    def projections(self) -> PostgresProjections:
        """Return what keeps rows of an app's entities in this database."""
        from signalroom.warehouse.postgres_projections import PostgresProjections

        return PostgresProjections.of(self._kept.lend, self._typing.lend)

    def dbt_profile(self) -> Mapping[str, object]:
        """Return one output of a dbt profile that reaches this database."""
        from psycopg.conninfo import conninfo_to_dict

        parts = conninfo_to_dict(self.url.reveal())
        return {
            "type": "postgres", "host": parts.get("host", "localhost"), "port": int(parts.get("port") or 5432),
            "user": parts.get("user", ""), "password": parts.get("password") or "", "dbname": parts.get("dbname", ""),
            "schema": "main", "threads": self.connections,
            **({"sslmode": parts["sslmode"]} if "sslmode" in parts else {}),
        }  # fmt: skip

    def check(self) -> Sequence[str]:
        """Return each problem with the server, its settings or our rights as one sentence with its mend."""
        try:
            connection = self.connect()
            problems: list[str] = []
            if connection.info.server_version < _OLDEST * 10_000:
                problems += [f"Postgres {connection.info.server_version // 10_000} is too old. Use 13 or newer."]
            for name in ("fsync", "full_page_writes"):
                if self._execute(f"SHOW {name}", [])[0][0] != "on":
                    problems.append(
                        f"The server runs with {name} = off and may lose what it acknowledged. Set it to on."
                    )
            if self._execute("SELECT has_database_privilege(current_database(), 'CREATE')", [])[0][0] is not True:
                user = connection.info.user
                problems += [f"{user} may not create schemas. Run: GRANT CREATE ON DATABASE … TO {ident(user)}."]
        except SignalRoomError as problem:
            return [str(problem)]
        return problems

    def close(self) -> None:
        """Close the connections."""
        self._kept.close()
        self._typing.close()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
