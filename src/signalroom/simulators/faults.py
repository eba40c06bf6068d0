"""What goes wrong on purpose: a queue of faults for the next requests to one server."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Literal

FaultKind = Literal["status", "stall", "half body", "html", "repeat", "late", "hidden", "cut"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to answer badly; `path` limits it to requests whose path ends so."""

    kind: FaultKind
    status: int = 200
    retry_after_s: int | None = None
    stall_s: float = 0.0
    path: str | None = None


def status(code: int, retry_after_s: int | None = None) -> Fault:
    """Answer with an error status (429, 500, 503 ...), with a Retry-After header if one is given."""
    return Fault("status", status=code, retry_after_s=retry_after_s)


def stall(stall_s: float) -> Fault:
    """Answer properly, but only after `stall_s` seconds (or not at all if the client leaves before)."""
    return Fault("stall", stall_s=stall_s)


def half_body() -> Fault:
    """Announce the whole answer, send half of it and cut the connection."""
    return Fault("half body")


def late(stall_s: float) -> Fault:
    """Do what was asked at once, and say so only after `stall_s` seconds (or never, if the client leaves before)."""
    return Fault("late", stall_s=stall_s)


def hidden(code: int = 502) -> Fault:
    """Do what was asked and answer with an error status, as a proxy does that lost the answer."""
    return Fault("hidden", status=code)


def cut() -> Fault:
    """Do nothing, begin an answer and cut the connection: who asked cannot tell it from `half_body`."""
    return Fault("cut")


def html_page() -> Fault:
    """Answer 200 with a page for people, as a login wall or a proxy does."""
    return Fault("html")


def repeat_page() -> Fault:
    """Answer this path with the same page again and again, whatever is asked, until cleared."""
    return Fault("repeat")


class Faults:
    """The faults of one server, used up in the order they were pushed."""

    def __init__(self) -> None:
        """Begin with none."""
        self._queue: list[Fault] = []
        self._lock = threading.Lock()
        self.repeating: dict[str, object] = {}

    def push(self, fault: Fault, *, times: int = 1, path: str | None = None) -> None:
        """Queue a fault for the next `times` requests, or for those whose path ends with `path`."""
        with self._lock:
            self._queue += [replace(fault, path=path)] * times

    def take(self, path: str) -> Fault | None:
        """Return the fault for a request to `path` and use it up."""
        with self._lock:
            for place, fault in enumerate(self._queue):
                if fault.path is None or path.endswith(fault.path):
                    return self._queue.pop(place)
        return None

    @property
    def pending(self) -> int:
        """Return how many faults are still queued."""
        return len(self._queue)

    def clear(self) -> None:
        """Drop all queued faults and stop repeating pages."""
        with self._lock:
            self._queue.clear()
            self.repeating.clear()
