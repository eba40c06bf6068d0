"""What the tests of the engine share: a workspace with jobs, a Temporal server of their own, and `up` as a process."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from shop_workspace import make_shop
from signalroom.clock import SystemClock
from signalroom.engine.server import DevServer

FAST = '--dynamic-config-value=history.timerProcessorMaxTimeShift="10ms"'
"""Lets the server's timers fire when they are due: as it comes, they are late by up to a second."""

JOBS = """
[ledger]
run_lease_s = 3.0
delivery_lease_s = 2.0
[jobs.daily]
schedule = "0 7 * * *"
overlap = "queue"
catch_up_h = 0.01
steps = ["sync shop", "report pulse"]
"""


def make_world(root, more=JOBS):
    """Make the shop's workspace with scheduled jobs at ``root`` and return it."""
    return make_shop(root, more)


def dev_server(folder):
    """Return a server that is not started yet, its database under ``folder``."""
    return DevServer(folder, SystemClock(), options=[FAST])


def wait_for(found, within_s=20.0, every_s=0.05):
    """Return what ``found`` returns once that is true; fail when it is not in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(every_s)
    raise AssertionError(f"nothing within {within_s} s")


class Process:
    """`signalroom up`, or another command that stays, as a process of its own; its log is the workspace's ``NAME.log``."""

    def __init__(self, root, command="up", name="up", environ=None, options=("--port", "0")):
        self.root, self.log = Path(root), Path(root) / f"{name}.log"
        program = str(Path(sys.executable).with_name("signalroom"))
        more = [f"--temporal-option={FAST}"] if command == "up" else []
        self._command = [program, "--workspace", str(root), command, *options, *more]
        self._environ = {**os.environ, **(environ or {})}
        self._process = None

    def start(self, ready=True):
        with self.log.open("w") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environ)
        if ready:
            wait_for(lambda: self.ended or self.ready, 60)
            assert not self.ended, self.log.read_text()
        return self

    @property
    def ready(self):
        return "Press Ctrl-C" in self.log.read_text()

    @property
    def ended(self):
        return self._process.poll() is not None

    @property
    def pid(self):
        return self._process.pid

    def page(self):
        return re.search(r"(http://127\.0\.0\.1:\d+)/health", self.log.read_text())[1]

    def kill(self):
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self, how=signal.SIGTERM):
        self._process.send_signal(how)

    def wait(self):
        """Return its exit code once it has ended."""
        return self._process.wait(60)

    def stop(self):
        """Ask it to stop and return its exit code."""
        self.ask_to_stop()
        return self.wait()

    def get(self, path):
        """Return the status and the text that its page answers with."""
        try:
            with urllib.request.urlopen(f"{self.page()}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if not self.ended:
            self.kill()
