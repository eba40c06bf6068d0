"""A watch: what the ledger and the warehouse tell is checked, grouped by cause, kept, and told once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, get_args
from zoneinfo import ZoneInfo

from signalroom.alert import Alert, Finding, Kind
from signalroom.delivering import Due, deliver, render
from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError
from signalroom.message import Delivery, Message, delivery_key
from signalroom.run import Run, RunStatus
from signalroom.workspace.jobs import Job, local_today
from signalroom.workspace.parts import CheckSettings, parse_age

if TYPE_CHECKING:
    from signalroom.alerts.checks import StreamLoad
    from signalroom.alerts.restated import Sent
    from signalroom.room import Room

_BY_LEDGER: Final[frozenset[Kind]] = frozenset({"missed", "failure", "delivery"})
_AND_ITS_SILENCE: Final[frozenset[Kind]] = frozenset({*_BY_LEDGER, "warehouse"})
_OTHERS: Final[frozenset[Kind]] = frozenset(kind for kind in get_args(Kind) if kind != "lag")
_RUNS: Final = 1000
_FAILED: Final[tuple[RunStatus, ...]] = ("error", "lost")
_SHOWN: Final = 10
_HISTORY: Final = timedelta(days=50)
_RESTATED_FOR: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a watch left: the alerts that are not resolved, and the messages that have been sent about them."""

    alerts: tuple[Alert, ...]
    sent: tuple[Delivery, ...]


def watch(room: Room) -> Watched:
    """Look, keep what was found, and send what has not been told; the ledger forgets what it need not keep.

    Raises:
        ConfigError: An alert would go to a client's channel.
        SignalRoomError: What a channel raised, once all the others were served.
    """
    from signalroom.alerts import causes, routes

    settings, now = room.workspace.alerts, room.clock.now()
    found, looked = look(room)
    room.ledger.alerts.note(causes.grouped(found), looked)
    room.ledger.forget()
    known = room.ledger.alerts.list(since=now - timedelta(days=2))
    routes.refuse_clients(settings, [one.channel for one in known if one.channel], _clients(room))
    untold = [_due(room, "alert", one.name, one.channel, one.due_at, _alert_rows(one)) for one in _untold(room, known)]
    sent = deliver(room, untold)
    return Watched(tuple(one for one in known if one.state != "resolved"), tuple(sent))


def digest(room: Room) -> list[Delivery]:
    """Send yesterday's digest to the alerts' channel, once: rows by stream, figures, failures, what is still wrong."""
    channel = room.workspace.alerts.channel
    if not channel:
        return []
    day = local_today(room.clock, room.workspace.timezone) - timedelta(days=1)
    over = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(room.workspace.timezone))
    return deliver(room, [_due(room, "digest", "digest", channel, over, _digest_rows(room, day))])


def look(room: Room) -> tuple[list[Finding], frozenset[Kind]]:
    """Return everything that is wrong now, ungrouped, and the checks that could run.

    A warehouse that another process of ours holds is not asked this time, and one that does not answer is a finding.
    """
    lags, asked = _lags(room)
    found = [*_by_ledger(room), *lags]
    try:
        return [*found, *_by_warehouse(room)], _OTHERS | asked
    except SignalRoomError as problem:
        # Where one process owns the file, a step that goes on elsewhere is why; where not, it will fail and tell.
        if any(not run.step.startswith("watch") for run in room.ledger.runs.list(status="running")):
            return found, _BY_LEDGER | asked
        return [*found, _unanswered(problem, room)], _AND_ITS_SILENCE | asked


def _lags(room: Room) -> tuple[list[Finding], frozenset[Kind]]:
    """Return the sources that lag behind what their upstream keeps for them, and the check if all could be asked."""
    from signalroom.alerts.checks import lagging
    from signalroom.sources.base import Holding

    held: dict[str, tuple[int, int, bool]] = {}
    asked: frozenset[Kind] = frozenset({"lag"})
    for name in room.workspace.sources:
        source = room.source(name)
        if not isinstance(source, Holding):
            continue
        try:
            backlog = source.backlog()
        except SignalRoomError:
            asked = frozenset()  # its next sync fails for the same reason, and that is told
            continue
        if backlog is not None:
            held[name] = backlog.held_bytes, backlog.allowed_bytes, backlog.lost
    return list(lagging(held, room.clock.now())), asked


