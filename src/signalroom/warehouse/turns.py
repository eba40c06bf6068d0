"""A lock that is had in the order in which it was asked for, so that whoever needs it often passes over nobody."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final


class Turns:
    """A lock for ``with``: its waiters have it one after the other, the first who came first.

    Python's own may go to whoever just gave it back: a copy of a million rows, chunk after chunk, would keep a single
    row waiting until its end. It is not to be entered twice by one thread.
    """

    def __init__(self) -> None:
        self._guard: Final = threading.Lock()
        self._waiting: Final = deque[threading.Lock]()
        self._is_taken = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __enter__(self) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # whoever is before us releases it, and so hands the turn on

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False
