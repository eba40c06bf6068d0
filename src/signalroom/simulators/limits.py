"""Rate limits that look at a clock handed to them, so that nobody has to sleep to test one."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Allowance:
    """The answer to one request: whether it may pass, and what is left until when."""

    allowed: bool
    limit: int
    remaining: int
    retry_after_s: int


class RateLimit(Protocol):
    """Something that counts requests."""

    def take(self) -> Allowance:
        """Count one request."""
        ...


class FixedWindow:
    """At most `limit` requests in each window of `window_s` seconds; windows follow one another."""

    def __init__(self, limit: int, window_s: float, clock: Clock) -> None:
        """Begin a window with the first request."""
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._began_s = -math.inf
        self._used = 0

    def take(self) -> Allowance:
        """Count one request, in a new window if the last one is over."""
        now_s = self._clock()
        if now_s - self._began_s >= self._window_s:
            self._began_s, self._used = now_s, 0
        allowed = self._used < self._limit
        self._used += allowed
        wait_s = max(1, math.ceil(self._began_s + self._window_s - now_s))
        return Allowance(allowed, self._limit, self._limit - self._used, 0 if allowed else wait_s)


class SlidingWindow:
    """At most `limit` requests in any `window_s` seconds; refused requests are not counted."""

    def __init__(self, limit: int, window_s: float, clock: Clock) -> None:
        """Begin with nothing counted."""
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._passed_s: deque[float] = deque()

    def take(self) -> Allowance:
        """Count one request, forgetting those that are old enough."""
        now_s = self._clock()
        while self._passed_s and now_s - self._passed_s[0] >= self._window_s:
            self._passed_s.popleft()
        if len(self._passed_s) < self._limit:
            self._passed_s.append(now_s)
            return Allowance(True, self._limit, self._limit - len(self._passed_s), 0)
        wait_s = max(1, math.ceil(self._passed_s[0] + self._window_s - now_s)) if self._passed_s else 1
        return Allowance(False, self._limit, 0, wait_s)
