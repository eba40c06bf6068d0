"""A report waits for its inputs, says what is late, and goes out at its deadline."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affiliates import Clock
from shop_workspace import call, make_shop
from signalroom.engine import inline
from signalroom.errors import ConfigError, RetryableError
from signalroom.readiness import late_inputs as late_of
from signalroom.reports.inputs import Late, late_inputs, sentences, wait_for
from signalroom.room import Room
from signalroom.workspace.parts import ReportSettings, parse_age

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DUE = datetime(2026, 11, 20, 5, tzinfo=UTC)
HOURS = st.integers(0, 2000).map(lambda hours: timedelta(hours=hours))


def late(built, needs=(("a.x", 2),), now=NOW, due_at=DUE):
    return late_inputs({name: timedelta(hours=h) for name, h in needs}, built, now=now, due_at=due_at)


def test_an_input_is_late_when_its_data_are_old_or_missing():
    assert late({"a.x": NOW - timedelta(hours=2)}) == ()
    old = NOW - timedelta(hours=2, seconds=1)
    assert late({"a.x": old}) == (Late("a.x", old),)
    assert late({}) == (Late("a.x", None),)


def test_what_came_a_day_after_the_reports_day_is_new_enough_for_ever():
    at = DUE + timedelta(hours=23)
    assert late({"a.x": at}, now=DUE + timedelta(days=90)) == ()
    assert late({"a.x": DUE}, now=DUE + timedelta(days=90)) != ()


@given(HOURS, HOURS, HOURS)
def test_newer_data_are_never_later(age, newer, allowed):
    needs = {"a.x": allowed}
    older = late_inputs(needs, {"a.x": NOW - age - newer}, now=NOW, due_at=DUE)
    assert older or not late_inputs(needs, {"a.x": NOW - age}, now=NOW, due_at=DUE)


def test_it_asks_again_halfway_and_at_the_deadline_within_a_jobs_five_attempts():
    now, deadline, waits = NOW, NOW + timedelta(minutes=100), []
    for _ in range(5):
        try:
            wait_for("pulse", late({}), deadline=deadline, now=now, timezone="UTC")
            break
        except RetryableError as problem:
            waits.append(problem.retry_after_s)
            now += timedelta(seconds=problem.retry_after_s)
    assert now == deadline
    assert waits == [3000, 1500, 900, 600]
    wait_for("pulse", (), deadline=None, now=NOW, timezone="UTC")


def test_what_is_late_is_named_in_local_time():
    newest = NOW - timedelta(hours=13)
    with pytest.raises(RetryableError) as caught:
        wait_for(
            "pulse", (Late("a.x", newest),), deadline=NOW + timedelta(minutes=30), now=NOW, timezone="America/New_York"
        )
    assert str(caught.value) == (
        "Report pulse waits for its inputs: a.x is late: its newest data came 11/19 18:00 ET. Sync what is late and "
        "build. It goes out as it is at 07:30 ET."
    )
    assert sentences((Late("a.x", None),), now=NOW, timezone="UTC") == (
        "a.x is late: nothing of it is in the tables yet.",
    )


def test_a_deadline_is_a_local_time_across_the_clocks_change():
    settings = ReportSettings("r", (), {}, "07:45")
    for due, offset in ((datetime(2026, 11, 1, 4, tzinfo=UTC), -5), (datetime(2026, 3, 8, 5, tzinfo=UTC), -4)):
        found = settings.deadline_of(due, "America/New_York")
        assert (found.hour, found.minute) == (7, 45)
        assert found.utcoffset() == timedelta(hours=offset)
        assert found.date() == due.astimezone(ZoneInfo("America/New_York")).date()
    assert ReportSettings("r", ()).deadline_of(DUE, "UTC") is None


@pytest.mark.parametrize("text", ["", "2", "0h", "2 h", "-1h", "2w", "1.5h"])
def test_an_age_is_minutes_hours_or_days(text):
    with pytest.raises(ConfigError, match="is no age"):
        parse_age(text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('needs = { shpo = "2h" }', "reports.pulse.needs: unknown source 'shpo'. Did you mean 'shop'?"),
        ('needs = { shop = "soon" }', "reports.pulse: 'soon' is no age."),
        ('deadline = "7:45"', "'7:45' is no time of day."),
        ('nedes = { shop = "2h" }', "Did you mean 'needs'?"),
    ],
)
def test_a_wrong_need_is_named(tmp_path, line, said):
    with pytest.raises(ConfigError) as caught:
        Room.open(needing(tmp_path, line))
    assert said in str(caught.value)


def needing(root, line='needs = { shop = "2h" }\ndeadline = "07:45"'):
    shop = make_shop(root)
    file = shop / "signalroom.toml"
    file.write_text(file.read_text().replace("[reports.pulse]\n", f"[reports.pulse]\n{line}\n"))
    (shop / "reports/pulse/pulse.slack.j2").write_text(
        "{{ overall.orders }} orders{% for note in notes %}\n{{ note }}{% endfor %}"
    )
    return shop


@pytest.mark.slow
def test_a_late_report_waits_and_goes_out_with_a_banner_at_its_deadline(tmp_path):
    clock = Clock(datetime(2026, 11, 20, 7, 0, tzinfo=UTC))
    with Room.open(needing(tmp_path), clock=clock) as room:
        due = datetime(2026, 11, 20, tzinfo=UTC)
        with pytest.raises(RetryableError, match=r"shop\.orders is late: nothing of it is in the tables yet"):
            inline.run_step(room, "report pulse --date 2026-11-19")
        assert [one.state for one in room.ledger.deliveries.list("pulse")] == ["pending"]
        inline.run_step(room, "sync shop")
        assert not late_of(room, "pulse", due, wait=False), "where nothing is built, reports read the tables themselves"
        room.warehouse.record_build(clock.now(), clock.now(), {}, {})
        assert late_of(room, "pulse", due, wait=False), "it is merged, and not built from"
        clock.sleep(1)
        loads = room.warehouse.newest_loads()
        room.warehouse.record_build(clock.now(), clock.now(), loads, loads)
        assert late_of(room, "pulse", due, wait=True) == ()
        clock.sleep(3 * 3600)
        assert clock.now() > room.workspace.reports["pulse"].deadline_of(due, "UTC")
        (sent,) = inline.run_step(room, "report pulse --date 2026-11-19").deliveries
        archived = room.ledger.archive.get(sent.digest)
        assert "shop.orders is late: its newest data came 07:00 UTC." in archived.message.text
    assert "is late" in call(tmp_path, "report", "pulse", "--date", "2026-11-19").stdout
