"""How soon a captured change is in the warehouse: ``python bench/visible.py [--seconds S] [--rate N] [--only duckdb postgres]``.

An app's database that syncs each commit, and the loop of `signalroom up` that follows a `postgres_cdc` source. pgbench
inserts transactions of ten rows into a table that begins with 100,000; each row carries the moment of its statement,
and its latency ends when the warehouse has committed it. Aim: p99 at most 2 s at 1,000 changes a second.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from postgres_server import PostgresServer, binaries
from signalroom.engine.following import Following
from signalroom.room import Room
from signalroom.workspace.workspace import Workspace

AIM_P99_S, KNOWN_ROWS, AT_ONCE = 2.0, 100_000, 10
COLUMNS = (
    ", ".join(f"n{n} bigint DEFAULT {n}" for n in range(6))
    + ", "
    + ", ".join(f"t{n} text DEFAULT 'what a text of a row may be'" for n in range(6))
)
TABLE = f"CREATE TABLE hot (id bigserial PRIMARY KEY, name text, written_at double precision, {COLUMNS})"
FILL = "INSERT INTO hot (name, written_at) SELECT 'row ' || g, 0 FROM generate_series(1, {}) g"
INSERT = f"""INSERT INTO hot (name, written_at)
    SELECT 'row ' || g, extract(epoch FROM clock_timestamp()) FROM generate_series(1, {AT_ONCE}) g;
""".replace("\n   ", "")
TOML = """
name = "bench"
timezone = "UTC"
[sources.app]
kind = "postgres_cdc"
url = "env:APP_URL"
slot = "visible_{}"
[sources.app.tables.hot]
"""
WAREHOUSE = '[warehouse]\nkind = "postgres"\nurl = "env:WAREHOUSE_URL"\n'


@dataclass(slots=True)
class Arrivals:
    """How old each row was when the warehouse had committed it, and what the merges took."""

    waited_s: list[float] = field(default_factory=list)
    merges_s: list[float] = field(default_factory=list)

    @contextmanager
    def noted(self, warehouse: Any) -> Iterator[None]:
        """Look at what a warehouse merges for as long as the block lasts."""
        kind, merge = type(warehouse), type(warehouse).merge

        def watched(self_: Any, stream: Any, loads: Any, *more: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = merge(self_, stream, loads, *more, **named)
            now = time.time()
            self.merges_s.append(time.perf_counter() - began)
            for load_id in result.load_ids:
                asked = "SELECT written_at FROM app.hot WHERE _load_id = :load AND written_at > 0"
                written = self_.query(asked, {"load": load_id})["written_at"].to_pylist()
                self.waited_s += [now - moment for moment in written]
            return result

        kind.merge = watched
        try:
            yield
        finally:
            kind.merge = merge


def measure(room: Room, url: str, folder: Path, rate: int, seconds: int) -> None:
    """Print percentiles from an app's statement to the warehouse's commit."""
    script = folder / "insert.pgbench"
    script.write_text(INSERT)
    arrivals = Arrivals()
    known = int(scalar(url, "SELECT count(*) FROM hot"))
    with Following(room) as following:
        until(room, lambda: in_warehouse(room) == known)  # the snapshot
        with arrivals.noted(room.warehouse):
            command = [binaries() / "pgbench", "-n", "-c2", "-M", "prepared", f"-T{seconds}", f"-R{rate // AT_ONCE}"]
            words = [str(word) for word in (*command, "-f", script, url)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            written = int(scalar(url, "SELECT count(*) FROM hot")) - known
            until(room, lambda: len(arrivals.waited_s) == written)
        problems = following.loops.problems()
    reached = float(re.search(r"tps = ([\d.]+)", done.stdout)[1]) * AT_ONCE
    cuts = statistics.quantiles(arrivals.waited_s, n=100)
    verdict = "reached" if cuts[98] <= AIM_P99_S else "NOT REACHED"
    print(
        f"{room.workspace.warehouse.kind} at {rate:,} changes/s ({reached:,.0f} reached): {written:,} rows in "
        f"{len(arrivals.merges_s)} merges of {statistics.median(arrivals.merges_s) * 1000:.0f} ms, p50 {cuts[49]:.2f} s, "
        f"p99 {cuts[98]:.2f} s, aim {AIM_P99_S} s: {verdict} {problems or ''}",
        flush=True,
    )


def scalar(url: str, sql: str) -> Any:
    """Return what one statement answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql).fetchone()[0]


def in_warehouse(room: Room) -> int:
    """Return how many rows the warehouse has; none before the table is there."""
    if not room.warehouse.merged("app", "changes"):
        return 0
    return room.warehouse.query("SELECT count(*) AS n FROM app.hot")["n"][0].as_py()


def until(room: Room, true: Any) -> None:
    """Wait until something is so, two minutes at most."""
    for _ in range(2_400):
        if true():
            return
        room.clock.sleep(0.05)
    raise SystemExit("What was written did not all arrive within two minutes.")


def main() -> None:
    """Follow an app into each warehouse and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--only", nargs="*", default=["duckdb", "postgres"])
    asked = parser.parse_args()
    with PostgresServer.started(fsync=True, shared_buffers="256MB", max_wal_size="4GB") as server:
        for kind in asked.only:
            url = server.create_database()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(TABLE)
                connection.execute(FILL.format(KNOWN_ROWS))
            with tempfile.TemporaryDirectory(prefix="signalroom-visible-") as name:
                folder = Path(name)
                (folder / "signalroom.toml").write_text(TOML.format(kind) + (WAREHOUSE if kind == "postgres" else ""))
                environ = {**os.environ, "APP_URL": url}
                if kind == "postgres":
                    environ["WAREHOUSE_URL"] = server.create_database()
                with Room(Workspace.load(folder, environ)) as room:
                    for part in (room.ledger, room.lake, room.warehouse):
                        del part
                    measure(room, url, folder, asked.rate, asked.seconds)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
