"""The network's raw conversions: as strict as the vendor's documentation, and true at every moment."""

from datetime import date

import pytest

from signalroom.simulators.everflow import everflow_app

PATH = "/v1/networks/reporting/conversions"
HEADERS = {"X-Eflow-API-Key": "everflow-network-key"}


@pytest.fixture
def listed(ask):
    """Ask for conversions the proper way; keywords replace or add fields of the body."""

    def send(app, page="", **fields):
        found = ask(app, "GET", "/v1/meta/timezones", headers=HEADERS).json()["timezones"]
        body = {
            "from": "2026-11-19",
            "to": "2026-11-19",
            "timezone_id": next(row["timezone_id"] for row in found if row["timezone"] == "America/New_York"),
            "show_conversions": True,
            "show_events": False,
        }
        body = {name: value for name, value in (body | fields).items() if value is not ...}
        return ask(app, "POST", PATH + page, json=body, headers=HEADERS)

    return send


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"timezone_id": ...}, "Bad Request"),
        ({"show_events": ...}, "show_events is required"),
        ({"show_conversions": ...}, "show_conversions is required"),
        ({"show_conversions": "true"}, "show_conversions must be a boolean"),
        ({"show_events": True}, "base conversions only"),
        ({"currency_id": "USD"}, "unknown field 'currency_id'"),
        ({"columns": []}, "unknown field 'columns'"),
        ({"from": "2025-11-18", "to": "2025-11-19"}, "prior 365 days"),
        ({"from": "2026-11-20"}, "to is before from"),
        ({"query": {"settings": {}}}, "unknown field 'settings'"),
        ({"query": {"search_terms": ["x"]}}, "search_terms: not available"),
        ({"query": {"filters": [{"resource_type": "offer", "filter_id_value": 501}]}}, "must be a string"),
    ],
)
def test_what_is_not_in_the_contract_is_refused(world, listed, fields, told):
    answer = listed(everflow_app(world), **fields)
    assert answer.status_code == 400
    assert told in answer.json()["error"]


@pytest.mark.parametrize("query", ["?page=0", "?page_size=2001", "?limit=5", "?filter=status=approved"])
def test_pages_are_asked_for_as_documented(world, listed, query):
    assert listed(everflow_app(world), query).status_code == 400


def test_pages_hold_each_conversion_once_and_say_how_many_there_are(world, listed):
    app, ids, total = everflow_app(world), [], 1
    while len(ids) < total:
        answer = listed(app, f"?page={len(ids) // 50 + 1}").json()
        total = answer["paging"]["total_count"]
        ids += [row["conversion_id"] for row in answer["conversions"]]
    assert len(ids) == len(set(ids)) == total > 50
    row = answer["conversions"][0]
    assert row["relationship"].keys() == {"affiliate", "advertiser", "offer"}
    assert isinstance(row["conversion_unix_timestamp"], int)


def test_a_rejection_changes_the_status_and_an_erased_conversion_is_gone(world, listed):
    app = everflow_app(world)
    filters = {"query": {"filters": [{"resource_type": "affiliate", "filter_id_value": "101"}]}}

    def statuses():
        rows = listed(app, "?page_size=2000", **filters).json()["conversions"]
        return {row["conversion_id"]: row["status"] for row in rows}

    before = statuses()
    name = next(name for name, status in before.items() if status == "approved")
    world.reject_conversion(name)
    assert statuses() == before | {name: "rejected"}
    world.erase_traffic(date(2026, 11, 19), 101)
    assert statuses() == {}
