"""Ctrl-C, as a terminal sends it: to the command and to every process it started."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine_world import JOBS, Process, dev_server, make_world, wait_for
from shop_workspace import ask, call, make_shop
from signalroom.cli.interrupting import interruptible
from signalroom.errors import interrupted
from signalroom.reports.process import Limits, Worker
from signalroom.room import Room
from soak_sites import POSTGRES

pytestmark = pytest.mark.timeout(120)

# Rows that are read until a gate opens, and rows that take the warehouse some time.
SOURCES = '''
import pathlib, time
from dataclasses import dataclass

from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.workspace.settings import injected

TABLE = Table("rows", columns=(Column("id"),), key=("id",), disposition="merge")


@dataclass(frozen=True)
class Gated:
    """Rows behind a gate."""

    kind = "gated"
    root: pathlib.Path = injected()
    name: str = injected()

    def streams(self):
        return [Stream(self.name, "rows", (TABLE,))]

    def read(self, stream, since, window):
        if self.name == "gated":
            (self.root / "reading").write_text("x")
            while not (self.root / "gate").exists():
                time.sleep(0.01)
        rows = b"".join(b'{"id": "%d"}\\n' % number for number in range(200_000))
        yield Batch("rows", Raw([rows], "jsonl"), source_ref="gated")
        (self.root / "reading").write_text("x")

    def confirm(self, stream, position):
        pass

    def check(self):
        return []
'''
TABLES = f"""{JOBS}
[engine]
stop_grace_s = 0.5
[sources.gated]
kind = "gated"
[sources.many]
kind = "gated"
[jobs.gate]
schedule = "0 9 * * *"
steps = ["sync gated"]
"""
HEAVY = "select count(*) as n from range(10000000) a(x), range(10000000) b(y) where hash(x + y) % 7 = 3"


def world(root, tables=TABLES):
    root = make_world(root, tables)
    (root / "sources").mkdir()
    (root / "sources/gated.py").write_text(SOURCES)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("words", [("sync", "gated"), ("run", "gate"), ("sync", "many")], ids=" ".join)
def test_a_command_ends_in_one_line_and_can_be_given_again_at_once(tmp_path, words):
    root = world(tmp_path)
    command = [Path(sys.executable).with_name("signalroom"), *words]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        wait_for((root / "reading").exists, 60)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert said.split("\n") == ["", "Error: Interrupted. What was committed is kept: run it again to go on.", ""]
    (run,) = ask(root, "runs", "--limit", "1")["runs"]
    assert (run["status"], run["error"]) == ("error", "It was interrupted.")
    (root / "gate").write_text("x")
    call(root, *words)
    table = "many" if words[-1] == "many" else "gated"
    # A load that was whole in the lake when it was interrupted is merged too: the same rows, once.
    assert ask(root, "query", f"select count(*), count(distinct id) from {table}.rows")["rows"] == [[200_000, 200_000]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["up", "worker"])
def test_a_process_that_stays_cuts_its_step_off_and_lets_go_of_it(tmp_path, kind, request):
    tables = TABLES if kind == "up" else TABLES.replace("[ledger]", POSTGRES)
    root, server = world(tmp_path, tables.replace("run_lease_s = 3.0", "run_lease_s = 300.0")), None
    if kind == "worker":
        server = dev_server(root / "cluster")
        dsn = request.getfixturevalue("postgres")()
        (root / ".env").write_text(f"SHOP_URL={dsn}\nTEMPORAL_ADDRESS={server.start().address}\n")
    try:
        process = Process(root, kind, kind).start(ready=False)
        wait_for(lambda: process.ready or process.ended, 60)
        if process.ended:  # the server was not up yet
            process.start()
        call(root, "jobs", "trigger", "gate")
        wait_for((root / "reading").exists, 60)
        process.ask_to_stop(signal.SIGINT)
        assert process.wait() == 130
    finally:
        if server:
            server.stop()
    assert "Cut off, to go on at the next start: sync gated." in process.log.read_text()
    assert "Traceback" not in process.log.read_text()
    (run,) = ask(root, "runs", "--job", "gate")["runs"]
    assert (run["status"], run["error"]) == ("lost", "It was cut off: its process was told to stop.")
    (root / "gate").write_text("x")
    call(root, "run", "gate")
    assert ask(root, "query", "select count(*) as n from gated.rows")["rows"] == [[200_000]]


def test_what_duckdb_computes_ends_at_once(tmp_path):
    with Room.open(make_shop(tmp_path)) as room:
        room.warehouse.query("select 1")
        before = signal.getsignal(signal.SIGINT)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises((KeyboardInterrupt, RuntimeError)) as ended, interruptible(room):
            room.warehouse.query(HEAVY)
        assert interrupted(ended.value)
        assert signal.getsignal(signal.SIGINT) is before
        assert room.warehouse.query("select 1 as one").to_pylist() == [{"one": 1}]


def test_what_others_make_of_it_is_still_an_interruption():
    def nested():
        try:
            raise RuntimeError("Query interrupted")
        except RuntimeError as problem:
            raise ValueError("The report cannot be computed.") from problem

    with pytest.raises(ValueError, match="computed") as failed:
        nested()
    assert interrupted(failed.value)
    assert not interrupted(RuntimeError("Query failed"))


def test_the_terminal_does_not_reach_what_a_step_is_at_work_with():
    worker = Worker(Limits())
    try:
        assert os.getpgid(worker._process.pid) != os.getpgid(0)
    finally:
        worker.close()
