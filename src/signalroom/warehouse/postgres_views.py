"""Report views on Postgres: materialized views that a role of the agency owns and that are never gone.

Postgres refreshes a materialized view with its owner's rights, in an operation that can change neither role nor
settings. The owner is a role that cannot log in and may read one thing: barrier views of the agency's rows. A view is
refreshed concurrently where its grouping names its rows, else built aside and swapped in under its name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError
from signalroom.failpoints import failpoint
from signalroom.view import Pending, Refreshed, ViewLimits
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse import view_parser, view_state
from signalroom.warehouse.postgres_roles import prepare, role_of, rows_of
from signalroom.warehouse.postgres_swap import Swap, exists
from signalroom.warehouse.quoting import ident, listed, literal

if TYPE_CHECKING:
    import psycopg

_SWAP_ATTEMPTS = 20
_SWAP_LOCK_MS = 250


class PostgresViews:
    """The views of one Postgres database; see :class:`signalroom.view.ViewStore`."""

    def __init__(self, connect: Callable[[], AbstractContextManager[psycopg.Connection[tuple[Any, ...]]]]) -> None:
        self._connect = connect
        with self._connect() as connection, session.explained("make the tables of views"):
            if not exists(connection, "signalroom", "views"):
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(7347)")
                    for statement in view_state.DDL:
                        session.execute(connection, statement, [])

    def parse(self, sql: str) -> Any:
        """Return the statements of ``sql`` as DuckDB's parser serializes them; what differs, the guard refuses."""
        return view_parser.parse(sql)

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        """Return ``schema.table`` -> a text that changes whenever its rows may have."""
        with self._connect() as connection, session.explained("read what is loaded"):
            return view_state.versions(partial(session.execute, connection), tables)

    def states(self) -> Mapping[str, tuple[str, str]]:
        """Return view -> hash of the query and version of the inputs it was last computed from; only of those there."""
        with self._connect() as connection, session.explained("read the state of views"):
            there = {
                row[0]
                for row in connection.execute(
                    "SELECT matviewname FROM pg_matviews WHERE starts_with(schemaname, 'agency_')"
                ).fetchall()
            }
            found = view_state.states(partial(session.execute, connection))
        return {name: state for name, state in found.items() if name in there}

    def refresh(self, pending: Sequence[Pending], limits: ViewLimits, *, together: bool) -> Sequence[Refreshed]:
        """Refresh views one by one on one connection; Postgres cannot refresh two by one query."""
        del together
        done: list[Refreshed] = []
        with self._connect() as connection:
            for one in pending:
                try:
                    done.append(_One(connection, one, limits).refresh())
                except SignalRoomError as problem:
                    done.append(Refreshed(one.view, error=problem))
        return done


class _One:
    """One view on one connection."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], one: Pending, limits: ViewLimits) -> None:
        self._connection, self._one, self._limits = connection, one, limits
        slug = one.view.agency_slug
        self._schema, self._role = view_state.schema_of(slug), role_of(slug)
        mark = hashlib.sha256(one.view.name.encode()).hexdigest()[:16]
        self._aside = f"signalroom_next_{mark}"
        self._name, self._next = (f"{ident(self._schema)}.{ident(name)}" for name in (one.view.name, self._aside))

    def refresh(self) -> Refreshed:
        """Bring the view to its query and its inputs, and return what it holds."""
        began = time.monotonic()
        view = self._one.view
        prepare(self._connection, view.agency_id, view.agency_slug, self._limits.tables)
        failpoint("views.publish.before")
        with session.explained(f"refresh {view.name}"):
            states = view_state.states(partial(session.execute, self._connection))
            there = exists(self._connection, self._schema, view.name)
            same = there and states.get(view.name, ("", ""))[0] == view.query_hash
            if same and self._has_unique_index():
                with self._limited():
                    self._run(f"REFRESH MATERIALIZED VIEW CONCURRENTLY {self._name}")
                    self._record()
            else:
                self._build_aside()
                self._swap()
            failpoint("views.publish.after")
            size = f"SELECT count(*), pg_relation_size({literal(self._name)}) FROM {self._name}"
            rows, held = session.execute(self._connection, size, [])[0]
        return Refreshed(view, int(rows), int(held), time.monotonic() - began)

    def _build_aside(self) -> None:
        with self._limited() as connection:
            self._run(f"DROP MATERIALIZED VIEW IF EXISTS {self._next}")
            self._run(f"SET LOCAL search_path = {rows_of(self._one.view.agency_slug)}")
            self._run(f"SET LOCAL ROLE {ident(self._role)}")
            with connection.pipeline():  # the extended protocol: one statement, whatever the text holds
                self._run(f"CREATE MATERIALIZED VIEW {self._next} AS\n{self._one.query.text}\nWITH NO DATA")
            self._run("RESET ROLE")
            # Only now does the query run: as its owner, and restricted, which creating it would not be everywhere.
            self._run(f"REFRESH MATERIALIZED VIEW {self._next}")
            self._index_keys()

    def _index_keys(self) -> None:
        """Give the view the index that a concurrent refresh needs, where its grouping says what names a row."""
        import psycopg

        if self._one.query.keys:
            try:
                with self._connection.transaction():
                    self._run(f"CREATE UNIQUE INDEX ON {self._next} ({listed(self._one.query.keys)})")
            except (psycopg.errors.UniqueViolation, psycopg.errors.UndefinedColumn):
                return  # the keys were read off the SQL, and are none: it is swapped instead

    def _swap(self) -> None:
        """Put the view built aside under its public name; readers and waiters are never held up for long."""
        swap = Swap(self._connection, self._schema, self._one.view.name, self._aside, self._role)
        for attempt in range(1, _SWAP_ATTEMPTS + 1):
            try:
                with self._connection.transaction():
                    self._run(f"SET LOCAL lock_timeout = {_SWAP_LOCK_MS}")
                    swap.run()
                    self._record()
                    failpoint("views.publish.commit")
            except RetryableError:
                if attempt == _SWAP_ATTEMPTS:
                    raise
            else:
                return

    def _record(self) -> None:
        view_state.write_state(partial(session.execute, self._connection), self._one, datetime.now(UTC))

    def _has_unique_index(self) -> bool:
        sql = "SELECT count(*) FROM pg_index WHERE indrelid = CAST(? AS regclass) AND indisunique AND indpred IS NULL"
        return bool(session.execute(self._connection, sql, [self._name])[0][0])

    @contextmanager
    def _limited(self) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
        """Yield a transaction in which a query may take so long and no longer."""
        import psycopg

        try:
            with self._connection.transaction():
                self._run(f"SET LOCAL statement_timeout = '{self._limits.timeout_s}s'")
                self._run(f"SET LOCAL timezone = {literal(self._limits.zone)}")
                self._run("SET LOCAL standard_conforming_strings = on")
                yield self._connection
        except psycopg.errors.QueryCanceled as problem:
            raise DataError(
                f"The query took longer than {self._limits.timeout_s} s.",
                mend="Build a model for what it adds up, or raise [views] timeout_s.",
            ) from problem
        except psycopg.errors.InsufficientPrivilege as problem:
            said = (problem.diag.message_primary or "it may not").rstrip(".")
            raise ConfigError(
                f"The query reads what is not its agency's: {said}.", mend="Read the tables of [views] only."
            ) from problem

    def _run(self, sql: str) -> None:
        statement: Any = sql
        self._connection.execute(statement)
