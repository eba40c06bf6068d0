"""Mistakes that were made before with exactly these systems, and the tests that keep them from being made again.

``MISTAKES`` says each in a sentence and names its tests; those of the whole path, from the upstream to the message, are
here. Mistakes 10 and 11 are about report views and agencies, which there are none of yet.
"""

import ast
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from affiliates import EVERFLOW_KEY, REDTRACK_KEY, Clock, make_affiliates
from everflow_upstream import by_affiliate
from shop_workspace import ROWS, ask, call, make_shop
from signalroom.cli import exits
from signalroom.engine import inline
from signalroom.errors import RetryableError
from signalroom.room import Room
from signalroom.simulators import EverflowOptions, World, faults, serve

HERE = Path(__file__).parent
LATE_EVENING = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)  # 22:30 of the 19th in New York
THE_DAY = date(2026, 11, 19)

MISTAKES = {
    1: (
        "The hourly sync of today loaded nothing: its last day was pinned to yesterday.",
        "test_mistakes.py::test_mistake_1_an_hourly_sync_of_today_loads_today",
        "integration/test_everflow.py::test_mistake_1_today_is_read_today_even_when_utc_is_already_tomorrow",
        "integration/test_redtrack.py::test_mistake_1_today_is_read_today_even_when_utc_is_already_tomorrow",
    ),
    2: (
        "Steps swallowed their exceptions and returned a flag, so that nothing tried again.",
        "test_mistakes.py::test_mistake_2_a_step_that_fails_raises_and_is_tried_again",
        "test_mistakes.py::test_mistake_2_a_step_that_keeps_failing_fails_its_job",
        "test_mistakes.py::test_mistake_2_an_error_nobody_expected_is_no_value",
    ),
    3: (
        "Filters in the wrong form; incomplete_results and the cap of rows ignored: tables cut short in silence.",
        "test_mistakes.py::test_mistake_3_a_capped_upstream_gives_the_whole_table",
        "integration/test_everflow_whole.py::test_mistake_3_filters_have_the_documented_form",
        "integration/test_everflow_whole.py::test_mistake_3_what_is_cut_short_is_split_until_it_is_whole",
        "integration/test_everflow_whole.py::test_mistake_3_the_pages_of_a_split_day_are_one_observation",
        "integration/test_everflow_whole.py::test_mistake_3_a_day_that_cannot_be_split_further_is_an_error_that_names_it",
        "integration/test_everflow_whole.py::test_mistake_3_splitting_is_bounded",
        "integration/test_everflow_whole.py::test_mistake_3_rows_that_are_missing_without_a_word_are_noticed",
    ),
    4: (
        "Schedules in fixed hours of UTC, dates of vendors read as UTC, the worker's date as the report's.",
        "test_mistakes.py::test_mistake_4_the_report_is_about_the_workspaces_yesterday",
        "integration/test_everflow.py::test_mistake_4_date_ids_are_local_midnights_on_both_sides_of_a_clock_change",
        "integration/test_everflow.py::test_mistake_4_days_of_another_zone_are_that_zones_days",
        "integration/test_redtrack.py::test_mistake_4_days_are_local_on_both_sides_of_a_clock_change",
        "unit/test_workspace_jobs.py::test_when_a_schedule_is_due",
        "unit/test_workspace_jobs.py::test_a_daily_schedule_fires_once_on_each_local_date",
        "unit/test_workspace_jobs.py::test_today_is_the_date_on_the_wall",
    ),
    5: (
        "`a or b` on numbers: a real 0 fell through to another measure.",
        "integration/test_everflow.py::test_mistake_5_a_real_zero_stays_zero",
        "integration/test_models_affiliates.py::test_mistake_5_a_real_zero_does_not_fall_through_to_another_measure",
        "unit/test_reports_formats.py::test_none_is_not_available_and_zero_is_zero",
    ),
    6: (
        "A flag compared with '1' while the data say YES and NO; test cards counted as revenue.",
        "integration/test_models_affiliates.py::test_mistake_6_flags_are_yes_and_no_and_test_cards_are_not_revenue",
        "hostile/test_hostile_files.py::test_mistake_6_flags_of_every_spelling_are_typed",
        "unit/test_reports_formats.py::test_a_flag_that_is_text_is_refused",
    ),
    7: (
        "Unmapped spend, and spend of days without conversions, vanished from cost; a CPA of nothing was $0.00.",
        "integration/test_models_affiliates.py::test_mistake_7_unmapped_spend_and_days_without_conversions_keep_their_cost",
        "integration/test_models_affiliates.py::test_mistake_7_without_conversions_there_is_no_cpa",
        "unit/test_reports_formats.py::test_cpa_without_conversions_is_never_zero_dollars",
    ),
    8: (
        "File state was the newest date: late files lost, the newest day and corrections counted twice, no current state.",
        "test_mistakes.py::test_mistake_8_late_corrected_and_repeated_files_leave_each_order_once",
        "integration/test_files_sync.py::test_mistake_8_a_late_older_file_is_loaded_and_wins_nothing",
        "integration/test_files_sync.py::test_mistake_8_the_newest_day_is_loaded_once",
        "integration/test_files_sync.py::test_mistake_8_a_corrected_upload_replaces_its_earlier_version",
        "integration/test_files_sync.py::test_mistake_8_a_corrected_upload_of_events_is_not_counted_twice",
        "hostile/test_hostile_files.py::test_mistake_8_an_order_has_one_current_state",
    ),
    9: (
        "Rows loaded were files; --- printed as hyphens; a storm of equal errors; retries posted again.",
        "test_mistakes.py::test_mistake_9_rows_loaded_are_rows",
        "test_mistakes.py::test_mistake_9_a_report_that_is_asked_for_again_is_not_sent_again",
        "test_mistakes.py::test_mistake_9_equal_errors_are_counted",
        "unit/test_reports_blocks.py::test_text_is_sections_and_hyphens_are_dividers",
        "crash/test_crash.py::test_killed_once_under_each_name",
    ),
}


