"""A report on its way to real channels: retried for whom it failed, found again, settled by a person, sent once."""

from __future__ import annotations

import json
import signal

import pytest

import channel_benches as benches
import channel_sender
from shop_workspace import ask, call, make_shop
from signalroom.engine import inline
from signalroom.errors import DataError, SignalRoomError
from signalroom.room import Room
from signalroom.testing.channels import HandClock

STEP = "report pulse --date 2026-11-19 --channel"
READERS = [f"reader{number}@example.com" for number in range(10)]


@pytest.fixture
def clock():
    return HandClock()


def with_channel(root, name, **settings):
    """Make the shop with one more channel; a setting that is a Secret goes to the environment file."""
    lines, secrets = [f"\n[channels.{name}]"], []
    for key, value in settings.items():
        if hasattr(value, "reveal"):
            secrets.append(f"{key.upper()}_OF_TEST={value.reveal()}")
        shown = f"env:{key.upper()}_OF_TEST" if hasattr(value, "reveal") else value
        lines.append(f"{key.removesuffix('_')} = {json.dumps(shown)}")
    shop = make_shop(root, "\n".join(lines) + f'\n[jobs.team]\nsteps = ["{STEP} {name}"]\n')
    (shop / ".env").write_text("\n".join(secrets))
    call(shop, "sync", "shop")
    return shop


def slack_shop(root, bench):
    one = bench.channel
    return with_channel(root, "team", kind="slack", token=one.token, channel=one.channel, base_url=one.base_url)


def mail_shop(root, bench, to=READERS):
    one = bench.channel
    return with_channel(root, "team", kind="email", smtp=one.smtp, from_=one.from_, to=list(to), security="none")


@pytest.mark.slow
def test_only_the_recipient_that_was_refused_is_tried_again(tmp_path, clock):
    with benches.smtp(clock) as bench:
        shop = mail_shop(tmp_path, bench)
        bench.server.refused = {READERS[3]: "550 5.7.1 not today"}
        with Room.open(shop, clock=clock) as room:
            with pytest.raises(DataError, match="refused the recipient reader3@example"):
                inline.run_step(room, f"{STEP} team")
            states = {one.recipient: one.state for one in room.ledger.deliveries.list("pulse")}
            assert states == {reader: "failed" if reader == READERS[3] else "sent" for reader in READERS}
            bench.server.refused, asked = {}, len(bench.server.recipients_asked)
            clock.sleep(3600)
            # What changes meanwhile does not make two reports of one.
            (shop / "exports/orders/b.csv").write_text("id,day,amount,code\n9,2026-11-19,99.00,010\n")
            inline.run_step(room, "sync shop")
            done = inline.run_step(room, f"{STEP} team").deliveries
        assert bench.server.recipients_asked[asked:] == [READERS[3]]
        assert {one.state for one in done} == {"sent"}
        assert len({one.digest for one in done}) == 1
        texts = {bench.server.parsed(at).get_content() for at in range(10)}
        assert (len(bench.server.mails), len(texts)) == (10, 1)


def test_a_job_finds_what_slack_took_without_saying_so(tmp_path, clock):
    with benches.slack(clock) as bench:
        shop = slack_shop(tmp_path, bench)
        bench.lose_the_answer()
        with Room.open(shop, clock=clock) as room:
            (outcome,) = inline.run_job(room, "team")
            runs = room.ledger.runs.list(job="team")
        (sent,), (posted,) = outcome.deliveries, bench.world.messages()
        assert (sent.state, sent.receipt, sent.attempt) == ("sent", f"C0REPORTS/{posted.ts}", 2)
        assert [(one.status, one.fence) for one in runs] == [("success", 2)]


@pytest.mark.slow
def test_a_channel_that_fails_keeps_no_other_waiting(tmp_path, clock):
    with benches.slack(clock) as bench:
        shop = slack_shop(tmp_path, bench)
        toml = (shop / "signalroom.toml").read_text()
        (shop / "signalroom.toml").write_text(
            toml.replace('[reports.pulse]\nchannels = ["outbox"]', '[reports.pulse]\nchannels = ["team", "outbox"]')
        )
        bench.world.channels["C0REPORTS"] = False
        with Room.open(shop, clock=clock) as room:
            with pytest.raises(SignalRoomError, match="not_in_channel"):
                inline.run_step(room, "report pulse --date 2026-11-19")
            states = {one.channel: one.state for one in room.ledger.deliveries.list("pulse")}
        assert states == {"team": "failed", "outbox": "sent"}


