"""The soak: a job runs for many due times while the processes that run it are killed at random moments.

``python tests/soak/soak.py --runs 200`` kills `up`, its server, or both; ``--warehouse postgres`` kills two workers apart
and the server they share. It prints the figures; the suite runs the same program with a few. A server that is killed
notices the end of the execution it had begun within a minute, or when somebody looks at the jobs, and only then begins the
next: the suite looks each second, `make proof` never. The law: every due time ran exactly once, every report was delivered
exactly once, and nothing is left running.
"""

import argparse
import contextlib
import math
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_world import make_world
from postgres_server import PostgresServer
from shop_workspace import call
from signalroom.cli.app import app
from signalroom.room import Room
from soak_sites import Alone, Apart

JOB = """
run_lease_s = 3.0
delivery_lease_s = 2.0
[sources.drip]
kind = "drip"
[jobs.daily]
schedule = "0 7 * * *"
overlap = "queue"
retries = 100                       # an attempt that is killed counts as one
steps = ["sync shop", "sync drip", "report pulse"]
"""
# A source that takes its time: most kills meet a step half-way, before and after its rows are in the lake.
DRIP = '''
import time
from dataclasses import dataclass

from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.workspace.settings import injected

TABLE = Table("rows", columns=(Column("id"),), key=("id",), disposition="merge")


@dataclass(frozen=True)
class Drip:
    """One row, slowly."""

    kind = "drip"
    name: str = injected()

    def streams(self):
        return [Stream(self.name, "rows", (TABLE,))]

    def read(self, stream, since, window):
        time.sleep(0.2)
        yield Batch("rows", Raw([b'{"id": "1"}\\n'], "jsonl"), source_ref="drip")
        time.sleep(0.2)

    def confirm(self, stream, position):
        pass

    def check(self):
        return []
'''
STEPS = 3


@dataclass
class Figures:
    """What a soak saw."""

    runs: int
    kills: Counter = field(default_factory=Counter)
    attempts: int = 0
    delivered: int = 0
    cut: int = 0
    stood_still_s: float = 0.0
    seconds: float = 0.0
    problems: list = field(default_factory=list)

    def told(self):
        kills = ", ".join(f"{number} of {what}" for what, number in sorted(self.kills.items())) or "none"
        verdict = "; ".join(self.problems) or "every due time ran once, every report was delivered once"
        return (
            f"{self.runs} due times, {self.attempts} attempts of {STEPS * self.runs} steps, {self.delivered} reports, "
            f"kill -9: {kills}; {self.cut} steps were running then, each taken up again or ended within "
            f"{self.stood_still_s:.1f} s; {self.seconds:.0f} s: {verdict}"
        )


class Soak:
    """One soak of one site.

    Args:
        site: The processes.
        room: The workspace; only its ledger is read.
        runs: How many due times.
        kills: After how many kills it is enough.
        chance: What decides who is killed, and when.
        looking: Whether somebody looks at the jobs each second.
    """

    def __init__(self, site, room, runs, kills, chance, *, looking):
        self.figures = Figures(runs)
        self._look_at = 0.0 if looking else math.inf
        self._site, self._room, self._kills, self._chance = site, room, kills, chance
        self._cut = {}

    def run(self, patience_s):
        """Kill at random until that is enough, then wait until everything has ended."""
        began = time.monotonic()
        kill_at = began + self._chance.uniform(0.5, 2.0)
        while self._ended() < STEPS * self.figures.runs and time.monotonic() < began + patience_s:
            time.sleep(0.2)
            self._site.revive()
            self._look()
            wanted = time.monotonic() > kill_at and sum(self.figures.kills.values()) < self._kills
            if wanted and self._kill(self._chance.choice(self._site.victims)):  # who is not there is tried again
                kill_at = time.monotonic() + self._chance.uniform(0.5, 4.0)
        self.figures.problems += self._site.stop()
        self.figures.seconds = time.monotonic() - began

    def _look(self):
        if time.monotonic() > self._look_at:
            CliRunner().invoke(
                app, ["--workspace", str(self._room.workspace.root), "jobs"]
            )  # refused while there is no server
            self._look_at = time.monotonic() + 1.0

    def _kill(self, victims):
        running = self._room.ledger.runs.list(status="running")
        killed = [one for one in victims if self._site.kill(one)]
        if killed:
            self.figures.kills["+".join(killed)] += 1
            self.figures.cut += len(running)
            self._cut |= {one.run_id: (one.fence, time.monotonic()) for one in running}
        return bool(killed)

    def _ended(self):
        """Return how many runs have succeeded, and note how long those that were cut stood still."""
        for run_id, (fence, since) in list(self._cut.items()):
            run = self._room.ledger.runs.get(run_id)
            if run.fence > fence or run.status != "running":
                self.figures.stood_still_s = max(self.figures.stood_still_s, time.monotonic() - since)
                del self._cut[run_id]
        return self._room.ledger.figures.runs_by_status().get("success", 0)


