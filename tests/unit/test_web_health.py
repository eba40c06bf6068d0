"""The health page: what lives, what is ready and why not, and the figures, without any scheduler."""

import logging
import socket
import threading
import urllib.request

import httpx
import pytest

from ledger_laws import HandClock
from shop_workspace import call, make_shop
from signalroom.engine.loops import Loop
from signalroom.engine.resident import Pulse
from signalroom.errors import ConfigError
from signalroom.room import Room
from signalroom.web.endpoint import Site
from signalroom.web.health import unready
from signalroom.web.metrics import exposition
from signalroom.web.server import WebServer
from signalroom.workspace.workspace import Workspace


@pytest.fixture
def shop(tmp_path):
    return make_shop(tmp_path)


def test_ready_means_that_the_ledger_answers_and_the_scheduler_has_heard_from_us(shop):
    clock = HandClock()
    with Room.open(shop, clock=clock) as room:
        pulse = Pulse()
        site, silent = Site(room, pulse.problem), "The scheduler has not heard from this worker in the last minute."
        assert unready(site) == [silent]
        pulse.poller_seen_at = clock.now()
        clock.advance(60)
        assert unready(site) == []
        clock.advance(1)
        assert unready(site) == [silent]
        pulse.poller_seen_at, pulse.unheard = clock.now(), "Nothing listens there."
        assert unready(site) == ["Nothing listens there."]
        pulse.unheard = ""
        assert unready(site) == []
        pulse.stopping = True
        assert unready(site) == ["The worker was told to stop."]
    (shop / ".signalroom/ledger.sqlite").write_bytes(b"no database at all, and long enough to be read as one" * 100)
    with Room.open(shop, clock=clock) as room:
        (problem,) = unready(Site(room))
        assert "refuses: file is not a database" in problem


def test_what_ails_a_loop_is_named_and_counted(shop):
    ailing = ["app.page: its database does not answer."]
    pull, sweep = Loop("app pull", lambda _: 0.0, ailing=lambda: ailing), Loop("app sweep", lambda _: 1 / 0)
    with Room.open(shop) as room:
        site = Site(room, loops=(pull, sweep))
        for _ in range(2):
            sweep.once(threading.Event(), room.clock)
        assert unready(site) == [
            "app pull: app.page: its database does not answer.", "app sweep: ZeroDivisionError: division by zero",
        ]  # fmt: skip
        ailing.clear()
        sweep.turn = lambda _: 1.0
        sweep.once(threading.Event(), room.clock)
        assert unready(site) == []
        text = exposition(room, site.loops).decode()
    assert 'signalroom_loop_failures{loop="app sweep"} 0.0' in text
    assert 'signalroom_loop_failed_total{loop="app sweep"} 2.0' in text
    assert "signalroom_projection" not in text


def test_the_page_tells_figures_and_takes_another_port_when_its_own_is_in_use(shop, caplog):
    call(shop, "run", "morning")
    with socket.socket() as taken, Room.open(shop) as room:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site = Site(room, Pulse().problem)
        with caplog.at_level(logging.WARNING), WebServer(site, port) as page:
            assert f"Port {port} of [web] is in use" in caplog.text
            assert not page.address.endswith(f":{port}")
            with urllib.request.urlopen(f"{page.address}/health", timeout=10) as answer:
                assert answer.read() == b'{"status":"ok"}'
            with httpx.Client(base_url=page.address) as client:
                assert client.get("/ready").status_code == 503
                text = client.get("/metrics").text
                assert client.get("/else").status_code == 404
                assert client.post("/health").status_code == 405
    for line in (
        'signalroom_runs{status="success"} 2.0',
        'signalroom_deliveries{state="sent"} 1.0',
        'signalroom_run_rows{job="morning",step="sync shop"} 3.0',
        'signalroom_run_success{job="morning",step="sync shop"} 1.0',
    ):
        assert line in text
    assert 'signalroom_stream_age_seconds{stream="shop.orders"}' in text


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[web]\nport = 70000", "web.port: 70000 is no port"),
        ('[web]\norigins = ["*"]', "web.origins: '\\*' is no origin"),
        ("[web]\nrequests_per_minute = 0", "web.requests_per_minute: it must be greater"),
        ("[engine]\nconcurrency = 0", "must be greater than 0"),
        ("[engine]\nconcurency = 2", "Did you mean 'concurrency'"),
        ('[jobs.x]\nsteps = ["build"]\ncatch_up_h = 0', "jobs.x.catch_up_h: it must be greater than 0"),
    ],
)
def test_settings_are_checked(shop, table, told):
    (shop / "signalroom.toml").write_text((shop / "signalroom.toml").read_text() + table)
    with pytest.raises(ConfigError, match=told):
        Workspace.load(shop)
