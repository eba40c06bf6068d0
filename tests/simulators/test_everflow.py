import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from signalroom.simulators import EverflowOptions, World, faults
from signalroom.simulators.everflow import everflow_app

COLUMNS = [{"column": "date"}]


def test_a_row_has_the_documented_shape(world, report):
    answer = report(everflow_app(world)).json()
    assert answer["incomplete_results"] is False
    row = next(row for row in answer["table"] if row["columns"][1]["id"] == "101")
    midnight = int(datetime(2026, 11, 19, 5, tzinfo=UTC).timestamp())
    assert row["columns"] == [
        {"column_type": "date", "id": str(midnight), "label": ""},
        {"column_type": "affiliate", "id": "101", "label": "Northbank Media "},
        {"column_type": "advertiser", "id": "1", "label": "CCW"},
    ]
    figures = row["reporting"]
    assert list(figures) == [
        "imp", "total_click", "cv", "total_cv", "event", "payout", "revenue", "profit", "cvr", "epc",
    ]  # fmt: skip
    assert figures["total_cv"] >= figures["cv"] > 0
    assert figures["profit"] == pytest.approx(figures["revenue"] - figures["payout"])
    assert figures["cvr"] == pytest.approx(100 * figures["cv"] / figures["total_click"], abs=0.005)


def test_paid_media_has_no_payout_and_partners_have(world, report):
    rows = report(everflow_app(world)).json()["table"]
    payouts = {row["columns"][1]["id"]: row["reporting"]["payout"] for row in rows}
    assert payouts["11"] == payouts["14"] == 0
    assert payouts["101"] > 0


@pytest.mark.parametrize(
    ("key", "status"), [("", 401), ("wrong", 401), ("everflow-affiliate-key", 403), ("everflow-network-key", 200)]
)
def test_keys(world, ask, key, status):
    answer = ask(everflow_app(world), "GET", "/v1/networks/offers", headers={"X-Eflow-API-Key": key})
    assert answer.status_code == status
    assert ("error" in answer.json()) is (status != 200)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"timezone_id": ...}, "Bad Request"),
        ({"timezone_id": "80"}, "must be an integer"),
        ({"timezone_id": 100}, "no timezone 100"),
        ({"currency_id": ...}, "currency_id is required"),
        ({"currency_id": "EUR"}, "only USD"),
        ({"from": "11/19/2026"}, "from must be YYYY-MM-DD"),
        ({"from": "2026-11-1"}, "from must be YYYY-MM-DD"),
        ({"from": "2026-11-20"}, "to is before from"),
        ({"from": "2025-11-18"}, "longer than one year"),
        ({"columns": ["date"]}, "columns must be an object"),
        ({"columns": []}, "at least one column"),
        ({"columns": ...}, "columns is required"),
        ({"columns": [{"column": "dates"}]}, "'dates' is not available"),
        ({"columns": COLUMNS * 2}, "same column twice"),
        ({"columns": [{"column": "date"}, {"column": "hour"}]}, "one time-related column"),
        ({"columns": [{"column": "affiliate"}] * 11}, "at most 10"),
        ({"page": 2}, "unknown field 'page'"),
        ({"filters": []}, "unknown field 'filters'"),
        ({"query": {"limit": 5}}, "unknown field 'limit'"),
        ({"query": {"filters": {"advertiser": ["1"]}}}, "must be an array"),
        ({"query": {"filters": [{"advertiser_id": 1}]}}, "unknown field 'advertiser_id'"),
        ({"query": {"filters": [{"resource_type": "advertiser"}]}}, "both required"),
        ({"query": {"filters": [{"resource_type": "advertiser", "filter_id_value": 1}]}}, "must be a string"),
        ({"query": {"filters": [{"resource_type": "moon", "filter_id_value": "1"}]}}, "'moon' is not available"),
        ({"query": {"settings": {"campaign_data_only": 1}}}, "must be a boolean"),
        ({"query": {"settings": {"fast": True}}}, "unknown field 'fast'"),
    ],
)
def test_what_is_not_in_the_contract_is_refused(world, report, fields, told):
    answer = report(everflow_app(world), **fields)
    assert answer.status_code == 400
    assert told in answer.json()["error"]


