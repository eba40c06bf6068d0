"""What an operator does with jobs: look, pause, resume, start one now, run the times that were missed."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleHandle,
    ScheduleOverlapPolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from signalroom.engine.connection import connect, explained, workers_of
from signalroom.engine.executions import execution_name, find_job, jobs_of
from signalroom.engine.ownership import owner
from signalroom.engine.schedules import next_firing, plan_of, schedule_id
from signalroom.engine.server import read_running
from signalroom.engine.worker import task_queue
from signalroom.engine.workflows import JobWorkflow
from signalroom.errors import ConfigError
from signalroom.workspace.jobs import Job

if TYPE_CHECKING:
    from signalroom.room import Room
    from signalroom.run import Run

_FIRST_ASKS_WITHIN_S = 5.0  # a worker that has just started
_ASK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class JobState:
    """A job and how it stands.

    Attributes:
        job: The job.
        next_at: When it fires next, UTC; None when nothing schedules it, or it is paused.
        paused: Whether an operator paused it.
        note: What the operator said.
        last: The last step of its newest execution that ran.
    """

    job: Job
    next_at: datetime | None
    paused: bool
    note: str
    last: Run | None


async def reach(room: Room) -> Client | None:
    """Return a client of the scheduler: that of ``TEMPORAL_ADDRESS``, else that of this workspace's `up`, else None."""
    if room.workspace.environ.get("TEMPORAL_ADDRESS"):
        return await connect(room.workspace.environ)
    running = read_running(room.state())
    if owner(room.state("up.lock")) is None or running is None:
        return None
    return await connect(room.workspace.environ, running.address)


async def states(room: Room) -> Sequence[JobState]:
    """Return every job; next firings are the scheduler's own where it can be reached, else reckoned from the file."""
    client, notes = await reach(room), room.ledger.pauses.notes()
    found: list[JobState] = []
    for job in jobs_of(room).values():
        paused, note = job.name in notes, notes.get(job.name, "")
        cron = job.cron()
        next_at = cron.due(room.clock.now(), job.timezone) if cron and not paused else None
        if client is not None and cron is not None:
            with _unless_new(client):
                described = await client.get_schedule_handle(schedule_id(room, job.name)).describe()
                state = described.schedule.state
                paused, note, next_at = state.paused, state.note or "", next_firing(described)
        runs = room.ledger.runs.execution(job.name)
        found.append(JobState(job, next_at, paused, note, runs[-1] if runs else None))
    return found


async def pause(room: Room, name: str, note: str) -> None:
    """Stop a job's schedule until it is resumed, across restarts and upgrades; what runs goes on."""
    _scheduled(room, name)
    # The scheduler first: a worker that compares the two meanwhile finds what is wanted, and not its opposite.
    if (client := await reach(room)) is not None:
        with _unless_new(client):
            await client.get_schedule_handle(schedule_id(room, name)).pause(note=note)
    room.ledger.pauses.pause(name, note)


async def resume(room: Room, name: str) -> None:
    """Let a job's schedule fire again; times that passed meanwhile are not caught up."""
    _scheduled(room, name)
    if (client := await reach(room)) is not None:
        with _unless_new(client):
            await client.get_schedule_handle(schedule_id(room, name)).unpause()
    room.ledger.pauses.resume(name)
    room.ledger.schedules.renew(name)


async def would_skip(room: Room, name: str) -> bool:
    """Return whether a job runs already and its overlap is to skip: what is triggered then does not start."""
    job, client = find_job(room, name), await _required(room)
    if not job.schedule or job.overlap != "skip":
        return False
    with _taken_up(client, name):
        described = await client.get_schedule_handle(schedule_id(room, name)).describe()
    return bool(described.info.running_actions)


