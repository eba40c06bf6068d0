"""What is wrong: a finding of one check, and the alert that findings of one cause become."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["warning", "critical"]
AlertState: TypeAlias = Literal["open", "acknowledged", "snoozed", "resolved"]
Kind: TypeAlias = Literal[
    "warehouse", "missed", "failure", "delivery", "lag", "freshness", "zero rows", "missing slice", "volume", "figure",
    "restatement", "rejects",
]  # fmt: skip
"""What a check looks at, the most upstream first: of several findings the first kind gives its alert the title."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found wrong.

    Attributes:
        kind: The check.
        cause: What it is about, e.g. ``source.everflow`` or ``job.hourly``: findings of one cause are one alert.
        level: How much it matters.
        title: One line: what is wrong.
        details: What was seen, in a sentence or more.
        mend: What to do about it.
        since: Since when (UTC).
        upstream: Causes that would explain it: where one of them is found too, this finding joins it.
        channel: Channel that hears of it instead of the one of ``[alerts]``; empty for that one.
    """

    kind: Kind
    cause: str
    level: Level
    title: str
    details: str
    mend: str
    since: datetime
    upstream: tuple[str, ...] = ()
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """A cause that something is, or was, wrong with, as the ledger keeps it.

    Attributes:
        key: Its cause; unique, and what people call it by.
        kind: The most upstream of its findings' kinds.
        level: The highest it has reached while it lasted.
        title: One line.
        details: What its findings saw when it was last seen.
        mend: What to do.
        since: Since when it has been wrong (UTC).
        state: ``open``; ``acknowledged`` or ``snoozed`` by a person; ``resolved``.
        episode: Counts how often it came; messages are sent once in each.
        opened_at: When it was first seen in this episode.
        seen_at: When it was last seen.
        channel: Channel that hears of it instead of the one of ``[alerts]``.
        snoozed_until: When a snoozed one speaks again.
        resolved_at: When it was resolved.
        note: What a person said of it.
    """

    key: str
    kind: Kind
    level: Level
    title: str
    details: str
    mend: str
    since: datetime
    state: AlertState
    episode: int
    opened_at: datetime
    seen_at: datetime
    channel: str = ""
    snoozed_until: datetime | None = None
    resolved_at: datetime | None = None
    note: str = ""
