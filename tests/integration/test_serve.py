"""Refreshes that callers ask for, from the request to the rows: in one process, and by `signalroom serve`."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from agency_workspace import OFFERS, make_network
from engine_world import wait_for
from shop_workspace import ask, call
from signalroom.engine.requested import RequestedRefreshes
from signalroom.room import Room
from signalroom.web.endpoint import Site
from signalroom.web.server import WebServer

pytestmark = pytest.mark.slow
JOBS = "/api/seeder/jobs"


def client(address, key):
    return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def test_a_refresh_that_is_asked_for_is_done_and_what_cannot_be_done_says_why(tmp_path):
    shop = make_network(tmp_path)
    call(shop, "sync", "shop")
    key = ask(shop, "keys", "create", "--agency", "acme")["key"]
    with Room.open(shop) as room:
        requested = RequestedRefreshes(room)
        with WebServer(Site(room, wake=requested.wake), 0) as server, client(server.address, key) as api:
            assert [job["status"] for job in api.get(JOBS).json()] == ["pending"] * 2
            for name in ("acme_offers", "daily__acme"):
                run_id = api.post(f"{JOBS}/{name}/refresh").json()["runId"]
                assert requested.once() == 1
                (run,) = api.get(f"{JOBS}/{name}/history").json()
                assert (run["runId"], run["status"], run["errors"]) == (run_id, "success", None)
                assert (run["recordsProcessed"], requested.once()) == (len(room.warehouse.query(
                    f"select * from agency_acme.{name}")), 0)  # fmt: skip

            (shop / "views/acme_offers.sql").write_text("select nothing from clicks")
            api.post(f"{JOBS}/acme_offers/refresh")
            requested.once()
            failed = api.get(f"{JOBS}/acme_offers/history").json()[0]
            assert failed["status"] == "error"
            assert "nothing" in failed["errors"]

            (shop / "views/acme_offers.sql").write_text(OFFERS)
            api.post(f"{JOBS}/acme_offers/refresh")
            text = (shop / "views/agencies.toml").read_text()
            (shop / "views/agencies.toml").write_text(text + "enabled = false\n")
            requested.once()
            assert "is disabled" in api.get(f"{JOBS}/acme_offers/history").json()[0]["errors"]
            assert api.post(f"{JOBS}/acme_offers/refresh").status_code == 409

            with requested:  # the thread that a process has
                (shop / "views/agencies.toml").write_text(text)
                room.refresher.views()
                api.post(f"{JOBS}/acme_offers/refresh")
                wait_for(lambda: api.get(f"{JOBS}/acme_offers/history").json()[0]["status"] == "success", 60)


def test_serve_answers_on_postgres_and_refuses_duckdb(tmp_path, postgres, monkeypatch):
    shop = make_network(tmp_path)
    refused = call(shop, "serve", code=2)
    assert "DuckDB lets one own its file" in refused.stderr
    assert 'kind = "postgres"' in refused.stderr
    monkeypatch.setenv("SHOP_URL", postgres())
    more = '\n[warehouse]\nkind = "postgres"\nurl = "env:SHOP_URL"\n[ledger]\nurl = "env:SHOP_URL"\n'
    make_network(tmp_path, more)
    call(shop, "sync", "shop")
    call(shop, "refresh")
    keys = {agency: ask(shop, "keys", "create", "--agency", agency)["key"] for agency in ("acme", "bolt")}
    log = tmp_path / "serve.log"
    program = str(Path(sys.executable).with_name("signalroom"))
    with log.open("w") as out:
        process = subprocess.Popen([program, "--workspace", str(shop), "serve", "--port", "0"], stdout=out, stderr=out)
    try:
        wait_for(lambda: "Press Ctrl-C" in log.read_text() or process.poll() is not None, 60)
        address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())[0]
        with client(address, keys["acme"]) as acme, client(address, keys["bolt"]) as bolt:
            assert acme.get("/ready").json() == {"ready": True, "problems": []}
            assert [job["tableName"] for job in acme.get(JOBS).json()] == ["acme_offers", "daily__acme"]
            assert [job["status"] for job in bolt.get(JOBS).json()] == ["success"]
            assert bolt.post(f"{JOBS}/daily__acme/refresh").status_code == 404
            assert acme.get("/metrics").status_code == 404
            run_id = acme.post(f"{JOBS}/daily__acme/refresh").json()["runId"]

            def done():
                (newest, *_) = acme.get(f"{JOBS}/daily__acme/history").json()
                return newest["runId"] == run_id and newest["status"] == "success"

            wait_for(done, 60)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    assert log.read_text().endswith("Stopped.\n")
