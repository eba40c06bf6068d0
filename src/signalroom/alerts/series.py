"""What is usual: a day beside the same weekday of the weeks before, and a load beside the gaps before it.

Medians throughout, so that one bad day does not become what is usual. Measured on simulated weeks with a trend,
weekdays, noise and outages, in ``tests/unit/test_alert_series.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from statistics import median
from typing import Final, Literal, TypeAlias

Direction: TypeAlias = Literal["down", "both"]

WEEKS: Final = 6
_ENOUGH: Final = 4
_SPREADS: Final = 4.0
_LEAST_SPREAD: Final = 0.05
_LEAST_CHANGE: Final = 0.25
_MAD_TO_SPREAD: Final = 1.4826  # of a normal distribution
_GAPS: Final = 8
_SHORTEST: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Drift:
    """A day that is not like the same weekday of the weeks before.

    Attributes:
        day: The day.
        value: Its figure.
        usual: The median of the same weekday.
    """

    day: date
    value: Decimal
    usual: Decimal


def usual(values: Mapping[date, Decimal], day: date) -> Decimal | None:
    """Return the median of the same weekday in the weeks before ``day``; None with fewer than four of them."""
    before = _before(values, day)
    return median(before) if len(before) >= _ENOUGH else None


def drift(values: Mapping[date, Decimal], day: date, direction: Direction = "down") -> Drift | None:
    """Return how ``day`` differs from the same weekday of the six weeks before, or None when it does not.

    It differs when it is four spreads (1.4826 times the median absolute deviation, at least 5 % of the median) and a
    quarter of the median away. Nothing at all where something is usual always differs.

    Args:
        values: Day -> figure; a day without one counts as 0 when it is ``day`` itself, and is left out before it.
        day: The day to look at, one that is over.
        direction: ``down`` tells of drops only.
    """
    expected = usual(values, day)
    value = values.get(day, Decimal(0))
    if expected is None or expected == 0:
        return None
    if value == 0 and expected > 0:
        return Drift(day, value, expected)
    spread = _MAD_TO_SPREAD * float(median([abs(one - expected) for one in _before(values, day)]))
    size = abs(float(expected))
    away = float(value - expected)
    if direction == "down" and away > 0:
        return None
    limit = max(_SPREADS * max(spread, _LEAST_SPREAD * size), _LEAST_CHANGE * size)
    return Drift(day, value, expected) if abs(away) > limit else None


def longest_usual(moments: Sequence[datetime]) -> timedelta | None:
    """Return how long the wait for a next load may usually be; None where too few are known.

    Half as long again as the longest gap but one, and at least two hours: nights and weekends come again and are usual,
    one outage is not.

    Args:
        moments: When loads were committed, oldest first; of about two weeks.
    """
    gaps = sorted(later - earlier for earlier, later in pairwise(moments))
    return max(1.5 * gaps[-2], _SHORTEST) if len(gaps) >= _GAPS else None


def missing_days(days: Sequence[date], last: date) -> list[date]:
    """Return the days that lack between the first of ``days`` and ``last``, within the two weeks that end there."""
    known = set(days)
    if not known:
        return []
    first = max(min(known), last - timedelta(days=13))
    return [day for n in range((last - first).days + 1) if (day := first + timedelta(days=n)) not in known]


def _before(values: Mapping[date, Decimal], day: date) -> list[Decimal]:
    days = (day - timedelta(weeks=week) for week in range(1, WEEKS + 1))
    return [values[one] for one in days if one in values]
