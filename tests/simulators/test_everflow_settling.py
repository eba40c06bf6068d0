"""The network's holds and adjustments: as strict as the vendor's documentation, and true at every moment."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from signalroom.simulators.everflow import everflow_app

HEADERS = {"X-Eflow-API-Key": "everflow-network-key"}
AT = datetime(2026, 11, 19, 18, 0, tzinfo=UTC)
YESTERDAY = date(2026, 11, 19)
OF = {"affiliate_id": 101, "offer_id": 501}


@pytest.fixture
def app(world):
    return everflow_app(world)


@pytest.fixture
def held(app, ask, report):
    """Ask for holds the proper way; keywords replace or add fields of the body."""
    zone = ask(app, "GET", "/v1/meta/timezones", headers=HEADERS).json()["timezones"]
    number = next(row["timezone_id"] for row in zone if row["timezone"] == "America/New_York")

    def send(page="", **fields):
        body = {
            "from": "2026-11-19",
            "to": "2026-11-19",
            "timezone_id": number,
            "show_conversions": True,
            "show_events": True,
            "on_hold_status_filter": "",
        }
        body = {name: value for name, value in (body | fields).items() if value is not ...}
        return ask(app, "POST", "/v1/networks/reporting/onhold" + page, json=body, headers=HEADERS)

    return send


@pytest.fixture
def adjusted(app, ask):
    def send(**params):
        params = {"from": "2026-11-19", "to": "2026-11-19"} | params
        params = {name: value for name, value in params.items() if value is not ...}
        return ask(app, "GET", "/v1/networks/reportingadjustments", params=params, headers=HEADERS)

    return send


def hold(world, **changed):
    given = {"revenue": Decimal("45.5"), "payout": Decimal("20.25"), "until": world.now() + timedelta(days=3)}
    return world.hold_conversion(AT, **OF, **(given | changed))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"timezone_id": ...}, "Bad Request"),
        ({"on_hold_status_filter": ...}, "on_hold_status_filter is required"),
        ({"on_hold_status_filter": "pending"}, "on_hold_status_filter must be"),
        ({"show_events": ...}, "show_events is required"),
        ({"show_conversions": 1}, "must be a boolean"),
        ({"currency_id": "USD"}, "unknown field 'currency_id'"),
        ({"limit": 2}, "unknown field 'limit'"),
        ({"from": "2025-11-18", "to": "2025-11-19"}, "prior 365 days"),
        ({"from": "2024-11-18"}, "longer than one year"),
        ({"query": {"filters": [{"resource_type": "offer", "filter_id_value": 501}]}}, "must be a string"),
    ],
)
def test_what_is_not_in_the_contract_of_holds_is_refused(held, fields, told):
    answer = held(**fields)
    assert answer.status_code == 400
    assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"from": ...}, "from must be YYYY-MM-DD"),
        ({"to": "2026-11-19 10:00:00"}, "to must be YYYY-MM-DD"),
        ({"to": "2026-11-18"}, "to is before from"),
        ({"to": "19.11.2026"}, "to must be YYYY-MM-DD"),
        ({"timezone_id": "New York"}, "timezone_id must be an integer"),
        ({"timezone_id": "100"}, "no timezone 100"),
        ({"page": "1"}, "unknown parameter 'page'"),
    ],
)
def test_what_is_not_in_the_contract_of_adjustments_is_refused(adjusted, params, told):
    answer = adjusted(**params)
    assert answer.status_code == 400
    assert told in answer.json()["error"]


def test_a_hold_becomes_a_conversion_when_its_period_ends_and_not_before(world, held, report, app):
    def earned():
        return report(app, "summary").json()

    before = earned()
    one = hold(world)
    (row,) = held().json()["conversions"]
    assert (row["status"], row["holding_period_end"]) == ("on_hold", one.until_s)
    assert held(on_hold_status_filter="approved").json()["paging"]["total_count"] == 0
    assert earned() == before
    world.set_now(world.now() + timedelta(days=3))
    (row,) = held(on_hold_status_filter="approved").json()["conversions"]
    assert row["conversion"]["payout"] == 20.25
    after, truth = earned(), world.truth_totals(YESTERDAY)
    assert (str(after["cv"]), f"{after['payout']:.2f}") == (truth["conversions"], truth["payout"])
    with pytest.raises(ValueError, match="is approved, not on hold"):
        world.reject_hold(one.id)


def test_a_hold_that_is_rejected_or_withdrawn_never_counts(world, held, report, app):
    rejected, withdrawn = hold(world), hold(world)
    world.reject_hold(rejected.id)
    world.erase_hold(withdrawn.id)
    world.set_now(world.now() + timedelta(days=4))
    assert [row["status"] for row in held().json()["conversions"]] == ["rejected"]
    listed = {one.id: one.status(world.now().timestamp()) for one in world.conversions(YESTERDAY)}
    assert {listed[rejected.conversion_id], listed[withdrawn.conversion_id]} == {"absent"}


def test_pages_hold_each_row_once(world, held):
    ids = [hold(world).id for _ in range(5)]
    pages = [held(f"?page={number}&page_size=2").json() for number in (1, 2, 3)]
    assert sorted(row["on_hold_conversion_id"] for page in pages for row in page["conversions"]) == sorted(ids)
    assert {page["paging"]["total_count"] for page in pages} == {5}
    assert held("?page_size=2001").status_code == 400


def test_an_adjustment_changes_the_reports_and_one_taken_back_is_listed_as_deleted(world, adjusted, report, app):
    before = report(app, "summary").json()
    made = world.adjust(YESTERDAY, **OF, conversions=-1, revenue=Decimal(-45), payout=Decimal("-20.5"))
    after, truth = report(app, "summary").json(), world.truth_totals(YESTERDAY)
    assert (after["cv"], round(before["payout"] - after["payout"], 2)) == (before["cv"] - 1, 20.5)
    assert (str(after["cv"]), f"{after['revenue']:.2f}") == (truth["conversions"], truth["revenue"])
    assert after["total_click"] == before["total_click"]
    (row,) = adjusted().json()["adjustments"]
    assert (row["date_adjustment"], row["payout"], row["deleted"]) == ("2026-11-19", -20.5, False)
    assert adjusted(to="2026-11-20", **{"from": "2026-11-20"}).json() == {"adjustments": []}
    world.delete_adjustment(made.id)
    assert adjusted().json()["adjustments"][0]["deleted"] is True
    assert report(app, "summary").json() == before


def test_a_day_under_way_is_not_adjusted(world):
    with pytest.raises(ValueError, match="not over"):
        world.adjust(date(2026, 11, 20), **OF)
