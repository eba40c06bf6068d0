"""How soon and how fast an app's rows are in the warehouse: ``python bench/projections.py [--seconds S] [--rows N]``.

An app's database that syncs each commit, its streaming standby, and what `signalroom up` runs beside its worker: relay,
listener, puller, sweep. A table of N rows is copied, and copied anew, and its checksums are compared. Then pgbench
updates single rows at 100 and at 500 commits a second; each row carries the moment of its statement, and its latency
ends when the warehouse has committed it. Last, the relay alone at 100 writes a second. Aims: 60 s for 1 M rows; p50
100 ms, p99 1 s.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import leader as relay_bench

from postgres_server import PostgresServer, binaries
from signalroom.engine.following import Following, follower, projection
from signalroom.projections.leader import Leader
from signalroom.room import Room
from signalroom.simulators.private_postgres import PrivatePostgres
from signalroom.warehouse.duckdb_projections import DuckDBProjections
from signalroom.warehouse.postgres_projections import PostgresProjections
from signalroom.workspace.workspace import Workspace

HOT_ROWS, RATES = 10_000, (100, 500)
TOML = """
name = "bench"
timezone = "UTC"
[projections.app]
url = "env:LEADER_URL"
replica = "env:REPLICA_URL"
[projections.app.follow]
reconcile_s = 0
[projections.app.entities.hot]
key = "id"
sql = "hot.sql"
watch = [{ table = "hot", id = "id" }]
[projections.app.entities.page]
key = "id"
sql = "page.sql"
watch = [{ table = "page", id = "id" }]
"""
WAREHOUSE = '[warehouse]\nkind = "postgres"\nurl = "env:WAREHOUSE_URL"\n'
TABLES = """
create table hot (id int primary key, name text not null, written_at double precision not null);
create table page (id bigint primary key, uuid uuid, name text, slug text, url text, campaign_uuid uuid,
    charity_uuid uuid, owner_uuid uuid, owner_type text, target bigint, country_code text, currency_code text,
    online_total bigint, offline_total bigint, total bigint, expiry_date date, status text, custom_metric_total bigint,
    created_at timestamptz, updated_at timestamptz)"""
FILL = """insert into page select g, md5(g::text)::uuid, 'Page of supporter ' || g, 'page-' || g,
    'https://example.com/pages/page-' || g, md5((g % 100)::text)::uuid, md5((g % 10)::text)::uuid, md5((-g)::text)::uuid,
    'user', 50000, 'AU', 'AUD', g % 1000, g % 50, g % 1000 + g % 50, date '2027-01-01' + g % 365, 'active', g % 17,
    timestamptz '2026-01-01' + g * interval '1 s', timestamptz '2026-01-01' + g * interval '1 s'
    from generate_series(1, {}) g"""
UPDATE = f"""\\set id random(1, {HOT_ROWS})
update hot set name = 'Page ' || random(), written_at = extract(epoch from clock_timestamp()) where id = :id;
"""


class Arrivals:
    """Notes how old each hot row was when the warehouse had committed it."""

    def __init__(self) -> None:
        self.waited_ms: list[float] = []
        self.batches = 0
        self.since = time.time()  # a sweep brings older rows beside those that are looked at

    @contextmanager
    def noted(self, store: type) -> Iterator[None]:
        """Look at what a store upserts for as long as the block lasts."""
        upsert = store.upsert

        def watched(self_, entity, rows, at, **more):
            done = upsert(self_, entity, rows, at, **more)
            if entity.name == "hot" and done.applied:
                now = time.time()
                self.batches += 1
                written = map(float, rows["written_at"].to_pylist())
                self.waited_ms += [(now - moment) * 1000 for moment in written if moment > self.since]
            return done

        store.upsert = watched
        try:
            yield
        finally:
            store.upsert = upsert


def latency(room: Room, url: str, folder: Path, rate: int, seconds: float) -> None:
    """Print percentiles from an app's statement to the warehouse's commit, at ``rate`` commits a second."""
    script = folder / "update.pgbench"
    script.write_text(UPDATE)
    arrivals = Arrivals()
    kind = room.workspace.warehouse.kind
    with arrivals.noted(PostgresProjections if kind == "postgres" else DuckDBProjections), Following(room) as following:
        room.clock.sleep(3)  # the first sweep copies what there is
        arrivals.since = time.time()
        command = [binaries() / "pgbench", "-n", "-c4", "-j1", "-M", "prepared", f"-T{round(seconds)}", f"-R{rate}"]
        words = [str(word) for word in (*command, "-f", script, url)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        until_quiet(room)
        problems = following.loops.problems()
    reached = float(re.search(r"tps = ([\d.]+)", done.stdout)[1])
    cuts = statistics.quantiles(arrivals.waited_ms, n=100)
    verdict = "reached" if cuts[49] <= 100 and cuts[98] <= 1000 else "NOT REACHED"
    print(
        f"{kind} at {rate}/s ({reached:.0f} reached): {len(arrivals.waited_ms)} rows in {arrivals.batches} batches, "
        f"p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms, max {max(arrivals.waited_ms):.0f} ms; {verdict} {problems or ''}"
    )


def until_quiet(room: Room) -> None:
    """Wait until nothing is queued, a minute at most."""
    for _ in range(600):
        room.clock.sleep(0.1)
        if not room.ledger.pulls.backlog("app"):
            return


def resync(room: Room, rows: int) -> None:
    """Print how long a copy anew with its comparison takes."""
    with follower(room, projection(room, "app")) as one:
        for what in ("first copy", "resync"):
            began = time.perf_counter()
            one.resync("page")
            took_s = time.perf_counter() - began
            aim_s = 60 * rows / 1_000_000
            verdict = "reached" if took_s <= aim_s else "NOT REACHED"
            print(
                f"{room.workspace.warehouse.kind} {what} of {rows:,} rows: {took_s:.1f} s, aim {aim_s:.0f} s; {verdict}"
            )


def installed(url: str, folder: Path, rows: int) -> None:
    """Make the app's tables, the kit on them, and every reporting row."""
    for name in ("hot", "page"):
        (folder / f"{name}.sql").write_text(f"select * from {name}")
    (folder / "signalroom.toml").write_text(TOML)
    with psycopg.connect(url, autocommit=True) as app:
        app.execute(TABLES)
        app.execute("insert into hot select g, 'Page ' || g, 0 from generate_series(1, %s) g", [HOT_ROWS])
        app.execute(FILL.format(rows))
    settings = projection(Room(Workspace.load(folder, {"LEADER_URL": url, "REPLICA_URL": url})), "app")
    with Leader(url) as leader:
        leader.install(settings)
        leader.drain(2_000)
        leader.connection.execute("vacuum analyze")