@pytest.mark.slow
def test_a_person_settles_what_nobody_can_tell(tmp_path, clock):
    with benches.smtp(clock) as bench:
        shop = mail_shop(tmp_path, bench, READERS[:2])
        bench.lose_the_answer()
        send = ("report", "pulse", "--date", "2026-11-19", "--send", "--channel", "team")
        assert "did not say whether it took it" in call(shop, *send, code=3).stderr
        assert "may or may not have arrived" in ask(shop, "status")["problems"][0]
        (unknown,) = ask(shop, "deliveries", "--state", "unknown")["deliveries"]
        assert unknown["key"] in call(shop, "deliveries").stdout
        call(shop, *send, code=3)  # it may still be arriving
        assert len(bench.server.mails) == 2
        told = call(shop, "deliveries", "settle", unknown["key"], "sent", "--reason", "Ann has it.").stdout
        assert told.endswith("sent: Ann has it.\n")
        assert "was not sent again" in call(shop, *send).stdout
        assert "was sent" in call(shop, "deliveries", "settle", unknown["key"], "failed", code=2).stderr
        again = ask(shop, "deliveries", "resend", unknown["key"])
        assert (again["state"], again["key"] != unknown["key"]) == ("sent", True)
        assert len(bench.server.mails) == 3
        (first, *_, repeated) = (body for to, body in bench.server.mails if to == unknown["recipient"])
        assert repeated.replace(again["key"].encode(), unknown["key"].encode()) == first
        assert "no delivery 'nothing'" in call(shop, "deliveries", "resend", "nothing", code=2).stderr
        assert call(shop, "deliveries", "--report", "sick").stdout == "No such delivery.\n"


@pytest.mark.slow
def test_a_preview_shows_each_channel_with_its_limits_and_sends_nothing(tmp_path, clock):
    with benches.slack(clock) as bench:
        shop = slack_shop(tmp_path, bench)
        toml = (shop / "signalroom.toml").read_text()
        phone = '\n[channels.phone]\nkind = "sms"\nto = ["+15005550101"]\naccount_sid = "AC1"\n'
        phone += 'auth_token = "env:UNSET_TOKEN"\nfrom = "+15005550006"\n'
        (shop / "signalroom.toml").write_text(toml.replace('["outbox"]', '["team", "phone", "outbox"]') + phone)
        shown = call(shop, "report", "pulse", "--date", "2026-11-19").stdout
        assert "team (slack): 2 of 50 blocks" in shown
        assert "Add pulse.sms.j2 to its folder" in shown
        assert "outbox (file)" in shown
        document = ask(shop, "report", "pulse", "--date", "2026-11-19", "--channel", "team")
        assert [(one["channel"], one["kind"], one["problems"]) for one in document["channels"]] == [
            ("team", "slack", [])
        ]
        assert bench.upstream.calls == []


@pytest.mark.slow
def test_killed_at_every_border_and_sent_again_there_is_one_message(tmp_path):
    def folder(name):
        (tmp_path / name).mkdir()
        return tmp_path / name

    world = benches.SlackApp(per_second=1000)
    with benches.serve_apps(world.app) as (url,):
        log = tmp_path / "log"
        assert channel_sender.run(folder("whole"), url, log=str(log)) == channel_sender.SENT
    points = log.read_text().split()
    assert {"steps.deliver.claimed", "http.request", "http.response", "ledger.settle.before"} <= set(points)
    for number, point in enumerate(points, 1):
        world = benches.SlackApp(per_second=1000)
        root = folder(f"kill{number}")
        with benches.serve_apps(world.app) as (url,):
            killed = channel_sender.run(root, url, lease_s=0.001, kill_at=number)
            again = channel_sender.run(root, url, lease_s=0.001)
        assert (killed, again, len(world.messages())) == (-signal.SIGKILL, channel_sender.SENT, 1), point


@pytest.mark.slow
def test_processes_that_send_at_once_send_one(tmp_path):
    world = benches.SlackApp(per_second=1000)
    with benches.serve_apps(world.app) as (url,):
        processes = [channel_sender.start(tmp_path, url) for _ in range(4)]
        for process in processes:
            process.join(60)
    codes = [process.exitcode for process in processes]
    assert len(world.messages()) == 1
    assert channel_sender.SENT in codes
    assert set(codes) <= {channel_sender.SENT, channel_sender.BUSY}
