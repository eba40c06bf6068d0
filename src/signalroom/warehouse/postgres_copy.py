"""Survivors from DuckDB to Postgres: DuckDB writes CSV in parallel, N connections COPY it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalroom.failpoints import failpoint
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.merge import Prepared
from signalroom.warehouse.postgres_apply import column_sql, incoming_columns
from signalroom.warehouse.quoting import ident, listed, literal

if TYPE_CHECKING:
    import duckdb
    import psycopg

_CHUNK_BYTES = 1 << 20


def make_incoming(prepared: Prepared, url: str, incoming: str, *, publish: bool, timeout_s: int) -> None:
    """Make the table that takes the survivors, empty.

    Committed before the load's transaction uses it, so several connections can write it; nobody else knows its name.
    One that is to become the table itself is logged and holds the stored columns only.
    """
    columns = incoming_columns(prepared, publish=publish)
    with session.connect(url, timeout_s=timeout_s) as admin, session.explained("make room for a load"):
        admin.execute("CREATE SCHEMA IF NOT EXISTS signalroom")
        shape = ", ".join(column_sql(column) for column in columns)
        session.execute(admin, f"DROP TABLE IF EXISTS {incoming}", [])
        session.execute(admin, f"CREATE {'' if publish else 'UNLOGGED '}TABLE {incoming} ({shape})", [])


def ship(
    duck: duckdb.DuckDBPyConnection, prepared: Prepared, url: str, incoming: str, *,
    publish: bool, connections: int, timeout_s: int,
) -> int:  # fmt: skip
    """Fill the incoming table with the survivors and return how many there are."""
    columns = incoming_columns(prepared, publish=publish)
    failpoint("warehouse.copy.begin")
    names = listed([column.name for column in columns])
    with tempfile.TemporaryDirectory(prefix="signalroom-copy-") as folder:
        write_csv(duck, f"SELECT {names} FROM ({prepared.survivors()})", Path(folder, "rows"))
        files = sorted(Path(folder, "rows").glob("*.csv"))
        with ThreadPoolExecutor(connections, "copy") as pool:
            shares = [files[n::connections] for n in range(connections)]
            counts = pool.map(lambda share: _send_files(url, incoming, names, share, timeout_s), shares)
            shipped = sum(counts)
    failpoint("warehouse.copy.end")
    return shipped


def write_csv(duck: duckdb.DuckDBPyConnection, select: str, folder: Path) -> None:
    """Write a SELECT as CSV files into a new folder; NULL is an empty field and an empty text is quoted."""
    folder.mkdir()
    duck.execute(f"""COPY ({select}) TO {literal(str(folder))} (FORMAT csv, HEADER false, NULLSTR '',
        PER_THREAD_OUTPUT true, FILE_EXTENSION 'csv', OVERWRITE_OR_IGNORE true)""")


def _send_files(url: str, table: str, names: str, files: Sequence[Path], timeout_s: int) -> int:
    if not files:
        return 0
    with session.connect(url, timeout_s=timeout_s, autocommit=False) as connection:
        return sum(send(connection, table, names, file) for file in files)


def send(connection: psycopg.Connection[tuple[Any, ...]], table: str, names: str, file: Path) -> int:
    """COPY one CSV file and return how many rows it had."""
    with session.explained(f"copy into {table}"), connection.cursor() as cursor:
        statement: Any = f"COPY {table} ({names}) FROM STDIN (FORMAT csv)"
        with cursor.copy(statement) as sink, file.open("rb") as rows:
            while chunk := rows.read(_CHUNK_BYTES):
                sink.write(chunk)
        return max(cursor.rowcount, 0)


def send_rejects(
    duck: duckdb.DuckDBPyConnection, connection: psycopg.Connection[tuple[Any, ...]], prepared: Prepared,
    source: str, stream: str,
) -> None:  # fmt: skip
    """COPY the stage's rejects into ``signalroom.rejects``, within the load's transaction."""
    name, table = prepared.stage.name, prepared.plan.table.name
    select = f"""SELECT p.load_id, {literal(source)}, {literal(stream)}, {literal(table)}, p.source_ref, r._row,
        r.column_name, r.value, r.reason, r.raw, p.part_name
        FROM {ident(name + "_rejects")} r JOIN {ident(name + "_parts")} p USING (_part)"""
    names = "load_id, source, stream, table_name, part, row_number, column_name, value, reason, raw, part_name"
    with tempfile.TemporaryDirectory(prefix="signalroom-rejects-") as folder:
        write_csv(duck, select, Path(folder, "rows"))
        for file in sorted(Path(folder, "rows").glob("*.csv")):
            send(connection, "signalroom.rejects", names, file)
