"""Schedules on the real server: the law of our cron over both changes of the clocks, and an operator's pause."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest

from engine_world import dev_server, wait_for
from shop_workspace import make_shop
from signalroom.clock import SystemClock
from signalroom.engine.connection import connect_soon, register_attributes
from signalroom.engine.schedules import mirror_pauses, reconcile, schedule_id
from signalroom.engine.server import DevServer, find_binary, read_running
from signalroom.errors import ConfigError
from signalroom.room import Room

pytestmark = pytest.mark.slow
ZONE = ZoneInfo("America/New_York")
JOBS = {
    "hourly": "15 7-23 * * *",
    "exports": "0 6 * * *",
    "daily_reports": "0 7 * * *",
    "night": "30 2 * * *",
    "either": "0 12 13 * fri",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = dev_server(tmp_path_factory.mktemp("temporal"))
    running = one.start()
    yield running
    one.stop()


def world(root, jobs, name="shop"):
    tables = "".join(
        f'[jobs.{name}]\nschedule = "{line}"\ntimezone = "{ZONE}"\nsteps = ["refresh"]\n' for name, line in jobs.items()
    )
    if not (root / "signalroom.toml").exists():
        make_shop(root)
    text = (root / "signalroom.toml").read_text().partition("# jobs\n")[0].replace('"shop"', f'"{name}"')
    (root / "signalroom.toml").write_text(f"{text}# jobs\n{tables}")
    return Room.open(root)


def on(server, room, body):
    """Run ``body(client)`` and return what it does; the room is closed after it."""

    async def main():
        client = await connect_soon({}, server.address, SystemClock(), 20)
        await register_attributes(client)
        return await body(client)

    with room:
        return asyncio.run(main())


def test_times_are_those_of_our_law_over_both_changes_of_the_clocks(server, tmp_path):
    # Around today's year the gaps are written into the schedule; the nearest changes ahead are the test's days.
    today = datetime.now(ZONE).date()
    days = [today + timedelta(days=ahead) for ahead in range(1, 380)]
    offsets = [datetime(day.year, day.month, day.day, tzinfo=ZONE).utcoffset() for day in days]
    changes = [day for day, before, after in zip(days, offsets, offsets[1:], strict=False) if before != after]
    room = world(tmp_path, JOBS, "clocks")

    async def body(client):
        await reconcile(client, room, "q")
        for name in JOBS:
            cron = room.workspace.jobs[name].cron()
            for change in changes:
                first, last = change - timedelta(days=1), change + timedelta(days=1)
                ends = [
                    datetime(day.year, day.month, day.day, tzinfo=ZONE) for day in (first, last + timedelta(days=1))
                ]
                request = ListScheduleMatchingTimesRequest(
                    namespace=client.namespace, schedule_id=schedule_id(room, name)
                )
                request.start_time.FromDatetime(ends[0].astimezone(UTC) - timedelta(seconds=1))
                request.end_time.FromDatetime(ends[1].astimezone(UTC) - timedelta(seconds=1))
                answer = await client.workflow_service.list_schedule_matching_times(request)
                found = sorted(one.ToDatetime(UTC) for one in answer.start_time)
                wanted = [moment for ahead in range(3) for moment in cron.moments(first + timedelta(days=ahead), ZONE)]
                assert found == wanted, (name, change)

    assert len(changes) == 2
    on(server, room, body)


def test_a_pause_and_what_is_right_survive_a_reconciliation(server, tmp_path):
    room = world(tmp_path, {"hourly": "15 7-23 * * *", "gone": "0 1 * * *", "same": "0 2 * * *"})

    async def first(client):
        made = await reconcile(client, room, "q2")
        assert set(made.created) == {"hourly", "gone", "same"}
        await client.get_schedule_handle(schedule_id(room, "hourly")).pause(note="vendor outage")
        before = await client.get_schedule_handle(schedule_id(room, "same")).describe()
        assert before.schedule.policy.catchup_window == timedelta(hours=12)
        for _ in range(100):  # the list lags behind by some milliseconds
            await mirror_pauses(client, room)
            if room.ledger.pauses.notes():
                break
            await asyncio.sleep(0.1)
        assert room.ledger.pauses.notes() == {"hourly": "vendor outage"}

    on(server, room, first)
    changed = world(tmp_path, {"hourly": "20 7-23 * * *", "same": "0 2 * * *", "new": "0 3 * * *"})

    async def second(client):
        for _ in range(100):
            done = await reconcile(client, changed, "q2")
            if done.removed:
                break
            await asyncio.sleep(0.1)
        hourly = await client.get_schedule_handle(schedule_id(changed, "hourly")).describe()
        assert (hourly.schedule.state.paused, hourly.schedule.state.note) == (True, "vendor outage")
        assert hourly.schedule.spec.calendars[0].minute[0].start == 20
        same = await client.get_schedule_handle(schedule_id(changed, "same")).describe()
        assert same.info.last_updated_at is None  # an update would drop what is still to be caught up
        again = await reconcile(client, changed, "q2")
        assert set(again.kept) == {"hourly", "same", "new"}

    on(server, changed, second)
    # A new server knows nothing; the ledger does.
    fresh = dev_server(tmp_path / "fresh")
    running = fresh.start()
    later = world(tmp_path, {"hourly": "20 7-23 * * *"})

    async def third(client):
        await reconcile(client, later, "q2")
        state = (await client.get_schedule_handle(schedule_id(later, "hourly")).describe()).schedule.state
        assert (state.paused, state.note) == (True, "vendor outage")

    try:
        on(running, later, third)
    finally:
        fresh.stop()


class Lagging:
    """A client whose list of schedules is some moments old."""

    def __init__(self, client, listed):
        self.get_schedule_handle, self._listed = client.get_schedule_handle, listed

    async def list_schedules(self):
        async def lines():
            for one in self._listed:
                yield one

        return lines()


def test_a_list_that_lags_behind_takes_no_pause_back(server, tmp_path):
    room = world(tmp_path, {"hourly": "15 7-23 * * *"}, "lagging")

    async def body(client):
        await reconcile(client, room, "q")
        listed = []
        while not listed:
            listed = [one async for one in await client.list_schedules() if one.id == schedule_id(room, "hourly")]
        await client.get_schedule_handle(schedule_id(room, "hourly")).pause(note="vendor outage")
        room.ledger.pauses.pause("hourly", "vendor outage")
        await mirror_pauses(Lagging(client, listed), room)
        assert room.ledger.pauses.notes() == {"hourly": "vendor outage"}

    on(server, room, body)


def test_a_server_left_behind_is_replaced_and_its_ports_are_kept(tmp_path):
    first = DevServer(tmp_path, SystemClock())
    was = first.start()
    assert read_running(tmp_path) == was
    second = DevServer(tmp_path, SystemClock())
    now = second.start()
    try:
        wait_for(first.died)
        assert now.pid != was.pid
        assert (tmp_path / f"temporal-{now.version}.db").name.startswith("temporal-1.")
    finally:
        second.stop()
    third = DevServer(tmp_path, SystemClock())
    try:
        assert third.start().port == now.port
    finally:
        third.stop()


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no program 'temprl'"):
        find_binary("temprl")
    assert Path(find_binary()).name == "temporal"
    with pytest.raises(ConfigError, match="is no Temporal program"):
        DevServer(tmp_path, SystemClock(), "/bin/true").start()
