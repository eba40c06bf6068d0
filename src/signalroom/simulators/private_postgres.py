"""A private Postgres server: its own cluster in its own folder, on a free loopback port; with a standby where one asks.

It is what an app's database is to the demo and to the tests. It needs the programs of a Postgres server on this
machine, and nothing of a server that may already run on it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

_READY_TRIES: Final = 600  # of 50 ms
_STOP_S: Final = 20
_SETTINGS: Final = {
    "wal_level": "logical",
    "max_wal_senders": "16",
    "max_replication_slots": "16",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


def binaries() -> Path | None:
    """Return the folder of the newest Postgres server installed, or None."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


class PrivatePostgres:
    """One cluster in a temporary folder, stopped by its pid.

    Args:
        bin_dir: Where the server's programs are: see :func:`binaries`.
        copy_of: Make a streaming standby of this running server instead of an empty cluster.
        fsync: Whether it writes through to the disk; without, a crash of the machine loses it.
        settings: Further settings of the server.

    Raises:
        RuntimeError: A program of the server failed; the message is what it said.
    """

    def __init__(
        self, bin_dir: Path, *, copy_of: PrivatePostgres | None = None, fsync: bool = False, **settings: str
    ) -> None:
        self._bin = bin_dir
        self._settings: Mapping[str, str] = {**_SETTINGS, "fsync": "on" if fsync else "off", **settings}
        self.home = Path(tempfile.mkdtemp(prefix="signalroom-pg-"))
        self.data = self.home / "data"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            import pwd  # Postgres refuses to run as root

            owner = pwd.getpwnam("postgres")
            os.chown(self.home, owner.pw_uid, owner.pw_gid)
        if copy_of is None:
            made = ("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        else:
            made = ("pg_basebackup", "-d", copy_of.dsn(), "-R", "-X", "stream", "-c", "fast", "-N")
        self._run(*made, "-D", str(self.data))

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, bin_dir: Path, *, copy_of: PrivatePostgres | None = None, fsync: bool = False, **settings: str
    ) -> Generator[PrivatePostgres]:
        """Yield a running server of its own, and remove it with its data afterwards."""
        server = cls(bin_dir, copy_of=copy_of, fsync=fsync, **settings)
        try:
            server.start()
            yield server
        finally:
            server.remove()

    @property
    def pid(self) -> int:
        """The postmaster's process id; raises RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError("The server does not run.")
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self.home / "log").read_text(encoding="utf-8", errors="replace")

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, on its earlier port after a stop; raises RuntimeError with its log when it does not."""
        for _ in range(5):
            port = self.port or _free_port()
            if self._listens(port):
                self.port = port
                return
        raise RuntimeError(f"Postgres did not start:\n{self.log}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT is a fast shutdown, SIGQUIT an immediate one, SIGKILL a crash."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def promote(self) -> None:
        """Make a standby the leader, on a timeline of its own."""
        self._run("pg_ctl", "promote", "-w", "-D", str(self.data))

    def _listens(self, port: int) -> bool:
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        options += [f"-cport={port}", f"-cunix_socket_directories={self.home}"]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program of the server that was found, arguments of our own
                [*_as_postgres(), str(self._bin / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
            )  # fmt: skip
        asked = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        for _ in range(_READY_TRIES):
            asked_in_vain = subprocess.run(asked, check=False).returncode  # noqa: S603 - as above
            if self._process.poll() is None and not asked_in_vain:
                return True
            # Waiting for the child to end is waiting for it to be ready, without a sleep that outlives it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                return False
        self.stop(signal.SIGQUIT)
        return False

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_as_postgres(), str(self._bin / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.home)  # noqa: S603 - likewise
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")


def _as_postgres() -> list[str]:
    """Return what runs a program as the postgres user under our own child's pid, and ends it when we die."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig", "INT"] if setpriv else []
    if setpriv:
        return [setpriv, "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "INT"]
    return ["runuser", "-u", "postgres", "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
