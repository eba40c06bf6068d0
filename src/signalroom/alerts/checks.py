"""The checks: pure functions of what was gathered, each of which returns what it found wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from statistics import median
from typing import Final
from zoneinfo import ZoneInfo

from signalroom.alert import Finding
from signalroom.alerts import series
from signalroom.message import Delivery
from signalroom.run import Run
from signalroom.workspace.jobs import Job, StepCall, parse_step

_STILL_TRYING: Final = timedelta(minutes=10)
_LONG: Final = timedelta(hours=2)
_LOOK_BACK: Final = timedelta(days=32)
_ZERO_AFTER: Final = 10
LAST_LOADS: Final = 2 + _ZERO_AFTER
"""How many of a stream's loads tell whether it ceased to bring rows."""

_FAR: Final = 4  # times what is allowed: no longer a matter of the next sync

UNDELIVERED_FOR: Final = timedelta(days=2)
"""For how long it is told that a message which was due did not arrive."""


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """A merged load, or several of a stream: ``source.stream``, when the last was committed, and their records."""

    stream: str
    committed_at: datetime
    rows: int

    @property
    def cause(self) -> str:
        """What is wrong when this stream is: its source."""
        return cause_of(self.stream)


def cause_of(stream: str) -> str:
    """Return the cause of what is wrong with ``source`` or ``source.stream``: its source."""
    return f"source.{stream.partition('.')[0]}"


def failures(
    runs: Sequence[Run], jobs: Mapping[str, Job], needs: Mapping[str, Sequence[str]], now: datetime
) -> Iterator[Finding]:
    """Yield what last failed for good: syncs by source, builds, reports.

    Args:
        runs: The newest first.
        jobs: The workspace's jobs; a run that belongs to none was a person's, who saw it fail.
        needs: Report -> the sources it needs.
        now: A job that may still be trying says nothing for ten minutes after its first failure.
    """
    by_cause: dict[str, list[tuple[Run, StepCall]]] = {}
    for run in runs:
        step = parse_step(run.step)
        cause = {"sync": cause_of(step.target), "report": f"report.{step.target}"}.get(step.verb, step.verb)
        if run.finished_at is not None and step.verb not in {"run", "watch"}:
            by_cause.setdefault(cause, []).append((run, step))
    for cause, found in by_cause.items():
        row: list[Run] = []
        for run, _ in found:
            if run.status == "success":
                break
            row.append(run)
        step = found[0][1]
        job = next((jobs[run.job] for run in row if run.job in jobs), None)
        if not row or job is None:
            continue
        # Of several that failed, the oldest says whether it is over: one that is tried anew does not take it back.
        trying = _attempts(row) < job.retries and now - (row[-1].finished_at or now) < _STILL_TRYING
        if not trying:
            yield _failure(cause, row, _unsent(row, runs, jobs, now), step, job, needs, now)


def _unsent(row: Sequence[Run], runs: Sequence[Run], jobs: Mapping[str, Job], now: datetime) -> list[str]:
    """Return the reports that failed runs have kept from being made, and that nothing has sent since."""
    found: dict[str, None] = {}
    for run in row:
        job = jobs.get(run.job)
        mine = [one for one in runs if run.execution and one.execution == run.execution]
        ended = max((one.finished_at or now for one in mine), default=now)
        if job is None or now - ended < _STILL_TRYING:  # what comes after it may be about to begin
            continue
        texts = [call.text for call in job.steps]
        after = job.steps[texts.index(run.step) + 1 :] if run.step in texts else ()
        for call in after:
            tried = any(one.step == call.text and (one in mine or one.started_at > ended) for one in runs)
            if call.verb == "report" and not tried:
                found[call.target] = None
    return list(found)


def _failure(
    cause: str,
    row: Sequence[Run],
    unsent: Sequence[str],
    step: StepCall,
    job: Job,
    needs: Mapping[str, Sequence[str]],
    now: datetime,
) -> Finding:
    newest, since = row[0], row[-1].started_at
    kept = f" Not sent: {', '.join(unsent)}." if unsent else ""
    report = step.verb == "report"
    upstream = [cause_of(name) for name in needs.get(step.target, ())] if report else []
    return Finding(
        "failure",
        cause,
        "critical" if report or unsent or now - since > _LONG else "warning",
        f"{newest.step} fails",
        f"{newest.error} Attempts in a row: {_attempts(row)}.{kept}",
        f"Mend what it says, then run it again: `signalroom run {job.name}`.",
        since,
        (*upstream, "build") if report else (),
        job.alert,
    )


