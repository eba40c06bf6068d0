"""The ledger's database: one door for reads, one for writes, and its errors by what to do next."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from signalroom.clock import Clock
from signalroom.errors import ConfigError, RetryableError
from signalroom.ledger.tables import Tables, tables
from signalroom.telemetry import redact

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another process's write on SQLite."""

_WRITE = "signalroom_write"
# Sentences of SQLite and libpq behind which a person must act; everything else operational may pass.
_LASTING = (
    "unable to open database file", "readonly database", "not a database", "malformed",
    "authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied",
    "could not translate host name", "no password supplied", "certificate",
)  # fmt: skip
# Of these, what passes once somebody has made room.
_FULL = ("database or disk is full", "No space left on device", "disk quota exceeded")
# What would be taken for a file's path, and is a database's address: its password would become a file's name.
_MISSPELT = re.compile(r"^postgres|@|\b(host|password|dbname)\s*=", re.IGNORECASE)


class Store:
    """One open database.

    Attributes:
        title: What it is, for people; never a password.
        tables: Its tables.
        clock: Where every moment it stores comes from.
        dialect: ``sqlite`` or ``postgresql``.
    """

    def __init__(self, url: str, root: Path, clock: Clock) -> None:
        address = address_of(url, root)
        dialect = self.dialect = address.get_backend_name()
        self.title = _title(address)
        self.tables: Tables = tables(dialect)
        self.clock = clock
        # Threads of one process queue here: SQLite's own wait is a sleep that grows to a tenth of a second.
        self._turn: AbstractContextManager[Any] = threading.Lock() if dialect == "sqlite" else nullcontext()
        self._engine = sa.create_engine(
            address, hide_parameters=True, json_serializer=dump_json, pool_pre_ping=dialect != "sqlite",
            connect_args=_connect_arguments(dialect),
        )  # fmt: skip
        if dialect == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(**{_WRITE: True})

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """Yield a connection that sees one state of the ledger.

        Raises:
            RetryableError: The database did not answer.
            ConfigError: It refuses us.
        """
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        """Yield a connection whose transaction is durable when the block ends; raises as :meth:`read` does."""
        with self._translated(), self._turn, self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (exc.DBAPIError, exc.TimeoutError) as error:
            # The driver's first line only: the rest may hold statements and their values.
            cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
            unusable = isinstance(error, exc.ProgrammingError) and error.statement is None  # never connected
            lasting = unusable or any(sentence in cause for sentence in _LASTING)
            if lasting:
                raise ConfigError(
                    f"The ledger ({self.title}) refuses: {cause}.", mend="Mend [ledger] or the rights of its role."
                ) from error
            if isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)):
                if any(sentence in cause for sentence in _FULL):
                    raise RetryableError(
                        f"The disk of the ledger ({self.title}) is full: {cause}.", mend="Make room, then try again."
                    ) from error
                raise RetryableError(
                    f"The ledger ({self.title}) did not answer: {cause}.", mend="Try again."
                ) from error
            raise


def dump_json(value: Any) -> str:
    """Return ``value`` as JSON; raises TypeError or ValueError for what JSON cannot carry, NaN included."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def clean(text: str) -> str:
    """Return an error's ``text`` as it may be kept: without secrets, and without NUL, which Postgres cannot store."""
    return redact(text).replace("\x00", "\ufffd")


def address_of(url: str, root: Path) -> sa.URL:
    """Return the database's address: a SQLite file (a path is enough) or a Postgres server; ConfigError for another."""
    # The address is not shown where it cannot be read: it may hold a password.
    unread = ConfigError(
        "ledger.url: the address cannot be read.",
        mend="Use a path, or postgresql://user:password@host/database with what is special in the password %-encoded.",
    )
    if "://" not in url:
        if _MISSPELT.search(url):
            raise unread
        return sa.URL.create("sqlite", database=_file(url, root))
    try:
        address = sa.make_url(url)
    except exc.ArgumentError:
        raise unread from None
    if "@" in (address.database or ""):  # a password with a slash in it cut the address short
        raise unread
    if address.get_backend_name() in {"postgres", "postgresql"}:
        return address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "sqlite":
        return sa.URL.create("sqlite", database=_file(address.database or "", root))
    raise ConfigError(
        f"ledger.url: a ledger cannot be kept in {address.get_backend_name()!r}.",
        mend="Use a path for SQLite, or postgresql://… by env:NAME.",
    )


def _file(path: str, root: Path) -> str:
    if path in {"", ":memory:"}:
        raise ConfigError("ledger.url: the ledger needs a file.", mend='Write url = ".signalroom/ledger.sqlite".')
    file = root / path
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"ledger.url: the folder {file.parent} cannot be made: {error.strerror}.", mend="Mend its rights."
        ) from None
    return str(file)


def _title(address: sa.URL) -> str:
    if address.get_backend_name() == "sqlite":
        return str(address.database)
    return f"postgres {address.host or 'local'}/{address.database or ''}"


def _connect_arguments(dialect: str) -> dict[str, Any]:
    if dialect == "sqlite":
        return {"timeout": BUSY_TIMEOUT_S}
    # A pooler in transaction mode hands each transaction another server, which knows no prepared statement.
    return {"prepare_threshold": None, "connect_timeout": 10, "application_name": "signalroom-ledger"}


def _prepare_sqlite(connection: Any, record: object) -> None:
    """Set up a new SQLite connection: several processes may read while one writes, and commits survive a power cut."""
    del record
    connection.isolation_level = None  # transactions begin where _begin says, not at the driver's guess
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get(_WRITE, False)
    if connection.dialect.name == "sqlite":
        # IMMEDIATE: a write that starts as a read may find the lock taken when it is too late to wait for it.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
    elif writing:
        # A lost claim would send a report twice, whatever the server's default is.
        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