def main() -> None:
    """Run on servers of their own."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=20)
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--only", choices=("latency", "resync", "relay"), action="append")
    asked.add_argument("--warehouse", choices=("duckdb", "postgres"), action="append", help="Both, if left out.")
    options = asked.parse_args()
    wanted = options.only or ("latency", "resync", "relay")
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before")
    with (
        tempfile.TemporaryDirectory() as name,
        PostgresServer.started(fsync=True, max_wal_size="4GB") as server,
        PrivatePostgres.running(binaries(), copy_of=server) as standby,
    ):
        folder = Path(name)
        url = server.create_database()
        installed(url, folder, options.rows if "resync" in wanted else 1)
        environ = {"LEADER_URL": url, "REPLICA_URL": standby.dsn(url.rpartition("/")[2])}
        caught_up(url, environ["REPLICA_URL"])
        for kind in options.warehouse or ("duckdb", "postgres"):
            (folder / "signalroom.toml").write_text(TOML + (WAREHOUSE if kind == "postgres" else ""))
            environ["WAREHOUSE_URL"] = server.create_database()
            with Room(Workspace.load(folder, environ)) as room:
                for part in (room.ledger, room.lake, room.warehouse):  # opened once, before threads ask for them
                    del part
                if "resync" in wanted:
                    resync(room, options.rows)
                if "latency" in wanted:
                    for rate in RATES:
                        latency(room, url, folder, rate, options.seconds)
        if "relay" in wanted:
            other = server.create_database()
            relay_bench.installed(other, folder)
            relay_bench.latency(other, options.seconds)
    print(f"load average {os.getloadavg()[0]:.1f} after")


def caught_up(url: str, replica: str) -> None:
    """Wait until the standby has replayed everything."""
    with psycopg.connect(url, autocommit=True) as leader, psycopg.connect(replica, autocommit=True) as standby:
        end = leader.execute("select pg_current_wal_lsn()::text").fetchone()[0]
        while not standby.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [end]).fetchone()[0]:
            threading.Event().wait(0.05)


if __name__ == "__main__":
    main()
