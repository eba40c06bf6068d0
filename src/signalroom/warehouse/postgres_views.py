"""Report views on Postgres: views that a role of the agency owns and that are never gone.

A grouped report that agencies share, or whose groups lie within a day, is a plain view of a table that holds it for all
of them (``postgres_shares``). Any other is a materialized view, refreshed by Postgres with its owner's rights, in an
operation that can change neither role nor settings: concurrently where its grouping names its rows, else built aside
and swapped in under its name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from signalroom.errors import SignalRoomError
from signalroom.failpoints import failpoint
from signalroom.view import ManifestSet, Pending, Preview, Refreshed, ViewLimits
from signalroom.warehouse import (
    postgres_changes,
    postgres_moves,
    postgres_preview,
    postgres_release,
    postgres_shares,
    view_moves,
    view_parser,
    view_state,
    view_turns,
)
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.postgres_cpu import Spent
from signalroom.warehouse.postgres_limits import bound_spill, limited
from signalroom.warehouse.postgres_roles import grant_reading, prepare, role_of, rows_of
from signalroom.warehouse.postgres_shares import Share, drop_unused, shares_beneath
from signalroom.warehouse.postgres_swap import Swap, exists, in_turns, kind_of
from signalroom.warehouse.quoting import ident, listed, literal
from signalroom.warehouse.shared_sql import SharedQuery, shared_query

if TYPE_CHECKING:
    import psycopg

_MADE = "SELECT 1 WHERE to_regclass('signalroom.view_agencies') IS NOT NULL"  # the last of them


class PostgresViews:
    """The views of one Postgres database; see :class:`signalroom.view.ViewStore`."""

    def __init__(self, connect: Callable[[], AbstractContextManager[psycopg.Connection[tuple[Any, ...]]]]) -> None:
        self._connect = connect
        with self._connect() as connection, session.explained("make the tables of views"):
            if not session.execute(connection, _MADE, []):
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(7347)")
                    made = (*view_state.DDL, *postgres_changes.DDL, *postgres_shares.DDL, *postgres_release.DDL,
                            *view_moves.DDL)  # fmt: skip
                    for statement in made:
                        session.execute(connection, statement, [])

    @property
    def dialect(self) -> str:
        """``postgres``."""
        return "postgres"

    def turn(self, limit: int) -> AbstractContextManager[None]:
        """Return a context for so many refreshes at once, of all processes that refresh in this database."""
        return view_turns.turn(self._connect, limit)

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
                    """SELECT relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
                        WHERE relkind IN ('m', 'v') AND starts_with(rolname, 'signalroom_agency_')"""
                ).fetchall()
            }
            found = view_state.states(partial(session.execute, connection))
        return {name: state for name, state in found.items() if name in there}

    def settle(self, manifests: ManifestSet, limits: ViewLimits) -> Mapping[str, SignalRoomError]:
        """Let the views of agencies whose slug changed follow them; return view -> why it cannot be refreshed."""
        with self._connect() as connection, session.explained("move the views of an agency"):
            return postgres_moves.settle(connection, manifests, limits)

    def refresh(self, pending: Sequence[Pending], limits: ViewLimits, *, together: bool) -> Sequence[Refreshed]:
        """Refresh views on one connection: those that ask the same by one query, the others one by one."""
        del together  # what can be asked for all agencies at once is seen from the query
        shares: dict[str, tuple[SharedQuery, list[Pending]]] = {}
        alone: list[Pending] = []
        done: list[Refreshed] = []
        with self._connect() as connection, session.explained("refresh views"):
            for one in pending:
                query = shared_query(one.query)
                if query is None or not (one.view.report_type == "canned" or _by_days(connection, query, limits)):
                    alone.append(one)
                else:
                    shares.setdefault(one.query.text, (query, []))[1].append(one)
            for query, asking in shares.values():
                began = time.monotonic()
                try:
                    done += Share(connection, asking, query, limits).refresh()
                except SignalRoomError as problem:
                    took = time.monotonic() - began
                    done += [Refreshed(one.view, error=problem, seconds=took) for one in asking]
            for one in alone:
                began = time.monotonic()
                try:
                    done.append(_One(connection, one, limits).refresh())
                except SignalRoomError as problem:
                    done.append(Refreshed(one.view, error=problem, seconds=time.monotonic() - began))
            if shares:
                postgres_changes.forget(connection)
        return done

    def preview(self, pending: Pending, limits: ViewLimits, *, samples: int) -> Preview:
        """Run a view's query as its agency, hold its rows against the view, and take all of it back."""
        with self._connect() as connection:
            return postgres_preview.preview(connection, pending, limits, samples)


