"""What moved after a report went out: the figures of a day that was over, as they were sent and as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from signalroom.alert import Finding

_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class Sent:
    """A report that went out, beside what it would say now.

    Attributes:
        report: Its name.
        day: The local day it is about; it was over when the report was made.
        as_of: When its rows were read.
        then: Its rows as the archive keeps them: query -> record; numbers may be text.
        now: Its rows as the warehouse has them at this moment.
    """

    report: str
    day: date
    as_of: datetime
    then: Mapping[str, Any]
    now: Mapping[str, Any]


def restated(sent: Iterable[Sent], threshold: Decimal) -> Iterator[Finding]:
    """Yield one finding a day whose figures moved by more than ``threshold``: a vendor restates days, not reports.

    Only queries of one record are compared: a list's rows come and go with its limit. A figure that was not available
    then or is not now is left out; what was 0 and is something has moved.

    Args:
        sent: The reports, the newest of each day.
        threshold: Share of the figure that was sent, e.g. 0.05.
    """
    by_day: dict[date, list[tuple[Sent, list[str]]]] = {}
    for one in sent:
        moved = [_told(*figure) for figure in _figures(one.then, one.now) if _beyond(*figure[1:], threshold)]
        if moved:
            by_day.setdefault(one.day, []).append((one, moved))
    for day, found in sorted(by_day.items()):
        names = ", ".join(one.report for one, _ in found)
        yield Finding(
            "restatement",
            f"restated.{day}",
            "warning",
            f"{day} was restated after {names} {'went' if len(found) == 1 else 'had gone'} out",
            "\n".join(_line(one, moved) for one, moved in found),
            f"`signalroom report {found[0][0].report} --date {day}` shows the day as it is now; tell who acts on it.",
            min(one.as_of for one, _ in found),
        )


def _line(one: Sent, moved: list[str]) -> str:
    more = f"; and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
    return f"{one.report} as of {one.as_of:%Y-%m-%d %H:%M} UTC: {'; '.join(moved[:_SHOWN])}{more}."


def _figures(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Decimal, Decimal]]:
    """Yield (query and column, as sent, as it is now) of each figure that both have."""
    for query, record in now.items():
        before = then.get(query)
        if not isinstance(record, Mapping) or not isinstance(before, Mapping):
            continue
        for column, value in record.items():
            old = _number(before.get(column))
            if isinstance(value, int | Decimal) and not isinstance(value, bool) and old is not None:
                yield f"{query} {column}", old, Decimal(value)


def _number(value: object) -> Decimal | None:
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None  # a text, such as a name: no figure


def _beyond(old: Decimal, new: Decimal, threshold: Decimal) -> bool:
    return abs(new - old) > threshold * abs(old)


def _told(name: str, old: Decimal, new: Decimal) -> str:
    share = f" ({(new - old) / abs(old):+.1%})" if old else ""
    return f"{name} {old:,} -> {new:,}{share}"
