"""Replay of a week: the tables come out of the lake byte for byte as they were, and no upstream is asked."""

import csv
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest

from affiliates import EVERFLOW_KEY, REDTRACK_KEY, Clock, checksums, make_affiliates, small_world
from signalroom import steps
from signalroom.engine import inline
from signalroom.errors import ConfigError
from signalroom.room import Room
from signalroom.simulators import serve, write_exports
from signalroom.warehouse.base import MergeResult

SOURCES = ("s3_exports", "everflow", "redtrack")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("replay"), pytest.mark.timeout(1200)]

MORNING = datetime(2026, 11, 12, 12, 30, tzinfo=UTC)
WAREHOUSES = {
    "duckdb": {},
    "postgres": {
        'kind = "duckdb"\npath = ".signalroom/warehouse.duckdb"': 'kind = "postgres"\nurl = "env:REPLAY_WAREHOUSE"'
    },
}
BOOKS = {
    "loads": "SELECT load_id, source, stream, committed_at, bytes, rows_in FROM signalroom.loads",
    "positions": "SELECT * FROM signalroom.positions",
    "rejects": "SELECT * FROM signalroom.rejects",
}


def run(room, *steps):
    return [inline.run_step(room, step) for step in steps]


def books(room):
    """Return the warehouse's own records, as sorted rows."""
    return {name: sorted(map(str, room.warehouse.query(sql).to_pylist())) for name, sql in BOOKS.items()}


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def week(request, tmp_path_factory):
    """A workspace after a week of syncs, its upstreams gone; and what its tables held while they were there."""
    folder, clock = tmp_path_factory.mktemp("week"), Clock(MORNING)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_server")
            patch.setenv("REPLAY_WAREHOUSE", server.create_database())
        world, exports = small_world(clock, orders_per_day=30, export_days=2), folder / "exports"
        root = make_affiliates(folder / "live", WAREHOUSES[request.param])
        with serve(world) as up:
            patch.setenv("EXPORTS_URL", str(exports))
            patch.setenv("EVERFLOW_BASE_URL", up.everflow_url)
            patch.setenv("EVERFLOW_API_KEY", EVERFLOW_KEY)
            patch.setenv("REDTRACK_BASE_URL", up.redtrack_url)
            patch.setenv("REDTRACK_API_KEY", REDTRACK_KEY)
            with Room.open(root, clock=clock) as room:
                for day in range(7):
                    write_exports(world, exports)
                    if day == 3:  # a file is corrected, one comes late, one is a copy, one has what does not fit
                        disturb(exports)
                    run(room, "sync s3_exports", "sync everflow", "sync redtrack")
                    clock.time += timedelta(days=1)
                    world.advance()
                before = checksums(room, *SOURCES), books(room)
        shutil.rmtree(exports)
        exports.mkdir()
        yield root, clock, before


def test_the_days_of_a_replay_are_local_days(week):
    """The first syncs of a day in New York are of the same date in UTC; those late in its evening are not."""
    root, clock, _ = week
    with Room.open(root, clock=clock) as room:
        (stream,) = room.streams("redtrack")
        last = room.lake.loads("redtrack", stream.name)[-1]
        late = replace(last, committed_at=datetime(2026, 11, 20, 3, tzinfo=UTC))  # 22:00 on the 19th
        room.lake = SimpleNamespace(loads=lambda *_: [late], close=lambda: None)
        room.warehouse = SimpleNamespace(merge=lambda *_, **__: MergeResult(()), close=lambda: None)
        assert steps.replay(room, stream, date(2026, 11, 19), date(2026, 11, 19)) is not None
        assert steps.replay(room, stream, date(2026, 11, 20), None) is None


def disturb(exports):
    first, second, *_ = sorted(exports.glob("orders-create/*.csv"))
    head, *rows = records(first)
    write(first, [head, *rows[:-4]])
    write(first.with_name("report_2026-10-30T0010_late.csv"), [head, *rows[-6:]])
    first.with_name("report_2026-11-30T0010_copy.csv").write_bytes(second.read_bytes())
    update = max(exports.glob("orders-update/*.csv"))
    head, *rows = records(update)
    rows[1][head.index("total_amount")] = "lots"
    write(update, [head, *rows])


def records(path):
    with path.open(newline="", encoding="utf-8") as source:
        return list(csv.reader(source))


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as sink:
        csv.writer(sink).writerows(rows)


@pytest.fixture
def live(week):
    root, clock, _ = week
    with Room.open(root, clock=clock) as room:
        yield room


