"""How numbers, days and names are written in messages: the filters of every template.

Money and counts are ``Decimal`` or ``int``; a float is refused, because it would round twice. ``None`` is written
``n/a``; a real 0 is written as 0. Nothing here uses the truth of a number.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, Final, Literal, TypeAlias

from signalroom.errors import ConfigError, DataError

NOT_AVAILABLE: Final = "n/a"
Number: TypeAlias = "Decimal | int"

_UNASKED: Final = object()
_HUGE = 18  # digits before the point beyond which a number is written as a power of ten
_SCALES = ((12, "T"), (9, "B"), (6, "M"), (3, "k"))
_BIDI_CONTROLS = dict.fromkeys([0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def usd(value: Number | None) -> str:
    """Return whole dollars, e.g. ``$1,235`` or ``-$3``."""
    return _money(value, 0)


def usd2(value: Number | None) -> str:
    """Return dollars and cents, e.g. ``$1,234.50``."""
    return _money(value, 2)


def usd_short(value: Number | None) -> str:
    """Return dollars in at most five characters or so, e.g. ``$12.3k``, for axes and legends."""
    return NOT_AVAILABLE if value is None else _signed("$", *_short(_number(value, "usd_short")))


def usd_fit(value: Number | None, width: int = 11, places: Literal[0, 2] = 2) -> str:
    """Return dollars in a column beside others: a mail on a phone has room for about thirty characters of figures.

    Args:
        value: The amount.
        width: Characters at most; what has more is written in whole dollars, or at last as :func:`usd_short` does.
        places: 2 with cents where they fit, 0 without.
    """
    return _fitting(width, value, *([usd2] if places else []), usd, usd_short)


def count_fit(value: Number | None, width: int = 9) -> str:
    """Return a whole number, or where that is more than ``width`` characters a short one, e.g. ``12.3M``."""
    return _fitting(width, value, count, count_short)


def count(value: Number | None) -> str:
    """Return a whole number, e.g. ``1,234``."""
    return NOT_AVAILABLE if value is None else _signed("", *_fixed(_number(value, "count"), 0))


def count_short(value: Number | None) -> str:
    """Return a whole number in at most four characters or so, e.g. ``12.3k``."""
    return NOT_AVAILABLE if value is None else _signed("", *_short(_number(value, "count_short")))


def counted(value: Number | None, noun: str, plural: str = "") -> str:
    """Return a count with its noun, e.g. ``1 conversion``, ``0 conversions``."""
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"


def pct(value: Number | None, places: int = 1) -> str:
    """Return a fraction as a percentage: ``0.1234`` is ``12.3%``."""
    return NOT_AVAILABLE if value is None else _signed("", *_fixed(_number(value, "pct") * 100, places)) + "%"


def ratio(part: Number | None, whole: Number | None) -> Decimal | None:
    """Return ``part / whole``, or None when either is unknown or ``whole`` is 0."""
    if part is None or whole is None or _number(whole, "ratio") == 0:
        return None
    return _number(part, "ratio") / _number(whole, "ratio")


def cpa(value: Number | None, conversions: Any = _UNASKED, width: int = 40) -> str:
    """Return a cost per conversion, e.g. ``$13.64``; ``n/a`` when there were no conversions.

    Args:
        value: The CPA; None when the query divided by nothing.
        conversions: The conversions behind it, where the query did not already turn 0 into null.
        width: Characters at most, as in :func:`usd_fit`.
    """
    if value is None or (conversions is not _UNASKED and (conversions is None or conversions == 0)):
        return NOT_AVAILABLE
    return usd_fit(value, width)


def change(now: Number | None, before: Number | None) -> Decimal | None:
    """Return the relative change from ``before`` to ``now``; None when it cannot be told (unknown, or from 0)."""
    if now is None or before is None or _number(before, "change") == 0:
        return None
    return (_number(now, "change") - _number(before, "change")) / abs(_number(before, "change"))


def delta(now: Number | None, before: Number | None) -> str:
    """Return the change since ``before`` in words, e.g. ``▲ 12.3%``, ``▲ over 999%``, ``no change`` or ``n/a``."""
    moved = change(now, before)
    if moved is None:
        same = now is not None and before is not None and now == before
        return "no change" if same else NOT_AVAILABLE
    if abs(moved) < Decimal("0.0005"):
        return "no change"
    return f"{'▲' if moved > 0 else '▼'} {pct(abs(moved)) if abs(moved) < 10 else 'over 999%'}"


def mood(now: Number | None, before: Number | None, good: Literal["up", "down", "none"] = "up") -> str:
    """Return ``good``, ``bad`` or ``flat``: whether a change is the kind one hopes for.

    Args:
        now: The figure.
        before: What it is compared with.
        good: The direction one hopes for; ``none`` where neither is better.
    """
    moved = change(now, before)
    if moved is None or good == "none" or abs(moved) < Decimal("0.0005"):
        return "flat"
    return "good" if (moved > 0) == (good == "up") else "bad"


def short_date(day: date | None) -> str:
    """Return month and day, e.g. ``11/19``."""
    return NOT_AVAILABLE if day is None else f"{_day(day, 'short_date'):%m/%d}"


def long_date(day: date | None) -> str:
    """Return a day in words, e.g. ``Thursday, November 19, 2026``."""
    return NOT_AVAILABLE if day is None else f"{_day(day, 'long_date'):%A, %B} {day.day}, {day.year}"


def local_time(moment: datetime | None, timezone: str, on: date | None = None) -> str:
    """Return a moment as a clock in ``timezone`` shows it, e.g. ``14:15 ET``, with its day when it is another one.

    Args:
        moment: An aware moment, or None.
        timezone: IANA name.
        on: The day the reader has in mind, or a moment on it; a moment on another day is written
            ``11/18 14:15 ET``.

    Raises:
        DataError: The moment has no zone, so that no clock can be set by it.
    """
    from zoneinfo import ZoneInfo

    if moment is None:
        return NOT_AVAILABLE
    if moment.tzinfo is None:
        raise DataError(f"The moment {moment} has no time zone.", mend="Select it as TIMESTAMP WITH TIME ZONE.")
    zone = ZoneInfo(timezone)
    there = moment.astimezone(zone)
    if isinstance(on, datetime):
        on = on.astimezone(zone).date()
    day = "" if on is None or there.date() == on else f"{there:%m/%d} "
    return f"{day}{there:%H:%M} {_zone(there)}"


def label(text: object, width: int = 40) -> str:
    """Return a name that came from outside as one short line that cannot disturb what stands beside it.

    White space is folded, direction controls are dropped, right-to-left text is isolated, and what is longer than
    ``width`` characters ends in ``…``.
    """
    if text is None:
        return NOT_AVAILABLE
    line = " ".join(str(text).translate(_BIDI_CONTROLS).split())
    if len(line) > width:
        line = line[: width - 1].rstrip() + "…"
    if any(unicodedata.bidirectional(letter) in {"R", "AL"} for letter in line):
        return f"\u2068{line}\u2069"
    return line or NOT_AVAILABLE


def choose(value: object, yes: str, no: str, unknown: str = NOT_AVAILABLE) -> str:
    """Return ``yes`` or ``no`` for a boolean, ``unknown`` for None; refuses anything else (a 'NO' is true)."""
    if value is None:
        return unknown
    if not isinstance(value, bool):
        raise DataError(f"{value!r} is no boolean.", mend="Select a BOOLEAN, e.g. flag = 'YES'.")
    return yes if value else no


def sparkline(values: Iterable[Number | None]) -> str:
    """Return a chart of one line of text, e.g. ``▁▃▇``; a gap where a value is None."""
    known = [None if value is None else _number(value, "sparkline") for value in values]
    numbers = [value for value in known if value is not None]
    if not numbers:
        return ""
    low, span = min(numbers), max(numbers) - min(numbers)
    return "".join(
        " " if value is None else "▁▂▃▄▅▆▇█"[int((value - low) / span * 7) if span != 0 else 0] for value in known
    )


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "change": change,
    "choose": choose,
    "count": count,
    "count_fit": count_fit,
    "count_short": count_short,
    "counted": counted,
    "cpa": cpa,
    "delta": delta,
    "label": label,
    "local_time": local_time,
    "long_date": long_date,
    "mood": mood,
    "pct": pct,
    "ratio": ratio,
    "short_date": short_date,
    "sparkline": sparkline,
    "usd": usd,
    "usd2": usd2,
    "usd_fit": usd_fit,
    "usd_short": usd_short,
}
"""Name in templates -> function; its first argument is what stands before the bar."""


def _number(value: object, what: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise DataError(
            f"{what} was given {value!r}, a {type(value).__name__}.", mend="Select it as DECIMAL or INTEGER."
        )
    number = Decimal(value)
    if not number.is_finite():
        raise DataError(f"{what} was given {value!r}.", mend="Turn it into null in the query.")
    return number


def _day(value: object, what: str) -> date:
    if not isinstance(value, date):
        raise DataError(f"{what} was given {value!r}, a {type(value).__name__}.", mend="Select it as DATE.")
    return value


def _money(value: Number | None, places: int) -> str:
    return NOT_AVAILABLE if value is None else _signed("$", *_fixed(_number(value, "usd"), places))


def _fitting(width: int, value: Number | None, *writers: Callable[[Number | None], str]) -> str:
    """Return what the first writer whose text fits makes of a value, and what the last makes where none does."""
    texts = [write(value) for write in writers]
    return next((text for text in texts if len(text) <= width), texts[-1])


def _signed(unit: str, negative: bool, digits: str) -> str:
    return f"{'-' if negative else ''}{unit}{digits}"


def _fixed(number: Decimal, places: int) -> tuple[bool, str]:
    """Return whether the *rounded* number is below 0, and its digits; ``-0.4`` rounds to a plain 0."""
    with localcontext(rounding=ROUND_HALF_UP):
        # A number of a million digits is one keystroke away in a query (1e999999); nobody can read it.
        size = abs(number)
        digits = _power(size, 2) if number != 0 and number.adjusted() >= _HUGE else f"{size:,.{places}f}"
    return number < 0 and any(digit in "123456789" for digit in digits), digits


def _short(number: Decimal) -> tuple[bool, str]:
    size = abs(number)
    if number != 0 and number.adjusted() >= 15:
        return number < 0, _power(size, 1)
    with localcontext(rounding=ROUND_HALF_UP):
        for power, suffix in _SCALES:
            # 999,950 would round to 1000.0k, so the step up is taken a little early.
            if size >= Decimal(10) ** power - Decimal(5) * Decimal(10) ** (power - 5):
                digits = f"{size / Decimal(10) ** power:.1f}"
                return number < 0, digits.removesuffix(".0") + suffix
    return _fixed(number, 0)


def _power(size: Decimal, places: int) -> str:
    return f"{size:.{places}e}".replace("e+", "e")


def _zone(moment: datetime) -> str:
    """Return how people write the zone: ``ET`` all year round in New York, ``UTC``, ``CET``."""
    name = moment.tzname() or ""
    if len(name) == 3 and name[0] in "ECMP" and name[1] in "SD" and name[2] == "T":
        return f"{name[0]}T"
    return name if name[:1].isalpha() else f"UTC{name}"


def known_filter(name: str) -> Callable[..., Any]:
    """Return the filter called ``name``; raises ConfigError with the nearest name for an unknown one."""
    from signalroom.errors import nearest

    if name not in FILTERS:
        raise ConfigError(f"There is no filter {name!r}.", mend=nearest(name, FILTERS))
    return FILTERS[name]
