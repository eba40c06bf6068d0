"""How many refreshes of views run at once: of all processes that refresh in one warehouse, each waits for its turn.

On Postgres a turn is an advisory lock, so the server gives it back when its holder is killed. A DuckDB
file has one process, and its threads wait for one another.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from signalroom.warehouse import postgres_session as session

if TYPE_CHECKING:
    import psycopg

TURNS = 7349
"""First number of the advisory locks: the second is 0 for the head of the queue, and 1 and up for who has a turn."""

_PAUSE_S = 0.02
_TAKE = f"SELECT place FROM generate_series(1, ?) AS place WHERE pg_try_advisory_xact_lock({TURNS}, place) LIMIT 1"


class Turnstile:
    """Lets so many threads of one process through at once, in the order in which they came."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._waiting: deque[object] = deque()
        self._inside = 0

    @contextmanager
    def turn(self, limit: int) -> Generator[None]:
        """Yield when fewer than ``limit`` are inside and nobody came before."""
        me = object()
        with self._moved:
            self._waiting.append(me)
            try:
                self._moved.wait_for(lambda: self._waiting[0] is me and self._inside < limit)
                self._inside += 1
            finally:
                self._waiting.remove(me)
                self._moved.notify_all()
        try:
            yield
        finally:
            with self._moved:
                self._inside -= 1
                self._moved.notify_all()


@contextmanager
def turn(
    connect: Callable[[], AbstractContextManager[psycopg.Connection[tuple[Any, ...]]]], limit: int
) -> Generator[None]:
    """Yield when fewer than ``limit`` others of any process have a turn, first come first served.

    The locks are a transaction's: behind a pooler a session's would outlive whoever took them.

    Args:
        connect: Lends a connection; one stands in the queue, the other holds the turn.
        limit: The most turns at once.

    Raises:
        RetryableError: A connection broke while we waited.
    """
    with connect() as holder, holder.transaction():
        with session.explained("wait for a turn to refresh views"), connect() as head, head.transaction():
            for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                for one in (holder, head):  # others may take their time, and so may we
                    session.execute(one, f"SET LOCAL {setting} = 0", [])
            session.execute(head, f"SELECT pg_advisory_xact_lock({TURNS}, 0)", [])
            while not session.execute(holder, _TAKE, [limit]):
                session.execute(head, f"SELECT pg_sleep({_PAUSE_S})", [])
        yield
