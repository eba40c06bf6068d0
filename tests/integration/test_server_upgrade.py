"""Another version of the Temporal server, whose database knows nothing: what people and jobs rely on is all there."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from engine_world import Process, make_world, wait_for
from shop_workspace import ask, call
from signalroom.engine.server import find_binary
from signalroom.room import Room

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# Sources that take their time the first time they are read, and leave a mark when they are at it.
SLOW = '''
import pathlib, time
from dataclasses import dataclass

from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.workspace.settings import injected

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
        mark = self.root / f"reading.{self.name}"
        first = not mark.exists()
        mark.write_text("x")
        time.sleep(60 if first else 0)
        yield Batch("rows", Raw([b'{"id": "1"}\\n'], "jsonl"), source_ref="slow")

    def confirm(self, stream, position):
        pass

    def check(self):
        return []
'''
HOUR = "catch_up_h = 1.0"


def jobs(line, program):
    return f"""
[engine]
temporal = {json.dumps(str(program))}
[ledger]
run_lease_s = 3.0
delivery_lease_s = 2.0
[sources.slow]
kind = "slow"
[sources.stuck]
kind = "slow"
[jobs.fell_due]
schedule = "{line}"
{HOUR}
steps = ["sync shop", "report pulse"]
[jobs.follows]
after = ["fell_due"]
steps = ["refresh"]
[jobs.too_late]
schedule = "{line}"
catch_up_h = 0.01
steps = ["refresh"]
[jobs.paused]
schedule = "{line}"
{HOUR}
steps = ["refresh"]
[jobs.resumed]
schedule = "{line}"
{HOUR}
steps = ["refresh"]
[jobs.cut]
schedule = "{line}"
catch_up_h = 100.0
steps = ["sync slow", "refresh"]
[jobs.by_hand]
steps = ["sync stuck"]
"""


def program(folder, version):
    """Return the real program under another version's name: to us, another server with a file of its own."""
    file = folder / "temporal"
    file.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "temporal (Server {version}, UI 2)"; exit; fi\n'
        f'exec {find_binary()} "$@"\n'
    )
    file.chmod(0o755)
    return file


def age(root, seen_at, since):
    """Set back when the scheduler was last seen with its jobs."""
    with sqlite3.connect(root / ".signalroom/ledger.sqlite") as ledger:
        text = [f"{one.replace(tzinfo=None).isoformat(' ', 'microseconds')}" for one in (seen_at, since)]
        ledger.execute("update signalroom_schedules set seen_at = ?, since = ? where job <> 'resumed'", text)
    ledger.close()


def runs(root, job):
    return [(one["step"], one["status"], one["due_at"]) for one in reversed(ask(root, "runs", "--job", job)["runs"])]


def states(root):
    return {one["job"]: (one["schedule"], one["paused"], one["note"]) for one in ask(root, "jobs")["jobs"]}


def firings(root):
    with Room.open(root) as room:
        found = {name: job.cron() for name, job in room.workspace.jobs.items()}
        return {name: cron.due(room.clock.now(), "UTC").isoformat() for name, cron in found.items() if cron}


def test_a_new_version_loses_nothing_and_does_what_fell_due_meanwhile_once(tmp_path):
    due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
    line = f"{due.minute} {due.hour} * * *"
    root = make_world(tmp_path / "shop", jobs(line, program(tmp_path, "1.32.0")))
    (root / "sources").mkdir()
    (root / "sources/slow.py").write_text(SLOW)
    day = due.date() - timedelta(days=1)
    call(root, "sync", "shop")
    call(root, "report", "pulse", "--date", "2026-11-18", "--send")
    with Process(root) as up:
        call(root, "jobs", "pause", "paused", "--note", "vendor outage")
        call(root, "jobs", "pause", "resumed", "--note", "for a while")
        call(root, "jobs", "backfill", "cut", "--from", str(day), "--to", str(day))
        call(root, "jobs", "trigger", "by_hand")
        wait_for(lambda: (root / "reading.slow").exists() and (root / "reading.stuck").exists())
        before = states(root)
        up.kill()
        call(root, "jobs", "resume", "resumed")
        age(root, due - timedelta(minutes=1), due - timedelta(days=3))
        program(tmp_path, "1.33.0")
        up.start()
        files = {file.name.partition(".db")[0] for file in (root / ".signalroom").glob("temporal-*")}
        assert files == {"temporal-1.33.0"}
        told = up.log.read_text()
        assert "Late    cut: due " in told
        assert told.count("Late ") == 2, told

        stated = due.isoformat()
        wait_for(lambda: runs(root, "follows") == [("refresh", "success", stated)], 40)
        assert runs(root, "fell_due") == [("sync shop", "success", stated), ("report pulse", "success", stated)]
        cut = (due - timedelta(days=1)).isoformat()
        wait_for(lambda: runs(root, "cut") == [("sync slow", "success", cut), ("refresh", "success", cut)], 40)
        for job in ("too_late", "paused", "resumed"):
            assert runs(root, job) == []
        after = states(root)
        assert after.pop("resumed") == (line, False, "")
        del before["resumed"]
        assert after == before
        assert after["paused"] == (line, True, "vendor outage")
        wanted = {**dict.fromkeys(after), "resumed": None, **firings(root), "paused": None}
        assert {one["job"]: one["next_at"] for one in ask(root, "jobs")["jobs"]} == wanted

        # What a person had begun by hand is lost, and says so; nothing holds its place.
        wait_for(lambda: [one[1] for one in runs(root, "by_hand")] == ["lost"])
        call(root, "jobs", "trigger", "by_hand")
        wait_for(lambda: sorted(one[1] for one in runs(root, "by_hand")) == ["lost", "success"])
        # The report of a day is sent once, whoever asks for it; the one of the day before was there already.
        sent = ask(root, "deliveries")["deliveries"]
        assert sorted(one["state"] for one in sent) == ["sent", "sent"]
        assert up.stop() == 0
        up.start()
        assert "Late " not in up.log.read_text()
        assert up.stop() == 0
    assert len(runs(root, "fell_due")) == 2
