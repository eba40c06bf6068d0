"""The changes of the clocks: what each template schedules, and the firings that are written out for the gap in spring."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from signalroom.engine.schedules import shifted
from signalroom.workspace.cron import parse_cron
from signalroom.workspace.init import init, templates
from signalroom.workspace.jobs import Job
from signalroom.workspace.workspace import Workspace


def fired(cron, zone, first, days):
    """Return the local moments at which a schedule fires, asked for as the scheduler does: the next, and the next."""
    begin = datetime.combine(first, time(), ZoneInfo(zone))
    moment, end = begin.astimezone(UTC) - timedelta(seconds=1), begin + timedelta(days=days)
    found = []
    while (moment := cron.due(moment, zone)) < end.astimezone(UTC):
        found.append(moment.astimezone(ZoneInfo(zone)))
    return found


@pytest.mark.parametrize("template", sorted(set(templates()) - {"empty", "fundraising"}))
@pytest.mark.parametrize("change", [date(2026, 11, 1), date(2027, 3, 14), date(2027, 11, 7), date(2028, 3, 12)])
def test_each_schedule_of_a_template_keeps_every_local_time_over_a_change(tmp_path, template, change):
    init(template, tmp_path)
    workspace = Workspace.load(tmp_path)
    assert workspace.timezone == "America/New_York"
    scheduled = {name: job for name, job in workspace.jobs.items() if job.schedule}
    assert scheduled
    for job in scheduled.values():
        cron = job.cron()
        begin, days = change - timedelta(days=1), 3  # Saturday to Monday
        found = Counter((one.date(), one.hour, one.minute) for one in fired(cron, job.timezone, begin, days))
        wanted = Counter(
            (day, hour, minute)
            for day in (begin + timedelta(days=ahead) for ahead in range(days))
            if cron.fits(day)
            for hour in cron.hours
            for minute in cron.minutes
        )
        ordinary = {at: times for at, times in found.items() if at[1] not in (2, 3)}
        assert ordinary == {at: times for at, times in wanted.items() if at[1] not in (2, 3)}, job.name
        # Nobody's 02:15 exists on the spring day: it falls on 03:15, which fires once for both.
        assert set(found.values()) == {1}


# Where a time that the spring change skips falls on one that the line does not name, by the end of 2027.
GAPS = {
    ("30 2 * * *", "America/New_York"),
    ("15 * * * *", "Australia/Lord_Howe"),
    ("0 0 * * *", "Africa/Cairo"),
    ("0 0 * * *", "America/Havana"),
}


@pytest.mark.parametrize("zone", ["America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "America/Havana", "UTC"])
@pytest.mark.parametrize("text", ["30 2 * * *", "15 * * * *", "0 0 * * *"])
def test_every_gap_of_the_coming_year_has_firings_of_its_own(zone, text):
    cron = parse_cron(text, "x")
    job = Job("j", text, zone, ())
    now = datetime(2026, 11, 21, 1, tzinfo=UTC)
    today = now.astimezone(ZoneInfo(zone)).date()
    # The law without its short cut: whatever fires at a wall time that the line does not name.
    wanted = {
        wall.replace(tzinfo=None)
        for day in (today + timedelta(days=ahead) for ahead in range(-1, 400))
        for moment in cron.moments(day, ZoneInfo(zone))
        if not ((wall := moment.astimezone(ZoneInfo(zone))).hour in cron.hours and wall.minute in cron.minutes)
        or wall.date() != day
    }
    found = {
        datetime(one.year[0].start, *(part[0].start for part in (one.month, one.day_of_month, one.hour, one.minute)))
        for one in shifted(cron, job, now)
    }
    assert found == wanted
    assert bool(wanted) == ((text, zone) in GAPS)