def test_every_mistake_has_its_tests():
    named = {one for _, *tests in MISTAKES.values() for one in tests}
    assert len(named) == sum(len(tests) for _, *tests in MISTAKES.values())
    found: dict[str, set[str]] = {}
    for file in HERE.rglob("test_*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        tests = {
            one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
        }
        found[file.relative_to(HERE).as_posix()] = tests
    gone = {one for one in named if one.partition("::")[2] not in found.get(one.partition("::")[0], set())}
    assert gone == set()
    for number, (_, *tests) in MISTAKES.items():
        mine = {
            f"{file}::{one}"
            for file, ones in found.items()
            for one in ones
            if one.startswith(f"test_mistake_{number}_")
        }
        assert mine <= set(tests), "a test named for a mistake is not listed under it"
        assert mine, number


@pytest.fixture
def clock():
    return Clock(LATE_EVENING)


@pytest.fixture
def agency(tmp_path, clock, monkeypatch):
    """An affiliates workspace and its upstreams, late in the evening of New York: it is tomorrow in UTC."""
    world = World(7, THE_DAY, now=clock.now, days=18, orders_per_day=10, export_days=2)
    world.set_now(LATE_EVENING)  # waiting moves our clock, and today's numbers would move with it
    with serve(world, EverflowOptions(row_cap=5)) as up:
        monkeypatch.setenv("EXPORTS_URL", str(tmp_path / "exports"))
        monkeypatch.setenv("EVERFLOW_BASE_URL", up.everflow_url)
        monkeypatch.setenv("EVERFLOW_API_KEY", EVERFLOW_KEY)
        monkeypatch.setenv("REDTRACK_BASE_URL", up.redtrack_url)
        monkeypatch.setenv("REDTRACK_API_KEY", REDTRACK_KEY)
        root = make_affiliates(tmp_path / "agency")
        with (root / "signalroom.toml").open("a") as file:
            file.write('\n[jobs.everflow_only]\nsteps = ["sync everflow --window today"]\nretries = 3\n')
        with Room.open(root, clock=clock) as room:
            yield room, up, world


