"""What the leader kit costs an app, and how soon its relay has a change: ``python bench/leader.py [SECONDS]``.

Cost: transactions that update one row, two clients at once, with and without the kit, in turn. Latency: 100 writes a
second from just before the commit to the relay holding the changed row's version. The server is private and syncs.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from postgres_server import PostgresServer, binaries
from signalroom.projections.leader import Change, Leader
from signalroom.projections.leader_relay import Relay
from signalroom.workspace.projections import EntitySettings, ProjectionSettings, WatchSettings
from signalroom.workspace.settings import Secret

ROWS, ROUNDS, RATE = 10_000, 9, 100  # many short rounds: a machine that others use drifts
TABLES = f"""
create table bare (id int primary key, name text not null);
create table pages (id int primary key, name text not null);
insert into bare select g, 'Page ' || g from generate_series(1, {ROWS}) g;
insert into pages select g, 'Page ' || g from generate_series(1, {ROWS}) g;
vacuum analyze;
"""
UPDATE = f"\\set id random(1, {ROWS})\nupdate {{}} set name = 'Page ' || random() where id = :id;\n"


def installed(url: str, folder: Path) -> None:
    """Make the tables, and the kit on one of them."""
    with psycopg.connect(url, autocommit=True) as app:
        for statement in TABLES.strip().split(";\n"):
            app.execute(statement)
    (folder / "page.sql").write_text("select id, name from pages")
    page = EntitySettings("id", folder / "page.sql", "page", (WatchSettings("pages", "id"),))
    with Leader(url) as leader:
        leader.install(ProjectionSettings(Secret("env:LEADER_URL", url), {"page": page}))
        leader.drain(5000)


def transactions_per_s(url: str, folder: Path, table: str, seconds: float) -> float:
    """Return what pgbench reached with two clients."""
    script = folder / f"{table}.pgbench"
    script.write_text(UPDATE.format(table))
    program = binaries() / "pgbench"
    command = [program, "-n", "-c2", "-j2", "-M", "prepared", f"-T{max(1, round(seconds))}", "-f", script, url]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    return float(re.search(r"tps = ([\d.]+)", done.stdout)[1])


def relaying(stack: ExitStack, url: str, told) -> None:
    """Run a relay in a thread until the stack closes."""
    stop = threading.Event()
    running = threading.Thread(target=Relay(url).run, args=(stop, told))
    running.start()
    stack.callback(running.join)
    stack.callback(stop.set)


def cost(url: str, folder: Path, seconds: float) -> None:
    """Print transactions per second of each way, medians of the rounds taken in turn."""
    ways = ("without", "kit, no relay", "kit and relay", "kit, each write notifies")
    seen: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            with ExitStack() as stack:
                if way == "kit and relay":
                    relaying(stack, url, lambda _: None)
                elif way == "kit, each write notifies":
                    idle = stack.enter_context(Leader(url))
                    idle.connection.execute("select pg_advisory_lock(reporting_relay_lock())")
                seen[way].append(transactions_per_s(url, folder, "bare" if way == "without" else "pages", seconds))
            with Leader(url) as leader:
                leader.drain(5000)
                leader.connection.execute("vacuum analyze reporting_intentions, reporting_page, pages, bare")
    floor = statistics.median(seen["without"])
    for way, rates in seen.items():
        rate = statistics.median(rates)
        print(f"{way:28} {rate:7.0f} tps  {2000 / rate:5.2f} ms  {rate / floor:4.2f} of without")


def latency(url: str, seconds: float) -> None:
    """Print percentiles from just before the commit to the relay holding the version."""
    written: dict[str, int] = {}
    waited_ms: list[float] = []

    def told(changes: list[Change]) -> None:
        now = time.monotonic_ns()
        waited_ms.extend((now - written[one.entity_id]) / 1e6 for one in changes)

    with ExitStack() as stack, psycopg.connect(url, autocommit=True) as app:
        relaying(stack, url, told)
        due = time.monotonic()
        for number in range(int(RATE * seconds)):
            due += 1 / RATE
            time.sleep(max(0, due - time.monotonic()))
            page = number % ROWS + 1
            written[str(page)] = time.monotonic_ns()
            app.execute("update pages set name = %s where id = %s", [f"Page {number} at {due}", page])
        time.sleep(1)
    cuts = statistics.quantiles(waited_ms, n=100)
    print(
        f"{len(waited_ms)} changes at {RATE}/s: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, max {max(waited_ms):.1f} ms"
    )
    print("aim: p99 <= 5 ms:", "reached" if cuts[98] <= 5 else "NOT REACHED")


def main(seconds: float) -> None:
    """Run both on a server of their own."""
    with PostgresServer.started(fsync=True) as server, tempfile.TemporaryDirectory() as folder:
        url = server.create_database()
        installed(url, Path(folder))
        cost(url, Path(folder), seconds)
        latency(url, 10 * seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1)
