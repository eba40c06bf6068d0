"""One execution of one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from signalroom.position import Json

RunStatus: TypeAlias = Literal["running", "success", "error", "lost"]


@dataclass(frozen=True, slots=True)
class Failure:
    """How an earlier attempt of a run ended.

    Attributes:
        ended_at: When that was known, UTC.
        error: One sentence with its mend.
    """

    ended_at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of one step, as the ledger keeps it. ``success`` is terminal.

    Attributes:
        run_id: Unique and sortable.
        job: The job it belongs to; empty for a step a person started.
        step: The step as typed, e.g. ``sync everflow --window today``.
        status: ``running``, ``success``, ``error``, or ``lost`` when its process died.
        started_at: UTC.
        finished_at: UTC, or None while it runs.
        error: One sentence with its mend, when it failed.
        result: What the step reported (rows, bytes, load ids).
        fence: Rises whenever another process takes the run over; an older holder can no longer write to it.
        repeats: Runs of the same job and step in a row, before this one, that ended in the same status.
        execution: The execution of a job it is a step of; empty for a step a person started.
        repeat_of: The run it does again, where a person asked for that; empty else.
        due_at: The moment the execution was due, UTC: "today" and "yesterday" are meant as of it.
        failures: How its earlier attempts ended, the first first; of very many the last fifty.
    """

    run_id: str
    job: str
    step: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    error: str = ""
    result: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    fence: int = 1
    repeats: int = 0
    execution: str = ""
    repeat_of: str = ""
    due_at: datetime | None = None
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why and for when a step runs: what its attempts, its repetition and its siblings share.

    Attributes:
        due_at: The moment it was due, UTC; None means now.
        execution: The execution of a job it is a step of; empty for a step a person started.
        run_id: The id its attempts share; empty for a new one.
        repeat_of: The run it does again; empty when it is the first.
    """

    due_at: datetime | None = None
    execution: str = ""
    run_id: str = ""
    repeat_of: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long step is: one value serves the progress bar, the heartbeat and the log line.

    Attributes:
        phase: What is being done, e.g. ``reading s3_exports.orders_create``.
        rows: Rows so far.
        bytes: Bytes so far.
        total_bytes: Bytes in all, when known.
    """

    phase: str
    rows: int = 0
    bytes: int = 0
    total_bytes: int | None = None


class OnProgress(Protocol):
    """Receives progress; may raise to cancel the step."""

    def __call__(self, progress: Progress, /) -> None:
        """Take one report of progress."""
        ...


def ignore_progress(progress: Progress, /) -> None:
    """Take progress and do nothing with it."""