def assert_true(room, world):
    """Hold today's conversions and money in the warehouse against the world's own, to the cent."""
    rows = room.warehouse.query("SELECT * FROM everflow.daily_stats").to_pylist()
    wanted = world.truth_totals(THE_DAY)["by_affiliate"]
    assert len(wanted) > 5, "more rows than the upstream gives at once"
    assert by_affiliate(rows, THE_DAY) == wanted


def statuses(room):
    return [one.status for one in room.ledger.runs.list()][::-1]


def test_mistake_1_an_hourly_sync_of_today_loads_today(agency):
    room, _, world = agency
    outcome = inline.run_step(room, "sync everflow --window today")
    assert outcome.streams[0].merge.rows_merged > 0
    assert room.warehouse.query("SELECT DISTINCT date FROM everflow.daily_stats").to_pylist() == [{"date": THE_DAY}]
    assert_true(room, world)


def test_mistake_2_a_step_that_fails_raises_and_is_tried_again(agency):
    room, up, world = agency
    up.everflow.faults.push(faults.status(503), times=7)  # one attempt asks five times
    (outcome,) = inline.run_job(room, "everflow_only")
    assert up.everflow.faults.pending == 0
    assert outcome.streams[0].merge.rows_merged > 0
    (run,) = room.ledger.runs.list()  # its attempts share it
    assert (run.status, run.fence) == ("success", 2)
    assert_true(room, world)


def test_mistake_2_a_step_that_keeps_failing_fails_its_job(agency):
    room, up, _ = agency
    up.everflow.faults.push(faults.status(503), times=100)
    with pytest.raises(RetryableError, match="503"):
        inline.run_job(room, "everflow_only")
    (run,) = room.ledger.runs.list()
    assert (run.status, run.fence) == ("error", 3)
    assert up.everflow.faults.pending == 100 - 3 * 5
    assert "503" in run.error


def test_mistake_2_an_error_nobody_expected_is_no_value(tmp_path):
    shop = make_shop(tmp_path, '\n[sources.odd]\nkind = "odd"\n[jobs.odd]\nsteps = ["sync odd"]\n')
    (shop / "sources").mkdir()
    (shop / "sources/odd.py").write_text(ODD)
    with Room.open(shop) as room:
        with pytest.raises(LookupError, match="nobody home"):
            inline.run_job(room, "odd")
        assert statuses(room) == ["error"], "what is no RetryableError is not tried again"
        assert room.ledger.runs.list()[0].error == "LookupError: nobody home"
    call(shop, "run", "odd", code=exits.DATA)


ODD = """
from dataclasses import dataclass
from signalroom.stream import Column, Stream, Table

@dataclass(frozen=True)
class Odd:
    def streams(self):
        return [Stream("odd", "rows", (Table("rows", (Column("id"),)),))]
    def read(self, stream, since, window):
        raise LookupError("nobody home")
    def confirm(self, stream, position): ...
    def check(self):
        return ()
"""


def test_mistake_3_a_capped_upstream_gives_the_whole_table(agency):
    room, up, world = agency
    inline.run_step(room, "sync everflow --window today")
    assert_true(room, world)
    tables = [one for one in up.everflow.calls if one.path.endswith("/entity/table")]
    assert len(tables) > 2, "it was asked in pieces"


@pytest.mark.parametrize(
    ("now", "about", "due"),
    [
        ("2026-11-20T03:30:00+00:00", "2026-11-18", "2026-11-19T05:00:00+00:00"),
        ("2026-11-20T05:30:00+00:00", "2026-11-19", "2026-11-20T05:00:00+00:00"),
        ("2026-07-02T03:30:00+00:00", "2026-06-30", "2026-07-01T04:00:00+00:00"),
        ("2026-03-09T11:00:00+00:00", "2026-03-08", "2026-03-09T04:00:00+00:00"),  # a day of 23 hours is over
    ],
)
def test_mistake_4_the_report_is_about_the_workspaces_yesterday(tmp_path, clock, now, about, due):
    clock.time = datetime.fromisoformat(now)
    root = make_shop(tmp_path)
    file = root / "signalroom.toml"
    file.write_text(file.read_text().replace('timezone = "UTC"', 'timezone = "America/New_York"'))
    with Room.open(root, clock=clock) as room:
        found = inline.report_day(room, "")
        assert found == date.fromisoformat(about)
        assert inline.due_at(room, found) == datetime.fromisoformat(due)


