import time
from datetime import UTC, date, datetime

import httpx
import pytest

from signalroom.simulators import World, faults, serve

KEY = {"X-Eflow-API-Key": "everflow-network-key"}
PATH = "/v1/networks/affiliates"


@pytest.fixture(scope="module")
def running():
    now = datetime(2026, 11, 20, 20, tzinfo=UTC)
    with serve(World(7, date(2026, 11, 20), now=lambda: now)) as up:
        yield up


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=5, verify=False) as client:
        yield client


@pytest.fixture
def up(running):
    for upstream in (running.everflow, running.redtrack, running.truth):
        upstream.faults.clear()
        upstream.calls.clear()
    return running


@pytest.fixture
def get(up, client):
    def send(path, **request):
        return client.get(f"{up.everflow_url}{path}", headers=KEY, **request)

    return send


def test_statuses_come_in_order_and_are_used_up(up, get):
    up.everflow.faults.push(faults.status(429, retry_after_s=7))
    up.everflow.faults.push(faults.status(429))
    up.everflow.faults.push(faults.status(503), times=2)
    answers = [get(PATH) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [429, 429, 503, 503, 200]
    assert [answer.headers.get("Retry-After") for answer in answers[:2]] == ["7", None]
    assert up.everflow.faults.pending == 0


def test_a_fault_can_wait_for_its_path(up, get):
    up.everflow.faults.push(faults.status(500), path="/offers")
    assert get(PATH).status_code == 200
    assert get("/v1/networks/offers").status_code == 500


def test_half_a_body_ends_in_a_cut_connection(up, get, caplog):
    up.everflow.faults.push(faults.half_body())
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
        get(PATH)
    assert get(PATH).json()["paging"]["total_count"] > 0
    assert caplog.records == []


def test_a_stall_outlasts_an_impatient_client(up, get):
    up.everflow.faults.push(faults.stall(30))
    with pytest.raises(httpx.ReadTimeout):
        get(PATH, timeout=0.05)
    assert get(PATH).status_code == 200


def test_a_short_stall_still_answers(up, get):
    up.everflow.faults.push(faults.stall(0.01))
    assert get(PATH).status_code == 200


def test_a_page_for_people_with_status_200(up, get):
    up.everflow.faults.push(faults.html_page())
    answer = get(PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<html" in answer.text


def test_a_page_repeats_until_cleared(up, get):
    up.everflow.faults.push(faults.repeat_page(), path=PATH)
    pages = [get(PATH, params={"page": page, "page_size": 4}).json() for page in (2, 3, 4)]
    assert pages[0] == pages[1] == pages[2]
    assert get("/v1/networks/offers").json()["offers"]
    up.everflow.faults.clear()
    assert get(PATH, params={"page": 3, "page_size": 4}).json()["paging"]["page"] == 3


def test_faults_belong_to_one_server(up, get, client):
    up.redtrack.faults.push(faults.status(500))
    assert get(PATH).status_code == 200
    assert client.get(f"{up.redtrack_url}/report").status_code == 500


def test_the_log_has_bodies_and_no_secrets(up, client):
    client.post(f"{up.everflow_url}/v1/networks/reporting/entity/table", headers=KEY, json={"from": 1})
    client.get(f"{up.redtrack_url}/report", params={"api_key": "redtrack-key", "group": "date"})
    assert up.everflow.calls[0].json() == {"from": 1}
    assert up.everflow.calls[0].status == 400
    logged = up.redtrack.calls[0]
    assert logged.query == (("api_key", "***"), ("group", "date"))
    assert (logged.method, logged.path, logged.status, logged.fault) == ("GET", "/report", 400, None)


def test_serving_starts_quickly_and_stops_while_somebody_waits(world, client):
    began = time.perf_counter()
    with serve(world) as running:
        assert time.perf_counter() - began < 0.5
        truth = client.get(f"{running.truth_url}/truth/daily", params={"project": "CCW", "date": "2026-11-19"})
        assert truth.json() == world.truth_daily("CCW", date(2026, 11, 19))
        running.everflow.faults.push(faults.stall(30))
        with pytest.raises(httpx.ReadTimeout):
            client.get(running.everflow_url, timeout=0.02)
        url = running.truth_url
    with pytest.raises(httpx.ConnectError):
        client.get(url)