def _by_days(connection: psycopg.Connection[tuple[Any, ...]], query: SharedQuery, limits: ViewLimits) -> bool:
    """Tell whether the groups of a query lie within a day each."""
    table = limits.tables[query.table]
    return any(postgres_changes.holds_days(connection, table, column) for column, _ in query.days)


class _One:
    """One materialized view on one connection."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], one: Pending, limits: ViewLimits) -> None:
        self._connection, self._one, self._limits = connection, one, limits
        slug = one.view.agency_slug
        self._schema, self._role = view_state.schema_of(slug), role_of(slug)
        mark = hashlib.sha256(one.view.name.encode()).hexdigest()[:16]
        self._aside = f"signalroom_next_{mark}"
        self._name, self._next = (f"{ident(self._schema)}.{ident(name)}" for name in (one.view.name, self._aside))

    def refresh(self) -> Refreshed:
        """Bring the view to its query and its inputs, and return what it holds."""
        spent = Spent(self._connection)
        view = self._one.view
        prepare(self._connection, view.agency_id, view.agency_slug, self._limits)
        failpoint("views.publish.before")
        with session.explained(f"refresh {view.name}"):
            states = view_state.states(partial(session.execute, self._connection))
            there = exists(self._connection, self._schema, view.name)
            same = there and states.get(view.name, ("", ""))[0] == view.query_hash
            past = postgres_release.past_beneath(partial(session.execute, self._connection), self._name)
            if same and not past and self._is_refreshed_concurrently():
                with limited(self._connection, self._limits):
                    bound_spill(self._connection, self._limits)
                    self._run(f"REFRESH MATERIALIZED VIEW CONCURRENTLY {self._name}")
                    self._record()
                    failpoint("views.publish.commit")
            else:
                beneath = shares_beneath(self._connection, self._name)
                self._build_aside()
                in_turns(self._connection, self._swap)
                for name in beneath:
                    drop_unused(self._connection, name)
                for barrier in past:
                    self._drop_past(barrier)
            failpoint("views.publish.after")
            size = f"SELECT count(*), pg_relation_size({literal(self._name)}) FROM {self._name}"
            rows, held = session.execute(self._connection, size, [])[0]
        seconds, cpu = spent.so_far()
        return Refreshed(view, int(rows), int(held), seconds, cpu_percent=cpu)

    def _drop_past(self, barrier: str) -> None:
        """Drop a barrier view that stepped aside, unless another view of the agency stands on it still."""
        import psycopg

        with suppress(psycopg.errors.DependentObjectsStillExist), self._connection.transaction():
            self._connection.execute(f"DROP VIEW IF EXISTS {barrier}".encode())

    def _build_aside(self) -> None:
        with limited(self._connection, self._limits):
            if exists(self._connection, self._schema, self._aside):
                self._run(f"DROP {kind_of(self._connection, self._next)} {self._next}")
            self._run(f"SET LOCAL search_path = {rows_of(self._one.view.agency_slug)}")
            self._run(f"SET LOCAL ROLE {ident(self._role)}")
            with self._connection.pipeline():  # the extended protocol: one statement, whatever the text holds
                self._run(f"CREATE MATERIALIZED VIEW {self._next} AS\n{self._one.query.text}\nWITH NO DATA")
            self._run("RESET ROLE")
            bound_spill(self._connection, self._limits)
            # Only now does the query run: as its owner, and restricted, which creating it would not be everywhere.
            self._run(f"REFRESH MATERIALIZED VIEW {self._next}")
            self._index_keys()
            grant_reading(self._connection, self._one.view.agency_slug, self._next)

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
        Swap(self._connection, self._schema, self._one.view.name, self._aside, self._role).run()
        self._record()
        failpoint("views.publish.commit")

    def _record(self) -> None:
        view_state.write_state(partial(session.execute, self._connection), self._one, datetime.now(UTC))

    def _is_refreshed_concurrently(self) -> bool:
        sql = """SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
            WHERE c.oid = CAST(? AS regclass) AND relkind = 'm' AND indisunique AND indpred IS NULL"""
        return bool(session.execute(self._connection, sql, [self._name])[0][0])

    def _run(self, sql: str) -> None:
        session.execute(self._connection, sql, [])
