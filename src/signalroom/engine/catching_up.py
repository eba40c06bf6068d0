"""What a scheduler that knows nothing has to do at once: times that fell due or were cut off before it was there.

Its database is disposable. Which times were in hand is in the ledger: the schedules, until when a scheduler had them,
and the runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from signalroom.engine.executions import jobs_of
from signalroom.workspace.jobs import Job

if TYPE_CHECKING:
    from signalroom.ledger.schedules import Schedule
    from signalroom.room import Room
    from signalroom.run import Run

_State: TypeAlias = Literal["done", "failed", "cut", "never"]


def missed(room: Room, job: Job, known: Schedule | None) -> list[datetime]:
    """Return the times (UTC) of a job, the oldest first, that nobody will see to unless they are done now.

    That is: what fell due since a scheduler was last seen to have the job, what was cut off in the middle, and what
    may have waited for another job; none older than the job's ``catch_up_h``, and none from before its schedule was
    made, changed or resumed.

    Args:
        room: The workspace's room.
        job: A job with a schedule.
        known: What the ledger knows of its schedule; None for a job that is new.
    """
    cron, now = job.cron(), room.clock.now()
    if cron is None or known is None or (known.line, known.timezone) != (job.schedule, job.timezone):
        return []
    oldest = now - timedelta(hours=job.catch_up_h)
    times = cron.between(oldest, now, job.zone)
    if not times:
        return []
    followers = _followers(room, job)
    seen = _Seen.of(room.ledger.runs.due_after([job.name, *(one.name for one in followers)], oldest))
    # Of the times a scheduler had in hand, only the newest may have waited without a run: others gave way to it.
    begin = max((one for one in times if one <= known.seen_at), default=known.seen_at)
    return [
        moment
        for moment in times
        if _is_open([seen.state(one, moment) for one in (job, *followers)], may_be_new=known.since < moment >= begin)
    ]


def _is_open(states: Sequence[_State], *, may_be_new: bool) -> bool:
    """Return whether something of an execution is still to be done, given how its job and those after it stand."""
    return states[0] != "failed" and ("cut" in states or ("never" in states and may_be_new))


def _followers(room: Room, job: Job) -> list[Job]:
    """Return the jobs that a job starts once it has succeeded, and those that these start."""
    waiting = [one for one in jobs_of(room).values() if job.name in one.after and not one.schedule]
    return [*waiting, *(further for one in waiting for further in _followers(room, one))]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The runs there are, by job and due time."""

    runs: Mapping[tuple[str, datetime], Sequence[Run]]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> _Seen:
        found: defaultdict[tuple[str, datetime], list[Run]] = defaultdict(list)
        for run in runs:
            if run.due_at is not None:
                found[run.job, run.due_at].append(run)
        return cls(found)

    def state(self, job: Job, moment: datetime) -> _State:
        """Return how a job's execution for a due time stands."""
        runs = self.runs.get((job.name, moment), ())
        if not runs:
            return "never"
        succeeded = {run.step for run in runs if run.status == "success"}
        if {call.text for call in job.steps} <= succeeded:
            return "done"
        failed = [run for run in runs if run.status == "error" and run.step not in succeeded]
        return "failed" if any(run.fence >= job.retries for run in failed) else "cut"
