"""Connections to one Postgres database, kept for the next who asks: opening one costs more than a small batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
