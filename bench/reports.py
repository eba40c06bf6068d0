"""From a report's queries to its Slack message, e-mail and chart, warm; and a thousand reports, one an agency.

``make bench-reports``. The rows are those of a plausible half year of 40 affiliates in a warehouse of its own; each
report is the shipped daily summary with its queries, chart, e-mail and Slack message, archived and "delivered" to a
folder. Medians and the slowest are printed; an aim that is not reached is printed as not reached. CPU seconds, those of
the processes that render included, say what a report costs on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path

from signalroom.channels.file import FileChannel
from signalroom.channels.once import send_once
from signalroom.clock import SystemClock
from signalroom.ledger.ledger import Ledger
from signalroom.message import Delivery, delivery_key
from signalroom.reports.finding import find_reports
from signalroom.reports.render import Renderer
from signalroom.warehouse.duckdb import DuckDBWarehouse

DAY = date(2026, 11, 19)
ZONE = "America/New_York"
AGENCIES, CONCURRENCY = 50, 4  # as many steps as `up` runs at a time
AIM_ONE_S, AIM_THOUSAND_S = 0.5, 120.0

TABLES = """
create schema staging;
create schema if not exists public;
create table public.daily_performance as
  select date '2026-05-24' + cast(d as integer) as date, 'A' || a as advertiser, 'Affiliate ' || f as affiliate_label,
    f % 2 = 0 as is_internal, cast(10 + (d * 7 + f * 3 + a) % 40 as bigint) as conversions,
    cast(100 + (d * 31 + f * 17 + a) % 900 as decimal(18, 2)) as everflow_revenue,
    cast(50 + (d * 13 + f * 11 + a) % 400 as decimal(18, 2)) as cost,
    cast(50 + (d * 13 + f * 11 + a) % 400 as decimal(18, 2)) as redtrack_cost
  from range(0, 180) as days(d), range(0, 40) as affiliates(f), range(0, 50) as advertisers(a);
create table public.daily_orders as
  select date '2026-05-24' + cast(d as integer) as date, 'A' || a as project, 300 as orders, 70 as approved,
    220 as declined, 5 as voided, 12 as test_orders, cast(9000.50 as decimal(18, 2)) as revenue, 1 as chargebacks
  from range(0, 180) as days(d), range(0, 50) as advertisers(a);
insert into signalroom.positions (source, stream, "partition", value, load_id) values
  ('everflow', 'daily_stats', '2026-11-19', '{"observed_at": "2026-11-20T12:00:00Z"}', 'l1'),
  ('redtrack', 'daily_spend', '2026-11-19', '{"observed_at": "2026-11-20T12:00:00Z"}', 'l1');
create table staging.stg_s3_exports__orders_create as select timestamptz '2026-11-20 06:00:00Z' as _file_time;
create table staging.stg_s3_exports__orders_update as select timestamptz '2026-11-20 06:00:00Z' as _file_time;
"""


def warehouse(root: Path) -> DuckDBWarehouse:
    """Return a warehouse with what the daily summary reads."""
    found = DuckDBWarehouse(path=str(root / "warehouse.duckdb"))
    found.query("SELECT 1")  # it makes its own schema first
    for statement in filter(str.strip, TABLES.split(";")):
        found.connect().execute(statement)
    return found


class Bench:
    """A workspace's report, its renderer, ledger and outbox under one folder."""

    def __init__(self, root: Path):
        with as_file(files("signalroom.workspace") / "templates/affiliates/reports") as reports:
            shutil.copytree(reports, root / "reports")
        self.report = find_reports(root)["daily_ccw"]
        self.warehouse, self.renderer = warehouse(root), Renderer()
        self.ledger = Ledger.open(str(root / "ledger.sqlite"))
        self.channel = FileChannel(root=root, clock=SystemClock())

    def deliver(self, number: int) -> tuple[float, float, float]:
        """Query, render and deliver the report of one of the agencies; return the seconds of each."""
        began = time.perf_counter()
        report = replace(self.report, values={**self.report.values, "project": f"A{number % AGENCIES}"})
        with self.warehouse.snapshot() as ask:
            rows = report.collect(lambda sql, params: ask(sql, params).to_pylist(), report_date=DAY, timezone=ZONE)
        asked = time.perf_counter()
        at = datetime(2026, 11, 20, 12, tzinfo=UTC)
        message = self.renderer.render(report, rows, report_date=DAY, timezone=ZONE, as_of=at)
        rendered = time.perf_counter()
        if not (message.blocks and message.html and message.images and message.sms):
            raise SystemExit("a form of the report is empty")
        due = at + timedelta(seconds=number)
        digest = self.ledger.archive.put(message, due)
        (to,) = self.channel.recipients()
        key = delivery_key("daily_ccw", due, "outbox", to)
        send_once(self.ledger, self.channel, Delivery(key, "daily_ccw", due, "outbox", to, "pending", digest=digest))
        return asked - began, rendered - asked, time.perf_counter() - rendered

    def crowd(self, numbers: range) -> tuple[float, float]:
        """Deliver many, several at a time by processes of their own; return wall and CPU seconds."""
        self.renderer.close()
        began, used = time.perf_counter(), cpu_s()
        self.renderer = Renderer()
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            done = sum(1 for _ in pool.map(self.deliver, numbers))
        self.renderer.close()  # what a process used is known once it has ended
        if done != len(numbers):
            raise SystemExit("a report is missing")
        return time.perf_counter() - began, cpu_s() - used

    def close(self):
        """End its processes."""
        self.renderer.close()
        self.ledger.close()
        self.warehouse.close()


def cpu_s() -> float:
    """Return the CPU seconds this process used, and the children that it has waited for."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def told(what: str, seconds: float, aim: float) -> str:
    """Return one line: a figure beside its aim."""
    return f"{what:44} {seconds:8.3f} s   aim {aim:g} s   {'reached' if seconds <= aim else 'NOT REACHED'}"


def main() -> int:
    """Measure and print; the exit code says nothing about aims."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reports", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signalroom-bench-") as folder:
        bench = Bench(Path(folder))
        try:
            first = sum(bench.deliver(0))
            taken = [bench.deliver(at) for at in range(1, 31)]
            whole, used = bench.crowd(range(31, 31 + args.reports))
        finally:
            bench.close()
    warm = [sum(one) for one in taken]
    parts = [statistics.median(column) for column in zip(*taken, strict=True)]
    print(f"first, with the renderer's start              {first:8.3f} s")
    print(told("one report, warm, median", statistics.median(warm), AIM_ONE_S))
    print(
        f"  queries {parts[0]:.3f} s, three forms and a chart {parts[1]:.3f} s, archived and delivered {parts[2]:.3f} s"
    )
    print(f"  slowest {max(warm):.3f} s")
    print(told(f"{args.reports:,} reports, {CONCURRENCY} steps at a time", whole, AIM_THOUSAND_S * args.reports / 1000))
    print(f"  {used / args.reports:.3f} CPU s a report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
