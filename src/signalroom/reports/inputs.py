"""Whether what a report stands on is new enough: told by the loads that its tables were built from, never by a clock.

A report that needs ``everflow = "2h"`` waits until the newest load of each of Everflow's streams that the last build
saw was committed within two hours. At its deadline it goes out as it is, and says what is late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from signalroom.errors import RetryableError
from signalroom.reports import formats

_SETTLED: Final = timedelta(hours=24)
_LAST_LOOK_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Late:
    """An input that is older than its report allows.

    Attributes:
        stream: ``source.stream``.
        newest: When its newest load in the tables was committed (UTC); None when it has none.
    """

    stream: str
    newest: datetime | None


def late_inputs(
    needs: Mapping[str, timedelta], built: Mapping[str, datetime], *, now: datetime, due_at: datetime
) -> tuple[Late, ...]:
    """Return the inputs that are older than allowed, by name.

    Args:
        needs: ``source.stream`` -> how old its newest load may be.
        built: ``source.stream`` -> when the newest load that the last build saw was committed.
        now: The present moment.
        due_at: When the report's day was over. What was loaded a day after that or later is new enough whenever one
            asks, so that the report of a day long past is not late for ever.
    """
    reference = min(now, due_at + _SETTLED)
    return tuple(
        Late(stream, newest)
        for stream, allowed in sorted(needs.items())
        if (newest := built.get(stream)) is None or newest < reference - allowed
    )


def wait_for(report: str, late: tuple[Late, ...], *, deadline: datetime | None, now: datetime, timezone: str) -> None:
    """Raise RetryableError, naming what is late and when to ask again, unless the deadline has passed.

    The wait is half of what is left until the deadline, and all of it once that is a quarter of an hour: a few
    attempts end at the deadline itself.

    Args:
        report: The report's name.
        late: What is late; nothing is raised for nothing.
        deadline: When it goes out whatever is late (UTC); None for never.
        now: The present moment.
        timezone: IANA name of the zone that times are told in.
    """
    if not late or (deadline is not None and now >= deadline):
        return
    left_s = None if deadline is None else (deadline - now).total_seconds()
    wait_s = None if left_s is None else left_s if left_s <= _LAST_LOOK_S else max(_LAST_LOOK_S, left_s / 2)
    until = "" if deadline is None else f" It goes out as it is at {formats.local_time(deadline, timezone, now)}."
    raise RetryableError(
        f"Report {report} waits for its inputs: {' '.join(sentences(late, now=now, timezone=timezone))}",
        mend=f"Sync what is late and build.{until}",
        retry_after_s=wait_s,
    )


def sentences(late: tuple[Late, ...], *, now: datetime, timezone: str) -> tuple[str, ...]:
    """Return a sentence for each late input, e.g. ``everflow.daily_stats is late: its newest data came 06:15 ET.``."""
    return tuple(
        f"{one.stream} is late: "
        + (
            f"its newest data came {formats.local_time(one.newest, timezone, now)}."
            if one.newest
            else "nothing of it is in the tables yet."
        )
        for one in late
    )
