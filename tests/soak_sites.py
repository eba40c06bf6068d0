"""Where the soak runs: everything in one process tree, or workers apart on a server that several machines would share."""

import json
import os
import signal
from pathlib import Path

from engine_world import Process, dev_server, wait_for

POSTGRES = """
[warehouse]
kind = "postgres"
url = "env:SHOP_URL"
[ledger]
url = "env:SHOP_URL"
"""


class Alone:
    """`signalroom up`: the server is its child, the warehouse DuckDB, the ledger SQLite."""

    victims = (("up",), ("server",), ("server", "up"))
    settings = "[ledger]\n"

    def __init__(self, root):
        self._root, self._up = root, Process(root)

    def start(self):
        self._up.start()

    def kill(self, what):
        """Kill one of them; False when it was killed a moment ago and does not run again yet."""
        if what == "up":
            self._up.kill()
            return True
        return _killed(_server(self._root))

    def revive(self):
        """Start again what nothing else starts again."""
        if self._up.ended:
            self._up.start()

    def stop(self):
        """Ask everything to stop; return what did not stop as it should."""
        return ["up did not stop cleanly"] if self._up.stop() else []

    def kill_all(self):
        self._up.kill()


class Apart:
    """Two `signalroom worker`s and a server of their own; Postgres holds the warehouse and the ledger."""

    victims = (("worker 1",), ("worker 2",), ("server",), ("server", "worker 1"), ("worker 1", "worker 2"))
    settings = POSTGRES

    def __init__(self, root, dsn):
        self._server = dev_server(root / "cluster")
        self._workers = {name: Process(root, "worker", name) for name in ("worker 1", "worker 2")}
        self._root, self._dsn = root, dsn

    def start(self):
        address = self._server.start().address
        (self._root / ".env").write_text(f"SHOP_URL={self._dsn}\nTEMPORAL_ADDRESS={address}\n")
        for worker in self._workers.values():
            worker.start(ready=False)
        for worker in self._workers.values():
            wait_for(lambda worker=worker: worker.ready or worker.ended, 60)
        self.revive()

    def kill(self, what):
        """Kill one of them; False when it was killed a moment ago and does not run again yet."""
        if what == "server":
            return _killed(_server(self._root, "cluster"))
        if self._workers[what].ended:
            return False
        self._workers[what].kill()
        return True

    def revive(self):
        """Start again what nothing else starts again: a worker that found no server has ended with that sentence."""
        if self._server.died():
            self._server.start()
        for worker in self._workers.values():
            if worker.ended:
                worker.start(ready=False)

    def stop(self):
        """Ask everything to stop; return what did not stop as it should."""
        told = [f"{name} did not stop cleanly" for name, worker in self._workers.items() if worker.stop()]
        self._server.stop()
        return told

    def kill_all(self):
        for worker in self._workers.values():
            worker.kill()
        self._server.stop()


def _server(root, folder=".signalroom"):
    return json.loads(Path(root, folder, "temporal.json").read_text())["pid"]


def _killed(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
