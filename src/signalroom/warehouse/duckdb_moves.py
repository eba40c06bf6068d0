"""An agency's views on DuckDB follow it to the schema of its new slug, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError
from signalroom.view import ManifestSet
from signalroom.warehouse import duckdb_days
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.quoting import ident
from signalroom.warehouse.view_moves import Move, Moves, moves_of, write_slugs
from signalroom.warehouse.view_state import schema_of

if TYPE_CHECKING:
    import duckdb

_TABLES = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ? AND database_name = current_database()"
_LEFT = """SELECT (SELECT count(*) FROM duckdb_tables() WHERE schema_name = ?)
    + (SELECT count(*) FROM duckdb_views() WHERE schema_name = ?)"""


def planned(connection: duckdb.DuckDBPyConnection, manifests: ManifestSet) -> Moves:
    """Return what has to move or to be noted."""
    rows = _executing(connection)("SELECT DISTINCT schema_name FROM duckdb_tables()", [])
    return moves_of(_executing(connection), manifests, {str(row[0]) for row in rows})


def settle(connection: duckdb.DuckDBPyConnection, manifests: ManifestSet) -> dict[str, ConfigError]:
    """Move what has to, inside a transaction; return view -> why it cannot be refreshed.

    DuckDB renames no schema, so tables are made again where they belong; a view that somebody made in the schema stays.
    """
    moves = planned(connection, manifests)
    parked = [(one, name) for one in moves.due for name in _tables(connection, one.before)]
    for number, (move, name) in enumerate(parked):  # all are taken out before any is put down: slugs may be exchanged
        place = f"{ident(schema_of(move.before))}.{ident(name)}"
        connection.execute(f"CREATE TEMP TABLE signalroom_moving_{number} AS SELECT * FROM {place}")
        connection.execute(f"DROP TABLE {place}")
    for number, (move, name) in enumerate(parked):
        schema, after = ident(schema_of(move.after)), dict(move.names).get(name, name)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        connection.execute(f"CREATE TABLE {schema}.{ident(after)} AS SELECT * FROM temp.signalroom_moving_{number}")
        connection.execute(f"DROP TABLE temp.signalroom_moving_{number}")
    for move in moves.due:
        _drop_empty(connection, move)
    write_slugs(_executing(connection), moves)
    duckdb_days.forget(connection, [name for move in moves.due for names in move.names for name in names])
    return moves.refused(manifests.views())


def _drop_empty(connection: duckdb.DuckDBPyConnection, move: Move) -> None:
    schema = schema_of(move.before)
    if _executing(connection)(_LEFT, [schema, schema])[0][0] == 0:
        connection.execute(f"DROP SCHEMA IF EXISTS {ident(schema)}")


def _tables(connection: duckdb.DuckDBPyConnection, slug: str) -> list[str]:
    return [str(row[0]) for row in _executing(connection)(_TABLES, [schema_of(slug)])]


def _executing(connection: duckdb.DuckDBPyConnection) -> Execute:
    def execute(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        return connection.execute(sql, list(params)).fetchall()

    return execute
