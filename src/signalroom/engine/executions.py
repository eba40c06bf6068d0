"""Executions of jobs: which steps one runs, as of when, and which earlier runs it repeats."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from signalroom.errors import ConfigError, nearest
from signalroom.run import Occasion, Run
from signalroom.workspace.jobs import Job, StepCall, parse_step

if TYPE_CHECKING:
    from signalroom.room import Room


@dataclass(frozen=True, slots=True)
class Execution:
    """One time a job runs.

    Attributes:
        job: The job.
        due_at: The moment it was due, UTC; all its steps mean "today" and "yesterday" as of it.
        name: Its id, the same for every attempt of it.
        first: The index of the step it begins with.
        repeats: The index of a step -> the run it does again.
    """

    job: Job
    due_at: datetime
    name: str
    first: int = 0
    repeats: Mapping[int, str] = field(default_factory=dict[int, str])

    def occasion(self, index: int) -> Occasion:
        """Return the occasion of the step at ``index``."""
        return Occasion(self.due_at, self.name, f"{self.name}/{index + 1}", self.repeats.get(index, ""))


def execution_name(job: str, moment: datetime) -> str:
    """Return the id of a job's execution at a moment; the scheduler makes the same one for a due time."""
    utc = moment.astimezone(UTC)
    return f"job:{job}-{utc.replace(tzinfo=None).isoformat(timespec='auto')}Z"


def jobs_of(room: Room) -> Mapping[str, Job]:
    """Return the workspace's jobs, and one for each report that declares a schedule of its own, by name."""
    jobs = dict(room.workspace.jobs)
    for report in room.reports.values():
        if report.declared is not None and report.declared.schedule:
            name = f"report_{report.name}"
            jobs[name] = Job(
                name, report.declared.schedule, room.workspace.timezone, (StepCall("report", report.name),)
            )
    return jobs


def find_job(room: Room, name: str) -> Job:
    """Return a job; raises ConfigError naming the nearest when there is none of that name."""
    known = jobs_of(room)
    if name not in known:
        mend = nearest(name, known) or f"Known: {', '.join(known) or 'none'}."
        raise ConfigError(f"There is no job {name!r}.", mend=mend)
    return known[name]


def plan(room: Room, name: str, *, from_step: str = "", from_failed: bool = False) -> Execution:
    """Return the execution a person asks for: of the whole job, or of its last execution from some step on.

    Args:
        room: The workspace's room.
        name: The job.
        from_step: The step to begin with: its number, or its text as the job has it; empty for the first.
        from_failed: Begin with the first step of the newest execution that did not succeed.

    Raises:
        ConfigError: There is no such job or step, it never ran, or nothing of it failed.
    """
    job, now = find_job(room, name), room.clock.now()
    # Two that a person starts in one moment are two: the token keeps them apart.
    whole = Execution(job, now, f"{execution_name(name, now)}-{secrets.token_hex(3)}")
    if not from_step and not from_failed:
        return whole
    earlier = _by_step(job, room.ledger.runs.execution(name))
    first = _first_failed(job, earlier) if from_failed else _step_index(job, from_step)
    due = next((run.due_at for run in earlier.values() if run.due_at is not None), now)
    repeats = {index: run.run_id for index, run in earlier.items() if index >= first}
    return Execution(job, due, whole.name, first, repeats)


def succeeded(job: Job, runs: tuple[Run, ...]) -> bool:
    """Return whether the runs of one execution are every step of a job, each successful."""
    return {call.text for call in job.steps} <= {run.step for run in runs if run.status == "success"}


def _by_step(job: Job, runs: tuple[Run, ...]) -> dict[int, Run]:
    """Return the runs of an execution by the index of their step; a step that the file no longer has is left out."""
    texts = [call.text for call in job.steps]
    return {texts.index(run.step): run for run in runs if run.step in texts}


def _first_failed(job: Job, earlier: Mapping[int, Run]) -> int:
    if not earlier:
        raise ConfigError(f"Job {job.name!r} has not run yet.", mend=f"Run it whole: `signalroom run {job.name}`.")
    ended = max(earlier)
    failed = [index for index, run in earlier.items() if run.status != "success"]
    first = min(failed, default=ended + 1)
    if first == len(job.steps):
        raise ConfigError(
            f"The last execution of job {job.name!r} succeeded.", mend="To repeat a part of it, use --from STEP."
        )
    if earlier.get(first) is not None and earlier[first].status == "running":
        raise ConfigError(f"Job {job.name!r} is running.", mend="Wait for it: `signalroom runs` shows how it ends.")
    return first


def _step_index(job: Job, wanted: str) -> int:
    texts = [call.text for call in job.steps]
    if wanted.isdecimal() and 1 <= int(wanted) <= len(texts):
        return int(wanted) - 1
    if not wanted.isdecimal() and (text := parse_step(wanted, path="--from").text) in texts:
        return texts.index(text)
    listed = "; ".join(f"{number} {text}" for number, text in enumerate(texts, 1))
    raise ConfigError(f"Job {job.name!r} has no step {wanted!r}.", mend=f"Its steps: {listed}.")
