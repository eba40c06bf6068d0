"""Local days as spans of epoch seconds, right across daylight saving changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

ONE_DAY = timedelta(days=1)


@lru_cache(maxsize=4096)
def midnight_s(day: date, zone: ZoneInfo) -> int:
    """Return the epoch second at which `day` begins in `zone`."""
    return int(datetime.combine(day, time(), zone).timestamp())


def day_span_s(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """Return the epoch seconds [begin, end) of `day` in `zone`: 23, 24 or 25 hours apart."""
    return midnight_s(day, zone), midnight_s(day + ONE_DAY, zone)


def local_day(at_s: float, zone: ZoneInfo) -> date:
    """Return the date a clock on the wall in `zone` shows at epoch second `at_s`."""
    return datetime.fromtimestamp(at_s, zone).date()


def each_day(first: date, last: date) -> Iterator[date]:
    """Yield every date from `first` to `last`, both included."""
    day = first
    while day <= last:
        yield day
        day += ONE_DAY


def epoch_s(moment: datetime) -> float:
    """Return a zoned moment in epoch seconds.

    Raises:
        ValueError: The moment has no time zone, so it names no instant.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; give one, for example tzinfo=UTC")
    return moment.timestamp()