def _attempts(runs: Iterable[Run]) -> int:
    return sum(1 + len(run.failures) for run in runs)


def missed(
    jobs: Iterable[tuple[Job, datetime | None]], runs: Sequence[Run], grace: timedelta, now: datetime
) -> list[Finding]:
    """Return jobs that were due and did not start; where nothing at all started, that is one finding.

    Args:
        jobs: The workspace's jobs that are to run, each with the moment from which on its times count; None: not yet.
        runs: The newest first; those that go on count.
        grace: How late a job may start.
        now: The present moment.
    """
    found: list[tuple[datetime, Job]] = []
    for job, since in jobs:
        due = last_due(job, now - grace)
        if due is None or since is None or due < since:
            continue
        mine = [run for run in runs if run.job == job.name]
        if not any(run.started_at >= due or run.finished_at is None for run in mine):
            found.append((due, job))
    newest = max((run.started_at for run in runs if run.job), default=None)
    if len(found) > 1 and (newest is None or newest < min(due for due, _ in found)):
        due = min(due for due, _ in found)
        names = ", ".join(sorted(job.name for _, job in found))
        told = f"None of the jobs that were due has started: {names}."
        return [
            Finding(
                "missed", "scheduler", "critical", "No job starts", told, "Start `signalroom up`, or the worker.", due
            )
        ]
    return [
        Finding(
            "missed",
            f"job.{job.name}",
            "critical" if any(step.verb == "report" for step in job.steps) else "warning",
            f"Job {job.name} did not start",
            f"It was due {due.astimezone(ZoneInfo(job.timezone)):%Y-%m-%d %H:%M} ({job.timezone}).",
            f"See whether the worker runs, then `signalroom run {job.name}`.",
            due,
            ("scheduler",),
            job.alert,
        )
        for due, job in found
    ]  # fmt: skip


def last_due(job: Job, before: datetime) -> datetime | None:
    """Return the last moment at or before ``before`` at which a job was due, of the last month; else None."""
    cron = job.cron()
    if cron is None:
        return None
    at = cron.last_due(before, job.timezone)
    return at if at is not None and before - at < _LOOK_BACK else None


def undelivered(deliveries: Iterable[Delivery], now: datetime) -> Iterator[Finding]:
    """Yield a finding for each channel that did not take what was due in the last two days."""
    by_channel: dict[str, list[Delivery]] = {}
    for one in deliveries:
        if one.state in {"failed", "unknown"} and now - one.due_at < UNDELIVERED_FOR:
            by_channel.setdefault(one.channel, []).append(one)
    for channel, found in sorted(by_channel.items()):
        told = " ".join(dict.fromkeys(f"{one.report} is {one.state}: {one.error}".rstrip(": ") for one in found[:5]))
        title = f"Channel {channel} did not take {len(found)} of its messages"
        mend = "Mend the channel: `signalroom check`. Then send the reports again: `signalroom report NAME --send`."
        since = min(one.due_at for one in found)
        yield Finding("delivery", f"channel.{channel}", "critical", title, told, mend, since)


def stale(loads: Sequence[StreamLoad], allowed: Mapping[str, timedelta], now: datetime) -> Iterator[Finding]:
    """Yield streams whose newest data are older than the workspace allows, or else than they ever were of late.

    Args:
        loads: Of all streams, the oldest first.
        allowed: ``source.stream`` -> age, where the workspace declares one; such a stream must have loads.
        now: The present moment.
    """
    for stream in sorted({*(one.stream for one in loads), *allowed}):
        moments = [one.committed_at for one in loads if one.stream == stream]
        limit = allowed.get(stream) or series.longest_usual([at for at in moments if now - at < timedelta(days=15)])
        newest = moments[-1] if moments else None
        if limit is None or (newest is not None and now - newest <= limit):
            continue
        seen = f"Its newest data came {newest:%Y-%m-%d %H:%M} UTC" if newest else "Nothing of it was ever loaded"
        told = f"{seen}; {_hours(limit)} is {'allowed' if stream in allowed else 'usual'}."
        mend = f"See what its source says: `signalroom sync {stream}`."
        since = newest + limit if newest else now
        yield Finding("freshness", cause_of(stream), "warning", f"{stream} is stale", told, mend, since)


