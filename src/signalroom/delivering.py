"""What is due, to everyone it is due to, once: planned, rendered where nobody has read it yet, archived, sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from signalroom.channels.once import send_once
from signalroom.errors import RetryableError, SignalRoomError
from signalroom.message import Delivery, Message, delivery_key

if TYPE_CHECKING:
    from signalroom.reports.report import Report
    from signalroom.room import Room


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is due.

    Attributes:
        name: Of the report, the alert's notice or the digest; with ``due_at`` it names the message.
        due_at: When it was due, UTC.
        channels: Where it goes.
        make: Renders it; called once at most, and not where every recipient's channel has it already.
    """

    name: str
    due_at: datetime
    channels: Sequence[str]
    make: Callable[[], Message]


def deliver(room: Room, messages: Iterable[Due]) -> list[Delivery]:
    """Send each message once to each recipient of its channels; what was sent under the same key is not sent again.

    One that fails keeps no other waiting.

    Raises:
        SignalRoomError: What a message or a recipient's channel raised, once all the others were served; what may
            work later before what a person must mend.
    """
    sent: list[Delivery] = []
    failed: list[SignalRoomError] = []
    for due in messages:
        try:
            _deliver_one(room, due, sent, failed)
        except SignalRoomError as problem:
            failed.append(problem)
    if failed:
        raise next((problem for problem in failed if isinstance(problem, RetryableError)), failed[0])
    return sent


def render(
    room: Room,
    report: Report,
    data: Mapping[str, Any],
    day: date,
    *,
    notes: Sequence[str] = (),
    load_ids: Sequence[str] = (),
) -> Message:
    """Return the message that a report makes of rows about one local day, as of now."""
    return room.renderer.render(
        report,
        data,
        report_date=day,
        timezone=room.workspace.timezone,
        as_of=room.clock.now(),
        notes=notes,
        load_ids=load_ids,
    )


def _deliver_one(room: Room, due: Due, sent: list[Delivery], failed: list[SignalRoomError]) -> None:
    planned = [
        Delivery(delivery_key(due.name, due.due_at, name, recipient), due.name, due.due_at, name, recipient, "pending")
        for name in due.channels
        for recipient in room.channel(name).recipients()
    ]
    room.ledger.deliveries.plan(planned)  # whatever happens next, what is due can be seen
    known = [room.ledger.deliveries.get(one.key) or one for one in planned]
    if all(one.state == "sent" for one in known):
        sent += known
        return
    # Who is served late reads what the others of the channel have read already.
    digests = {one.channel: one.digest for one in known if one.digest and one.state not in ("pending", "failed")}
    fresh = ""
    for one in planned:  # a recipient that fails keeps nobody else waiting
        if one.channel not in digests:
            fresh = digests[one.channel] = fresh or room.ledger.archive.put(due.make(), due.due_at)
        try:
            sent.append(send_once(room.ledger, room.channel(one.channel), replace(one, digest=digests[one.channel])))
        except SignalRoomError as problem:
            failed.append(problem)
