"""Steps, schedules and windows: what people type, checked where it is typed."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalroom.errors import ConfigError
from signalroom.stream import Window
from signalroom.workspace.cron import parse_cron
from signalroom.workspace.jobs import StepCall, local_today, parse_day, parse_step, parse_window

TODAY = date(2026, 3, 1)


class At:
    """A clock that stands still."""

    def __init__(self, text):
        self.moment = datetime.fromisoformat(text)

    def now(self):
        return self.moment

    def monotonic(self):
        return 0.0

    def sleep(self, seconds):
        raise AssertionError(seconds)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("sync everflow", StepCall("sync", "everflow")),
        ("sync everflow.daily_stats --window today", StepCall("sync", "everflow.daily_stats", {"window": "today"})),
        ("sync everflow --window=7d", StepCall("sync", "everflow", {"window": "7d"})),
        ("build", StepCall("build")),
        ("refresh", StepCall("refresh")),
        ("refresh acme", StepCall("refresh", "acme")),
        ("report daily_ccw --send", StepCall("report", "daily_ccw", {"send": True})),
        ("report daily_ccw --date 2026-01-02", StepCall("report", "daily_ccw", {"date": "2026-01-02"})),
        ("report daily_ccw --date yesterday", StepCall("report", "daily_ccw", {"date": "yesterday"})),
        ("run hourly", StepCall("run", "hourly")),
        ("replay", StepCall("replay")),
        ("retry", StepCall("retry")),
        ("retry s.t --load 7", StepCall("retry", "s.t", {"load": "7"})),
        (
            "replay --source s --from 2026-01-01 --to 2026-01-31 --no-deliveries",
            StepCall("replay", "", {"source": "s", "from": "2026-01-01", "to": "2026-01-31", "no-deliveries": True}),
        ),
    ],
)
def test_steps(text, step):
    assert parse_step(text) == step
    assert parse_step(step.text) == step


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "x: unknown step ''"),
        ("snyc everflow", "x: unknown step 'snyc'. Did you mean 'sync'?"),
        ("sync", "x: sync needs a name. Write sync SOURCE or SOURCE.STREAM."),
        ("sync a b", "x: sync cannot take 'b'."),
        ("build all", "x: build cannot take 'all'. Write build alone."),
        ("build --windw today", "x: build has no option '--windw'. It takes: --select, --full-refresh."),
        ("sync a --windw today", "sync has no option '--windw'. Did you mean '--window'?"),
        ("sync a --window", "--window of sync has no value."),
        ("sync a --window --send", "--window of sync has no value."),
        ("sync a --window todya", "x: unknown window 'todya'. Did you mean 'today'?"),
        ("report r --date 2026-02-30", "x: '2026-02-30' is not a date."),
        ("report r --send=yes", "report has no option '--send=yes'."),
        ("report 'r", "has an open quote"),
        ("replay --from last", "'last' is not a date."),
    ],
)
def test_steps_that_are_refused(text, expected):
    with pytest.raises(ConfigError) as caught:
        parse_step(text, path="x")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("today", "2026-03-01", "2026-03-01"),
        ("yesterday", "2026-02-28", "2026-02-28"),
        ("7d", "2026-02-23", "2026-03-01"),
        ("1d", "2026-03-01", "2026-03-01"),
        ("lookback", "2026-02-26", "2026-03-01"),
        ("2026-01-02", "2026-01-02", "2026-01-02"),
        ("2026-01-02..2026-02-03", "2026-01-02", "2026-02-03"),
    ],
)
def test_windows(text, first, last):
    window = Window(date.fromisoformat(first), date.fromisoformat(last))
    assert parse_window(text, TODAY, lookback_days=3) == window


@pytest.mark.parametrize("text", ["", "0d", "tody", "2026-1-2", "2026-02-30", "2026-01-03..2026-01-02", "2026-01-02.."])
def test_windows_that_are_refused(text):
    with pytest.raises(ConfigError, match=r"^p: "):
        parse_window(text, TODAY, path="p")


def test_a_source_without_lookback():
    with pytest.raises(ConfigError, match="no lookback"):
        parse_window("lookback", TODAY)
    assert parse_day("yesterday", TODAY) == date(2026, 2, 28)


@pytest.mark.parametrize(
    ("moment", "zone", "expected"),
    [
        ("2026-01-02T04:59:00+00:00", "America/New_York", "2026-01-01"),
        ("2026-01-02T05:00:00+00:00", "America/New_York", "2026-01-02"),
        ("2026-07-02T03:59:00+00:00", "America/New_York", "2026-07-01"),
        ("2026-07-02T04:00:00+00:00", "America/New_York", "2026-07-02"),
        ("2026-01-01T12:00:00+00:00", "Pacific/Kiritimati", "2026-01-02"),
    ],
)
def test_today_is_the_date_on_the_wall(moment, zone, expected):
    assert local_today(At(moment), zone) == date.fromisoformat(expected)


def test_an_unknown_zone():
    with pytest.raises(ConfigError, match=r"unknown time zone 'America/New_Yrok'. Did you mean"):
        local_today(At("2026-01-01T00:00:00+00:00"), "America/New_Yrok")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * *", "five fields"),
        ("60 * * * *", "minute 60 is out of range"),
        ("* 24 * * *", "hour 24 is out of range"),
        ("* * 0 * *", "day of month 0 is out of range"),
        ("* * * 13 *", "month 13 is out of range"),
        ("* * * * 8", "day of week 8 is out of range"),
        ("5-1 * * * *", "range '5-1' is empty"),
        ("*/0 * * * *", "is empty"),
        ("1,,2 * * * *", "cannot be read"),
        ("a * * * *", "'a' is no minute"),
        ("* * * juni *", "'juni' is no month. Did you mean 'jun'?"),
        ("* * 31 2,4 *", "never fires"),
        ("@hourli", "unknown schedule '@hourli'. Did you mean '@hourly'?"),
    ],
)
def test_schedules_that_are_refused(text, expected):
    with pytest.raises(ConfigError) as caught:
        parse_cron(text, "jobs.j.schedule")
    assert str(caught.value).startswith("jobs.j.schedule: ")
    assert expected in str(caught.value)


def test_schedules():
    cron = parse_cron("*/15 7-23/8 1,15 jan,jul mon-fri", "x")
    assert cron.minutes == {0, 15, 30, 45}
    assert cron.hours == {7, 15, 23}
    assert (cron.days, cron.months, cron.weekdays) == ({1, 15}, {1, 7}, {1, 2, 3, 4, 5})
    assert cron.either_day
    assert parse_cron("0 0 * * fri-sun", "x").weekdays == {5, 6, 0}
    assert parse_cron("0 0 * * 7", "x").weekdays == {0}
    assert parse_cron("0 7 * * *", "x").weekdays == set(range(7))
    assert parse_cron("@daily", "x") == parse_cron("0 0 * * *", "x")


@pytest.mark.parametrize(
    ("text", "after", "due"),
    [
        ("0 7 * * *", "2026-03-07T12:00:00+00:00", "2026-03-08T11:00:00+00:00"),  # 07:00 EDT: an hour earlier in UTC
        ("0 7 * * *", "2026-10-31T11:00:00+00:00", "2026-11-01T12:00:00+00:00"),  # 07:00 EST again
        ("30 2 * * *", "2026-03-07T08:00:00+00:00", "2026-03-08T07:30:00+00:00"),  # 02:30 does not exist: 03:30 EDT
        ("30 1 * * *", "2026-11-01T05:30:00+00:00", "2026-11-02T06:30:00+00:00"),  # 01:30 comes twice, fires once
        ("0 0 29 2 *", "2026-01-01T00:00:00+00:00", "2028-02-29T05:00:00+00:00"),
        ("0 0 13 * fri", "2026-02-12T06:00:00+00:00", "2026-02-13T05:00:00+00:00"),
    ],
)
def test_when_a_schedule_is_due(text, after, due):
    found = parse_cron(text, "x").due(datetime.fromisoformat(after), "America/New_York")
    assert found == datetime.fromisoformat(due)


@given(
    zone=st.sampled_from(
        ["America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Cairo", "UTC"]
    ),
    start=st.dates(date(2015, 1, 1), date(2026, 12, 1)),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
)
@settings(deadline=None, max_examples=60)
def test_a_daily_schedule_fires_once_on_each_local_date(zone, start, hour, minute):
    cron = parse_cron(f"{minute} {hour} * * *", "x")
    moment = datetime(start.year, start.month, start.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    moment -= timedelta(seconds=1)
    for offset in range(40):
        moment = cron.due(moment, zone)
        assert moment.astimezone(ZoneInfo(zone)).date() == start + timedelta(days=offset)