def _unanswered(problem: SignalRoomError, room: Room) -> Finding:
    mend = problem.mend or "See whether its server runs."
    return Finding(
        "warehouse", "warehouse", "critical", "The warehouse does not answer", problem.message, mend, room.clock.now()
    )


def _by_ledger(room: Room) -> Iterator[Finding]:
    from signalroom.alerts import checks

    workspace, now = room.workspace, room.clock.now()
    runs = room.ledger.runs.recent(_RUNS)
    needs = {name: tuple(settings.needs) for name, settings in workspace.reports.items()}
    grace = parse_age(workspace.alerts.grace)
    yield from checks.failures(runs, workspace.jobs, needs, now)
    yield from checks.missed(_counting(room), runs, grace, now)
    for state in ("failed", "unknown"):
        late = room.ledger.deliveries.list(state=state, since=now - checks.UNDELIVERED_FOR, limit=_RUNS)
        yield from checks.undelivered(late, now)


def _counting(room: Room) -> Iterator[tuple[Job, datetime | None]]:
    """Yield the jobs that are not paused, each with when its times began to count: nobody ran what was due before.

    That is when a scheduler first had its schedule, or it was resumed; without a scheduler, when anything first ran.
    """
    ledger, jobs = room.ledger, room.workspace.jobs
    paused, had, first = ledger.pauses.notes(), ledger.schedules.known(), ledger.runs.first_started()
    return ((job, had[name].since if name in had else first) for name, job in jobs.items() if name not in paused)


def _by_warehouse(room: Room) -> Iterator[Finding]:
    from signalroom.alerts import checks
    from signalroom.alerts.restated import restated

    settings, zone, now = room.workspace.alerts, room.workspace.timezone, room.clock.now()
    yesterday = local_today(room.clock, zone) - timedelta(days=1)
    loads = _loads(room, now - _HISTORY)
    known = {one.stream for one in loads}
    allowed = {
        stream: parse_age(age)
        for name, age in settings.fresh.items()
        for stream in ([name] if "." in name else [one for one in known if one.startswith(f"{name}.")] or [name])
    }
    yield from checks.stale(loads, allowed, now)
    yield from checks.without_rows(_last_loads(room))
    yield from checks.missing(_partitions(room), yesterday, zone)
    yield from checks.volumes(loads, yesterday, zone)
    yield from checks.rejected(_rejects(room, now - timedelta(days=7)))
    for check in settings.checks.values():
        yield from _figure(room, check, yesterday)
    if (share := settings.restated_share) is not None:
        yield from restated(_sent(room, now - _RESTATED_FOR), share)


def _loads(room: Room, since: datetime) -> list[StreamLoad]:
    """Return the loads of a time, the oldest first; those of one quarter of an hour as one.

    A stream that is followed has one a second. Local days begin and end with such a quarter, in every zone.
    """
    quarter = "CAST(floor(extract(epoch FROM committed_at) / 900) AS bigint)"
    return _asked_loads(
        room,
        f"SELECT source || '.' || stream AS stream, max(committed_at) AS last, CAST(sum(rows_in) AS bigint) AS rows_in "
        f"FROM signalroom.loads WHERE committed_at > :since GROUP BY source, stream, {quarter} ORDER BY 2, 1",
        {"since": since},
    )


def _last_loads(room: Room) -> list[StreamLoad]:
    """Return the last loads of each stream, the oldest first: as many as tell whether it ceased to bring rows."""
    from signalroom.alerts.checks import LAST_LOADS

    newest = "row_number() OVER (PARTITION BY source, stream ORDER BY committed_at DESC, load_id DESC)"
    return _asked_loads(
        room,
        "SELECT stream, last, rows_in FROM (SELECT source || '.' || stream AS stream, committed_at AS last, load_id, "
        f"rows_in, {newest} AS place FROM signalroom.loads) AS l WHERE place <= :most ORDER BY last, load_id",
        {"most": LAST_LOADS},
    )


