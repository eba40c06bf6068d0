"""Loops of a process that stays: each a thread that takes turns, waits longer after trouble, and says how it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from signalroom.clock import Clock
from signalroom.errors import SignalRoomError
from signalroom.telemetry import redact

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 60.0
_log = logging.getLogger("signalroom.engine")


@dataclass(slots=True)
class Loop:
    """One loop.

    Attributes:
        name: What it is called, e.g. ``app sweep``.
        turn: Does one turn and returns how many seconds to wait before the next; given the event that is set when the
            process stops, which a long turn looks at.
        ended_at: When its last good turn ended, UTC.
        failures: Turns that failed since.
        problem: What the last of them said; empty when all is well.
        failed: Turns that failed since the process began.
        ailing: Returns what ails although its turns go well, each a sentence.
    """

    name: str
    turn: Callable[[threading.Event], float]
    ended_at: datetime | None = None
    failures: int = 0
    problem: str = ""
    failed: int = 0
    ailing: Callable[[], Sequence[str]] = field(default=tuple, repr=False)
    _news: threading.Event = field(default_factory=threading.Event, repr=False)

    def wake(self) -> None:
        """Take the next turn now."""
        self._news.set()

    def problems(self) -> Sequence[str]:
        """Return what ails it now, each a sentence."""
        return [self.problem] if self.problem else [redact(said) for said in self.ailing()]

    def once(self, stop: threading.Event, clock: Clock) -> float:
        """Take one turn; return how many seconds to wait before the next, longer after each failure in a row."""
        self._news.clear()  # whoever wakes it from here on means the turn after this one
        try:
            wait_s = self.turn(stop)
        except Exception as problem:  # noqa: BLE001 - a loop that ended would be a copy that stands still, unseen
            said = redact(
                str(problem) if isinstance(problem, SignalRoomError) else f"{type(problem).__name__}: {problem}"
            )
            is_news = said != self.problem
            self.failures, self.failed, self.problem = self.failures + 1, self.failed + 1, said
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self.failures, 10))
            unexpected = None if isinstance(problem, SignalRoomError) else problem
            # Said once; `/ready` shows it for as long as it lasts.
            level = logging.WARNING if is_news else logging.DEBUG
            _log.log(level, "%s: it is tried again in %.0f s: %s", self.name, wait_s, said, exc_info=unexpected)
            return wait_s
        if self.problem:
            _log.warning("%s: all is well again, after %d failures.", self.name, self.failures)
        self.failures, self.problem, self.ended_at = 0, "", clock.now()
        return wait_s

    def serve(self, stop: threading.Event, clock: Clock) -> None:
        """Take turns until ``stop`` is set."""
        while not stop.is_set():
            self._news.wait(self.once(stop, clock))


class Loops:
    """Loops that run for as long as the block lasts.

    Args:
        loops: What runs, each in a thread of its own.
        clock: Where time comes from.
    """

    def __init__(self, loops: Sequence[Loop], clock: Clock) -> None:
        self.loops = tuple(loops)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=one.serve, args=(self._stop, clock), name=one.name, daemon=True) for one in loops
        ]

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self.loops:
            one.wake()
        for thread in self._threads:
            thread.join()

    def problems(self) -> list[str]:
        """Return what ails the loops, each a sentence; nothing when all is well."""
        return [f"{one.name}: {said}" for one in self.loops for said in one.problems()]
