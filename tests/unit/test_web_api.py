"""The API: who may call what, every field of every row, pages, refresh now, and what goes wrong."""

import json
import logging

import pytest

from api_site import CALLERS, ApiSite
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.web import app as web_app
from signalroom.web import openapi
from signalroom.web.endpoint import ROLES
from signalroom.web.previews import PREVIEW

JOBS = "/api/seeder/jobs"
# What an endpoint answers to who may call it. One that is added here has been thought of.
DONE = {
    "listJobs": 200, "listRuns": 200, "refreshNow": 202, "health": 200, "ready": 200, "metrics": 200, "openapi": 200,
    "previewView": 200, "pullRow": 401, "listKeys": 200, "createKey": 201, "revokeKey": 404,
}  # fmt: skip
BODIES = {"previewView": {"query": "select 1"}, "createKey": {"role": "operator"}}
OPEN = {"health", "ready", "metrics", "openapi", "pullRow"}  # the last asks for a signature itself
TEAM = {"previewView"}
ADMINS = {"listKeys", "createKey", "revokeKey"}
OWNERS = {"acme_top": "acme", "daily__acme": "acme", "daily__bolt": "bolt", "nowhere": None}


@pytest.fixture
def api(tmp_path):
    site = ApiSite(tmp_path)
    yield site
    site.close()


def bare(answer):
    """Return everything an answer says."""
    return answer.status_code, answer.content, sorted(answer.headers.items())


def test_every_route_is_a_declared_endpoint_and_every_endpoint_has_been_thought_of(api):
    declared = {(one.method, one.path): one for one in web_app.ENDPOINTS}
    routed = {(method, route.path) for route in api.app._app.routes for method in route.methods if method != "HEAD"}
    assert routed == set(declared)
    assert {one.name for one in declared.values()} == set(DONE)
    assert {one.name for one in declared.values() if not ROLES[one.access]} == OPEN
    assert {one.name for one in declared.values() if ROLES[one.access] == {"admin", "operator"}} == TEAM
    assert {one.name for one in declared.values() if ROLES[one.access] == {"admin"}} == ADMINS


@pytest.mark.parametrize("endpoint", web_app.ENDPOINTS, ids=lambda one: one.name)
def test_every_endpoint_as_every_caller_on_every_agencys_view(api, endpoint):
    for caller in CALLERS:
        for view, owner in OWNERS.items():
            path = endpoint.path.replace("{tableName}", view)
            answer = api.call(path, caller, endpoint.method, json=BODIES.get(endpoint.name))
            if endpoint.name in OPEN:
                expected = DONE[endpoint.name]
            elif caller in {"nobody", "stranger", "revoked", "expired"}:
                expected = 401
            elif (
                (endpoint.name in ADMINS and caller != "admin")
                or (endpoint.name in TEAM and caller in {"acme", "bolt"})
                or (path != endpoint.path and (owner is None or caller not in {owner, "operator", "admin"}))
            ):
                expected = 404
            else:
                expected = DONE[endpoint.name]
            assert answer.status_code == expected, (caller, path, answer.text)
            assert answer.status_code in openapi.answers_of(endpoint)
            if expected >= 400:
                assert set(answer.json()["error"]) == {"code", "message", "requestId"}


@pytest.mark.parametrize(
    "endpoint", [one for one in web_app.ENDPOINTS if "{tableName}" in one.path], ids=lambda one: one.name
)
def test_what_is_anothers_looks_like_what_is_not_there(api, endpoint):
    api.run("daily__bolt", rows=1)
    told = [
        bare(
            api.call(
                endpoint.path.replace("{tableName}", name), "acme", endpoint.method, headers={"X-Request-Id": "same"},
                json=BODIES.get(endpoint.name),
            )
        )
        for name in ("daily__bolt", "nowhere", "x" * 300, "a%00b", "%E2%98%83")
    ]  # fmt: skip
    assert len(set(map(str, told))) == 1
    assert told[0][0] == 404
    assert api.ledger.requests.waiting() == []


