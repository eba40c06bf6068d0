"""Report views on DuckDB: a table in the agency's schema, changed in one transaction.

A manifest's SQL never runs where the warehouse is. The rows it may see are read here, handed to a sealed process, and
what comes back is published. A canned report that is grouped is computed for all its agencies at once: by one query
that also groups by the agency, so that each row of the answer says whose it is. Where its groups lie within a day, only
the days whose rows changed are read, computed and replaced (``duckdb_days``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from signalroom.errors import DataError, SignalRoomError
from signalroom.failpoints import failpoint
from signalroom.view import AGENCY_COLUMN, ManifestSet, Pending, Preview, Refreshed, ViewLimits
from signalroom.warehouse import (
    duckdb_days,
    duckdb_moves,
    duckdb_rows,
    view_moves,
    view_parser,
    view_preview,
    view_state,
)
from signalroom.warehouse.duckdb_days import Days
from signalroom.warehouse.quoting import ident
from signalroom.warehouse.sealed import Answer, Sealed
from signalroom.warehouse.view_turns import Turnstile

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_WHOSE = "signalroom_agency"


class DuckDBViews:
    """The views of one DuckDB file; see :class:`signalroom.view.ViewStore`."""

    def __init__(
        self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]],
        turn: AbstractContextManager[Any], refreshes: Turnstile,
    ) -> None:  # fmt: skip
        self._cursor = cursor
        self._turn = turn  # writers of one file take turns: DuckDB refuses the later of two that touch one schema
        self._refreshes = refreshes
        with self._turn, self._cursor() as connection:
            for statement in (*view_state.DDL, *duckdb_days.DDL, *view_moves.DDL):
                connection.execute(statement)

    @property
    def dialect(self) -> str:
        """``duckdb``."""
        return "duckdb"

    def turn(self, limit: int) -> AbstractContextManager[None]:
        """Return a context for so many refreshes at once; the file has one process, so its threads are all there is."""
        return self._refreshes.turn(limit)

    def parse(self, sql: str) -> Any:
        """Return the statements of ``sql`` as DuckDB's parser serializes them."""
        return view_parser.parse(sql)

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        """Return ``schema.table`` -> a text that changes whenever its rows may have."""
        with self._cursor() as connection:
            return view_state.versions(_executing(connection), tables)

    def states(self) -> Mapping[str, tuple[str, str]]:
        """Return view -> hash of the query and version of the inputs it was last computed from; only of those there."""
        with self._cursor() as connection:
            there = {
                row[0]
                for row in connection.execute(
                    "SELECT table_name FROM duckdb_tables() WHERE starts_with(schema_name, 'agency_')"
                ).fetchall()
            }
            found = view_state.states(_executing(connection))
        return {name: state for name, state in found.items() if name in there}

    def settle(self, manifests: ManifestSet, limits: ViewLimits) -> Mapping[str, SignalRoomError]:
        """Let the views of agencies whose slug changed follow them; return view -> why it cannot be refreshed."""
        del limits  # who may read them is whoever reads the file
        with self._cursor() as connection:
            moves = duckdb_moves.planned(connection, manifests)
        if not (moves.due or moves.noted):
            return moves.refused(manifests.views())
        with self._publishing() as connection:
            return duckdb_moves.settle(connection, manifests)

    def refresh(self, pending: Sequence[Pending], limits: ViewLimits, *, together: bool) -> Sequence[Refreshed]:
        """Compute views and publish them in one transaction."""
        began = time.monotonic()
        try:
            if together:
                return self._refresh_together(pending, limits)
            made = self._compute(pending, limits)
            self._publish([(one, answer) for one, answer, _ in made if isinstance(answer, Answer)])
        except DataError as problem:
            took = time.monotonic() - began
            return [Refreshed(one.view, error=problem, seconds=took) for one in pending]
        return [
            Refreshed(one.view, error=answer, seconds=took) if isinstance(answer, DataError) else _measured(one, answer)
            for one, answer, took in made
        ]

    def _refresh_together(self, pending: Sequence[Pending], limits: ViewLimits) -> list[Refreshed]:
        """Compute one report of several agencies: the days that changed, or all of it.

        Raises:
            DataError: The query failed; every view is as it was.
        """
        shapes = self._held(pending)
        with ExitStack() as until_read:
            connection = until_read.enter_context(duckdb_rows.reading(self._cursor))
            there = {one.view.name for one in pending if (_schema(one), one.view.name) in shapes}
            days = Days.of(connection, pending, limits, there)
            if days is not None and not days.whole and not days.changed.num_rows:
                until_read.close()
                return self._publish_days([(one, None) for one in pending], days)
            until_closed = until_read.enter_context(ExitStack())
            sealed = until_closed.enter_context(Sealed(limits))  # starts while the rows are read
            tables = (
                duckdb_rows.read_all(connection, pending, limits)
                if days is None
                else {pending[0].query.tables[0]: days.rows(connection)}
            )
            until_closed.pop_all()
        made = self._compute_together(pending, tables, sealed)
        if days is None:
            self._publish(made)
            return [_measured(one, answer) for one, answer in made]
        with self._cursor() as connection:
            partly = [(one, answer) for one, answer in made if one.view.name not in days.whole]
            reshaped = any(_reshaped(connection, one, answer, shapes) for one, answer in partly)
        if reshaped:
            return self._refresh_together([replace(one, anew=True) for one in pending], limits)  # somebody's hand
        return self._publish_days(made, days)

    def preview(self, pending: Pending, limits: ViewLimits, *, samples: int) -> Preview:
        """Run a view's query in a sealed process and hold its rows against the view; nothing is written."""
        ((_, answer, _),) = self._compute([pending], limits)
        if isinstance(answer, DataError):
            raise answer
        schema, name = view_state.schema_of(pending.view.agency_slug), pending.view.name
        with self._cursor() as connection:
            connection.register("signalroom_preview", answer.rows)
            shape = connection.execute("DESCRIBE signalroom_preview").fetchall()
            before = _shapes(connection, [schema]).get((schema, name), [])
            return view_preview.compare(
                _executing(connection), pending.view, (f"{ident(schema)}.{ident(name)}", _columns(before)),
                ("signalroom_preview", _columns(shape)), samples, answer.seconds,
            )  # fmt: skip

    def _held(self, pending: Sequence[Pending]) -> dict[tuple[str, str], list[Any]]:
        with self._cursor() as connection:
            return _shapes(connection, [_schema(one) for one in pending])

    def _compute(
        self, pending: Sequence[Pending], limits: ViewLimits
    ) -> list[tuple[Pending, Answer | DataError, float]]:
        """Return each view with its rows, or with what was wrong with its query, and the seconds until it was known."""
        made: list[tuple[Pending, Answer | DataError, float]] = []
        with ExitStack() as until_started:
            first = until_started.enter_context(Sealed(limits))  # starts while the rows are read
            with duckdb_rows.reading(self._cursor) as connection:
                tables = duckdb_rows.read_all(connection, pending, limits)
            until_started.pop_all()
        sealed = _filled(first, tables)
        try:
            for one in pending:
                if not sealed.alive:  # what breaks a limit takes its process with it
                    sealed.close()
                    sealed = _filled(Sealed(limits), tables)
                began = time.monotonic()
                try:
                    answer = sealed.ask(view_parser.write(one.query.tree))
                except DataError as problem:
                    answer = problem
                made.append((one, answer, time.monotonic() - began))
        finally:
            sealed.close()
        return made

    def _compute_together(
        self, pending: Sequence[Pending], tables: Mapping[str, pa.Table], first: Sealed
    ) -> list[tuple[Pending, Answer]]:
        """Return each view with the rows that are its agency's; raises DataError where the query fails."""
        tree = view_parser.for_all_agencies(pending[0].query.tree, AGENCY_COLUMN, _WHOSE)
        with _filled(first, tables) as sealed:
            answer = sealed.ask(view_parser.write(tree))
        with self._cursor() as connection:
            connection.register(_WHOSE, answer.rows)
            mine = f"SELECT * EXCLUDE ({_WHOSE}) FROM {_WHOSE} WHERE {_WHOSE}.{_WHOSE} = ?"
            return [
                (one, Answer(connection.sql(mine, params=[one.view.agency_id]).to_arrow_table(), answer.seconds,
                             answer.cpu_s, answer.memory_bytes))
                for one in pending
            ]  # fmt: skip

    def _publish(self, made: Sequence[tuple[Pending, Answer]]) -> None:
        """Change tables and their state in one transaction; readers see all of it or none."""
        with self._publishing() as connection:
            shapes = _shapes(connection, [_schema(one) for one, _ in made])
            for one, answer in made:
                _replace(connection, one, answer, shapes)
                view_state.write_state(_executing(connection), one, datetime.now(UTC))
            duckdb_days.forget(connection, [one.view.name for one, _ in made])

    def _publish_days(self, made: Sequence[tuple[Pending, Answer | None]], days: Days) -> list[Refreshed]:
        """Change the days that changed, likewise; with no answer there are none, and only the state is written."""
        refreshed: list[Refreshed] = []
        with self._publishing() as connection:
            shapes = _shapes(connection, [_schema(one) for one, _ in made])
            for one, answer in made:
                if answer is not None and one.view.name in days.whole:
                    _replace(connection, one, answer, shapes)
                elif answer is not None:
                    days.clear(connection, one, _place(one))
                    _insert(connection, one, answer)
                view_state.write_state(_executing(connection), one, datetime.now(UTC))
                held = connection.sql(f"SELECT * FROM {_place(one)}").to_arrow_table()
                refreshed.append(_counted(one, answer, held))
            days.write(connection)
        return refreshed

    @contextmanager
    def _publishing(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Yield a connection in a transaction that is committed at the end."""
        import duckdb

        failpoint("views.publish.before")
        try:
            with self._turn, self._cursor() as connection, _transaction(connection):
                yield connection
                failpoint("views.publish.commit")
        except duckdb.Error as problem:
            said = str(problem).partition("\n")[0].rstrip(".")
            raise DataError(
                f"A view's rows cannot be kept: {said}.", mend="Give each column its own name."
            ) from problem
        failpoint("views.publish.after")


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    connection.begin()
    committed = False
    try:
        yield
        connection.commit()
        committed = True
    finally:
        if not committed:
            connection.rollback()


def _filled(sealed: Sealed, tables: Mapping[str, pa.Table]) -> Sealed:
    """Return a process that holds the tables; it is closed where one of them does not fit."""
    with ExitStack() as until_filled:
        until_filled.enter_context(sealed)
        for name, rows in tables.items():
            sealed.give(name, rows)
        until_filled.pop_all()
    return sealed


def _shapes(connection: duckdb.DuckDBPyConnection, schemas: Sequence[str]) -> dict[tuple[str, str], list[Any]]:
    """Return (schema, table) -> its columns with their types; asked once for many views, since asking is dear."""
    sql = """SELECT schema_name, table_name, list([column_name, data_type] ORDER BY column_index)
        FROM duckdb_columns() WHERE schema_name IN (SELECT unnest(?)) GROUP BY ALL"""
    found = connection.execute(sql, [list(schemas)]).fetchall()
    return {(str(schema), str(table)): columns for schema, table, columns in found}


def _replace(
    connection: duckdb.DuckDBPyConnection, one: Pending, answer: Answer, shapes: Mapping[tuple[str, str], list[Any]]
) -> None:
    """Give a view's table these rows; only columns that changed make it another table, under the same name."""
    if not _reshaped(connection, one, answer, shapes):
        connection.execute(f"DELETE FROM {_place(one)}")
        _insert(connection, one, answer)
        return
    connection.register("signalroom_view", answer.rows)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(_schema(one))}")
    connection.execute(f"CREATE OR REPLACE TABLE {_place(one)} AS SELECT * FROM signalroom_view")
    connection.unregister("signalroom_view")


