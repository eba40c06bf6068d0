"""`signalroom worker` beside a server of its own: what it says while that is gone, and how it ends."""

import json

import pytest

from engine_world import JOBS, Process, dev_server, make_world, wait_for
from shop_workspace import ask, call
from soak_sites import POSTGRES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# A source that goes on until it is let go, or told to stop, and says at each row that it lives.
GATED = '''
import pathlib, time
from dataclasses import dataclass

from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.workspace.settings import injected

TABLE = Table("rows", columns=(Column("id"),), key=("id",), disposition="merge")


@dataclass(frozen=True)
class Gated:
    """A row, once the gate is open."""

    kind = "gated"
    root: pathlib.Path = injected()
    name: str = injected()

    def streams(self):
        return [Stream(self.name, "rows", (TABLE,))]

    def read(self, stream, since, window):
        (self.root / "reading").write_text("x")
        while not (self.root / "gate").exists():
            time.sleep(0.05)
        yield Batch("rows", Raw([b'{"id": "1"}\\n'], "jsonl"), source_ref="gated")

    def confirm(self, stream, position):
        pass

    def check(self):
        return []
'''
JOB = f"""{JOBS.replace("[ledger]", f"{POSTGRES}")}
[engine]
stop_grace_s = 60.0
[sources.gated]
kind = "gated"
[jobs.gate]
schedule = "0 9 * * *"
steps = ["sync gated"]
"""


def ready(worker):
    code, said = worker.get("/ready")
    return code, json.loads(said)["problems"]


def test_a_worker_says_what_it_lacks_and_ends_its_step_before_itself(tmp_path, postgres):
    root = make_world(tmp_path, JOB)
    (root / "sources").mkdir()
    (root / "sources/gated.py").write_text(GATED)
    server = dev_server(root / "cluster")
    try:
        address = server.start().address
        (root / ".env").write_text(f"SHOP_URL={postgres()}\nTEMPORAL_ADDRESS={address}\n")
        worker = Process(root, "worker", "worker").start(ready=False)
        wait_for(lambda: worker.ready or worker.ended, 60)
        if worker.ended:  # the server was not up yet, which is a sentence and another start
            assert "does not answer" in worker.log.read_text()
            worker.start()
        with_worker(root, worker, server, address)
    finally:
        server.stop()


def with_worker(root, worker, server, address):
    try:
        wait_for(lambda: ready(worker) == (200, []), 60)
        server.stop()
        wait_for(lambda: ready(worker)[0] == 503, 60)
        (problem,) = ready(worker)[1]
        assert problem.startswith(f"The Temporal server at {address} does not answer: ")
        assert problem.endswith(". Start it, or try later.")
        assert worker.get("/health")[0] == 200
        assert server.start().address == address
        wait_for(lambda: ready(worker) == (200, []), 60)

        call(root, "jobs", "trigger", "gate")
        wait_for((root / "reading").exists, 60)
        worker.ask_to_stop()
        wait_for(lambda: ready(worker) == (503, ["The worker was told to stop."]), 60)
        (root / "gate").write_text("x")
        assert worker.wait() == 0
        assert worker.log.read_text().endswith("Stopped.\n")
    finally:
        worker.kill()
    (run,) = ask(root, "runs", "--job", "gate")["runs"]
    assert (run["status"], run.get("failures")) == ("success", []), run
    assert ask(root, "query", "select count(*) as n from gated.rows")["rows"] == [[1]]
