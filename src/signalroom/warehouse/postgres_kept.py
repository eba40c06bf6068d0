"""What a small batch for Postgres needs and costs more to open than to use: connections, and a DuckDB that types."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import psycopg


class KeptConnections:
    """Lends each connection to one thread at a time; as many are kept as were ever lent at once.

    Args:
        connect: Opens one, in autocommit.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[tuple[Any, ...]]]) -> None:
        self._connect = connect
        self._idle: deque[psycopg.Connection[tuple[Any, ...]]] = deque()

    @contextmanager
    def lend(self) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
        """Yield a connection that answers; after an error it is closed, for nobody knows what state it is in.

        Raises:
            RetryableError: The database does not answer.
        """
        connection = self._answering() or self._connect()
        is_well = False
        try:
            yield connection
            is_well = True
        finally:
            if is_well:
                self._idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _answering(self) -> psycopg.Connection[tuple[Any, ...]] | None:
        """Return one that is kept and still answers; those that do not are closed."""
        import psycopg

        while True:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread may have taken the last
                return None
            try:
                connection.execute("SELECT 1")
            except psycopg.Error:  # the server was restarted since, or closed what was idle
                connection.close()
            else:
                return connection


class KeptTyping:
    """A private DuckDB in memory, opened with the first who asks; each has temporary tables of its own."""

    def __init__(self) -> None:
        self._opened: duckdb.DuckDBPyConnection | None = None
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Yield a connection to it; what it makes is gone afterwards."""
        with self._lock:
            if self._opened is None:
                import duckdb

                self._opened = duckdb.connect()
            cursor = self._opened.cursor()
        try:
            cursor.execute("SET TimeZone = 'UTC'")
            yield cursor
        finally:
            cursor.close()

    def close(self) -> None:
        """Close it; the next who asks opens another."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