def _insert(connection: duckdb.DuckDBPyConnection, one: Pending, answer: Answer) -> None:
    connection.register("signalroom_view", answer.rows)
    connection.execute(f"INSERT INTO {_place(one)} SELECT * FROM signalroom_view")
    connection.unregister("signalroom_view")


def _reshaped(
    connection: duckdb.DuckDBPyConnection, one: Pending, answer: Answer, shapes: Mapping[tuple[str, str], list[Any]]
) -> bool:
    """Tell whether a view's table is not there, or has other columns than the answer."""
    connection.register("signalroom_view", answer.rows)
    new = [list(row[:2]) for row in connection.execute("DESCRIBE signalroom_view").fetchall()]
    connection.unregister("signalroom_view")
    return shapes.get((_schema(one), one.view.name)) != new


def _schema(one: Pending) -> str:
    return view_state.schema_of(one.view.agency_slug)


def _place(one: Pending) -> str:
    return f"{ident(_schema(one))}.{ident(one.view.name)}"


def _columns(rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(row[0]), str(row[1])) for row in rows)


def _executing(connection: duckdb.DuckDBPyConnection) -> Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]:
    return lambda sql, params: connection.execute(sql, list(params)).fetchall()


def _measured(one: Pending, answer: Answer) -> Refreshed:
    return Refreshed(
        one.view, answer.rows.num_rows, answer.rows.nbytes, answer.seconds, round(answer.memory_bytes / 2**20),
        round(100 * answer.cpu_s / answer.seconds) if answer.seconds else None,
    )  # fmt: skip


def _counted(one: Pending, answer: Answer | None, held: pa.Table) -> Refreshed:
    """Return what was measured of a view of which some days were computed, or none."""
    if answer is None:
        return Refreshed(one.view, held.num_rows, held.nbytes)
    return replace(_measured(one, answer), rows=held.num_rows, bytes=held.nbytes)
