"""Asking for a row over HTTP: signed, of now, not too often, and queued before it is answered."""

from __future__ import annotations

import pytest

from api_site import ApiSite
from signalroom.web.projections import signature

TOML = """
[projections.app]
url = "env:LEADER_URL"
[projections.app.follow]
secret = "env:PULL_SECRET"
requests_per_s = 0.05
[projections.app.entities.page]
key = "uuid"
sql = "page.sql"
watch = [{ table = "pages", id = "uuid" }]
"""
SECRET = "a-secret-of-the-app"


@pytest.fixture
def site(tmp_path):
    environ = {"LEADER_URL": "postgresql://127.0.0.1:1/none", "PULL_SECRET": SECRET}
    made = ApiSite(tmp_path, TOML, environ)
    yield made
    made.close()


def ask(site, entity="page", row="a:1", body=b'{"version": 7}', *, secret=SECRET, ago_s=0, **headers):
    stamp = str(int(site.clock.now().timestamp()) - ago_s)
    signed = {"Signalroom-Timestamp": stamp,
              "Signalroom-Signature": signature(secret.encode(), stamp, entity, row, body), **headers}  # fmt: skip
    path = f"/api/projections/{entity}/{row}/pull"
    return site.call(path, "nobody", "POST", headers=signed, content=body)


def queued(site):
    return [(one.entity, one.id, one.version) for one in site.ledger.pulls.due("app", 10)]


def test_a_signed_request_is_queued_and_whoever_pulls_is_woken(site):
    answer = ask(site)
    assert (answer.status_code, answer.json()) == (202, {"queued": True})
    assert queued(site) == [("page", "a:1", 7)]
    assert site.woken == 1
    assert ask(site, "app.page", "b", b"").status_code == 202
    assert sorted(queued(site)) == [("page", "a:1", 7), ("page", "b", 0)]


@pytest.mark.parametrize(
    "asked",
    [
        {"secret": "another"}, {"ago_s": 301}, {"ago_s": -301}, {"Signalroom-Timestamp": "1"},
        {"Signalroom-Timestamp": "now"}, {"Signalroom-Signature": "v1="},
        {"secret": "another", "entity": "nothing"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_signed_for_now_is_refused(site, asked):
    assert ask(site, **asked).status_code == 401
    assert queued(site) == []


def test_a_signature_is_for_one_row_one_body_and_one_time(site):
    stamp = str(int(site.clock.now().timestamp()))
    signed = signature(SECRET.encode(), stamp, "page", "a", b"")
    headers = {"Signalroom-Timestamp": stamp, "Signalroom-Signature": signed}
    assert site.call("/api/projections/page/b/pull", "nobody", "POST", headers=headers).status_code == 401
    other = site.call("/api/projections/page/a/pull", "nobody", "POST", headers=headers, content=b"{}")
    assert other.status_code == 401
    site.clock.advance(301)
    assert site.call("/api/projections/page/a/pull", "nobody", "POST", headers=headers).status_code == 401


@pytest.mark.parametrize("entity", ["nothing", "other.page"])
def test_what_is_not_followed_is_not_there(site, entity):
    assert ask(site, entity).status_code == 404


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"version": -1}', b'{"version": true}', b'{"row": 1}', b'{"version": 9223372036854775808}']
)
def test_a_body_that_says_something_else_is_refused(site, body):
    assert ask(site, body=body).status_code == 400
    assert queued(site) == []


def test_an_app_that_asks_too_often_is_told_when_to_ask_again(site):
    assert [ask(site).status_code for _ in range(4)] == [202, 202, 202, 429]
    assert 0 < int(ask(site).headers["Retry-After"]) <= 20
    site.clock.advance(20)
    assert ask(site).status_code == 202