def test_a_year_is_allowed_and_other_paths_are_not_found(world, ask, report):
    app = everflow_app(world)
    assert report(app, **{"from": "2025-11-19"}).status_code == 200
    headers = {"X-Eflow-API-Key": "everflow-network-key"}
    assert ask(app, "GET", "/v1/networks/reporting/entity/table", headers=headers).status_code == 404
    assert ask(app, "POST", "/v1/networks/offers", headers=headers).status_code == 404
    form = {"headers": headers, "data": {"from": "2026-11-19"}}
    assert ask(app, "POST", "/v1/networks/reporting/entity/table", **form).status_code == 400


def test_filters_and_exclusions(world, report):
    app = everflow_app(world)

    def advertisers(**query):
        rows = report(app, query=query).json()["table"]
        return {(row["columns"][1]["id"], row["columns"][2]["id"]) for row in rows}

    everybody = advertisers()
    first = [{"resource_type": "advertiser", "filter_id_value": "1"}]
    assert advertisers(filters=first) == {pair for pair in everybody if pair[1] == "1"}
    assert advertisers(exclusions=first) == {pair for pair in everybody if pair[1] == "2"}
    two = [{"resource_type": "affiliate", "filter_id_value": each} for each in ("12", "104")]
    assert advertisers(filters=first + two) == {("12", "1"), ("104", "1")}


def test_a_table_over_the_cap_is_cut_and_says_so(world, report):
    whole = report(everflow_app(world)).json()["table"]
    enough = report(everflow_app(world, EverflowOptions(row_cap=len(whole)))).json()
    assert (len(enough["table"]), enough["incomplete_results"]) == (len(whole), False)
    cut_app = everflow_app(world, EverflowOptions(row_cap=5))
    cut = report(cut_app, **{"from": "2026-11-10"}).json()
    assert (len(cut["table"]), cut["incomplete_results"]) == (5, True)
    # The summary is not cut: it tells what the table is missing.
    summary = report(cut_app, "summary", columns=...).json()
    for name in ("cv", "total_cv", "total_click", "event"):
        assert summary[name] == sum(row["reporting"][name] for row in whole)
    for name in ("revenue", "payout"):
        assert summary[name] == pytest.approx(sum(row["reporting"][name] for row in whole))


@pytest.mark.parametrize(
    ("today", "midnights"),
    [
        # Clocks go back on 1 November 2026: that date lasts 25 hours.
        (date(2026, 11, 2), [(date(2026, 10, 31), 4), (date(2026, 11, 1), 4), (date(2026, 11, 2), 5)]),
        # And forward on 8 March: that one lasts 23.
        (date(2026, 3, 9), [(date(2026, 3, 7), 5), (date(2026, 3, 8), 5), (date(2026, 3, 9), 4)]),
    ],
)
def test_date_ids_are_local_midnights_on_both_sides_of_a_clock_change(report, today, midnights):
    end = datetime(today.year, today.month, today.day, 23, tzinfo=UTC) + timedelta(days=2)
    app = everflow_app(World(7, today, now=lambda: end))
    span = {"from": midnights[0][0].isoformat(), "to": today.isoformat(), "columns": COLUMNS}
    rows = sorted(report(app, **span).json()["table"], key=lambda row: row["columns"][0]["id"])
    expected = [datetime(day.year, day.month, day.day, hour, tzinfo=UTC) for day, hour in midnights]
    assert [int(row["columns"][0]["id"]) for row in rows] == [int(at.timestamp()) for at in expected]
    for (day, _), row in zip(midnights, rows, strict=True):
        alone = report(app, "summary", **(span | {"from": day.isoformat(), "to": day.isoformat()})).json()
        assert alone == row["reporting"]


