"""Captured changes into a table: how many a second a resident process merges, and what a small load costs.

``python bench/changes.py [--loads N] [--rows N] [--only duckdb postgres]``. Each load is one Parquet part of about 64 MB
before compression with 20 columns, a third inserts and the rest updates of known keys; one update in five leaves a large
value out. Both warehouses merge the same loads; their tables are compared. Postgres is a private cluster, with fsync on,
started and stopped here.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import pyarrow as pa

from handmade_loads import Loads
from postgres_server import PostgresServer
from signalroom.stream import Batch, Column, Stream, Table
from signalroom.warehouse.base import Warehouse
from signalroom.warehouse.duckdb import DuckDBWarehouse
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret

AIM_CHANGES_S, AIM_SMALL_MS = 50_000, 200
SMALL_ROWS, SMALL_LOADS = 1_000, 15
COLUMNS = (
    Column("id", "bigint"),
    *(Column(f"n{n}", "bigint") for n in range(5)),
    *(Column(f"amount{n}", "decimal(18,2)") for n in range(3)),
    *(Column(f"t{n}", "text") for n in range(5)),
    *(Column(f"at{n}", "timestamptz") for n in range(2)),
    Column("day", "date"),
    *(Column(f"flag{n}", "boolean") for n in range(2)),
    Column("story", "text"),
)


class Source:
    """A table that changes: it hands out batches of changes, each with its place in the stream."""

    def __init__(self) -> None:
        """Begin with no row."""
        self._random, self._keys, self._seq = np.random.default_rng(7), 0, 0

    def changes(self, rows: int) -> pa.Table:
        """Return the next ``rows`` changes: inserts of new keys and updates of known ones."""
        random = self._random
        inserts = rows if not self._keys else rows // 3
        new = np.arange(self._keys, self._keys + inserts)
        known = random.integers(0, self._keys or 1, rows - inserts)
        keys = random.permutation(np.concatenate([new, known]))
        self._keys += inserts
        whole = (keys >= self._keys - inserts) | (random.random(rows) < 0.8)
        values: dict[str, pa.Array] = {}
        words = pa.array(
            [f"{word} {n}" for n in range(200) for word in ("Ada", "Grace", "Edsger", "Barbara", "Donald")]
        )
        for column in COLUMNS:
            drawn = random.integers(0, 1_000_000, rows)
            if column.name == "id":
                values["id"] = pa.array(keys)
            elif column.type == "bigint":
                values[column.name] = pa.array(drawn)
            elif column.type.startswith("decimal"):
                values[column.name] = pa.array(drawn).cast(pa.decimal128(20, 0)).cast(pa.decimal128(18, 2), safe=False)
            elif column.type == "timestamptz":
                values[column.name] = pa.array(drawn * 1_000_000 + 1_790_000_000_000_000, pa.timestamp("us", "UTC"))
            elif column.type == "date":
                values[column.name] = pa.array((drawn % 700 + 20_000).astype("int32"), pa.date32())
            elif column.type == "boolean":
                values[column.name] = pa.array(drawn % 2 == 0)
            elif column.name == "story":
                texts = words.take(pa.array(drawn % 1000))
                values["story"] = pa.compute.if_else(pa.array(whole), texts, pa.scalar(None, pa.string()))
            else:
                values[column.name] = words.take(pa.array(drawn % 1000))
        values["_op"] = pa.array(["upsert"] * rows)
        values["_seq"] = pa.array(np.arange(self._seq, self._seq + rows))
        left_out = pa.array(np.where(whole, 0, 1)).cast(pa.int32())
        offsets = pa.array(np.concatenate([[0], np.cumsum(left_out)]).astype("int32"))
        values["_unset"] = pa.ListArray.from_arrays(offsets, pa.array(["story"] * int(offsets[-1].as_py())))
        self._seq += rows
        return pa.table(values)


def warehouses(names: list[str], stack: ExitStack) -> Iterator[tuple[str, Warehouse]]:
    """Yield each warehouse that is asked for, empty."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signalroom-changes-")))
    if "duckdb" in names:
        yield "duckdb", DuckDBWarehouse(path=str(folder / "warehouse.duckdb"))
    if "postgres" in names:
        server = stack.enter_context(PostgresServer.started(fsync=True, shared_buffers="512MB", max_wal_size="4GB"))
        yield "postgres", PostgresWarehouse(url=Secret("env:WAREHOUSE_URL", server.create_database()))


def measure(
    warehouse: Warehouse, folder: Path, loads: int, rows: int
) -> tuple[list[float], list[float], list[float], str]:
    """Return the seconds of each large and each small merge, those of CPU in this process, and the table's checksum."""
    source, lake = Source(), Loads(folder)
    stream = Stream("app", "wal", (Table("pages", COLUMNS, ("id",), ("_seq",), "merge"),))
    taken: list[float] = []
    cpu: list[float] = []
    for size in [rows] * loads + [SMALL_ROWS] * SMALL_LOADS:
        load = lake.add(stream, Batch("pages", source.changes(size), source_ref="wal"))
        began, used = time.perf_counter(), time.process_time()
        warehouse.merge(stream, [load], lake)
        taken.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
        lake.local(load, load.parts[0]).unlink()
    return taken[:loads], taken[loads:], cpu, warehouse.checksum("app.pages", exclude=("_load_id",))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=8)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--only", nargs="*", default=["duckdb", "postgres"])
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"{options.loads} loads of {options.rows:,} changes x {len(COLUMNS)} columns, {SMALL_LOADS} of {SMALL_ROWS:,}"
    )
    sums: set[str] = set()
    with ExitStack() as stack:
        for name, warehouse in warehouses(options.only, stack):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signalroom-changes-")))
            large, small, cpu, checksum = measure(warehouse, folder, options.loads, options.rows)
            sums.add(checksum)
            warehouse.close()
            rate = options.rows * (len(large) - 1) / sum(large[1:])
            each = " ".join(f"{seconds:.2f}" for seconds in large)
            print(f"{name}: {each} s")
            here_s, small_ms = sum(cpu[1 : len(large)]), statistics.median(cpu[len(large) :]) * 1000
            changes = options.rows * (len(large) - 1)
            print(
                f"{name}: {changes / here_s:,.0f} changes per CPU second of this process; a small load {small_ms:.0f} ms"
            )
            verdict(f"{name}, changes/s after the first load", rate, AIM_CHANGES_S, most=False)
            verdict(f"{name}, ms for {SMALL_ROWS:,} changes", statistics.median(small) * 1000, AIM_SMALL_MS, most=True)
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name}, peak memory so far {peak_mb:,.0f} MB")
    print("the tables are equal" if len(sums) == 1 else f"THE TABLES DIFFER: {sorted(sums)}")


def verdict(what: str, figure: float, aim: float, *, most: bool) -> None:
    """Print one figure beside its aim."""
    reached = figure <= aim if most else figure >= aim
    print(f"{what:45} {figure:12,.0f}  aim {'<=' if most else '>='} {aim:,}  {'reached' if reached else 'NOT REACHED'}")


if __name__ == "__main__":
    main()
