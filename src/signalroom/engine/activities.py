"""The activities: each runs one step by the same machinery as `signalroom run`, so the runs are the same."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, CancelledError

from signalroom.engine import attempts, inline
from signalroom.engine.executions import find_job, succeeded
from signalroom.engine.plans import Gate, StepCommand
from signalroom.errors import RetryableError, SignalRoomError
from signalroom.run import Occasion, Progress
from signalroom.telemetry import redact
from signalroom.workspace.jobs import parse_step

if TYPE_CHECKING:
    from signalroom.room import Room

_GATE_ASKS_AGAIN_S = 10.0
_log = logging.getLogger(__name__)


class Activities:
    """The activities of one workspace; their methods run on a worker's threads.

    Args:
        room: The workspace's room.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        # Two jobs may want one source at once: the second then finds nothing new instead of the same again.
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def all(self) -> Sequence[Callable[..., Any]]:
        """Return the activities, as a worker registers them."""
        return [self.run_step, self.may_start]

    @activity.defn(name="run_step", no_thread_cancel_exception=True)
    def run_step(self, command: StepCommand) -> str:
        """Run one step; return the id of its run.

        Raises:
            ApplicationError: Its type is the error's; only a RetryableError is worth another attempt.
        """
        occasion = Occasion(datetime.fromisoformat(command.due_at), command.execution, command.run_id)
        try:
            call = parse_step(command.text)
            source = call.target.partition(".")[0] if call.verb == "sync" else ""
            with self._turns[source] if source else nullcontext():
                outcome = inline.run_step(
                    self._room, call, job=command.job, progress=_report, occasion=occasion, pulse=activity.heartbeat
                )
        except SignalRoomError as problem:
            _log.warning(
                "%s (%s, attempt %d): %s", command.text, command.job or "alone", activity.info().attempt, problem
            )
            # One that was stopped goes on as soon as it can; one that failed waits longer each time.
            growing_s = 0.0 if activity.is_worker_shutdown() else attempts.wait_s(activity.info().attempt)
            raise _failure(problem, growing_s) from None
        return outcome.run.run_id

    @activity.defn(name="may_start", no_thread_cancel_exception=True)
    def may_start(self, gate: Gate) -> bool:
        """Return False where the job's local time has come before: the hour that the clocks repeat in autumn.

        Raises:
            ApplicationError: A job it waits for has not succeeded yet; asked again until it has.
        """
        try:
            due = datetime.fromisoformat(gate.due_at)
            if self._repeated_hour(gate.job, due):
                return False
            for name in gate.after:
                self._require(name, gate.job, due)
        except SignalRoomError as problem:
            raise _failure(problem) from None
        return True

    def _repeated_hour(self, name: str, due: datetime) -> bool:
        job = find_job(self._room, name)
        cron = job.cron()
        if cron is None:
            return False
        local = due.astimezone(job.zone)
        return bool(local.fold) and due not in cron.moments(local.date(), job.zone)

    def _require(self, name: str, job: str, due: datetime) -> None:
        """Raise RetryableError unless the newest execution of a job succeeded and is no older than it should be."""
        wanted = find_job(self._room, name)
        runs = self._room.ledger.runs.execution(name)
        cron = wanted.cron()
        expected = cron.last_due(due, wanted.timezone) if cron else None
        newest = max((run.due_at for run in runs if run.due_at is not None), default=None)
        late = newest is None or (expected is not None and newest < expected)
        if late or not succeeded(wanted, runs):
            raise RetryableError(
                f"Job {job!r} waits for job {name!r}, which has not succeeded.",
                mend=f"`signalroom runs --job {name}` shows why; `signalroom run {name} --from-failed` repeats it.",
                retry_after_s=_GATE_ASKS_AGAIN_S,
            )


def _report(progress: Progress) -> None:
    """Take a step's progress; raises where the step should stop."""
    del progress
    if not activity.is_cancelled():
        return
    if activity.is_worker_shutdown():  # and its grace is over
        raise RetryableError("The worker was stopped.", mend="The step goes on when one is started again.")
    raise CancelledError("The job was cancelled.")


def _failure(problem: SignalRoomError, usual_s: float = 0.0) -> ApplicationError:
    retryable = isinstance(problem, RetryableError)
    wait_s = (problem.retry_after_s or usual_s) if isinstance(problem, RetryableError) else None
    return ApplicationError(
        redact(str(problem)),
        type=type(problem).__name__,
        non_retryable=not retryable,
        next_retry_delay=timedelta(seconds=wait_s) if wait_s else None,
    )