def test_hours_weeks_and_months(report):
    end = datetime(2026, 11, 3, tzinfo=UTC)
    app = everflow_app(World(7, date(2026, 11, 2), now=lambda: end))
    day = {"from": "2026-11-01", "to": "2026-11-01"}
    hours = report(app, **day, columns=[{"column": "hour"}]).json()["table"]
    ids = sorted(int(row["columns"][0]["id"]) for row in hours)
    first = int(datetime(2026, 11, 1, 4, tzinfo=UTC).timestamp())
    assert ids == [first + 3600 * hour for hour in range(25)]
    span = {"from": "2026-10-20", "to": "2026-11-02"}
    weeks = report(app, **span, columns=[{"column": "week"}]).json()["table"]
    assert {datetime.fromtimestamp(int(row["columns"][0]["id"]), UTC).strftime("%a %H") for row in weeks} == {
        "Mon 04", "Mon 05",
    }  # fmt: skip
    months = report(app, **span, columns=[{"column": "month"}]).json()["table"]
    assert len(months) == 2


def test_another_timezone_moves_conversions_to_other_dates(world, report):
    app = everflow_app(world)
    here, there = (report(app, "summary", zone=zone, columns=...).json()["cv"] for zone in ("America/New_York", "UTC"))
    assert here != there


def test_times_of_day_narrow_a_request(world, report):
    app = everflow_app(world)
    noon = {"from": "2026-11-19 00:00:00", "to": "2026-11-19 11:59:59"}
    rest = {"from": "2026-11-19 12:00:00", "to": "2026-11-19 23:59:59"}
    parts = [report(app, "summary", columns=..., **span).json()["total_cv"] for span in (noon, rest)]
    assert sum(parts) == report(app, "summary", columns=...).json()["total_cv"]
    assert all(parts)


def test_timezone_ids_have_to_be_looked_up(world, ask):
    def ids(seed, options=None):
        app = everflow_app(World(seed, world.today, now=world.now), options)
        rows = ask(app, "GET", "/v1/meta/timezones", headers={"X-Eflow-API-Key": "everflow-network-key"})
        return {row["timezone"]: row for row in rows.json()["timezones"]}

    new_york = ids(7)["America/New_York"]
    assert new_york["utc_offset"] == "-05:00"
    assert len({ids(seed)["America/New_York"]["timezone_id"] for seed in range(5)}) > 2
    for seed in range(5):
        assert ids(seed)["America/New_York"]["timezone_id"] != 80
        assert ids(seed)["UTC"]["timezone_id"] != 67
    chosen = ids(7, EverflowOptions(timezone_ids={"UTC": 3, "America/New_York": 4}))
    assert {name: row["timezone_id"] for name, row in chosen.items()} == {"UTC": 3, "America/New_York": 4}


def test_rate_limit_headers_and_429(world, ask):
    seconds = [100.0]
    options = EverflowOptions(requests_per_window=2, window_s=30, clock=lambda: seconds[0])
    app = everflow_app(world, options)

    def get():
        return ask(app, "GET", "/v1/networks/offers", headers={"X-Eflow-API-Key": "everflow-network-key"})

    assert [get().headers["X-RateLimit-Remaining"] for _ in range(2)] == ["1", "0"]
    seconds[0] += 12
    refused = get()
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "18")
    assert refused.headers["X-RateLimit-Limit"] == "2"
    assert "error" in refused.json()
    seconds[0] += 18
    assert get().status_code == 200


def test_429_without_retry_after(world, ask):
    app = everflow_app(world, EverflowOptions(requests_per_window=0, retry_after=False))
    refused = ask(app, "GET", "/v1/networks/offers")
    assert refused.status_code == 429
    assert "Retry-After" not in refused.headers