def soak(root, runs, seed, patience_s, dsn="", kills=0, spared="", looking=False):
    """Run ``runs`` due times under random kills, half as many unless told, but of nobody ``spared``; return the figures, which name every broken promise."""
    site = Apart(root, dsn) if dsn else Alone(root)
    site.victims = [victims for victims in site.victims if spared not in victims]
    make_world(root, site.settings + JOB)
    (root / "sources").mkdir()
    (root / "sources/drip.py").write_text(DRIP)
    last = datetime.now(UTC).date() - timedelta(days=1)
    first = last - timedelta(days=runs - 1)
    try:
        site.start()
        call(root, "jobs", "backfill", "daily", "--from", str(first), "--to", str(last), "--send")
        with Room.open(root) as room:
            one = Soak(site, room, runs, kills or (runs + 1) // 2, random.Random(seed), looking=looking)
            one.run(patience_s)
    finally:
        site.kill_all()
    _judge(root, one.figures, [first + timedelta(days=ahead) for ahead in range(runs)])
    return one.figures


def _judge(root, figures, days):
    with Room.open(root) as room:
        runs = room.ledger.runs.list(10_000, job="daily")
        sent = room.ledger.deliveries.list("pulse", limit=10_000)
        asked = "select (select count(*) from shop.orders) as orders, (select count(*) from drip.rows) as drops"
        rows = room.warehouse.query(asked).to_pylist()
    figures.attempts = sum(run.fence for run in runs)
    figures.delivered = sum(one.state == "sent" for one in sent)
    wanted = Counter((day, step) for day in days for step in ("sync shop", "sync drip", "report pulse"))
    found = Counter((run.due_at.date(), run.step) for run in runs if run.status == "success" and run.due_at)
    if found != wanted:
        figures.problems.append(f"missed {wanted - found}, doubled {found - wanted}")
    if any(run.status != "success" for run in runs):
        figures.problems.append(f"not ended well: {Counter(run.status for run in runs)}")
    # Each is about the day before it was due; the folder appears once for each time it was sent.
    folders = [path for path in (root / ".signalroom/outbox/pulse").glob("*/*") if (path / "message.json").exists()]
    if sorted(path.parent.name for path in folders) != sorted(str(day - timedelta(days=1)) for day in days):
        figures.problems.append(f"{len(folders)} messages in the outbox for {len(days)} days")
    if figures.delivered != len(days) or len(sent) != len(days):
        figures.problems.append(f"{figures.delivered} of {len(sent)} deliveries sent for {len(days)} days")
    if rows != [{"orders": 3, "drops": 1}]:
        figures.problems.append(f"{rows} in the warehouse where 3 orders and 1 drop were to be")


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=10)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--kills", type=int, default=0, help="half as many as due times unless told")
    asked.add_argument("--spared", default="", help="who is not killed, e.g. server")
    asked.add_argument("--warehouse", choices=["duckdb", "postgres"], default="duckdb")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        dsn = ""
        if options.warehouse == "postgres":
            dsn = stack.enter_context(PostgresServer.started()).create_database()
        figures = soak(
            Path(folder), options.runs, options.seed, 60 + 30 * options.runs, dsn, options.kills, options.spared
        )
    print(figures.told())  # noqa: T201 - figures are what it is for
    return 1 if figures.problems else 0


if __name__ == "__main__":
    sys.exit(main())
