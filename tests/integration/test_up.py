"""`signalroom up` as people run it: ready soon, operated from beside, killed without mercy, stopped cleanly."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine_world import JOBS, Process, make_world, wait_for
from shop_workspace import ask, call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CHAINED = f"""{JOBS}
[jobs.weekly]
schedule = "0 8 * * 1"
steps = ["refresh"]
[jobs.following]
after = ["weekly"]
steps = ["refresh"]
"""
# A source of the workspace's own that takes its time the first time it is read, and leaves a mark when it is at it.
SLOW = '''
import pathlib, time
from dataclasses import dataclass

from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.workspace.settings import injected, setting

TABLE = Table("rows", columns=(Column("id"),), key=("id",), disposition="merge")


@dataclass(frozen=True)
class Slow:
    """Rows that take their time."""

    kind = "slow"
    root: pathlib.Path = injected()
    name: str = injected()

    def streams(self):
        return [Stream(self.name, "rows", (TABLE,))]

    def read(self, stream, since, window):
        mark = self.root / "reading"
        first = not mark.exists()
        mark.write_text("x")
        time.sleep(60 if first else 0)
        yield Batch("rows", Raw([b'{"id": "1"}\\n'], "jsonl"), source_ref="slow")

    def confirm(self, stream, position):
        pass

    def check(self):
        return []
'''
SLOWLY = f"""{JOBS}
[sources.slow]
kind = "slow"
[jobs.slowly]
schedule = "0 9 * * *"
steps = ["sync slow", "refresh"]
"""


def ended(root, job, steps):
    found = [one for one in ask(root, "runs", "--job", job)["runs"] if one["status"] == "success"]
    return found if len(found) == steps else None


def call_apart(root, *words):
    """Run a command in a process of its own, which hands it to `up`, and return the document it prints."""
    command = [Path(sys.executable).with_name("signalroom"), *words]
    return json.loads(subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True, timeout=60).stdout)


def test_from_ready_to_stopped(tmp_path):
    root = make_world(tmp_path, CHAINED)
    began = datetime.now(UTC)
    with Process(root) as up:
        assert "Ready in" in up.log.read_text()
        assert datetime.now(UTC) - began < timedelta(seconds=30)  # alone on two cores it is 2 s
        wait_for(lambda: up.get("/ready")[0] == 200)
        assert json.loads(up.get("/health")[1]) == {"status": "ok"}
        second = call(root, "up", code=2)
        assert f"`signalroom up` runs already in this workspace, as process {up.pid}." in second.output
        assert call_apart(root, "query", "select 41 + 1 as answer", "--json") == {"columns": ["answer"], "rows": [[42]]}

        call(root, "jobs", "pause", "weekly", "--note", "vendor outage")
        states = {one["job"]: one for one in ask(root, "jobs")["jobs"]}
        assert (states["weekly"]["paused"], states["weekly"]["note"]) == (True, "vendor outage")
        assert states["daily"]["next_at"] is not None
        call(root, "jobs", "trigger", "weekly")  # paused or not; and what waits for it follows
        (follower,) = wait_for(lambda: ended(root, "following", 1))
        (leader,) = ended(root, "weekly", 1)
        assert follower["due_at"] == leader["due_at"]
        assert follower["run_id"].startswith("job:following-")
        call(root, "jobs", "resume", "weekly")
        assert not {one["job"]: one for one in ask(root, "jobs")["jobs"]}["weekly"]["paused"]

        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        first = yesterday - timedelta(days=1)
        days = ("--from", str(first), "--to", str(yesterday))
        refused = call(root, "jobs", "backfill", "daily", *days, code=2)
        assert "Job 'daily' sends pulse of past days to whoever has not got them. Add --send" in refused.output
        told = call(root, "jobs", "backfill", "daily", *days, "--send")
        assert "2 runs of daily to come" in told.output
        runs = wait_for(lambda: ended(root, "daily", 4))
        assert {one["due_at"][:16] for one in runs} == {f"{first}T07:00", f"{yesterday}T07:00"}
        page = up.get("/metrics")[1]
        assert 'signalroom_deliveries{state="sent"} 2.0' in page
        assert 'signalroom_runs{status="success"} 6.0' in page
        assert 'signalroom_stream_age_seconds{stream="shop.orders"}' in page
        (root / "reports/pulse/pulse.slack.j2").write_text("{{ nobody }}")
        call(root, "jobs", "trigger", "daily")
        wait_for(lambda: "attempt 1): " in up.log.read_text())
        assert up.stop() == 0
    said = up.log.read_text()
    assert "WARNING: report pulse (daily, attempt 1): " in said
    assert "there is no 'nobody'" in said
    assert "Traceback" not in said
    assert "Stopped." in said
    assert "nothing runs" in call(root, "jobs", "trigger", "daily", code=2).output.lower()
    assert ask(root, "query", "select count(*) as n from shop.orders")["rows"] == [[3]]


@pytest.mark.parametrize("victims", [("up",), ("server",), ("server", "up")], ids="+".join)
def test_a_step_goes_on_after_a_kill(tmp_path, victims):
    root = make_world(tmp_path, SLOWLY)
    (root / "sources").mkdir()
    (root / "sources/slow.py").write_text(SLOW)
    if victims == ("server",):
        (root / "reading").write_text("x")  # it need not hang: the step is killed at its end, by the server's absence
    with Process(root) as up:
        assert "slowly was started" in call(root, "jobs", "trigger", "slowly").output
        wait_for((root / "reading").exists)
        if victims == ("up",):
            assert "slowly runs already and is not started twice" in call(root, "jobs", "trigger", "slowly").output
        for victim in victims:
            pid = up.pid if victim == "up" else json.loads((root / ".signalroom/temporal.json").read_text())["pid"]
            os.kill(pid, signal.SIGKILL)
        if "up" in victims:
            up.kill()
            server = json.loads((root / ".signalroom/temporal.json").read_text())["pid"]
            wait_for(lambda: not alive(server), 5)  # it dies with its parent
            wait_for(lambda: ask(root, "runs", "--job", "slowly")["runs"][0]["status"] == "lost", 15)
            up.start()
        runs = wait_for(lambda: ended(root, "slowly", 2), 40)
        assert {one["step"] for one in runs} == {"sync slow", "refresh"}
        assert len(ask(root, "runs", "--job", "slowly")["runs"]) == 2
        assert up.stop() == 0
    assert ask(root, "query", "select count(*) as n from slow.rows")["rows"] == [[1]]


def test_a_silent_step_does_not_keep_the_process_from_stopping(tmp_path):
    root = make_world(tmp_path, f"{SLOWLY}[engine]\nstop_grace_s = 0.5\n")
    (root / "sources").mkdir()
    (root / "sources/slow.py").write_text(SLOW)
    with Process(root) as up:
        call(root, "jobs", "trigger", "slowly")
        wait_for((root / "reading").exists)
        assert up.stop() == 0  # long before the minute that the step takes
        assert "Cut off, to go on at the next start: sync slow." in up.log.read_text()
        up.start()
        wait_for(lambda: ended(root, "slowly", 2), 60)
        (step,) = [one for one in ask(root, "runs", "--job", "slowly")["runs"] if one["step"] == "sync slow"]
        assert step["failures"][0]["error"] == "It was cut off: its process was told to stop."
        assert up.stop() == 0


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_worker_apart_needs_a_warehouse_that_is_shared(tmp_path):
    told = call(make_world(tmp_path), "worker", code=2)
    assert "Use Postgres" in told.output
