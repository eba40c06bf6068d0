"""How often one caller may ask: an allowance that refills as time goes by, kept in this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from signalroom.clock import Clock

_MOST_CALLERS = 10_000


@dataclass(slots=True)
class Allowances:
    """An allowance for each caller: ``per_minute`` requests at once, and as many again in every minute.

    Attributes:
        per_minute: How many.
        clock: What measures the minutes.
    """

    per_minute: int
    clock: Clock
    _left: OrderedDict[str, tuple[float, float]] = field(
        default_factory=OrderedDict[str, tuple[float, float]], init=False, repr=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def take(self, caller: str) -> float:
        """Take one request off a caller's allowance; return 0, or the seconds until there is one again."""
        now_s = self.clock.monotonic()
        with self._lock:
            left, since_s = self._left.pop(caller, (float(self.per_minute), now_s))
            left = min(float(self.per_minute), left + (now_s - since_s) * self.per_minute / 60)
            granted = left >= 1
            self._left[caller] = (left - 1 if granted else left, now_s)
            # Who has been silent longest is forgotten first, and comes back with a whole allowance.
            while len(self._left) > _MOST_CALLERS:
                self._left.popitem(last=False)
        return 0.0 if granted else (1 - left) * 60 / self.per_minute