def test_nobody_is_sent_elsewhere(api):
    for path in ("/api/seeder/jobs/", "/api/seeder/jobs/daily__acme/history/"):
        answer = api.call(path, "acme", headers={"Host": "elsewhere.example"})
        assert (answer.status_code, "location" in answer.headers) == (404, False)
        assert "elsewhere" not in answer.text


def test_a_list_holds_nothing_of_another_agency(api):
    names = {
        caller: [job["tableName"] for job in api.call(JOBS, caller).json()] for caller in ("acme", "bolt", "admin")
    }
    assert names == {
        "acme": ["acme_top", "daily__acme"], "bolt": ["daily__bolt"], "admin": ["acme_top", "daily__acme", "daily__bolt"],
    }  # fmt: skip
    for limit, after in ((1, "acme_top"), (1, ""), (2, "daily__acme")):
        answer = api.call(f"{JOBS}?limit={limit}&after={after}", "bolt")
        assert [job["tableName"] for job in answer.json()] == ["daily__bolt"]
        assert "link" not in answer.headers


def test_a_job_has_the_front_ends_fields(api):
    (before, own, _) = api.call(JOBS).json()
    assert before == {
        "id": 1, "reportName": "Top", "tableName": "acme_top", "reportType": "custom", "status": "pending",
        "durationSeconds": 0, "startTime": None, "consecutiveFailures": 0, "agencyId": 7, "agencyName": "Acme Media",
        "agencySlug": "acme",
    }  # fmt: skip
    assert list(own) == list(before)
    assert (own["id"], own["tableName"], own["reportType"]) == (1, "daily__acme", "canned")
    api.run("acme_top", rows=3, seconds=2.6)
    done = api.call(JOBS).json()[0]
    assert (done["status"], done["durationSeconds"], done["startTime"]) == ("success", 3, "2026-03-08T11:00:00.123Z")
    for failures in (1, 2):
        api.run("acme_top", error=DataError("No such column.", mend="Mend it."))
        failed = api.call(JOBS).json()[0]
        assert (failed["status"], failed["consecutiveFailures"]) == ("error", failures)
    api.ledger.views.claim([view for view in api.ledger.manifests.all().views() if view.name == "acme_top"], 60)
    assert api.call(JOBS).json()[0]["status"] == "running"
    api.clock.advance(61)
    assert api.call(JOBS).json()[0]["status"] == "error"  # whoever ran it has been silent for longer than its lease


def test_a_run_has_the_front_ends_fields(api):
    first = api.run("acme_top", rows=3, bytes=2**33, seconds=2.6, memory_mb=41, cpu_percent=97)
    second = api.run("acme_top", error=DataError("No such column.", mend="Mend it."))
    failed, done = api.call(f"{JOBS}/acme_top/history", "acme").json()
    assert done == {
        "runId": first, "status": "success", "startTime": "2026-03-08T11:00:00.123Z",
        "finishTime": "2026-03-08T11:00:02.723Z", "durationSeconds": 3, "recordsProcessed": 3,
        "bytesProcessed": 2**33, "memoryUsageMb": 41, "cpuPercentage": 97, "errors": None,
    }  # fmt: skip
    assert list(failed) == list(done)
    assert (failed["runId"], failed["status"], failed["errors"]) == (second, "error", "No such column. Mend it.")
    assert (failed["memoryUsageMb"], failed["cpuPercentage"]) == (None, None)
    shared = api.run("daily__acme", rows=1)
    assert [run["runId"] for run in api.call(f"{JOBS}/daily__acme/history").json()] == [shared]
    assert api.call(f"{JOBS}/daily__bolt/history").json() == []  # the same canned report, another agency


def test_rows_are_of_the_types_that_the_document_declares(api):
    api.run("acme_top", rows=3, memory_mb=41, cpu_percent=97)
    api.run("acme_top", error=DataError("No."))
    api.call(f"{JOBS}/acme_top/refresh", method="POST")
    schemas = api.call(openapi.PATH, "nobody").json()["components"]["schemas"]
    kinds = {"integer": int, "string": str, "null": type(None), "boolean": bool}
    checked = 0
    for name, rows in (("Job", api.call(JOBS).json()), ("Run", api.call(f"{JOBS}/acme_top/history").json())):
        for row in rows:
            assert list(row) == schemas[name]["required"] == list(schemas[name]["properties"])
            for field, value in row.items():
                about = schemas[name]["properties"][field]
                types = [about["type"]] if isinstance(about["type"], str) else about["type"]
                assert type(value) in [kinds[one] for one in types], (name, field, value)
                assert value is None or value in about.get("enum", [value])
                if about.get("format") == "date-time" and value:
                    assert len(value) == len("2026-03-08T11:00:00.123Z")
                checked += 1
    assert checked == 3 * 11 + 3 * 10