def test_a_crowd_on_reporting_paths_is_refused(world):
    app = everflow_app(world, EverflowOptions(crowd=1))
    app.faults.push(faults.stall(0.05))

    async def both():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://upstream") as client:
            path = "/v1/networks/reporting/entity/table"
            return await asyncio.gather(client.post(path), client.post(path))

    assert sorted(answer.status_code for answer in asyncio.run(both())) == [401, 429]


def test_entities_are_paged(world, ask):
    app = everflow_app(world)
    headers = {"X-Eflow-API-Key": "everflow-network-key"}

    def get(name, **params):
        return ask(app, "GET", f"/v1/networks/{name}", params=params, headers=headers)

    pages = [get("affiliates", page=page, page_size=6).json() for page in (1, 2, 3, 4)]
    names = [row["name"] for page in pages for row in page["affiliates"]]
    assert names == [affiliate.label for affiliate in world.cast.affiliates]
    assert pages[0]["paging"] == {"page": 1, "page_size": 6, "total_count": len(names)}
    assert pages[3]["affiliates"] == []
    labels = {row["network_advertiser_id"]: row["name"] for row in get("advertisers").json()["advertisers"]}
    assert labels == {1: "CCW", 2: "EXP"}
    ours = get("offers", filter="network_advertiser_id=2").json()["offers"]
    assert [row["network_offer_id"] for row in ours] == [601, 602]
    for bad in ({"page": 0}, {"page_size": 2_001}, {"per": 5}, {"filter": "colour=red"}):
        assert get("offers", **bad).status_code == 400


def test_today_so_far_grows(world, report):
    app = everflow_app(world)
    today = {"from": "2026-11-20", "to": "2026-11-20", "columns": ...}
    early = report(app, "summary", **today).json()
    world.set_now(world.now() + timedelta(hours=5))
    late = report(app, "summary", **today).json()
    assert 0 < early["cv"] < late["cv"]
    assert early["total_click"] < late["total_click"]


def test_numbers_restate_by_themselves_for_days(world, report):
    seen = []
    for day in (20, 22, 29):
        world.set_now(datetime(2026, 11, day, 12, tzinfo=UTC))
        seen.append(report(everflow_app(world), "summary", columns=...).json())
    assert len({answer["cv"] for answer in seen}) == 3
    assert len({answer["total_cv"] for answer in seen}) == 1


def test_a_rejection_takes_back_revenue_but_not_the_click(world, report):
    app = everflow_app(world)
    conversion = next(
        one
        for one in world.conversions(date(2026, 11, 19))
        if one.status(world.now().timestamp()) == "approved" and one.payout_cents
    )
    before = report(app, "summary", columns=...).json()
    world.reject_conversion(conversion.id)
    after = report(app, "summary", columns=...).json()
    assert after["cv"] == before["cv"] - 1
    assert after["total_cv"] == before["total_cv"]
    assert after["total_click"] == before["total_click"]
    assert after["revenue"] == pytest.approx(before["revenue"] - conversion.revenue_cents / 100)
    assert after["payout"] == pytest.approx(before["payout"] - conversion.payout_cents / 100)


def test_rows_can_vanish_and_late_conversions_appear(world, report):
    app = everflow_app(world)

    def affiliates():
        return {row["columns"][1]["id"] for row in report(app).json()["table"]}

    assert "103" in affiliates()
    assert world.erase_traffic(date(2026, 11, 19), 103) > 0
    assert "103" not in affiliates()
    added = world.add_conversion(
        datetime(2026, 11, 19, 12, tzinfo=UTC),
        affiliate_id=103,
        offer_id=502,
        revenue=Decimal("12.34"),
        payout=Decimal("5.00"),
    )
    assert added.advertiser_id == 1
    row = next(row for row in report(app).json()["table"] if row["columns"][1]["id"] == "103")
    assert (row["reporting"]["cv"], row["reporting"]["revenue"], row["reporting"]["payout"]) == (1, 12.34, 5)
