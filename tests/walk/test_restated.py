"""A day that changes after its report went out: told once, with the report, the day, the old figure and the new one."""

from datetime import UTC, datetime

import pytest

from affiliates import Clock
from shop_workspace import make_shop
from signalroom.engine import inline
from signalroom.errors import ConfigError
from signalroom.room import Room

pytestmark = pytest.mark.slow

MORE = """
[reports.daily]
channels = ["outbox"]
[channels.ops]
kind = "file"
path = ".signalroom/ops"
[alerts]
channel = "ops"
"""
SQL = """
-- name: overall one
select count(*) as orders, cast(coalesce(sum(amount), 0) as decimal(18, 2)) as amount
from shop.orders where day = cast(:report_date as date);
-- name: ever one
select count(*) as orders from shop.orders;
"""
HEADER = "id,day,amount,code\n"


@pytest.fixture
def room(tmp_path):
    shop = make_shop(tmp_path, MORE)
    (shop / "reports/daily").mkdir()
    (shop / "reports/daily/daily.sql").write_text(SQL)
    (shop / "reports/daily/daily.slack.j2").write_text("{{ overall.orders }} orders, {{ ever.orders }} ever\n")
    with Room.open(shop, clock=Clock(datetime(2026, 11, 20, 8, tzinfo=UTC))) as opened:
        yield opened


def arrives(room, name, rows):
    (room.workspace.root / f"exports/orders/{name}.csv").write_text(HEADER + rows)
    inline.run_step(room, "sync shop")


def restatements(room):
    sent = inline.run_step(room, "watch").deliveries
    return [one.report for one in sent if one.report.startswith("alert restated")]


def test_a_closed_day_that_changes_is_told_once(room):
    inline.run_step(room, "sync shop")
    inline.run_step(room, "report daily --date 2026-11-19")
    assert restatements(room) == []
    arrives(room, "b", "9,2026-11-20,1.00,010\n")  # today's order is nobody's restatement
    assert restatements(room) == []
    arrives(room, "c", "10,2026-11-19,90.75,011\n")
    assert restatements(room) == ["alert restated.2026-11-19 open 1"]
    alert = room.ledger.alerts.get("restated.2026-11-19")
    assert alert.title == "2026-11-19 was restated after daily went out"
    assert "overall orders 2 -> 3 (+50.0%); overall amount 9.25 -> 100.00" in alert.details
    assert "ever" not in alert.details
    assert restatements(room) == []
    room.clock.sleep(8 * 86400)  # a week later nobody asks any more
    for _ in range(2):
        inline.run_step(room, "watch")
        room.clock.sleep(700)
    assert room.ledger.alerts.get("restated.2026-11-19").state == "resolved"


def test_a_report_made_within_its_day_was_never_final(room):
    inline.run_step(room, "sync shop")
    inline.run_step(room, "report daily --date 2026-11-20")
    arrives(room, "b", "9,2026-11-20,1.00,010\n")
    assert restatements(room) == []


def test_a_report_that_cannot_be_made_any_more_keeps_no_other_check_waiting(room):
    inline.run_step(room, "sync shop")
    inline.run_step(room, "report daily --date 2026-11-19")
    file = room.workspace.root / "reports/daily/daily.sql"
    file.write_text(SQL.replace("amount), 0", "gone), 0"))
    arrives(room, "c", "10,2026-11-19,90.75,011\n")
    with Room.open(room.workspace.root, clock=room.clock) as again:
        assert restatements(again) == []


def test_a_share_is_checked_where_it_is_written(tmp_path):
    with pytest.raises(ConfigError, match="'some' is no share"):
        Room.open(make_shop(tmp_path, MORE + 'restated = "some"\n'))
