"""What a report says, and proof that it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from signalroom.position import Json

DeliveryState: TypeAlias = Literal["pending", "inflight", "sent", "unknown", "failed"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that a message shows.

    Attributes:
        name: File name, unique in the message; the e-mail refers to it as ``cid:NAME``.
        png: The bytes.
        alt: What it shows, in words.
    """

    name: str
    png: bytes
    alt: str


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered report, in every form a channel may want.

    Attributes:
        report: Name of the report.
        subject: One line: the e-mail's subject, the notification's text.
        text: Plain text of the whole report.
        html: The e-mail's HTML; empty when the report has no e-mail template.
        blocks: Slack blocks; empty when the report has no Slack template.
        sms: The SMS; empty when the report has no SMS template.
        images: Charts.
        data: The rows it shows: name -> list of records, as JSON.
        load_ids: The loads behind the rows.
    """

    report: str
    subject: str
    text: str
    html: str = ""
    blocks: tuple[Mapping[str, Json], ...] = ()
    sms: str = ""
    images: tuple[Image, ...] = ()
    data: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    load_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """Proof that a message left, or did not; one per (report, due time, channel, recipient).

    Attributes:
        key: :func:`delivery_key` of the four; unique in the ledger.
        report: Name of the report.
        due_at: The moment it was due (UTC): of a schedule, or of the date a person asked for.
        channel: Name of the channel in the workspace.
        recipient: Who receives it, as the channel spells it.
        state: ``pending`` -> ``inflight`` -> ``sent`` | ``unknown`` | ``failed``.
        receipt: What the channel gave back: a message id, a file.
        error: One sentence, when it failed.
        digest: The archived message; empty until there is one.
        attempt: How often it was claimed for sending.
        fence: Rises with each claim; an older claimer can no longer settle it.
        created_at: When the ledger first knew of it (UTC): nothing was sent before; None until it does.
    """

    key: str
    report: str
    due_at: datetime
    channel: str
    recipient: str
    state: DeliveryState
    receipt: str = ""
    error: str = ""
    digest: str = ""
    attempt: int = 0
    fence: int = 0
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """A message as one channel would send it, held against that channel's limits.

    Attributes:
        text: What a reader would see, as plain text.
        facts: What it measures against each limit, e.g. ``17 of 50 blocks``.
        problems: Why the channel would refuse it, a sentence with its mend each; empty when it would not.
    """

    text: str
    facts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def delivery_key(report: str, due_at: datetime, channel: str, recipient: str, *, again: int = 0) -> str:
    """Return the key under which a report is delivered at most once to one recipient of one channel.

    Args:
        report: Its name.
        due_at: The moment it is due.
        channel: Name of the channel.
        recipient: Who receives it.
        again: How many-th time a person sends on purpose what had arrived; 0 for what is sent by itself.
    """
    import uuid
    from datetime import UTC

    moment = due_at.astimezone(UTC).isoformat(timespec="seconds")
    repeat = f"|again {again}" if again else ""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"signalroom:{report}|{moment}|{channel}|{recipient}{repeat}").hex
