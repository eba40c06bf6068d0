"""Five-field cron expressions, checked strictly: a schedule that never fires is a mistake, not a schedule."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from signalroom.errors import ConfigError, nearest

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: what it is called, its lowest and highest number, the names of its numbers from the lowest up."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)
_DAYS_IN = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/(\d+))?")
# Looked back in growing spans, so that a schedule of every minute is not walked through for a year.
_SPANS = tuple(timedelta(hours=hours) for hours in (1, 24, 8 * 24, 32 * 24, 367 * 24))
_HORIZON_DAYS = 366 * 9  # 29 February skips eight years around 1900 and 2100


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed schedule in local time.

    Attributes:
        minutes: 0-59.
        hours: 0-23.
        days: Days of the month, 1-31.
        months: 1-12.
        weekdays: 0 (Sunday) to 6.
        either_day: True when both day fields are restricted: then a day that fits one of them is enough.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def fits(self, day: date) -> bool:
        """Return True when the schedule fires on a local day."""
        if day.month not in self.months:
            return False
        monthly, weekly = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (monthly or weekly) if self.either_day else (monthly and weekly)

    def due(self, after: datetime, zone: str) -> datetime:
        """Return the first moment (UTC) later than ``after`` at which the schedule fires in ``zone``.

        A local time that the spring change skips fires at the same distance after the gap's start (02:30 becomes
        03:30); one that the autumn change repeats fires once, the first time. An hourly schedule therefore runs
        once for each wall-clock hour of a local day.
        """
        local = ZoneInfo(zone)
        # A day earlier: around a change of the clocks a local time of yesterday may still lie ahead.
        day = after.astimezone(local).date() - timedelta(days=1)
        for _ in range(_HORIZON_DAYS):
            if later := [moment for moment in self.moments(day, local) if moment > after]:
                return later[0]
            day += timedelta(days=1)
        raise ConfigError("The schedule never fires.", mend="Choose a day that its months have.")

    def moments(self, day: date, zone: ZoneInfo) -> list[datetime]:
        """Return the moments (UTC) of a local day at which the schedule fires, as :meth:`due` has them."""
        if not self.fits(day):
            return []
        walls = (datetime.combine(day, time(hour, minute), zone) for hour in self.hours for minute in self.minutes)
        return sorted({wall.astimezone(UTC) for wall in walls})

    def between(self, begin: datetime, end: datetime, zone: ZoneInfo) -> list[datetime]:
        """Return the moments (UTC) after ``begin``, up to and with ``end``, at which the schedule fires in a zone."""
        # A day more at either end: around a change of the clocks a moment may be of the day beside its own.
        first, last = begin.astimezone(zone).date() - timedelta(days=1), end.astimezone(zone).date()
        days = [first + timedelta(days=ahead) for ahead in range((last - first).days + 2)]
        return sorted({one for day in days for one in self.moments(day, zone) if begin < one <= end})

    def last_due(self, by: datetime, zone: str) -> datetime | None:
        """Return the last moment (UTC) up to ``by`` at which the schedule fired; None when not in the year before."""
        for span in _SPANS:
            if (found := self.due(by - span, zone)) <= by:
                while (later := self.due(found, zone)) <= by:
                    found = later
                return found
        return None


def parse_cron(text: str, path: str) -> Cron:
    """Return a parsed schedule.

    Args:
        text: Minute, hour, day of month, month, day of week; numbers, names, ``*``, lists, ranges, steps; or
            ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``.
        path: Where it is written; it opens every message.

    Raises:
        ConfigError: A field is wrong, or the schedule would never fire.
    """
    expression = text.strip().lower()
    if expression.startswith("@"):
        if expression not in _SHORTHANDS:
            mend = f"{nearest(expression, _SHORTHANDS)} Known: {', '.join(_SHORTHANDS)}.".strip()
            raise ConfigError(f"{path}: unknown schedule {text!r}.", mend=mend)
        expression = _SHORTHANDS[expression]
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise ConfigError(
            f"{path}: a schedule has five fields, {text!r} has {len(fields)}.",
            mend='Write minute, hour, day of month, month, day of week, e.g. "15 7-23 * * *".',
        )
    values = [_values(part, shape, path) for part, shape in zip(fields, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = values
    either_day = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either_day and min(days) > max(_DAYS_IN[month - 1] for month in months):
        raise ConfigError(
            f"{path}: the schedule {text!r} never fires.", mend="Choose a day that one of its months has."
        )
    return Cron(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either_day)


def _values(text: str, shape: _Field, path: str) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise ConfigError(
                f"{path}: the {shape.name} field {text!r} cannot be read.",
                mend=f"Use *, numbers from {shape.low} to {shape.high}, lists (1,2), ranges (1-5) or steps (*/15).",
            )
        span, step = found[1], int(found[2] or 1)
        start, dash, end = span.partition("-")
        if span == "*":
            first, last = shape.low, shape.high
        else:
            first = _number(start, shape, path)
            last = _number(end, shape, path) if dash else (shape.high if found[2] else first)
        if last < first and shape.names is _WEEKDAYS and last == 0:
            last = 7  # fri-sun: Sunday closes the week as well as it opens it
        if last < first or step < 1:
            raise ConfigError(
                f"{path}: the {shape.name} range {part!r} is empty.",
                mend="Put the lower end first and step by 1 or more.",
            )
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _number(text: str, shape: _Field, path: str) -> int:
    if text in shape.names:
        return shape.low + shape.names.index(text)
    mend = f"Use a number from {shape.low} to {shape.high}."
    if not text.isdecimal():
        raise ConfigError(f"{path}: {text!r} is no {shape.name}.", mend=nearest(text, shape.names) or mend)
    if not shape.low <= int(text) <= shape.high:
        raise ConfigError(f"{path}: {shape.name} {text} is out of range.", mend=mend)
    return int(text)
