"""The rows of a DuckDB file that views may see: read here, at one moment, for a process that sees nothing else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeAlias

from signalroom.errors import DataError
from signalroom.view import AGENCY_COLUMN, CheckedQuery, Pending, ViewLimits
from signalroom.warehouse.quoting import ident, qualified

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Cursor: TypeAlias = "Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]"
"""Opens a connection of one's own to the file."""


@contextmanager
def reading(cursor: Cursor) -> Generator[duckdb.DuckDBPyConnection]:
    """Yield a connection that sees one moment; raises DataError for a table that is not there or says not whose."""
    import duckdb

    with cursor() as connection:
        connection.begin()
        try:
            yield connection
        except duckdb.Error as problem:
            said = str(problem).partition("\n")[0].rstrip(".")
            mend = f"[views] tables names warehouse tables that have a column {AGENCY_COLUMN}."
            raise DataError(f"A view's table cannot be read: {said}.", mend=mend) from problem
        finally:
            connection.rollback()


def wanted(connection: duckdb.DuckDBPyConnection, table: str, queries: Sequence[CheckedQuery]) -> dict[str, str]:
    """Return column -> type of what queries name of ``schema.table``, whose a row is among it; all for whole rows."""
    rows = connection.execute(f"DESCRIBE {qualified(table)}").fetchall()
    held = {str(row[0]): str(row[1]) for row in rows}
    if any(query.columns is None for query in queries):
        return held
    named = {AGENCY_COLUMN, *(name for query in queries for name in query.columns or ())}
    return {column: kind for column, kind in held.items() if column.lower() in named}


def read_all(
    connection: duckdb.DuckDBPyConnection, pending: Sequence[Pending], limits: ViewLimits
) -> dict[str, pa.Table]:
    """Return the rows of the views' agencies, of the tables and columns that their queries ask for."""
    agencies = sorted({one.view.agency_id for one in pending})
    rows: dict[str, pa.Table] = {}
    for name in sorted({name for one in pending for name in one.query.tables}):
        columns = ", ".join(map(ident, wanted(connection, limits.tables[name], [one.query for one in pending])))
        whose = f"{ident(AGENCY_COLUMN)} IN (SELECT unnest(?))"
        sql = f"SELECT {columns} FROM {qualified(limits.tables[name])} WHERE {whose}"
        rows[name] = connection.sql(sql, params=[agencies]).to_arrow_table()
    return rows
