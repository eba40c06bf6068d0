"""Jobs as Temporal Schedules: made, changed and removed to match the workspace file, pauses kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleListState,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from signalroom.engine.attempts import attempts_of, borne_by
from signalroom.engine.catching_up import missed
from signalroom.engine.executions import jobs_of
from signalroom.engine.plans import JOB_ATTRIBUTE, JobPlan, StepPlan
from signalroom.engine.workflows import JobWorkflow
from signalroom.workspace.cron import Cron
from signalroom.workspace.jobs import Job, Overlap

if TYPE_CHECKING:
    from signalroom.room import Room

_OVERLAP: Mapping[Overlap, ScheduleOverlapPolicy] = {
    "skip": ScheduleOverlapPolicy.SKIP,
    "queue": ScheduleOverlapPolicy.BUFFER_ALL,
    "cancel": ScheduleOverlapPolicy.CANCEL_OTHER,
}
_GAPS_AHEAD_DAYS = 400


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconciliation did, as names of jobs.

    Attributes:
        created: Whose schedule was made.
        updated: Whose schedule changed.
        removed: Whose schedule was deleted.
        kept: Whose schedule was right.
        caught_up: Job -> the times (UTC) for which it is started now, because the scheduler knew nothing of it.
    """

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    caught_up: Mapping[str, tuple[datetime, ...]] = field(default_factory=dict[str, "tuple[datetime, ...]"])


async def reconcile(client: Client, room: Room, task_queue: str) -> Reconciled:
    """Make the scheduler's schedules those of the workspace file.

    A schedule that is right is not touched: an update would drop the times that are still to be caught up. One that
    an operator paused stays paused. A scheduler whose database is new gets from the ledger what the old one knew: the
    pauses, and the times of jobs that fell due, or were cut off, while nobody had them in hand.
    """
    prefix = schedule_id(room, "")
    notes, had = room.ledger.pauses.notes(), room.ledger.schedules.known()
    jobs = {job.name: job for job in jobs_of(room).values() if job.schedule}
    wanted = {name: _schedule(room, job, task_queue, notes) for name, job in jobs.items()}
    known = {one.id.removeprefix(prefix) async for one in await client.list_schedules() if one.id.startswith(prefix)}
    done: dict[str, list[str]] = {"created": [], "updated": [], "removed": [], "kept": []}
    unknown = {name: job for name, job in jobs.items() if name not in known and name not in notes}
    late = {name: times for name, job in unknown.items() if (times := missed(room, job, had.get(name)))}
    resumed = {name for name, one in had.items() if one.since >= one.seen_at and name not in notes}
    put = [
        _put(client, schedule_id(room, name), one, late.get(name, ()), resumed=name in resumed)
        for name, one in wanted.items()
    ]
    for name, what in zip(wanted, await asyncio.gather(*put), strict=True):
        done[what].append(name)
    for name in sorted(known - wanted.keys()):
        await _remove(client, schedule_id(room, name))
        done["removed"].append(name)
    remember(room)
    caught_up = {name: tuple(late[name]) for name in done["created"] if name in late}
    return Reconciled(**{what: tuple(names) for what, names in done.items()}, caught_up=caught_up)


def remember(room: Room) -> None:
    """Write into the ledger that the scheduler has the schedules now: what falls due from here on is in its hands."""
    jobs = jobs_of(room).values()
    room.ledger.schedules.seen({job.name: (job.schedule, job.timezone) for job in jobs if job.schedule})


def schedule_id(room: Room, job: str) -> str:
    """Return the id of a job's schedule; the workspace's name keeps those that share a namespace apart."""
    return f"{room.workspace.name}/job:{job}"


async def mirror_pauses(client: Client, room: Room) -> None:
    """Write into the ledger which jobs are paused: the scheduler's database may be replaced at an upgrade."""
    prefix = schedule_id(room, "")
    kept = room.ledger.pauses.notes()
    async for one in await client.list_schedules():
        if not one.id.startswith(prefix) or one.schedule is None:
            continue
        name = one.id.removeprefix(prefix)
        if not _differs(one.schedule.state, name, kept):
            continue
        # The list lags behind by moments: what it says of a job that was just paused is not true any more.
        state = (await client.get_schedule_handle(one.id).describe()).schedule.state
        if not _differs(state, name, kept):
            continue
        if state.paused:
            room.ledger.pauses.pause(name, state.note or "")
        else:
            room.ledger.pauses.resume(name)
            room.ledger.schedules.renew(name)


def _differs(state: ScheduleState | ScheduleListState, name: str, kept: Mapping[str, str]) -> bool:
    """Return whether a scheduler's state of a job is another one than the ledger's."""
    return kept.get(name) != (state.note or "") if state.paused else name in kept


def plan_of(room: Room, job: Job) -> JobPlan:
    """Return a job as its workflow gets it, with the jobs that wait for it and have no schedule of their own."""
    settings, silent_s = room.workspace.engine, room.ledger.runs.lease_s
    reports, timeout_s = room.workspace.reports, settings.step_timeout_s
    steps = [
        StepPlan(call.text, attempts_of(job, call, reports), silent_s, timeout_s, sorted(one + 1 for one in borne))
        for call, borne in zip(job.steps, borne_by(job, reports), strict=True)
    ]
    waiting = [one for one in jobs_of(room).values() if job.name in one.after and not one.schedule]
    return JobPlan(job.name, steps, list(job.after), [plan_of(room, one) for one in waiting])


