"""A private Postgres for tests: its own cluster, its own port, a fresh database for every test that asks.

Fixtures (loaded by ``tests/conftest.py``):

* ``postgres``: a function; each call makes an empty database and returns its DSN.
* ``postgres_server``: the server behind it, for tests that need its port, its pid or a restart.

``PostgresServer.started(fsync=True, wal_level="logical", ...)`` gives a test a cluster of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

_READY_TRIES = 600  # of 50 ms
_SETTINGS = {
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


class PostgresServer:
    """One cluster in a temporary folder, stopped by its pid."""

    def __init__(self, bin_dir: Path, *, fsync: bool = False, **settings: str) -> None:
        self._bin = bin_dir
        self._settings = {**_SETTINGS, "fsync": "on" if fsync else "off", **settings}
        self._home = Path(tempfile.mkdtemp(prefix="signalroom-pg-"))
        self.data = self._home / "data"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            # Postgres refuses to run as root.
            owner = pwd.getpwnam("postgres")
            os.chown(self._home, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")

    @classmethod
    @contextlib.contextmanager
    def started(cls, *, fsync: bool = False, **settings: str) -> Iterator[PostgresServer]:
        """Yield a running server of its own, and remove it afterwards; skips the test where none is installed."""
        bin_dir = binaries()
        if bin_dir is None:
            pytest.skip("no Postgres server is installed; on Debian: apt install postgresql")
        server = cls(bin_dir, fsync=fsync, **settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(server._home, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self._home / "log").read_text(encoding="utf-8", errors="replace")

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, on its earlier port after a stop."""
        for _ in range(5):
            port = self.port or _free_port()
            if self._listens(port):
                self.port = port
                return
        raise AssertionError(f"Postgres did not start:\n{self.log}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT is a fast shutdown, SIGQUIT an immediate one, SIGKILL a crash."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def create_database(self) -> str:
        """Make an empty database and return its DSN."""
        name = f"t_{uuid.uuid4().hex[:16]}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        return self.dsn(name)

    def drop_database(self, dsn: str) -> None:
        """Remove a database, its replication slots and whoever is still connected."""
        name = dsn.rpartition("/")[2]
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots"
                " where database = %s and active_pid is not null",
                [name],
            )
            connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s", [name]
            )
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def _listens(self, port: int) -> bool:
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        options += [f"-cport={port}", f"-cunix_socket_directories={self._home}"]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_postgres(), str(self._bin / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._home,
            )  # fmt: skip
        for _ in range(_READY_TRIES):
            try:
                psycopg.connect(self.dsn().replace(f":{self.port}/", f":{port}/"), connect_timeout=5).close()
            except psycopg.OperationalError:
                # Waiting for the child to end is waiting for it to be ready, without a sleep that outlives it.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.05)
                    return False
            else:
                return True
        self.stop(signal.SIGQUIT)
        return False

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_as_postgres(), str(self._bin / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self._home)
        assert done.returncode == 0, done.stdout + done.stderr


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
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's server: no fsync, logical decoding on."""
    with PostgresServer.started() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[Callable[[], str]]:
    """Return a function that makes an empty database and returns its DSN; they are removed after the test."""
    made: list[str] = []

    def create() -> str:
        made.append(postgres_server.create_database())
        return made[-1]

    yield create
    for dsn in made:
        postgres_server.drop_database(dsn)
