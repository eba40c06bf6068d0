"""Steps in this process, with no server: `signalroom sync`, `signalroom run JOB`, cron, another scheduler.

Each step is a run in the ledger. Errors are raised: a step that failed is never reported as a value.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from signalroom import steps
from signalroom.engine.attempts import attempts_of, borne_by, wait_s
from signalroom.engine.executions import Execution, plan
from signalroom.engine.heartbeat import Heartbeat, no_pulse
from signalroom.errors import ConfigError, RetryableError, SignalRoomError, interrupted
from signalroom.message import Delivery
from signalroom.position import Json
from signalroom.run import Occasion, OnProgress, Progress, Run, ignore_progress
from signalroom.steps import StreamSync
from signalroom.stream import Stream, Window
from signalroom.telemetry import span
from signalroom.workspace.jobs import StepCall, check_zone, parse_day, parse_step, parse_window

if TYPE_CHECKING:
    from signalroom.models.artifacts import BuildResult
    from signalroom.room import Room
    from signalroom.views.refresh import RefreshResult

_NOW = Occasion()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step that succeeded.

    Attributes:
        run: Its row in the ledger.
        streams: What a sync or replay did, stream by stream.
        build: What a build did.
        deliveries: What a report sent, or had sent before.
        views: What a refresh did.
    """

    run: Run
    streams: tuple[StreamSync, ...] = ()
    build: BuildResult | None = None
    deliveries: tuple[Delivery, ...] = ()
    views: RefreshResult | None = None