def _asked_loads(room: Room, sql: str, params: Mapping[str, Any]) -> list[StreamLoad]:
    from signalroom.alerts.checks import StreamLoad

    return [
        StreamLoad(row["stream"], row["last"], row["rows_in"]) for row in room.warehouse.query(sql, params).to_pylist()
    ]


def _partitions(room: Room) -> Mapping[str, list[str]]:
    rows = room.warehouse.query(
        "SELECT source || '.' || stream AS stream, partition AS name FROM signalroom.positions ORDER BY 1, 2"
    )
    found: dict[str, list[str]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["stream"], []).append(row["name"])
    return found


def _rejects(room: Room, since: datetime) -> list[tuple[str, int, str, datetime]]:
    rows = room.warehouse.query(
        "SELECT r.source || '.' || r.stream AS stream, count(*) AS counted, min(r.reason) AS reason, "
        "min(l.merged_at) AS since FROM signalroom.rejects AS r JOIN signalroom.loads AS l ON l.load_id = r.load_id "
        "WHERE l.merged_at > :since GROUP BY 1 ORDER BY 1",
        {"since": since},
    )
    return [(row["stream"], row["counted"], row["reason"], row["since"]) for row in rows.to_pylist()]


def _figure(room: Room, check: CheckSettings, day: date) -> Iterator[Finding]:
    from signalroom.alerts import series
    from signalroom.alerts.checks import cause_of

    since = datetime.combine(day, time(), ZoneInfo(room.workspace.timezone))
    title, upstream = check.title or check.name, (*(cause_of(name) for name in check.sources), "build")

    def wrong(said: str, details: str, mend: str) -> Finding:
        return Finding("figure", f"check.{check.name}", check.level, said, details, mend, since, upstream)

    try:
        values = _values(room, check, day)
    except RetryableError:
        raise
    except SignalRoomError as problem:
        yield wrong(f"{title} cannot be looked at", problem.message, problem.mend)
        return
    mend = check.mend or f"`signalroom query` shows more; the check is [alerts.checks.{check.name}]."
    if check.above is not None:
        value = values.get(day, Decimal(0))
        if value > check.above:
            yield wrong(f"{title} is {value:,}", f"It is {value:,} on {day}; {check.above:,} is allowed.", mend)
    elif drifted := series.drift(values, day, "both" if check.drift == "both" else "down"):
        details = f"It is {drifted.value:,} on {day}; a usual {day:%A} has {drifted.usual:,.2f}."
        yield wrong(f"{title} is {'low' if drifted.value < drifted.usual else 'high'}", details, mend)


def _sent(room: Room, since: datetime) -> Iterator[Sent]:
    """Yield the newest report of each day that was over when it was made, beside what it would say now."""
    from signalroom.alerts.restated import Sent

    zone = room.workspace.timezone
    with room.warehouse.snapshot() as ask:
        built = room.warehouse.built_from(ask)
        for name, report in room.reports.items():
            # What is not asked of a day goes on changing, and restates nothing.
            queries = tuple(query for query in report.queries if query.one and "report_date" in query.parameters)
            if not queries and not (report.declared and "report_date" in report.declared.wants):
                continue
            figures = replace(report, queries=queries)
            seen: set[date] = set()
            for digest in room.ledger.deliveries.digests(name, since):
                archived = room.ledger.archive.get(digest, with_images=False)
                about: Any = archived.message.data.get("_report") if archived else None
                if archived is None or not about:
                    continue
                day, as_of = date.fromisoformat(about["report_date"]), datetime.fromisoformat(about["as_of"])
                over = as_of.astimezone(ZoneInfo(zone)).date() > day
                if not over or day in seen or (built and built == archived.message.load_ids):
                    continue  # with the same loads beneath it nothing can have moved
                seen.add(day)
                try:
                    now = figures.collect(
                        lambda sql, params: ask(sql, params).to_pylist(), report_date=day, timezone=zone
                    )
                except (ConfigError, DataError):
                    break  # it cannot be made any more: its next run fails, and that is told
                yield Sent(name, day, as_of, archived.message.data, now)


