"""A private Postgres for tests: its own cluster, its own port, a fresh database for every test that asks.

Fixtures (loaded by ``tests/conftest.py``):

* ``postgres``: a function; each call makes an empty database and returns its DSN.
* ``postgres_server``: the server behind it, for tests that need its port, its pid or a restart.

``PostgresServer.started(fsync=True, wal_level="logical", ...)`` gives a test a cluster of its own.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from signalroom.simulators.private_postgres import PrivatePostgres, binaries

__all__ = ["PostgresServer", "postgres", "postgres_server"]


class PostgresServer(PrivatePostgres):
    """One cluster in a temporary folder, with databases made and removed on demand."""

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
            server.remove()

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