def test_pages_follow_their_links(api):
    for number in range(7):
        api.clock.advance(number % 3 == 0)
        api.run("acme_top")
    whole = [run["runId"] for run in api.call(f"{JOBS}/acme_top/history").json()]
    paged, path = [], f"{JOBS}/acme_top/history?limit=3"
    while path:
        answer = api.call(path, "acme")
        paged += [run["runId"] for run in answer.json()]
        path = answer.links["next"]["url"] if "next" in answer.links else None
    assert paged == whole
    assert len(whole) == 7
    answer = api.call(f"{JOBS}?limit=2")
    assert [job["tableName"] for job in api.call(answer.links["next"]["url"]).json()] == ["daily__bolt"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=1&limit=2", "limit=%D9%A1", "before=1", "before=x.y", "else=1",
     "before=999999999999999999.1", "limit=", "limit=" + "1" * 5000],
)  # fmt: skip
def test_parameters_out_of_bounds_are_refused(api, query):
    answer = api.call(f"{JOBS}/acme_top/history?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_parameter")


def test_refresh_now_waits_once_and_is_seen(api):
    answer = api.call(f"{JOBS}/acme_top/refresh", "acme", "POST")
    run_id = answer.json()["runId"]
    assert answer.json() == {"runId": run_id, "tableName": "acme_top", "status": "pending"}
    assert answer.headers["location"] == f"{JOBS}/acme_top/history"
    assert api.woken == 1
    assert api.call(f"{JOBS}/acme_top/refresh", "operator", "POST").json()["runId"] == run_id
    (run,) = api.call(answer.headers["location"]).json()
    assert (run["runId"], run["status"], run["finishTime"]) == (run_id, "pending", None)
    assert api.call(JOBS).json()[0]["status"] == "pending"
    assert api.run("acme_top", rows=5) == run_id
    (run,) = api.call(answer.headers["location"]).json()
    assert (run["status"], run["recordsProcessed"]) == ("success", 5)
    api.disable("acme_top")
    refused = api.call(f"{JOBS}/acme_top/refresh", "acme", "POST")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "disabled")


