"""500 report views on Postgres, one REFRESH each against ours, side by side: ``python bench/views.py``.

Ten canned reports of fifty agencies over three tables. One by one, each is a materialized view with an index on agency
and day beneath it, as a team would write it. Both sides see the same changes in the same database; what ours shows is
compared with theirs, row by row. Readers ask views of ours all the time, and the longest wait is printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg

from signalroom.ledger.ledger import Ledger
from signalroom.run import ignore_progress
from signalroom.view import Agency, CannedReport, ManifestSet
from signalroom.views.refresh import Refresher, RefreshResult
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret
from signalroom.workspace.workspace import Workspace

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

AGENCIES = tuple(Agency(number, f"a{number}", f"Agency {number}") for number in range(1, 51))
REPORTS = (
    ("daily", "select day, sum(clicks) as clicks, sum(revenue) as revenue from clicks group by day"),
    ("affiliates", "select affiliate, sum(conversions) as n, sum(revenue) as revenue from clicks group by affiliate"),
    ("affiliates_daily", "select day, affiliate, sum(revenue) as revenue from clicks group by day, affiliate"),
    ("states", "select day, state, sum(clicks) as clicks from clicks group by day, state"),
    ("offers", "select day, offer, sum(revenue) as revenue, max(revenue) as best from clicks group by day, offer"),
    ("devices", "select day, device, count(*) as n, sum(clicks) as clicks from clicks group by day, device"),
    ("spend_daily", "select day, sum(cost) as cost from spend group by day"),
    ("spend_sources", "select day, source, sum(cost) as cost from spend group by day, source"),
    ("orders_daily", "select day, count(*) as n, sum(amount) as amount from orders group by day"),
    ("orders_status", "select day, status, count(*) as n, sum(amount) as amount from orders group by day, status"),
)
COLUMNS = {
    "clicks": """(random() * random() * 400)::int as affiliate, (random() * 40)::int as offer,
        (array['CA', 'TX', 'NY', 'FL', 'OH'])[1 + (random() * 4)::int] as state,
        (array['phone', 'desktop', 'tablet'])[1 + (random() * 2)::int] as device, (random() * 20)::int as clicks,
        (random() * 1.4)::int as conversions, (random() * 60)::numeric(12,2) as revenue""",
    "spend": "'source ' || (random() * 30)::int as source, (random() * 30)::numeric(12,2) as cost",
    "orders": "(array['NEW', 'PAID', 'VOID'])[1 + (random() * 2)::int] as status, (random() * 120)::numeric(12,2) as amount",
}
SHARES = {"clicks": 5, "spend": 1, "orders": 2}  # of eight rows
MANIFESTS = ManifestSet(
    AGENCIES, (), tuple(CannedReport(n, name, name, sql) for n, (name, sql) in enumerate(REPORTS, 1)),
    tuple((n, agency.id, report) for n, (agency, report) in enumerate(
        ((agency, report) for agency in AGENCIES for report in range(1, len(REPORTS) + 1)), 1)),
)  # fmt: skip
DAYS = 90


class Stage:
    """A database with the tables, the views of one side and a refresher of the other."""

    def __init__(self, dsn: str, folder: Path, rows: int) -> None:
        self.dsn = dsn
        self.warehouse = PostgresWarehouse(url=Secret("env:BENCH_DSN", dsn))
        self.warehouse.positions("shop", "clicks")
        self.run("create schema shop", "create schema one_by_one", "select setseed(0.5)")
        for table, columns in COLUMNS.items():
            self.run(
                f"""create table shop.{table} as select 1 + n % 50 as agency_id,
                    date '2026-08-22' + (n::bigint * {DAYS} / {rows * SHARES[table] // 8}) :: int as day, {columns}
                    from generate_series(0, {rows * SHARES[table] // 8 - 1}) as n""",
                f"create index on shop.{table} (agency_id, day)", f"create index on shop.{table} (day)",
                f"vacuum analyze shop.{table}",
            )  # fmt: skip
        for view in MANIFESTS.views():
            self.run(f"create materialized view one_by_one.{view.name} as {theirs(view.query, view.agency_id)}")
        (folder / "signalroom.toml").write_text('name = "bench"\ntimezone = "UTC"\n')
        workspace = Workspace.load(folder, {})
        views = dataclasses.replace(workspace.views, tables=[f"shop.{name}" for name in COLUMNS])
        self.workspace = dataclasses.replace(workspace, views=views)
        self.ledger = Ledger.open(str(folder / "ledger.sqlite"))
        self.ledger.manifests.bring(MANIFESTS)

    def run(self, *statements: str) -> None:
        """Run statements on a connection of their own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for one in statements:
                connection.execute(one)

    def one_by_one(self) -> None:
        """Refresh every view of theirs, the serial way."""
        self.run(*(f"refresh materialized view one_by_one.{view.name}" for view in MANIFESTS.views()))

    def ours(self, *, force: bool = False) -> RefreshResult:
        """Refresh ours."""
        now = datetime.now(UTC)
        refresher = Refresher(self.workspace, self.ledger, self.warehouse.views(), now, date(2026, 11, 20))
        result = refresher.refresh("", ignore_progress, force=force)
        if result.failed:
            raise SystemExit(f"{result.failed[0].view.name}: {result.failed[0].error}")
        return result

    def load(self, name: str, since: str = "2026-11-18") -> None:
        """Change every row from a day on, of every table, and let it look as the load of it does."""
        for table in COLUMNS:
            extra = {"clicks": "revenue", "spend": "cost", "orders": "amount"}[table]
            self.run(
                f"update shop.{table} set {extra} = {extra} + 1 where day >= date '{since}'",
                f"insert into signalroom.loads values ('{name} {table}', 'shop', '{table}', now(), now(), 1, 1)",
            )

    def differing(self) -> int:
        """How many rows of ours differ from theirs."""
        found = 0
        with psycopg.connect(self.dsn) as connection:
            for view in MANIFESTS.views():
                left, right = f"table agency_{view.agency_slug}.{view.name}", f"table one_by_one.{view.name}"
                for one, other in ((left, right), (right, left)):
                    sql = f"select count(*) from (({one}) except all ({other})) as d"
                    found += connection.execute(sql).fetchone()[0]
        return found


def theirs(query: str, agency: int) -> str:
    """Return a query over one agency's rows."""
    for table in COLUMNS:
        query = query.replace(f"from {table}", f"from shop.{table} where agency_id = {agency}")
    return query


def timed(act: Callable[[], object]) -> float:
    """Return the seconds something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def main() -> None:
    """Make the data, measure and report."""
    from run import verdict

    from postgres_server import PostgresServer
    from view_readers import Readers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=800_000, help="rows of the three tables together")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.rows:,} rows")
    with (
        PostgresServer.started(fsync=True, shared_buffers="512MB", max_wal_size="4GB") as server,
        tempfile.TemporaryDirectory(prefix="signalroom-bench-") as folder,
    ):
        stage = Stage(server.create_database(), Path(folder), options.rows)
        first = timed(stage.ours)
        print(f"first refresh, views, roles and tables made   {first:8.2f} s")
        readers = Readers(
            stage.dsn, [f"agency_{one.agency_slug}.{one.name}" for one in MANIFESTS.views()[::50]], readers=1
        )
        found: dict[str, list[float]] = {
            "one by one": [],
            "all days": [],
            "two days": [],
            "nothing": [],
            "all rows": [],
        }
        with readers:
            for turn in range(options.rounds):
                stage.load(f"L{turn}")
                found["two days"].append(timed(stage.ours))
                found["nothing"].append(timed(stage.ours))
                found["all days"].append(timed(lambda: stage.ours(force=True)))
                found["one by one"].append(timed(stage.one_by_one))
                stage.load(f"M{turn}", "2026-01-01")
                found["all rows"].append(timed(stage.ours))
                stage.one_by_one()
        differing = stage.differing()
        unchanged = stage.ours().unchanged
        stage.warehouse.close()
        stage.ledger.close()
    middle = {name: statistics.median(times) for name, times in found.items()}
    print(f"500 REFRESH, one by one                       {middle['one by one']:8.2f} s")
    for name, told in (
        ("all days", "everything asked anew, two days differ"), ("all rows", "every row of every table changed"),
        ("two days", "two days of ninety changed"), ("nothing", "nothing changed"),
    ):  # fmt: skip
        print(f"ours, {told:39} {middle[name]:8.2f} s")
    verdict("one by one / ours, everything anew", middle["one by one"] / middle["all days"], 2.0, most=False)
    verdict("one by one / ours, every row changed", middle["one by one"] / middle["all rows"], 1.0, most=False)
    verdict("one by one / ours, two days of ninety", middle["one by one"] / middle["two days"], 2.0, most=False)
    print(f"unchanged and skipped: {unchanged} of {len(MANIFESTS.views())}")
    verdict("rows that differ", differing, 0, most=True, unit="")
    verdict("longest wait of a reader (ms)", readers.worst_ms, 100, most=True, unit="")
    print(f"readers: {readers.reads:,} answers, {len(readers.problems)} errors or empty ones")


if __name__ == "__main__":
    main()
