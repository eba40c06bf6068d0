"""A watch from what is wrong to who hears of it: opened, sent once, acknowledged, resolved, with a digest."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from affiliates import Clock
from shop_workspace import ask, call, make_shop
from signalroom import watching
from signalroom.engine import inline
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.room import Room

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("watch")]

ALERTS = """
[channels.ops]
kind = "file"
path = ".signalroom/ops"
[channels.phone]
kind = "file"
path = ".signalroom/phone"

[jobs.nightly]
schedule = "0 6 * * *"
steps = ["sync shop", "report sick"]
retries = 1
[jobs.watch]
steps = ["watch"]

[alerts]
channel = "ops"
critical = "phone"
[alerts.checks.big_orders]
title = "Big orders"
sql = "select count(*) as value from shop.orders where amount > 9"
above = 0
mend = "Look at them."
[alerts.checks.broken]
sql = "select value from shop.nowhere"
above = 0
sources = ["shop"]
"""
BEGIN = datetime(2026, 11, 20, 5, 30, tzinfo=UTC)


@pytest.fixture
def clock():
    return Clock(BEGIN)


@pytest.fixture
def room(tmp_path, clock):
    with Room.open(make_shop(tmp_path, ALERTS), clock=clock) as opened:
        yield opened


def said(room, channel):
    """Return the subjects of what a channel was sent, in no order."""
    folder = room.workspace.root / f".signalroom/{channel}"
    return sorted(json.loads(file.read_text())["subject"] for file in folder.glob("*/*/*/message.json"))


def test_a_check_opens_one_alert_sent_once_and_resolved_with_a_message(room, clock):
    inline.run_step(room, "sync shop")
    for _ in range(3):
        inline.run_step(room, "watch")
        clock.sleep(60)
    assert [one.key for one in room.ledger.alerts.list()] == ["check.big_orders", "check.broken"]
    assert said(room, "ops") == ["Warning: Big orders is 1", "Warning: broken cannot be looked at"]
    assert said(room, "phone") == []
    (room.workspace.root / "exports/orders/b.csv").write_text("id,day,amount,code\n1,2026-11-18,1.50,007\n")
    inline.run_step(room, "sync shop")
    for wait in (0, 700, 60):
        clock.sleep(wait)
        inline.run_step(room, "watch")
    assert "Resolved: Big orders is 1" in said(room, "ops")
    assert len(said(room, "ops")) == 3


def test_a_report_that_fails_once_a_week_is_told_of_until_it_works(room, clock, monkeypatch):
    """Whatever else ran meanwhile: the alert was called over once a thousand other runs stood before the failure."""
    monkeypatch.setattr(watching, "_RUNS", 2)
    with pytest.raises(DataError):
        inline.run_job(room, "nightly")
    clock.sleep(11 * 60)
    for _ in range(3):
        inline.run_step(room, "sync shop", job="nightly")
        inline.run_step(room, "watch")
        clock.sleep(11 * 60)
    assert "report.sick" in [one.key for one in room.ledger.alerts.list()]
    assert "Resolved: report sick fails" not in said(room, "ops")


def test_a_stream_that_is_followed_is_watched_by_quarters_of_an_hour(room, clock):
    """It has a load a second: they are added up where they are, and the last of each stream are looked at one by one."""
    inline.run_step(room, "sync shop")
    since = clock.now() - timedelta(days=2)
    room.warehouse.run(
        "INSERT INTO signalroom.loads SELECT 'L' || n, 'shop', 'clicks', "
        f"CAST('{since.isoformat()}' AS timestamptz) + n * interval '10 seconds', now(), 1, n % 3 FROM range(0, 10000) r(n)"
    )
    found = [one for one in watching._loads(room, since - timedelta(hours=1)) if one.stream == "shop.clicks"]
    assert len(found) <= 10_000 / 90 + 2
    assert sum(one.rows for one in found) == sum(n % 3 for n in range(10_000))
    assert found[-1].committed_at == since + timedelta(seconds=99_990)
    last = [one.rows for one in watching._last_loads(room) if one.stream == "shop.clicks"]
    assert last == [n % 3 for n in range(9_988, 10_000)]


def test_a_missed_and_then_failing_job_is_critical_and_reaches_the_phone(room, clock):
    inline.run_step(room, "sync shop")
    inline.run_step(room, "watch")
    assert said(room, "phone") == []
    clock.sleep(50 * 60)
    inline.run_step(room, "watch", job="watch")
    assert said(room, "phone") == ["Critical: Job nightly did not start"]
    with pytest.raises(DataError):
        inline.run_job(room, "nightly")
    clock.sleep(11 * 60)
    inline.run_step(room, "watch")
    keys = {one.key: one for one in room.ledger.alerts.list()}
    assert "nowhere" in keys["report.sick"].details
    assert "Critical: report sick fails" in said(room, "phone")


def test_a_paused_job_and_one_that_was_not_there_yet_are_not_called_missed(room, clock):
    inline.run_step(room, "sync shop")
    due, schedule = BEGIN + timedelta(hours=5, minutes=30), {"nightly": ("0 6 * * *", "America/New_York")}
    room.ledger.pauses.pause("nightly", "vendor outage")
    clock.time = due + timedelta(hours=1)
    assert "job.nightly" not in [one.key for one in watching.watch(room).alerts], "it is paused"
    room.ledger.pauses.resume("nightly")
    assert "job.nightly" in [one.key for one in watching.watch(room).alerts]
    room.ledger.schedules.seen(schedule)
    watching.watch(room)
    clock.sleep(11 * 60)
    assert "job.nightly" not in [one.key for one in watching.watch(room).alerts], "its times count from now on"
    clock.time += timedelta(days=1)
    assert "job.nightly" in [one.key for one in watching.watch(room).alerts]


def test_an_acknowledged_alert_is_silent_and_what_nobody_heard_of_is_not_resolved_aloud(room, clock):
    inline.run_step(room, "sync shop")
    inline.run_step(room, "watch")
    before = said(room, "ops")
    room.ledger.alerts.acknowledge("check.big_orders", "mine")
    clock.sleep(60)
    inline.run_step(room, "watch")
    assert said(room, "ops") == before
    room.ledger.alerts.resolve("check.broken", "It is known.")
    inline.run_step(room, "watch")
    assert room.ledger.alerts.get("check.broken").episode == 2, "it is still so: that is new news"


def test_a_channel_that_fails_is_told_later_and_once(room, monkeypatch):
    from signalroom.channels.file import FileChannel

    inline.run_step(room, "sync shop")
    send = FileChannel.send

    def refuse(self, message, recipient, key):
        raise RetryableError("It is down.")

    monkeypatch.setattr(FileChannel, "send", refuse)
    with pytest.raises(RetryableError, match="It is down"):
        inline.run_step(room, "watch")
    assert len(room.ledger.alerts.list()) == 2, "what was found is kept"
    monkeypatch.setattr(FileChannel, "send", send)
    inline.run_step(room, "watch")
    assert {"Warning: Big orders is 1", "Warning: broken cannot be looked at"} <= set(said(room, "ops"))


def test_a_warehouse_that_does_not_answer_is_an_alert_and_resolves_nothing(room, clock, monkeypatch):
    inline.run_step(room, "sync shop")
    inline.run_step(room, "watch")

    def silent(*_):
        raise RetryableError("The server is gone.")

    monkeypatch.setattr(type(room.warehouse), "query", silent)
    clock.sleep(900)
    inline.run_step(room, "watch")
    clock.sleep(900)
    inline.run_step(room, "watch")
    keys = [one.key for one in room.ledger.alerts.list()]
    assert keys == ["warehouse", "check.big_orders", "check.broken"]
    assert "Critical: The warehouse does not answer" in said(room, "phone")


def test_a_warehouse_that_another_step_holds_is_not_asked_this_time(room, clock, monkeypatch):
    inline.run_step(room, "sync shop")
    inline.run_step(room, "watch")

    def held(*_):
        raise ConfigError("Another process owns the warehouse.")

    monkeypatch.setattr(type(room.warehouse), "query", held)
    other = room.ledger.runs.start("hourly", "sync shop")
    for _ in range(2):
        clock.sleep(200)
        room.ledger.runs.heartbeat(other)
        inline.run_step(room, "watch")
    assert [one.key for one in room.ledger.alerts.list()] == ["check.big_orders", "check.broken"]
    room.ledger.runs.finish(other, "success")
    inline.run_step(room, "watch")
    assert room.ledger.alerts.list()[0].key == "warehouse"


def test_the_digest_of_yesterday_is_sent_once(room, clock):
    inline.run_step(room, "sync shop")
    with pytest.raises(DataError):
        inline.run_step(room, "report sick --date 2026-11-19")
    clock.sleep(24 * 3600)
    inline.run_step(room, "watch")
    for _ in range(2):
        inline.run_step(room, "watch --digest")
    digests = [text for text in said(room, "ops") if text.startswith("Digest")]
    assert digests == ["Digest of Friday, November 20, 2026: 3 alerts, 1 failed run"]
    (folder,) = (room.workspace.root / ".signalroom/ops/digest").glob("*/*")
    text = (folder / "slack.txt").read_text()
    for word in ("shop.orders", "Big orders", "report sick", "nowhere", "1 succeeded, 1 failed"):
        assert word in text


def test_alerts_never_share_a_clients_channel(tmp_path):
    shop = make_shop(tmp_path, ALERTS.replace('channel = "ops"', 'channel = "outbox"'))
    with pytest.raises(ConfigError, match=r"alerts\.channel: a report is sent to the channel 'outbox'"):
        Room.open(shop)
    file = shop / "signalroom.toml"
    for name in ("pulse", "sick"):
        file.write_text(file.read_text().replace(f"[reports.{name}]\n", f"[reports.{name}]\ninternal = true\n"))
    with Room.open(shop) as opened:
        inline.run_step(opened, "sync shop")
        inline.run_step(opened, "watch")


def test_the_commands_list_and_settle_alerts(tmp_path):
    shop = make_shop(tmp_path, ALERTS)
    assert call(shop, "alerts").stdout == "Nothing is wrong.\n"
    call(shop, "sync", "shop")
    printed = call(shop, "watch").stdout
    assert "alert check.big_orders open 1 to ops (.signalroom/ops) sent: " in printed
    assert printed.endswith("2 alerts: `signalroom alerts` lists them.\n")
    assert ask(shop, "watch")["deliveries"] == []
    found = {one["key"]: one for one in ask(shop, "alerts")["alerts"]}
    assert found["check.big_orders"]["state"] == "open"
    assert "Big orders is 1" in call(shop, "alerts", "list").stdout
    assert call(shop, "alerts", "ack", "check.big_orders").stdout == "check.big_orders is acknowledged.\n"
    assert "is snoozed until 20" in call(shop, "alerts", "snooze", "check.broken", "--for", "90m").stdout
    assert ask(shop, "alerts", "resolve", "check.broken", "--note", "known")["alert"]["note"] == "known"
    assert "Did you mean 'check.big_orders'?" in call(shop, "alerts", "ack", "check.big_order", code=2).stderr
    call(shop, "alerts", "snooze", "check.big_orders", "--for", "soon", code=2)
    assert call(shop, "watch", "--digest").stdout.startswith("digest to ops")


def test_a_workspace_may_have_templates_of_its_own(room):
    own = Path(room.workspace.root) / "reports/alert"
    own.mkdir()
    (own / "alert.subject.j2").write_text("Ours: {{ alert.key }}")
    (own / "alert.sms.j2").write_text("{{ alert.title }}")
    inline.run_step(room, "sync shop")
    inline.run_step(room, "watch")
    assert said(room, "ops") == ["Ours: check.big_orders", "Ours: check.broken"]
    assert "alert" not in room.reports
    assert timedelta(0) <= room.clock.now() - room.ledger.alerts.list()[0].opened_at


def test_the_same_on_postgres(tmp_path, clock, postgres, monkeypatch):
    monkeypatch.setenv("WAREHOUSE_URL", postgres())
    shop = make_shop(tmp_path, ALERTS + '\n[warehouse]\nkind = "postgres"\nurl = "env:WAREHOUSE_URL"\n')
    (shop / "exports/orders/bad.csv").write_text("id,day,amount,code\n7,2026-11-19,1.00,7\n")
    with Room.open(shop, clock=clock) as room:
        inline.run_step(room, "sync shop")
        (shop / "exports/orders/c.csv").write_text("id,day,amount,code\n8,2026-11-19,a lot,8\n")
        inline.run_step(room, "sync shop")
        inline.run_step(room, "watch")
        keys = [one.key for one in room.ledger.alerts.list()]
        assert keys == ["check.big_orders", "check.broken", "rejects.shop.orders"]
        inline.run_step(room, "watch --digest")
        assert any(text.startswith("Digest") for text in said(room, "ops"))
