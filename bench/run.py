"""Floor, ours and dlt on one workload, in one run, as ratios: `make bench` (a tenth) and `make bench-full`.

Each path is a process of its own, measured from outside (wall, CPU of the process and its children, peak memory), in
rounds A B C A B C so that a drifting machine hurts all alike; medians are printed. A figure that is not reached is
printed as not reached. Postgres is a private cluster, started and stopped here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

FULL_ROWS = 650_000
AIMS = {  # (path, floor) -> greatest ratio of wall time, from the published targets
    ("ours-duckdb", "floor-duckdb"): 1.5,
    ("ours-postgres", "floor-postgres"): 1.5,
}
BEATS = {("ours-duckdb", "dlt-duckdb"): 2.5, ("ours-postgres", "dlt-postgres"): 5.0}
RSS_MB = {"ours-duckdb": 1500, "ours-postgres": 400}
DELTA_S = {"ours-duckdb": 1.0, "ours-postgres": 0.6}


@dataclass(frozen=True)
class Measured:
    """One run of one path: seconds of wall and CPU, peak memory in MB, and what it found in its table."""

    wall_s: float
    cpu_s: float
    rss_mb: float
    answer: list


def measure(name: str, data: Path, dsn: str, *, delta: bool) -> Measured:
    """Run one path in a fresh folder and wait for it and its children."""
    with tempfile.TemporaryDirectory(prefix="signalroom-bench-") as work:
        command = [sys.executable, str(HERE / "paths.py"), name, str(data), work, *([dsn] if dsn else [])]
        environ = {**os.environ, "BENCH_DELTA": "1" if delta else ""}
        output = Path(work, "answer.json")
        began = time.perf_counter()
        process = os.posix_spawn(
            command[0], command, environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT, 0o600)],
        )  # fmt: skip
        _, status, usage = os.wait4(process, 0)
        wall_s = time.perf_counter() - began
        if status:
            raise SystemExit(f"{name} failed with status {os.waitstatus_to_exitcode(status)}")
        answer = json.loads(output.read_text().strip().splitlines()[-1])
    return Measured(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, answer)


def rounds(names: list[str], data: Path, dsns: dict[str, str], count: int) -> dict[str, list[Measured]]:
    """Measure every path ``count`` times, taking turns."""
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for turn in range(count):
        for name in names:
            database = dsns.get(name.rpartition("-")[2])
            dsn = database() if database else ""
            found[name].append(measure(name, data, dsn, delta=False))
            one = found[name][-1]
            print(f"  round {turn + 1}  {name:15} {one.wall_s:7.2f} s  cpu {one.cpu_s:7.2f} s  {one.rss_mb:6.0f} MB")
    return found


def median(found: list[Measured], what: str) -> float:
    """Return the median of one figure."""
    return statistics.median(getattr(one, what) for one in found)


def report(found: dict[str, list[Measured]], truth: object) -> None:
    """Print medians, ratios and what was not reached."""
    print(f"\n{'path':15} {'wall s':>8} {'cpu s':>8} {'MB':>6}")
    for name, runs in found.items():
        wall, cpu, rss = (median(runs, what) for what in ("wall_s", "cpu_s", "rss_mb"))
        print(f"{name:15} {wall:8.2f} {cpu:8.2f} {rss:6.0f}")
    print()
    for (name, floor), aim in AIMS.items():
        if name in found and floor in found:
            ratios = [a.wall_s / b.wall_s for a, b in zip(found[name], found[floor], strict=True)]
            verdict(f"{name} / {floor}", statistics.median(ratios), aim, most=True)
    for (name, peer), aim in BEATS.items():
        if name in found and peer in found:
            ratios = [b.wall_s / a.wall_s for a, b in zip(found[name], found[peer], strict=True)]
            verdict(f"{peer} / {name}", statistics.median(ratios), aim, most=False)
    for name, limit in RSS_MB.items():
        if name in found:
            verdict(f"{name} peak memory (MB)", median(found[name], "rss_mb"), limit, most=True, unit="")
    for name, runs in found.items():
        if not name.startswith("floor-duckdb"):
            right = all([int(one.answer[0]), str(one.answer[1])] == truth for one in runs)
            print(f"{name}: {'right' if right else f'WRONG, {runs[0].answer} is not {truth}'}")


def verdict(what: str, figure: float, aim: float, *, most: bool, unit: str = "x") -> None:
    """Print one figure beside its aim."""
    reached = figure <= aim if most else figure >= aim
    sign = "<=" if most else ">="
    print(f"{what:38} {figure:8.2f}{unit}  aim {sign} {aim}{unit}  {'reached' if reached else 'NOT REACHED'}")


def main() -> None:
    """Make the data, measure and report."""
    import workload

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="paths to run; all by default")
    options = parser.parse_args()
    rows = round(FULL_ROWS * options.scale)
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signalroom-data-")))
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        workload.generate(data, rows)
        size = sum(file.stat().st_size for file in data.rglob("*.csv"))
        print(
            f"orders export: {rows:,} rows x {len(workload.COLUMNS)} columns, {size / 1e6:.0f} MB, {workload.FILES} files"
        )
        names = options.only or [
            "floor-duckdb",
            "ours-duckdb",
            "dlt-duckdb",
            "floor-postgres",
            "ours-postgres",
            "dlt-postgres",
        ]
        dsns = {}
        if any(name.endswith("postgres") for name in names):
            if shutil.which("pg_ctl") is None and not Path("/usr/lib/postgresql").exists():
                names = [name for name in names if not name.endswith("postgres")]
                print("no Postgres server on this machine: its paths are left out")
            else:
                from postgres_server import PostgresServer

                server = stack.enter_context(
                    PostgresServer.started(fsync=True, shared_buffers="2GB", max_wal_size="8GB")
                )
                dsns["postgres"] = server.create_database
        truth = workload.truth(rows)
        report(rounds(names, data, dsns, options.rounds), [truth.rows, str(truth.total)])
        for name in (one for one in names if one.startswith("ours")):
            database = dsns.get(name.rpartition("-")[2])
            times = measure(name, data, database() if database else "", delta=True).answer[-1]
            verdict(f"{name} 1 % follow-up, resident (s)", times["delta_s"], DELTA_S[name], most=True, unit="")
            print(f"{name} nothing new, resident (s) {times['noop_s']:.3f}")


if __name__ == "__main__":
    main()
