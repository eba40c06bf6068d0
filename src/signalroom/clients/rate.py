"""A rate limit that holds in every window, wherever the window begins."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from signalroom.clock import Clock

# Clocks of two machines do not tick alike, and adding seconds up as floats loses the last bits of them.
_MARGIN_S = 0.005


@dataclass(slots=True, eq=False)
class _Turn:
    """One request; ``over_s`` is when its answer was in, and until then when it was sent."""

    over_s: float


@dataclass(slots=True, eq=False)
class RateLimit:
    """At most ``requests`` in any ``per_s`` seconds; threads and clients that share it share the allowance.

    A request reaches the upstream somewhere between being sent and being answered, so a place is free again
    ``per_s`` seconds after the *answer*: however slow the network is, the upstream never sees one too many.

    Attributes:
        requests: How many, at least 1.
        per_s: Length of the sliding window in seconds.
    """

    requests: int
    per_s: float
    _turns: list[_Turn] = field(default_factory=list[_Turn], init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @contextmanager
    def turn(self, clock: Clock) -> Generator[None]:
        """Wait for a place, and keep it while the block talks to the upstream."""
        mine, wait_s = self._reserve(clock.monotonic())
        if wait_s > 0:
            clock.sleep(wait_s)
        try:
            yield
        finally:
            with self._lock:
                mine.over_s = max(mine.over_s, clock.monotonic())

    def _reserve(self, now_s: float) -> tuple[_Turn, float]:
        """Return a turn and the seconds to wait for it; who comes later waits behind it."""
        with self._lock:
            start_s = now_s
            if len(self._turns) >= self.requests:
                oldest = min(self._turns, key=lambda turn: turn.over_s)
                self._turns.remove(oldest)
                start_s = max(now_s, oldest.over_s + self.per_s + _MARGIN_S)
            mine = _Turn(start_s)
            self._turns.append(mine)
            return mine, start_s - now_s