def calendars(cron: Cron) -> list[ScheduleCalendarSpec]:
    """Return the calendars of a cron line; two where a day of the month or one of the week is enough."""
    times: dict[str, Any] = {
        "minute": _ranges(cron.minutes),
        "hour": _ranges(cron.hours),
        "month": _ranges(cron.months),
    }
    days, weekdays = _ranges(cron.days), _ranges(cron.weekdays)
    if cron.either_day:
        return [ScheduleCalendarSpec(**times, day_of_month=days), ScheduleCalendarSpec(**times, day_of_week=weekdays)]
    return [ScheduleCalendarSpec(**times, day_of_month=days, day_of_week=weekdays)]


def shifted(cron: Cron, job: Job, now: datetime) -> list[ScheduleCalendarSpec]:
    """Return a calendar for each local time of the coming year that the spring change skips: it fires after the gap."""
    found: list[ScheduleCalendarSpec] = []
    for day in _changes(job.zone, now.astimezone(job.zone).date()):
        for moment in cron.moments(day, job.zone):
            wall = moment.astimezone(job.zone)
            if wall.hour in cron.hours and wall.minute in cron.minutes and wall.date() == day:
                continue
            numbers = {"minute": wall.minute, "hour": wall.hour, "day_of_month": wall.day, "month": wall.month}
            parts: dict[str, Any] = {name: [ScheduleRange(number)] for name, number in numbers.items()}
            found.append(ScheduleCalendarSpec(**parts, year=[ScheduleRange(wall.year)]))
    return found


def _changes(zone: ZoneInfo, today: date) -> list[date]:
    """Return the days of the coming year about which a zone changes its clocks: the rest need no second look."""
    days = [today + timedelta(days=ahead) for ahead in range(-2, _GAPS_AHEAD_DAYS + 1)]
    offsets = [datetime.combine(day, time(), zone).utcoffset() for day in days]
    # The change may lie at midnight itself, so that either day may be the one with the gap.
    return [day for day, *near in zip(days[1:], offsets, offsets[1:], offsets[2:], strict=False) if len(set(near)) > 1]


def _schedule(room: Room, job: Job, task_queue: str, notes: Mapping[str, str]) -> Schedule:
    cron = job.cron()
    spec = ScheduleSpec(
        calendars=[*calendars(cron), *shifted(cron, job, room.clock.now())] if cron else [],
        time_zone_name=job.timezone,
    )
    policy = SchedulePolicy(overlap=_OVERLAP[job.overlap], catchup_window=timedelta(hours=job.catch_up_h))
    plan = plan_of(room, job)
    told = json.dumps([asdict(plan), asdict(spec), policy.overlap.name, job.catch_up_h, task_queue], default=str)
    attribute = SearchAttributePair(SearchAttributeKey.for_keyword(JOB_ATTRIBUTE), job.name)
    return Schedule(
        action=ScheduleActionStartWorkflow(
            JobWorkflow.run,
            replace(plan, fingerprint=hashlib.sha256(told.encode()).hexdigest()),
            id=schedule_id(room, job.name),
            task_queue=task_queue,
            typed_search_attributes=TypedSearchAttributes([attribute]),
        ),
        spec=spec,
        policy=policy,
        state=ScheduleState(paused=job.name in notes, note=notes.get(job.name, "")),
    )


async def _put(client: Client, name: str, wanted: Schedule, late: Sequence[datetime], *, resumed: bool) -> str:
    """Make a schedule, with the times it is late for in the same call; else change it where it is not right."""
    # The second before: the scheduler leaves the beginning of a span out.
    spans = [ScheduleBackfill(one - timedelta(seconds=1), one, wanted.policy.overlap) for one in late]
    try:
        await client.create_schedule(name, wanted, backfill=spans)
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(name)
        described = await handle.describe()
        if wanted.state.paused and not described.schedule.state.paused:
            await handle.pause(note=wanted.state.note)
        if resumed and described.schedule.state.paused:  # since the scheduler was last seen
            await handle.unpause()
        if _fingerprint(described.schedule) == _fingerprint(wanted):
            return "kept"

        def change(current: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(replace(wanted, state=current.description.schedule.state))

        await handle.update(change)
        return "updated"
    return "created"


async def _remove(client: Client, name: str) -> None:
    """Delete a schedule; another worker that starts at the same moment may have done so."""
    try:
        await client.get_schedule_handle(name).delete()
    except RPCError as problem:
        if problem.status is not RPCStatusCode.NOT_FOUND:
            raise


def _fingerprint(schedule: Schedule) -> str:
    """Return the fingerprint in a schedule's plan, as we wrote it or as the server gives it back; empty for none."""
    first: Any = schedule.action.args[0] if isinstance(schedule.action, ScheduleActionStartWorkflow) else None
    if isinstance(first, JobPlan):
        return first.fingerprint
    data: bytes = getattr(first, "data", b"{}")
    return str(json.loads(data).get("fingerprint", ""))


def _ranges(numbers: frozenset[int]) -> Sequence[ScheduleRange]:
    return [ScheduleRange(number) for number in sorted(numbers)]


def next_firing(described: ScheduleDescription) -> datetime | None:
    """Return when a schedule fires next; None when it is paused or never does."""
    if described.schedule.state.paused:
        return None
    return next(iter(described.info.next_action_times), None)
