"""Report views on DuckDB: a table in the agency's schema, changed in one transaction.

A manifest's SQL never runs where the warehouse is. The rows it may see are read here, handed to a sealed process, and
what comes back is published. A canned report that is grouped is computed for all its agencies at once: by one query
that also groups by the agency, so that each row of the answer says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from signalroom.errors import DataError
from signalroom.failpoints import failpoint
from signalroom.view import AGENCY_COLUMN, CheckedQuery, Pending, Preview, Refreshed, ViewLimits
from signalroom.warehouse import view_parser, view_preview, view_state
from signalroom.warehouse.quoting import ident, qualified
from signalroom.warehouse.sealed import Answer, Sealed

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_WHOSE = "signalroom_agency"


class DuckDBViews:
    """The views of one DuckDB file; see :class:`signalroom.view.ViewStore`."""

    def __init__(
        self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]],
        turn: AbstractContextManager[Any],
    ) -> None:  # fmt: skip
        self._cursor = cursor
        self._turn = turn  # writers of one file take turns: DuckDB refuses the later of two that touch one schema
        with self._turn, self._cursor() as connection:
            for statement in view_state.DDL:
                connection.execute(statement)

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

    def refresh(self, pending: Sequence[Pending], limits: ViewLimits, *, together: bool) -> Sequence[Refreshed]:
        """Compute views and publish them in one transaction."""
        try:
            with ExitStack() as until_started:
                first = until_started.enter_context(Sealed(limits))  # starts while the rows are read
                tables = self._rows(pending, limits)
                until_started.pop_all()
            if together:
                made = self._compute_together(pending, tables, first)
            else:
                made = self._compute(pending, tables, limits, first)
            self._publish([(one, answer) for one, answer in made if isinstance(answer, Answer)])
        except DataError as problem:
            return [Refreshed(one.view, error=problem) for one in pending]
        return [
            Refreshed(one.view, error=answer) if isinstance(answer, DataError) else _measured(one, answer)
            for one, answer in made
        ]

    def preview(self, pending: Pending, limits: ViewLimits, *, samples: int) -> Preview:
        """Run a view's query in a sealed process and hold its rows against the view; nothing is written."""
        with ExitStack() as until_started:
            first = until_started.enter_context(Sealed(limits))
            tables = self._rows([pending], limits)
            until_started.pop_all()
        ((_, answer),) = self._compute([pending], tables, limits, first)
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

    def _rows(self, pending: Sequence[Pending], limits: ViewLimits) -> dict[str, pa.Table]:
        """Return the rows that the views' agencies may see, of the tables and columns it ask for."""
        import duckdb

        agencies = sorted({one.view.agency_id for one in pending})
        rows: dict[str, pa.Table] = {}
        with self._cursor() as connection:
            connection.begin()  # all tables at one moment
            try:
                for name in sorted({name for one in pending for name in one.query.tables}):
                    table, whose = qualified(limits.tables[name]), AGENCY_COLUMN
                    held = [str(row[0]) for row in connection.execute(f"DESCRIBE {table}").fetchall()]
                    wanted = _wanted(held, [one.query for one in pending], whose)
                    listed = ", ".join(ident(column) for column in wanted)
                    sql = f"SELECT {listed} FROM {table} WHERE {ident(whose)} IN (SELECT unnest(?))"
                    rows[name] = connection.sql(sql, params=[agencies]).to_arrow_table()
            except duckdb.Error as problem:
                said = str(problem).partition("\n")[0].rstrip(".")
                mend = f"[views] tables names warehouse tables that have a column {AGENCY_COLUMN}."
                raise DataError(f"A view's table cannot be read: {said}.", mend=mend) from problem
            finally:
                connection.rollback()
        return rows

    def _compute(
        self, pending: Sequence[Pending], tables: Mapping[str, pa.Table], limits: ViewLimits, first: Sealed
    ) -> list[tuple[Pending, Answer | DataError]]:
        """Return each view with its rows, or with what was wrong with its query."""
        made: list[tuple[Pending, Answer | DataError]] = []
        sealed = _filled(first, tables)
        try:
            for one in pending:
                if not sealed.alive:  # what breaks a limit takes its process with it
                    sealed.close()
                    sealed = _filled(Sealed(limits), tables)
                try:
                    made.append((one, sealed.ask(view_parser.write(one.query.tree))))
                except DataError as problem:
                    made.append((one, problem))
        finally:
            sealed.close()
        return made

    def _compute_together(
        self, pending: Sequence[Pending], tables: Mapping[str, pa.Table], first: Sealed
    ) -> list[tuple[Pending, Answer | DataError]]:
        tree = view_parser.for_all_agencies(pending[0].query.tree, AGENCY_COLUMN, _WHOSE)
        sealed = _filled(first, tables)
        try:
            answer = sealed.ask(view_parser.write(tree))
        except DataError as problem:
            return [(one, problem) for one in pending]
        finally:
            sealed.close()
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
        import duckdb

        failpoint("views.publish.before")
        try:
            with self._turn, self._cursor() as connection, _transaction(connection):
                shapes = _shapes(connection, [view_state.schema_of(one.view.agency_slug) for one, _ in made])
                for one, answer in made:
                    _replace(connection, one, answer, shapes)
                    view_state.write_state(_executing(connection), one, datetime.now(UTC))
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


def _wanted(held: Sequence[str], queries: Sequence[CheckedQuery], whose: str) -> list[str]:
    """Return the columns of a table that queries name, its agency's among them; all where one asks for whole rows."""
    if any(query.columns is None for query in queries):
        return list(held)
    named = {whose.lower(), *(name for query in queries for name in query.columns or ())}
    return [column for column in held if column.lower() in named]


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
    schema = view_state.schema_of(one.view.agency_slug)
    name = f"{ident(schema)}.{ident(one.view.name)}"
    connection.register("signalroom_view", answer.rows)
    new = [list(row[:2]) for row in connection.execute("DESCRIBE signalroom_view").fetchall()]
    if shapes.get((schema, one.view.name)) == new:
        connection.execute(f"DELETE FROM {name}")
        connection.execute(f"INSERT INTO {name} SELECT * FROM signalroom_view")
    else:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}")
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM signalroom_view")
    connection.unregister("signalroom_view")


def _columns(rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(row[0]), str(row[1])) for row in rows)


def _executing(connection: duckdb.DuckDBPyConnection) -> Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]:
    return lambda sql, params: connection.execute(sql, list(params)).fetchall()


def _measured(one: Pending, answer: Answer) -> Refreshed:
    return Refreshed(
        one.view, answer.rows.num_rows, answer.rows.nbytes, answer.seconds, round(answer.memory_bytes / 2**20),
        round(100 * answer.cpu_s / answer.seconds) if answer.seconds else None,
    )  # fmt: skip