@pytest.mark.slow
def test_mistake_8_late_corrected_and_repeated_files_leave_each_order_once(tmp_path):
    shop = make_shop(tmp_path)
    folder = shop / "exports/orders"
    file = shop / "signalroom.toml"
    file.write_text(
        file.read_text().replace(
            'order = ["_file_time", "_row"]', 'order = ["_file_time", "_row"]\nfile_time = "%Y-%m-%d"'
        )
    )
    (folder / "a.csv").rename(folder / "2026-11-19.csv")
    seen = []
    for name, text in (
        ("", ""),
        ("2026-11-18.csv", "id,day,amount,code\n1,2026-11-18,99.00,old\n9,2026-11-18,9.00,009\n"),  # older, late
        ("2026-11-19.csv", ROWS.replace("2.25", "3.25").replace("3,2026-11-19,7.00,009\n", "")),  # corrected
        ("2026-11-20.csv", ROWS.replace("2.25", "3.25").replace("3,2026-11-19,7.00,009\n", "")),  # the same again
        ("2026-11-21.csv", "id,day,amount,code\n2,2026-11-19,0.00,008\n2,2026-11-19,0.00,008\n"),  # twice in one file
    ):
        if name:
            (folder / name).write_text(text)
        call(shop, "sync", "shop")
        rows = ask(shop, "query", "select id, cast(amount as varchar) as amount from shop.orders order by id")["rows"]
        seen.append([tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows])
    assert seen == [
        [(1, "10.50"), (2, "2.25"), (3, "7.00")],
        [(1, "10.50"), (2, "2.25"), (3, "7.00"), (9, "9.00")],
        [(1, "10.50"), (2, "3.25"), (9, "9.00")],
        [(1, "10.50"), (2, "3.25"), (9, "9.00")],
        [(1, "10.50"), (2, "0.00"), (9, "9.00")],
    ]


def test_mistake_9_rows_loaded_are_rows(tmp_path):
    shop = make_shop(tmp_path)
    (shop / "exports/orders/b.csv").write_text(
        ROWS.replace("\n1,", "\n4,").replace("\n2,", "\n5,").replace("\n3,", "\n6,")
    )
    (stream,) = ask(shop, "sync", "shop")["streams"]
    assert (stream["rows_in"], stream["rows_merged"]) == (6, 6), "of two files"
    with Room.open(shop) as room:
        (run,) = room.ledger.runs.list()
        assert run.result["streams"][0]["rows_merged"] == 6


def test_mistake_9_a_report_that_is_asked_for_again_is_not_sent_again(tmp_path):
    shop = make_shop(tmp_path)
    call(shop, "sync", "shop")
    for _ in range(3):
        call(shop, "report", "pulse", "--date", "2026-11-19", "--send")
    assert len(list((shop / ".signalroom/outbox/pulse").rglob("message.json"))) == 1
    with Room.open(shop) as room:
        (delivery,) = room.ledger.deliveries.list("pulse")
        assert (delivery.state, delivery.attempt) == ("sent", 1)


def test_mistake_9_equal_errors_are_counted(tmp_path):
    shop = make_shop(tmp_path)
    call(shop, "sync", "shop")
    for _ in range(3):
        call(shop, "report", "sick", "--date", "2026-11-19", "--send", code=exits.DATA)
    with Room.open(shop) as room:
        failed = room.ledger.runs.list(status="error")
        assert [one.repeats for one in failed] == [2, 1, 0]
