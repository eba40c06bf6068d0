"""What a new scheduler does at once: exactly the times that nobody would see to, by what the ledger knows."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ledger_laws import HandClock
from shop_workspace import make_shop
from signalroom.engine.catching_up import missed
from signalroom.engine.executions import execution_name
from signalroom.room import Room
from signalroom.run import Occasion
from signalroom.workspace.cron import parse_cron
from signalroom.workspace.workspace import Workspace

JOBS = """
[jobs.hourly]
schedule = "15 * * * *"
catch_up_h = 4.0
retries = 2
steps = ["sync shop", "refresh"]
[jobs.after]
after = ["hourly"]
steps = ["report pulse"]
"""
LINES = {"hourly": ("15 * * * *", "UTC")}
NOON = datetime(2026, 3, 8, 12, 0, tzinfo=UTC)


@pytest.fixture
def room(tmp_path):
    """A room at noon, whose hourly job has been in a scheduler's hands since the morning before."""
    clock = HandClock()
    clock.moment = NOON - timedelta(hours=30)
    with Room(Workspace.load(make_shop(tmp_path, JOBS)), clock) as opened:
        opened.ledger.schedules.seen(LINES)
        clock.moment = NOON
        yield opened


def late(room):
    job = room.workspace.jobs["hourly"]
    return [f"{one:%H:%M}" for one in missed(room, job, room.ledger.schedules.known().get("hourly"))]


def seen_at(room, hour, minute=0):
    """Note that a scheduler was last seen at a time of the day."""
    room.clock.moment = NOON.replace(hour=hour, minute=minute)
    room.ledger.schedules.seen(LINES)
    room.clock.moment = NOON


def ran(room, hour, *ends, job="hourly", steps=("sync shop", "refresh"), attempts=1):
    """Record how the first steps of the execution due at 15 past an hour ended; the last ends after some attempts."""
    due = NOON.replace(hour=hour, minute=15)
    execution = execution_name(job, due)
    for number, (step, end) in enumerate(zip(steps, ends, strict=False), 1):
        for _ in range(attempts if number == len(ends) else 1):
            run = room.ledger.runs.start(job, step, Occasion(due, execution, f"{execution}/{number}"))
            if end != "running":
                room.ledger.runs.finish(run, end)


def all_ran(room, *hours):
    for hour in hours:
        ran(room, hour, "success", "success")
        ran(room, hour, "success", job="after", steps=("report pulse",))


def test_what_fell_due_since_is_late_and_no_older_than_the_catch_up_allows(room):
    assert late(room) == ["08:15", "09:15", "10:15", "11:15"]
    seen_at(room, 10, 30)
    all_ran(room, 8, 9, 10)
    assert late(room) == ["11:15"]
    all_ran(room, 11)
    assert late(room) == []


def test_a_job_that_is_new_changed_or_resumed_has_missed_nothing(room):
    room.ledger.schedules.seen({})
    assert late(room) == []
    room.ledger.schedules.seen({"hourly": ("20 * * * *", "UTC")})
    assert late(room) == []
    room.ledger.schedules.seen({"hourly": ("15 * * * *", "Europe/Paris")})
    assert late(room) == []
    room.clock.moment = NOON.replace(hour=10)
    room.ledger.schedules.seen(LINES)
    room.clock.moment = NOON
    assert late(room) == ["10:15", "11:15"]
    room.clock.moment = NOON.replace(hour=11)
    room.ledger.schedules.renew("hourly")
    room.clock.moment = NOON
    assert late(room) == ["11:15"]


@pytest.mark.parametrize(
    ("ends", "attempts", "wanted"),
    [
        (["running"], 1, True),
        (["success"], 1, True),  # between its steps
        (["success", "lost"], 1, True),
        (["success", "error"], 1, True),  # it waited for its second attempt
        (["success", "error"], 2, False),
        (["success", "success"], 1, True),  # what waits for it had not begun
    ],
    ids=str,
)
def test_what_was_cut_off_goes_on_and_what_failed_for_good_does_not(room, ends, attempts, wanted):
    seen_at(room, 12)
    all_ran(room, 8, 9, 10)
    ran(room, 11, *ends, attempts=attempts)
    assert late(room) == (["11:15"] if wanted else [])


def test_of_those_without_a_run_only_the_newest_may_have_waited(room):
    seen_at(room, 12)
    all_ran(room, 8)
    assert late(room) == ["11:15"]  # 09:15 and 10:15 gave way to it
    ran(room, 9, "success", "running")
    assert late(room) == ["09:15", "11:15"]


def test_a_job_that_failed_for_good_is_not_begun_for_those_after_it(room):
    seen_at(room, 12)
    all_ran(room, 8, 9, 10)
    ran(room, 11, "success", "success")
    ran(room, 11, "error", job="after", steps=("report pulse",), attempts=5)
    assert late(room) == []


def test_a_clock_that_went_back_or_far_ahead_doubles_nothing(room):
    all_ran(room, 8, 9, 10, 11)
    seen_at(room, 12)
    room.clock.moment = NOON - timedelta(hours=1)
    assert late(room) == []
    room.clock.moment = NOON + timedelta(days=30)
    assert late(room) == ["08:15", "09:15", "10:15", "11:15"]
    room.ledger.schedules.seen(LINES)
    assert late(room) == ["11:15"]


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Paris", "Pacific/Kiritimati", "UTC"])
@pytest.mark.parametrize("line", ["30 2 * * *", "15 * * * *", "0 0 * * *"])
def test_the_moments_between_two_are_those_of_the_law(line, zone):
    cron, begin = parse_cron(line, "x"), datetime(2026, 3, 7, 20, 15, tzinfo=UTC)
    end, wanted, moment = begin + timedelta(days=2, hours=3), [], begin
    while (moment := cron.due(moment, zone)) <= end:
        wanted.append(moment)
    assert cron.between(begin, end, ZoneInfo(zone)) == wanted
    assert wanted