def test_the_week_has_what_makes_a_replay_hard(live, week):
    _, _, (tables, found) = week
    assert len(tables) == 6
    assert len(found["loads"]) > 20
    assert len(found["rejects"]) > 0
    assert any("'loaded': False" in row or '"loaded":false' in row for row in found["positions"])
    assert all(int(checksum.partition(":")[0]) for checksum in tables.values())


@pytest.mark.parametrize("step", [*(f"replay --source {source}" for source in SOURCES), "replay"])
def test_a_replay_changes_nothing_and_asks_nobody(live, week, step):
    _, _, (tables, found) = week
    (outcome,) = run(live, step)
    assert checksums(live, *SOURCES) == tables
    assert books(live) == found
    assert outcome.run.status == "success"
    for one in outcome.streams:
        assert one.merge.rows_in == one.merge.rows_merged + one.merge.rows_superseded + one.merge.rows_rejected


def test_days_choose_the_streams(live, week):
    _, _, (tables, _) = week
    nothing, some = run(
        live,
        "replay --source redtrack --from 2025-01-01 --to 2025-01-31",
        "replay --source redtrack --from 2026-11-14 --to 2026-11-15",
    )
    assert nothing.streams == ()
    assert [one.stream for one in some.streams] == ["redtrack.daily_spend"]
    assert checksums(live, *SOURCES) == tables


def test_an_empty_warehouse_is_filled_from_the_lake(week, tmp_path):
    root, clock, (tables, found) = week
    other = make_affiliates(tmp_path / "again", {'url = ".signalroom/lake"': f'url = "{root / ".signalroom/lake"}"'})
    with Room.open(other, clock=clock) as room:
        run(room, "replay")
        assert checksums(room, *SOURCES) == tables
        assert books(room)["loads"] == found["loads"]


def test_a_changed_pin_is_what_the_whole_history_is_typed_by(live, week, tmp_path):
    root, clock, (tables, _) = week
    pin = root / "schemas/s3_exports.orders_create.toml"
    text = pin.read_text(encoding="utf-8")
    changed = text.replace('total_amount = "decimal(18,2)"', 'total_amount = "text"')
    assert changed != text, text
    try:
        pin.write_text(changed, encoding="utf-8")
        run(live, "replay --source s3_exports")
        typed = checksums(live, *SOURCES)
        kinds = live.warehouse.query("SELECT total_amount FROM s3_exports.orders_create").column("total_amount")
        assert str(kinds.type) in {"string", "large_string"}
        # a warehouse that had this pin from its first load holds the same
        other = make_affiliates(
            tmp_path / "pinned", {'url = ".signalroom/lake"': f'url = "{root / ".signalroom/lake"}"'}
        )
        (other / "schemas/s3_exports.orders_create.toml").write_text(changed, encoding="utf-8")
        with Room.open(other, clock=clock) as room:
            run(room, "replay --source s3_exports")
            assert checksums(room, "s3_exports") == {name: typed[name] for name in typed if name.startswith("s3_")}
        assert {name for name in tables if typed[name] != tables[name]} <= {"s3_exports.orders_create"}
    finally:
        pin.write_text(text, encoding="utf-8")
    run(live, "replay --source s3_exports")
    assert checksums(live, *SOURCES) == tables


def test_a_changed_pin_without_a_replay_stops_the_next_load(live, week):
    root, _, (tables, _) = week
    pin = root / "schemas/s3_exports.internal_affiliates.toml"
    text = pin.read_text(encoding="utf-8")
    late = root.parent / "exports/internal-affiliates/newer.csv"
    try:
        pin.write_text(text.replace('notes = "text"', 'notes = "json"'), encoding="utf-8")
        late.parent.mkdir(exist_ok=True)
        late.write_text("project,affiliate.id\r\nCCW,1\r\n")
        with pytest.raises(ConfigError, match="signalroom replay --source s3_exports"):
            run(live, "sync s3_exports.internal_affiliates")
        assert checksums(live, *SOURCES) == tables
    finally:
        pin.write_text(text, encoding="utf-8")
        shutil.rmtree(late.parent)
        pending = live.lake.pending(
            "s3_exports", "internal_affiliates", live.warehouse.merged("s3_exports", "internal_affiliates")
        )
        for load_id in pending:  # the week's other tests know nothing of this file
            shutil.rmtree(root / ".signalroom/lake/s3_exports/internal_affiliates" / load_id)
