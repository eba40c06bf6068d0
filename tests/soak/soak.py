"""The soak: a job runs for many due times while `up`, its server, or both are killed at random moments.

``python tests/soak/soak.py --runs 200`` prints the figures; the suite runs the same program with 10. The law: every due
time ran exactly once, every report was delivered exactly once, and nothing is left running.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_world import Up, make_world
from shop_workspace import call
from signalroom.room import Room

JOB = """
[ledger]
run_lease_s = 3.0
delivery_lease_s = 2.0
[jobs.daily]
schedule = "0 7 * * *"
overlap = "queue"
retries = 100                       # an attempt that is killed counts as one
steps = ["sync shop", "report pulse"]
"""
_VICTIMS = (("up",), ("server",), ("server", "up"))


@dataclass
class Figures:
    """What a soak saw."""

    runs: int
    kills: Counter = field(default_factory=Counter)
    attempts: int = 0
    delivered: int = 0
    seconds: float = 0.0
    problems: list = field(default_factory=list)

    def told(self):
        kills = ", ".join(f"{number} of {what}" for what, number in sorted(self.kills.items())) or "none"
        verdict = "; ".join(self.problems) or "every due time ran once, every report was delivered once"
        return (
            f"{self.runs} due times, {self.attempts} attempts of {2 * self.runs} steps, {self.delivered} reports, "
            f"kill -9: {kills}; {self.seconds:.0f} s: {verdict}"
        )


def soak(root, runs, seed, patience_s):
    """Run ``runs`` due times under random kills; return the figures, which name every broken promise."""
    chance, figures, began = random.Random(seed), Figures(runs), time.monotonic()
    make_world(root, JOB)
    last = datetime.now(UTC).date() - timedelta(days=1)
    first = last - timedelta(days=runs - 1)
    with Up(root) as up:
        call(root, "jobs", "backfill", "daily", "--from", str(first), "--to", str(last))
        while len(_succeeded(root)) < 2 * runs and time.monotonic() - began < patience_s:
            time.sleep(chance.uniform(1.0, 4.0))
            if sum(figures.kills.values()) * 2 < runs:  # one kill for every two runs, then they may finish
                _kill(up, root, chance.choice(_VICTIMS), figures)
        if up.stop() != 0:
            figures.problems.append("up did not stop cleanly")
    figures.seconds = time.monotonic() - began
    _judge(root, figures, [first + timedelta(days=ahead) for ahead in range(runs)])
    return figures


def _succeeded(root):
    with Room.open(root) as room:
        return [run for run in room.ledger.runs.list(10_000, job="daily") if run.status == "success"]


def _kill(up, root, victims, figures):
    server = json.loads((root / ".signalroom/temporal.json").read_text())["pid"]
    if "server" in victims:
        try:
            os.kill(server, signal.SIGKILL)
        except ProcessLookupError:
            return  # killed a moment ago, and not started again yet
    if "up" in victims:
        up.kill()
        up.start()
    figures.kills["+".join(victims)] += 1


def _judge(root, figures, days):
    with Room.open(root) as room:
        runs = room.ledger.runs.list(10_000, job="daily")
        sent = room.ledger.deliveries.list("pulse", limit=10_000)
        rows = room.warehouse.query("select count(*) as n from shop.orders").to_pylist()[0]["n"]
    figures.attempts = sum(run.fence for run in runs)
    figures.delivered = sum(one.state == "sent" for one in sent)
    wanted = Counter((day, step) for day in days for step in ("sync", "report"))
    found = Counter((run.due_at.date(), run.step.split()[0]) for run in runs if run.status == "success" and run.due_at)
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
    if rows != 3:
        figures.problems.append(f"{rows} rows in the warehouse where 3 were to be")


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=10)
    asked.add_argument("--seed", type=int, default=1)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(Path(folder), options.runs, options.seed, patience_s=60 + 30 * options.runs)
    print(figures.told())  # noqa: T201 - figures are what it is for
    return 1 if figures.problems else 0


if __name__ == "__main__":
    sys.exit(main())