def _values(room: Room, check: CheckSettings, day: date) -> dict[date, Decimal]:
    """Return a check's figures by day; a value without a day is the day's own, and null is left out."""
    rows = room.warehouse.query(check.sql, {"report_date": day}).to_pylist()
    found: dict[date, Decimal] = {}
    for row in rows:
        at: Any = row.get("day", day)
        if "value" not in row or not isinstance(at, date):
            raise DataError(f"The check {check.name!r} returns no value, or no day.", mend="Select day and value.")
        if row["value"] is not None:
            found[at.date() if isinstance(at, datetime) else at] = Decimal(str(row["value"]))
    return found


def _clients(room: Room) -> dict[str, str]:
    """Return channel -> a report that clients read there."""
    internal = {name for name, settings in room.workspace.reports.items() if settings.internal}
    found = {c: name for name, one in room.workspace.reports.items() if name not in internal for c in one.channels}
    for name, report in room.reports.items():
        if report.declared is not None and name not in {*internal, *room.workspace.reports}:
            found |= dict.fromkeys(report.declared.channels, name)
    return found


def _untold(room: Room, known: Sequence[Alert]) -> Iterator[Any]:
    """Yield the notices that have not been sent; one that is over is told only where its beginning was."""
    from signalroom.alerts import routes

    for notice in routes.notices(known, room.workspace.alerts, room.clock.now()):
        begun = [replace(notice, what=what) for what in ("open", "critical")]
        told = any(_was_told(room, one) for one in begun)
        if not _was_told(room, notice) and (told or notice.what != "resolved"):
            yield notice


def _was_told(room: Room, notice: Any) -> bool:
    recipients = room.channel(notice.channel).recipients()
    keys = [delivery_key(notice.name, notice.due_at, notice.channel, recipient) for recipient in recipients]
    return all((one := room.ledger.deliveries.get(key)) is not None and one.state == "sent" for key in keys)


def _due(room: Room, form: str, name: str, channel: str, due_at: datetime, rows: Mapping[str, Any]) -> Due:
    """Return the message that a form of ours makes of rows; its day is ``rows["day"]``, else today."""
    from signalroom.reports.finding import handed_report

    def make() -> Message:
        data = {name: value for name, value in rows.items() if name != "day"}
        day: date = rows.get("day") or local_today(room.clock, room.workspace.timezone)
        message = render(room, handed_report(room.workspace.root, form), data, day)
        return replace(message, report=name.replace(" ", "_"))

    return Due(name, due_at, [channel], make)


def _alert_rows(notice: Any) -> Mapping[str, Any]:
    alert: Alert = notice.alert
    return {
        "alert": {**asdict(alert), "what": notice.what},
        "lines": [{"text": line} for line in alert.details.splitlines()],
    }


def _digest_rows(room: Room, day: date) -> Mapping[str, Any]:
    zone = ZoneInfo(room.workspace.timezone)
    begin = datetime.combine(day, time(), zone)
    end = datetime.combine(day + timedelta(days=1), time(), zone)
    streams: dict[str, int] = {}
    for one in _loads(room, begin):
        if one.committed_at < end:
            streams[one.stream] = streams.get(one.stream, 0) + one.rows
    runs, figures = room.ledger.runs, room.ledger.figures.runs_by_status(begin, end)
    failed = [run for status in _FAILED for run in runs.list(_SHOWN, status=status, since=begin, before=end)]
    failed.sort(key=lambda run: run.started_at, reverse=True)
    return {
        "day": day,
        "streams": [{"stream": name, "rows": rows} for name, rows in sorted(streams.items())],
        "figures": [_figure_row(room, check, day) for check in room.workspace.alerts.checks.values()],
        "runs": {"succeeded": figures.get("success", 0), "failed": sum(figures.get(status, 0) for status in _FAILED)},
        "failures": [_failure_row(run) for run in failed[:_SHOWN]],
        "alerts": [asdict(one) for one in room.ledger.alerts.list()][:20],
    }


def _figure_row(room: Room, check: CheckSettings, day: date) -> Mapping[str, Any]:
    from signalroom.alerts import series

    row = {"title": check.title or check.name, "value": None, "usual": None}
    try:
        values = _values(room, check, day)
    except (ConfigError, DataError):
        return row  # not available; the watch's alert says why
    return row | {"value": values.get(day), "usual": series.usual(values, day) if check.drift else None}


def _failure_row(run: Run) -> Mapping[str, Any]:
    return {"step": run.step, "at": run.started_at, "error": run.error}