async def trigger(room: Room, name: str) -> None:
    """Start a job now, paused or not, where the worker is; raises ConfigError where nothing runs jobs."""
    job, client = find_job(room, name), await _required(room)
    if job.schedule:
        with _taken_up(client, name):
            handle = client.get_schedule_handle(schedule_id(room, name))
            await _require_worker(room, client, await _queue_of(handle))
            await handle.trigger()
        return
    name_now = execution_name(name, room.clock.now())
    with explained(client):
        await _require_worker(room, client, task_queue(room))
        await client.start_workflow(
            JobWorkflow.run, plan_of(room, job), id=f"{room.workspace.name}/{name_now}", task_queue=task_queue(room)
        )


async def backfill(room: Room, name: str, first: date, last: date) -> int:
    """Run a job once for each of its times on some local days, one after another; return how many there are.

    A step that succeeded for a time is not done again.

    Raises:
        ConfigError: Nothing schedules the job, nothing runs jobs, or the days hold none of its times.
    """
    job, client = _scheduled(room, name), await _required(room)
    begin = datetime.combine(first, time(), job.zone).astimezone(UTC)
    end = min(datetime.combine(last + timedelta(days=1), time(), job.zone).astimezone(UTC), room.clock.now())
    cron = job.cron()
    days = [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]
    times = [one for day in days if cron for one in cron.moments(day, job.zone) if begin <= one < end]
    if not times:
        raise ConfigError(f"Job {name!r} was not due from {first} to {last}.", mend="Name days that are past.")
    # The second before the first: the scheduler leaves the beginning of a span out.
    span = ScheduleBackfill(times[0] - timedelta(seconds=1), times[-1], ScheduleOverlapPolicy.BUFFER_ALL)
    with _taken_up(client, name):
        handle = client.get_schedule_handle(schedule_id(room, name))
        await _require_worker(room, client, await _queue_of(handle))
        await handle.backfill(span)
    return len(times)


@contextmanager
def _unless_new(client: Client) -> Generator[None]:
    """Pass over that the scheduler does not know a job: it is new in the file, and the ledger says how it stands."""
    with explained(client):
        try:
            yield
        except RPCError as problem:
            if problem.status is not RPCStatusCode.NOT_FOUND:
                raise


@contextmanager
def _taken_up(client: Client, name: str) -> Generator[None]:
    """Raise ConfigError where the scheduler does not know a job yet."""
    with explained(client):
        try:
            yield
        except RPCError as problem:
            if problem.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise ConfigError(
                f"The scheduler does not know job {name!r} yet.",
                mend="Start `signalroom up`, or the worker, again: it takes up what the workspace file says.",
            ) from problem


async def _queue_of(handle: ScheduleHandle) -> str:
    """Return the queue that a schedule's steps go to."""
    action = (await handle.describe()).schedule.action
    return action.task_queue if isinstance(action, ScheduleActionStartWorkflow) else ""


async def _require_worker(room: Room, client: Client, queue: str) -> None:
    """Raise ConfigError where nobody asks for a queue's steps: what is put there would wait unseen."""
    deadline = room.clock.monotonic() + _FIRST_ASKS_WITHIN_S
    while not await workers_of(client, queue):
        if room.clock.monotonic() > deadline:
            raise ConfigError(
                f"No worker takes steps from the queue {queue!r} in the namespace {client.namespace!r}.",
                mend="Start one, or set TEMPORAL_TASK_QUEUE and TEMPORAL_NAMESPACE to what the worker has.",
            )
        await asyncio.sleep(_ASK_AGAIN_S)


def _scheduled(room: Room, name: str) -> Job:
    job = find_job(room, name)
    if not job.schedule:
        raise ConfigError(f"Nothing schedules job {name!r}.", mend=f"Run it by hand: `signalroom run {name}`.")
    return job


async def _required(room: Room) -> Client:
    client = await reach(room)
    if client is None:
        raise ConfigError(
            "Nothing runs this workspace's jobs now.",
            mend="Start `signalroom up`, or run the job here: `signalroom run JOB`.",
        )
    return client