def lagging(held: Mapping[str, tuple[int, int, bool]], now: datetime) -> Iterator[Finding]:
    """Yield sources whose upstream keeps more for them than is allowed: what is not read fills its disk.

    Args:
        held: Source -> bytes that are kept, bytes that may be, and whether some were thrown away already.
        now: The present moment.
    """
    for source, (kept, allowed, lost) in sorted(held.items()):
        if not lost and kept <= allowed:
            continue
        told = f"Its server keeps {kept / 2**20:,.0f} MB that it has not read; {allowed / 2**20:,.0f} MB are allowed."
        if lost:
            told = "Its server has thrown away changes that it had not read."
        mend = f"`signalroom sync {source}` reads what there is{', then takes a new snapshot' if lost else ''}."
        level = "critical" if lost or kept > _FAR * allowed else "warning"
        yield Finding("lag", f"source.{source}", level, f"{source} lags behind its upstream", told, mend, now)


def without_rows(loads: Sequence[StreamLoad]) -> Iterator[Finding]:
    """Yield streams whose last two loads were empty where the ten before had rows."""
    for stream in sorted({one.stream for one in loads}):
        mine = [one for one in loads if one.stream == stream]
        before, last = mine[-2 - _ZERO_AFTER : -2], mine[-2:]
        if len(before) == _ZERO_AFTER and all(one.rows for one in before) and not any(one.rows for one in last):
            told = f"The last two loads have no row; usual are about {median(one.rows for one in before):,.0f}."
            mend = "Ask the upstream, or see whether its filter or key changed."
            yield Finding(
                "zero rows", cause_of(stream), "warning", f"{stream} brings no rows", told, mend, last[0].committed_at
            )


def missing(partitions: Mapping[str, Sequence[str]], yesterday: date, zone: str) -> Iterator[Finding]:
    """Yield streams of days that lack a day which is over.

    Args:
        partitions: ``source.stream`` -> the partitions of its position; those that are no day are left out.
        yesterday: The last local day that is over.
        zone: The zone of those days.
    """
    for stream, names in sorted(partitions.items()):
        by_filter: dict[str, list[date]] = {}
        for name in names:
            text, _, rest = name.partition("|")
            try:
                by_filter.setdefault(rest, []).append(date.fromisoformat(text))
            except ValueError:
                continue  # an object's key, an offset: a position that is no day
        lack = {rest: series.missing_days(days, yesterday - timedelta(days=1)) for rest, days in by_filter.items()}
        lack = {rest: days for rest, days in lack.items() if days}
        if not lack:
            continue
        told = "; ".join(f"{', '.join(map(str, days))}{f' of {rest}' if rest else ''}" for rest, days in lack.items())
        every = sorted(day for days in lack.values() for day in days)
        first, last = every[0], every[-1]
        since = datetime.combine(first + timedelta(days=1), time(), ZoneInfo(zone))
        mend = f"Read them: `signalroom sync {stream} --window {first}..{last}`."
        yield Finding(
            "missing slice", cause_of(stream), "warning", f"{stream} lacks days", f"Not loaded: {told}.", mend, since
        )


def volumes(loads: Sequence[StreamLoad], yesterday: date, zone: str) -> Iterator[Finding]:
    """Yield streams that brought far fewer rows yesterday than on that weekday before."""
    local = ZoneInfo(zone)
    for stream in sorted({one.stream for one in loads}):
        days: dict[date, Decimal] = {}
        for one in loads:
            if one.stream == stream:
                day = one.committed_at.astimezone(local).date()
                days[day] = days.get(day, Decimal(0)) + one.rows
        if (found := series.drift(days, yesterday)) is not None:
            told = f"{found.day} brought {found.value:,} rows; a usual {found.day:%A} brings {found.usual:,.0f}."
            mend = "Ask the upstream, or see whether its filter, key or path changed."
            since = datetime.combine(yesterday, time(), local)
            yield Finding("volume", cause_of(stream), "warning", f"{stream} brings fewer rows", told, mend, since)


def rejected(counts: Iterable[tuple[str, int, str, datetime]]) -> Iterator[Finding]:
    """Yield streams with rows set aside of late: ``source.stream``, how many, a reason, since when."""
    for stream, count, reason, since in counts:
        told = f"{count:,} {'row was' if count == 1 else 'rows were'} set aside, e.g.: {reason}."
        mend = f"`signalroom rejects show {stream}` shows them; mend the pinned schema or the upstream, then replay."
        yield Finding(
            "rejects",
            f"rejects.{stream}",
            "warning",
            f"Rows of {stream} are set aside",
            told,
            mend,
            since,
            (cause_of(stream),),
        )


def _hours(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours:.0f} h" if hours >= 2 else f"{hours * 60:.0f} min"