def run_job(
    room: Room,
    name: str | Execution,
    progress: OnProgress = ignore_progress,
    done: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run a job's steps in order; one that fails for good leaves out what cannot do without it (`attempts.borne_by`).

    Args:
        room: The workspace's room.
        name: The job, to be run whole; or a planned execution of one.
        progress: Hears of each step's progress.
        done: Hears of each step that succeeded, before the next begins.

    Raises:
        ConfigError: There is no such job.
        SignalRoomError: What the failing steps raised, once their attempts were used up and the rest was done.
    """
    execution = plan(room, name) if isinstance(name, str) else name
    borne = borne_by(execution.job, room.workspace.reports)
    outcomes: list[Outcome] = []
    failed: dict[int, SignalRoomError] = {}
    for index in range(execution.first, len(execution.job.steps)):
        if not failed.keys() <= borne[index]:
            continue
        try:
            outcomes.append(_attempt(room, execution, index, progress))
        except SignalRoomError as problem:
            failed[index] = problem
            continue
        if done is not None:
            done(outcomes[-1])
    _raise_all(list(failed.values()))
    return outcomes


def _attempt(room: Room, execution: Execution, index: int, progress: OnProgress) -> Outcome:
    """Run one step of a job, again and again while it may still succeed."""
    job, call = execution.job, execution.job.steps[index]
    attempts = attempts_of(job, call, room.workspace.reports)
    for attempt in range(1, attempts + 1):
        try:
            return run_step(room, call, job=job.name, progress=progress, occasion=execution.occasion(index))
        except RetryableError as problem:
            if attempt == attempts:
                raise
            pause_s = problem.retry_after_s
            if pause_s is None:
                pause_s = wait_s(attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            progress(Progress(f"waiting {pause_s:.0f} s before attempt {attempt + 1} of {call.text}"))
            room.clock.sleep(pause_s)
    raise ConfigError(f"Job {job.name!r} has retries = {job.retries}.", mend="Set retries to 1 or more.")


def run_step(
    room: Room,
    call: StepCall | str,
    *,
    job: str = "",
    progress: OnProgress = ignore_progress,
    occasion: Occasion = _NOW,
    pulse: Callable[[], None] = no_pulse,
) -> Outcome:
    """Run one step and record it in the ledger; raises what the step raises.

    Args:
        room: The workspace's room.
        call: The step.
        job: The job it belongs to; empty for a step a person started.
        progress: Hears of the step's progress, and may raise to cancel it.
        occasion: When it was due and what it belongs to. A run of that id that has succeeded is not done again.
        pulse: Called every few seconds while the step runs, whatever the step reports.

    Raises:
        RetryableError: The run was given up for lost, or taken over, meanwhile.
    """
    step = parse_step(call) if isinstance(call, str) else call
    room.ledger.runs.sweep()
    run = room.ledger.runs.start(job, step.text, occasion)
    if run.status == "success":
        return Outcome(run)  # an earlier attempt did it, and only the news of that was lost
    with Heartbeat(room.ledger.runs, run, pulse) as heart:

        def beat(report: Progress) -> None:
            heart.check()
            progress(report)

        try:
            with span("step", step=step.text, job=job, run=run.run_id):
                outcome = _VERBS[step.verb](room, step, occasion.due_at or room.clock.now(), beat)
        except BaseException as problem:
            room.ledger.runs.finish(run, "error", error=_sentence(problem))
            if interrupted(problem) and not isinstance(problem, KeyboardInterrupt):
                raise KeyboardInterrupt from problem  # whatever it was made into: nobody should try again
            raise
        ended = room.ledger.runs.finish(run, "success", _result(outcome))
    if ended.status != "success":
        raise RetryableError(
            f"Run {run.run_id} finished after it had been given up for lost, or taken over.",
            mend="What it committed is kept; run the step again: it goes on from there.",
        )
    return replace(outcome, run=ended)


def _sentence(problem: BaseException) -> str:
    if interrupted(problem):
        return "It was interrupted."
    if isinstance(problem, SignalRoomError):
        return str(problem)
    return f"{type(problem).__name__}: {problem}"


def due_at(room: Room, day: date) -> datetime:
    """Return when the report of a local day is due: the moment that day is over, in UTC.

    A schedule, a retry and a person who asks for the same day thus share one delivery.
    """
    zone = ZoneInfo(room.workspace.timezone)
    return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)


def report_day(room: Room, text: str, at: datetime | None = None) -> date:
    """Return the local day a report is about: yesterday in the workspace's zone unless ``text`` says otherwise.

    Yesterday is meant as of ``at``, the moment the run was due; as of now when that is None.
    """
    return parse_day(text or "yesterday", _local_day(room, at, room.workspace.timezone))


def window_of(room: Room, source: str, text: str, at: datetime | None = None) -> Window | None:
    """Return the local days that ``--window`` means in the source's zone; None leaves them to the source.

    Today is meant as of ``at``, the moment the run was due; as of now when that is None.
    """
    if not text:
        return None
    reader: Any = room.source(source)
    zone = getattr(reader, "zone", "") or getattr(reader, "timezone", "") or room.workspace.timezone
    return parse_window(text, _local_day(room, at, zone), lookback_days=getattr(reader, "lookback_days", None))


def _local_day(room: Room, at: datetime | None, zone: str) -> date:
    check_zone(zone, "timezone")
    return (at or room.clock.now()).astimezone(ZoneInfo(zone)).date()


def _sync(room: Room, call: StepCall, at: datetime, progress: OnProgress) -> Outcome:
    source, _, stream = call.target.partition(".")
    window = window_of(room, source, str(call.options.get("window", "")), at)
    return _each(room.streams(source, stream), lambda one: steps.sync(room, one, window, progress))


def _replay(room: Room, call: StepCall, at: datetime, progress: OnProgress) -> Outcome:
    del at  # it names its days itself
    named = str(call.options.get("source", ""))
    first, last = (_date(call.options.get(end)) for end in ("from", "to"))
    streams = [stream for source in ([named] if named else room.workspace.sources) for stream in room.streams(source)]
    return _each(streams, lambda one: steps.replay(room, one, first, last, progress))


def _retry(room: Room, call: StepCall, at: datetime, progress: OnProgress) -> Outcome:
    del at
    source, _, stream = call.target.partition(".")
    load_id = str(call.options.get("load", ""))
    streams = [one for name in ([source] if source else room.workspace.sources) for one in room.streams(name, stream)]
    return _each(streams, lambda one: steps.retry(room, one, load_id, progress))


def _each(streams: Sequence[Stream], work: Callable[[Stream], StreamSync | None]) -> Outcome:
    """Do the work for each stream; one that fails does not keep the others waiting, but the step fails."""
    done: list[StreamSync] = []
    failed: list[SignalRoomError] = []
    for stream in streams:
        try:
            result = work(stream)
        except SignalRoomError as problem:
            failed.append(problem)
        else:
            done += [result] if result else []
    _raise_all(failed)
    return Outcome(_NO_RUN, streams=tuple(done))


def _raise_all(failed: Sequence[SignalRoomError]) -> None:
    """Raise what failed, if anything did, as one error; what a person must edit before what may work later."""
    if len(failed) == 1:
        raise failed[0]
    if failed:
        worst = min(failed, key=lambda problem: isinstance(problem, RetryableError))
        raise type(worst)(" ".join(dict.fromkeys(str(problem) for problem in failed))) from failed[0]


def _build(room: Room, call: StepCall, at: datetime, progress: OnProgress) -> Outcome:
    del at
    progress(Progress("building the models"))
    select, full = str(call.options.get("select", "")), bool(call.options.get("full-refresh"))
    return Outcome(_NO_RUN, build=steps.build(room, select=select, full_refresh=full))


def _report(room: Room, call: StepCall, at: datetime, progress: OnProgress) -> Outcome:
    day = report_day(room, str(call.options.get("date", "")), at)
    progress(Progress(f"delivering {call.target} for {day}"))
    channels, due = [str(call.options["channel"])] if "channel" in call.options else [], due_at(room, day)
    return Outcome(_NO_RUN, deliveries=tuple(steps.deliver(room, call.target, day, due, channels)))


def _watch(room: Room, call: StepCall, at: datetime, progress: OnProgress) -> Outcome:
    del at
    progress(Progress("looking for what is wrong"))
    watched = steps.watch(room, digest=bool(call.options.get("digest")))
    return Outcome(_NO_RUN, deliveries=watched.sent)


def _job(room: Room, call: StepCall, at: datetime, progress: OnProgress) -> Outcome:
    run_job(room, replace(plan(room, call.target), due_at=at), progress)
    return Outcome(_NO_RUN)


def _refresh(room: Room, call: StepCall, at: datetime, progress: OnProgress) -> Outcome:
    """Refresh views; those that failed fail the step, once all the others are done."""
    del at
    progress(Progress("refreshing views"))
    from signalroom.views.files import manifest_files
    from signalroom.views.refresh import raised

    if not call.target and not manifest_files(room.workspace.root) and not room.workspace.views.tables:
        return Outcome(_NO_RUN)  # a workspace without views has nothing to refresh

    result = steps.refresh(room, call.target, force=bool(call.options.get("force")), progress=progress)
    return Outcome(_NO_RUN, views=raised(result))


def _date(value: str | bool | None) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else None


def _result(outcome: Outcome) -> Mapping[str, Json]:
    """Return what the ledger keeps of an outcome."""
    result: dict[str, Json] = {}
    if outcome.streams:
        result["streams"] = [stream_record(one) for one in outcome.streams]
    if outcome.build:
        result["models"] = {model.name: model.status for model in outcome.build.models}
        result["tests"] = len(outcome.build.tests)
    if outcome.views:
        counted = {"refreshed": len(outcome.views.refreshed), "unchanged": outcome.views.unchanged}
        result["views"] = {**counted, "busy": list(outcome.views.busy), "resting": list(outcome.views.resting)}
    if outcome.deliveries:
        result["deliveries"] = [{"key": one.key, "state": one.state} for one in outcome.deliveries]
    return result


def stream_record(one: StreamSync) -> dict[str, Json]:
    """Return one stream's sync as `sync --json` prints it."""
    counts = {name: value for name, value in asdict(one.merge).items() if name.startswith("rows_")}
    return {
        "stream": one.stream,
        "load_id": one.merge.load_ids[-1] if one.merge.load_ids else None,
        "load_ids": list(one.merge.load_ids),
        **counts,
        "bytes": one.bytes,
        "seconds": round(one.seconds, 3),
        "skipped_objects": list(one.merge.skipped_objects),
        "notes": list(one.merge.notes),
    }


_NO_RUN = Run("", "", "", "running", datetime.fromtimestamp(0, UTC))
_VERBS: Mapping[str, Callable[[Room, StepCall, datetime, OnProgress], Outcome]] = {
    "sync": _sync,
    "build": _build,
    "refresh": _refresh,
    "report": _report,
    "run": _job,
    "replay": _replay,
    "watch": _watch,
    "retry": _retry,
}
