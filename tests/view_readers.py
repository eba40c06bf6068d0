"""Readers that ask every view all the time, and note the longest wait, every error and every empty answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg


@dataclass
class Readers:
    """Threads that read views over connections of their own until the block ends.

    Attributes:
        dsn: The database.
        views: ``schema.view`` of each; every reader asks them all in turn.
        worst_ms: The longest that one answer took.
        reads: How many answers came.
        problems: What went wrong, an empty answer included.
    """

    dsn: str
    views: Sequence[str]
    readers: int = 2
    worst_ms: float = 0.0
    reads: int = 0
    problems: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _started: threading.Barrier | None = None

    def __enter__(self) -> Self:
        self._started = threading.Barrier(self.readers + 1)
        self._threads = [threading.Thread(target=self._read) for _ in range(self.readers)]
        for one in self._threads:
            one.start()
        self._started.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join(60)

    def _read(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            assert self._started is not None
            self._started.wait(60)
            while not self._stop.is_set():
                for view in self.views:
                    self._ask(connection, view)

    def _ask(self, connection: psycopg.Connection[Any], view: str) -> None:
        began = time.perf_counter()
        try:
            statement: Any = f"select count(*) from {view}"
            (rows,) = connection.execute(statement).fetchone() or (0,)
        except psycopg.Error as problem:
            self.problems.append(f"{view}: {problem}")
            return
        self.worst_ms = max(self.worst_ms, 1000 * (time.perf_counter() - began))
        self.reads += 1
        if not rows:
            self.problems.append(f"{view} is empty")
