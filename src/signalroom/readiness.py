"""Whether a report may go out yet: what it needs, beside what its tables were built from."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signalroom.room import Room


def late_inputs(room: Room, report: str, due_at: datetime, *, wait: bool) -> tuple[str, ...]:
    """Return a sentence for each input that is older than the report allows.

    Args:
        room: The workspace's room.
        report: The report.
        due_at: When the day it is about was over.
        wait: Whether to refuse while its deadline has not passed.

    Raises:
        RetryableError: With ``wait``, before the report's deadline: naming what is late.
    """
    from signalroom.reports import inputs
    from signalroom.warehouse.overview import committed
    from signalroom.workspace.parts import parse_age

    settings, zone, now = room.workspace.reports.get(report), room.workspace.timezone, room.clock.now()
    if settings is None or not settings.needs:
        return ()
    needs = {s.title: parse_age(age) for name, age in settings.needs.items() for s in room.streams(*name.split(".", 1))}
    with room.warehouse.snapshot() as ask:
        late = inputs.late_inputs(needs, committed(ask, room.warehouse.built_from(ask)), now=now, due_at=due_at)
    if wait:
        inputs.wait_for(report, late, deadline=settings.deadline_of(due_at, zone), now=now, timezone=zone)
    return inputs.sentences(late, now=now, timezone=zone)
