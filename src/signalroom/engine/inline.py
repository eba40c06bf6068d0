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
from signalroom.errors import ConfigError, RetryableError, SignalRoomError, nearest
from signalroom.message import Delivery
from signalroom.position import Json
from signalroom.run import OnProgress, Progress, Run, ignore_progress
from signalroom.steps import StreamSync
from signalroom.stream import Stream, Window
from signalroom.workspace.jobs import Job, StepCall, local_today, parse_day, parse_step, parse_window

if TYPE_CHECKING:
    from signalroom.models.artifacts import BuildResult
    from signalroom.room import Room
    from signalroom.views.refresh import RefreshResult

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 300.0


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
    name: str,
    progress: OnProgress = ignore_progress,
    done: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run a job's steps in order; the first that fails for good ends the job and is raised.

    Args:
        room: The workspace's room.
        name: The job.
        progress: Hears of each step's progress.
        done: Hears of each step that succeeded, before the next begins.

    Raises:
        ConfigError: There is no such job.
        SignalRoomError: What the failing step raised, once its attempts were used up.
    """
    job = room.workspace.jobs.get(name)
    if job is None:
        known = room.workspace.jobs
        mend = nearest(name, known) or f"Known: {', '.join(known) or 'none'}."
        raise ConfigError(f"There is no job {name!r}.", mend=mend)
    outcomes: list[Outcome] = []
    for call in job.steps:
        outcomes.append(_attempt(room, job, call, progress))
        if done is not None:
            done(outcomes[-1])
    return outcomes


def _attempt(room: Room, job: Job, call: StepCall, progress: OnProgress) -> Outcome:
    """Run one step of a job, again and again while it may still succeed."""
    for attempt in range(1, job.retries + 1):
        try:
            return run_step(room, call, job=job.name, progress=progress)
        except RetryableError as problem:
            if attempt == job.retries:
                raise
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt - 1))
            wait_s = max(problem.retry_after_s or 0.0, wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            progress(Progress(f"waiting {wait_s:.0f} s before attempt {attempt + 1} of {call.text}"))
            room.clock.sleep(wait_s)
    raise ConfigError(f"Job {job.name!r} has retries = {job.retries}.", mend="Set retries to 1 or more.")


def run_step(room: Room, call: StepCall | str, *, job: str = "", progress: OnProgress = ignore_progress) -> Outcome:
    """Run one step and record it in the ledger; raises what the step raises."""
    step = parse_step(call) if isinstance(call, str) else call
    room.ledger.runs.sweep()
    run = room.ledger.runs.start(job, step.text)

    def beat(report: Progress) -> None:
        room.ledger.runs.heartbeat(run)
        progress(report)

    try:
        outcome = _VERBS[step.verb](room, step, beat)
    except BaseException as problem:
        room.ledger.runs.finish(run, "error", error=_sentence(problem))
        raise
    return replace(outcome, run=room.ledger.runs.finish(run, "success", _result(outcome)))


def _sentence(problem: BaseException) -> str:
    if isinstance(problem, SignalRoomError):
        return str(problem)
    if isinstance(problem, KeyboardInterrupt):
        return "It was interrupted."
    return f"{type(problem).__name__}: {problem}"


def due_at(room: Room, day: date) -> datetime:
    """Return when the report of a local day is due: the moment that day is over, in UTC.

    A schedule, a retry and a person who asks for the same day thus share one delivery.
    """
    zone = ZoneInfo(room.workspace.timezone)
    return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)


def report_day(room: Room, text: str) -> date:
    """Return the local day a report is about: yesterday in the workspace's zone unless ``text`` says otherwise."""
    return parse_day(text or "yesterday", local_today(room.clock, room.workspace.timezone))


def window_of(room: Room, source: str, text: str) -> Window | None:
    """Return the local days that ``--window`` means in the source's zone; None leaves them to the source."""
    if not text:
        return None
    reader: Any = room.source(source)
    zone = getattr(reader, "zone", "") or getattr(reader, "timezone", "") or room.workspace.timezone
    return parse_window(text, local_today(room.clock, zone), lookback_days=getattr(reader, "lookback_days", None))


def _sync(room: Room, call: StepCall, progress: OnProgress) -> Outcome:
    source, _, stream = call.target.partition(".")
    window = window_of(room, source, str(call.options.get("window", "")))
    return _each(room.streams(source, stream), lambda one: steps.sync(room, one, window, progress))


def _replay(room: Room, call: StepCall, progress: OnProgress) -> Outcome:
    named = str(call.options.get("source", ""))
    first, last = (_date(call.options.get(end)) for end in ("from", "to"))
    streams = [stream for source in ([named] if named else room.workspace.sources) for stream in room.streams(source)]
    return _each(streams, lambda one: steps.replay(room, one, first, last, progress))


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
    if len(failed) == 1:
        raise failed[0]
    if failed:
        worst = min(failed, key=lambda problem: isinstance(problem, RetryableError))
        raise type(worst)(" ".join(dict.fromkeys(str(problem) for problem in failed))) from failed[0]
    return Outcome(_NO_RUN, streams=tuple(done))


def _build(room: Room, call: StepCall, progress: OnProgress) -> Outcome:
    progress(Progress("building the models"))
    select, full = str(call.options.get("select", "")), bool(call.options.get("full-refresh"))
    return Outcome(_NO_RUN, build=steps.build(room, select=select, full_refresh=full))


def _report(room: Room, call: StepCall, progress: OnProgress) -> Outcome:
    day = report_day(room, str(call.options.get("date", "")))
    progress(Progress(f"delivering {call.target} for {day}"))
    channels = [str(call.options["channel"])] if "channel" in call.options else []
    return Outcome(_NO_RUN, deliveries=tuple(steps.deliver(room, call.target, day, due_at(room, day), channels)))


def _job(room: Room, call: StepCall, progress: OnProgress) -> Outcome:
    run_job(room, call.target, progress)
    return Outcome(_NO_RUN)


def _refresh(room: Room, call: StepCall, progress: OnProgress) -> Outcome:
    """Refresh views; those that failed fail the step, once all the others are done."""
    progress(Progress("refreshing views"))
    if not call.target and not any((room.workspace.root / "views").glob("*.toml")) and not room.workspace.views.tables:
        return Outcome(_NO_RUN)  # a workspace without views has nothing to refresh
    from signalroom.views.refresh import raised

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
_VERBS: Mapping[str, Callable[[Room, StepCall, OnProgress], Outcome]] = {
    "sync": _sync,
    "build": _build,
    "refresh": _refresh,
    "report": _report,
    "run": _job,
    "replay": _replay,
}
