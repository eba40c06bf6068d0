"""Connections to Postgres, and its errors typed by what to do."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError

if TYPE_CHECKING:
    import psycopg

    Described = psycopg.Column  # for whom may not import the driver
    Connection = psycopg.Connection[tuple[Any, ...]]
    Cursor = psycopg.Cursor[tuple[Any, ...]]

_RETRYABLE = ("08", "40", "53", "55P03", "57", "58", "25006")
"""SQLSTATE classes that may pass: connection, rollback, resources, locks, shutdown, I/O; a standby is read-only."""
_FULL: Final = ("53100", "53200")  # disk, memory
_REFUSED: Final = (
    "password authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied",
    "must be superuser or replication role",
)  # fmt: skip


def connect(url: str, *, timeout_s: int, autocommit: bool = True) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a connection whose text is UTF-8, whose zone is UTC and which prepares nothing (safe behind a pooler)."""
    try:
        import psycopg
        import psycopg.conninfo
        import psycopg.types.string
    except ModuleNotFoundError:
        raise ConfigError(
            "The Postgres driver is not installed.", mend="Install it: pip install 'signalroom[postgres]'."
        ) from None
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # What the driver says of it would quote it, password and all.
        raise ConfigError(
            "The address of the Postgres database cannot be read.",
            mend="Write postgresql://user:password@host/database with what is special in the password %-encoded.",
        ) from None
    with explained("connect"):
        connection = psycopg.connect(
            url, autocommit=autocommit, connect_timeout=timeout_s, prepare_threshold=None,
            application_name="signalroom", client_encoding="utf8",
        )  # fmt: skip
        connection.execute("SET timezone = 'UTC'")
        for kind in ("json", "jsonb"):  # as it is written, not as Python objects
            connection.adapters.register_loader(kind, psycopg.types.string.TextLoader)
        return connection


@contextmanager
def explained(what: str) -> Generator[None]:
    """Turn psycopg's errors into ours; the sentence is the server's and never holds the address."""
    import psycopg

    try:
        yield
    except psycopg.Error as problem:
        raise _typed(problem, what) from problem


def _typed(problem: psycopg.Error, what: str) -> SignalRoomError:
    import psycopg

    state = problem.sqlstate or ""
    said = (problem.diag.message_primary or str(problem)).strip().split("\n", 1)[0].rstrip(".")
    if state == "2BP01" and problem.diag.message_detail:  # what hangs on it: names of objects, no values
        said += f": {problem.diag.message_detail.replace(chr(10), '; ')}"
    sentence = f"Postgres could not {what}: {said}."
    # a connection that is refused has no state, only words
    refused = not state and any(words in str(problem) for words in _REFUSED)
    if refused or state.startswith("28") or state in ("3D000", "42501"):
        return ConfigError(sentence, mend="Check the user, its password and its rights.")
    # a merge whose lock is lost fills a table that the merge after it may drop
    lost = state == "42P01" and "signalroom.incoming_" in said
    if lost or state.startswith(_RETRYABLE) or isinstance(problem, psycopg.OperationalError):
        full = state in _FULL
        return RetryableError(sentence, mend="Make room on the server, then try again." if full else "Try again later.")
    return DataError(sentence, mend="Correct the SQL or the data.")