@pytest.mark.parametrize("body", ["x", "[]", '{"sql": "select 1"}', '{"query": 1}', '"select 1"'])
def test_a_preview_wants_a_query_or_nothing(api, body):
    answer = api.call(f"{JOBS}/acme_top/preview", "operator", "POST", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_body")


def test_a_preview_says_what_the_guard_finds(api):
    for body in (None, {}, {"query": "select * from clicks"}, {"query": "drop table clicks"}):
        told = api.call(f"{JOBS}/acme_top/preview", "operator", "POST", json=body).json()
        assert list(told) == [field.name for field in PREVIEW.fields]
        assert (told["tableName"], told["columns"], told["sample"]) == ("acme_top", [], [])
        assert ("clicks" in told["problem"]) == (body is None or "drop" not in str(body))
    assert api.ledger.views.history("acme_top") == []


def test_what_fails_here_is_told_to_the_log_and_not_to_the_caller(api, monkeypatch, caplog):
    for problem, status, code in (
        (RetryableError("Postgres at db.internal does not answer.", retry_after_s=7), 503, "unavailable"),
        (ConfigError("The ledger (postgres db.internal/x) refuses."), 500, "failed"),
        (ValueError("db.internal"), 500, "failed"),
    ):
        with monkeypatch.context() as then, caplog.at_level(logging.INFO):
            then.setattr(api.ledger.monitor, "jobs", lambda *_, problem=problem, **__: (_ for _ in ()).throw(problem))
            answer = api.call(JOBS, headers={"X-Request-Id": f"find-me-{code}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert "db.internal" not in answer.text
        assert answer.json()["error"]["requestId"] == answer.headers["x-request-id"] == f"find-me-{code}"
        assert "db.internal" in caplog.text
        assert f"find-me-{code}" in caplog.text
    assert all(token not in caplog.text for token in api.keys.values())
    assert api.call(JOBS).status_code == 200


def test_every_answer_is_careful_and_has_an_id(api):
    for path, method in ((JOBS, "GET"), ("/else", "GET"), (JOBS, "DELETE"), ("/health", "POST"), ("/health", "HEAD")):
        answer = api.call(path, "nobody", method, headers={"X-Request-Id": "x" * 65})
        assert len(answer.headers["x-request-id"]) == 16
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
        if answer.status_code >= 400:
            assert answer.json()["error"]["requestId"] == answer.headers["x-request-id"]
    assert api.call("/else", "nobody").json()["error"]["code"] == "not_found"
    assert set(api.call("/health", "nobody", "POST").headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_long_body_is_refused(api):
    async def pieces():
        for _ in range(300):
            yield b" " * 1000

    for content in (b" " * (web_app.MAX_BODY_BYTES + 1), pieces()):
        answer = api.call(f"{JOBS}/acme_top/refresh", method="POST", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert api.ledger.requests.waiting() == []


def test_who_asks_too_often_waits_and_the_others_do_not(tmp_path):
    api = ApiSite(tmp_path, "[web]\nrequests_per_minute = 3\n")
    assert [api.call(JOBS, "acme").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = api.call(JOBS, "acme")
    assert (refused.headers["retry-after"], refused.json()["error"]["code"]) == ("20", "too_many_requests")
    assert api.call(JOBS, "bolt").status_code == 200
    api.clock.advance(20)
    assert [api.call(JOBS, "acme").status_code for _ in range(2)] == [200, 429]
    assert [api.call(JOBS, "stranger").status_code for _ in range(61)] == [401] * 60 + [429]
    assert api.call(JOBS, "bolt").status_code == 200  # a valid key from the same address
    assert api.call("/health", "nobody").status_code == 200
    api.close()


def test_only_the_front_ends_origin_may_call_from_a_browser(tmp_path):
    api = ApiSite(tmp_path, '[web]\norigins = ["https://app.example.com"]\n')
    asking = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for origin, allowed in (("https://app.example.com", True), ("https://app.example.com.evil.example", False)):
        before = api.call(JOBS, "nobody", "OPTIONS", headers={"Origin": origin, **asking})
        answer = api.call(JOBS, "acme", headers={"Origin": origin})
        for one in (before, answer):
            assert ("access-control-allow-origin" in one.headers) == allowed
            assert "access-control-allow-credentials" not in one.headers
            assert "x-request-id" in one.headers
        assert (before.status_code == 200) == allowed
        assert answer.status_code == 200
    assert (
        "Link" in api.call(JOBS, headers={"Origin": "https://app.example.com"}).headers["access-control-expose-headers"]
    )
    api.close()


def test_figures_ask_for_a_key_where_the_port_faces_agencies(tmp_path):
    api = ApiSite(tmp_path, open_metrics=False)
    codes = {caller: api.call("/metrics", caller).status_code for caller in CALLERS}
    assert codes == dict.fromkeys(CALLERS, 401) | {"acme": 404, "bolt": 404, "operator": 200, "admin": 200}
    api.close()


def test_the_document_describes_what_is_routed(api):
    told = json.loads(api.call(openapi.PATH, "nobody").content)
    assert told == openapi.document(web_app.ENDPOINTS)
    found = {(method.upper(), path): one for path, methods in told["paths"].items() for method, one in methods.items()}
    assert set(found) == {(one.method, one.path) for one in web_app.ENDPOINTS}
    assert {one["operationId"]: one["x-roles"] for one in found.values()} == {
        one.name: sorted(ROLES[one.access]) for one in web_app.ENDPOINTS
    }
    text = json.dumps(told)
    for name in told["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text
    for reference in set(text.split('"#/components/schemas/')[1:]):
        assert reference.partition('"')[0] in told["components"]["schemas"]
