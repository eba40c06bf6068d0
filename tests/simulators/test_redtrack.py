from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from signalroom.simulators import RedtrackOptions, World
from signalroom.simulators.redtrack import redtrack_app

SOCIAL = "66aa04c1d3b0e7000128f101"
DAY = date(2026, 11, 19)


def cost(rows, source_id=None):
    return sum(Decimal(str(row["cost"])) for row in rows if source_id in {None, row["source_id"]})


def test_a_row_has_the_documented_shape_in_a_bare_array(world, spend):
    rows = spend(redtrack_app(world, RedtrackOptions(texts=False))).json()
    row = next(row for row in rows if row["source_id"] == SOCIAL)
    assert {name: row[name] for name in ("date", "source", "source_alias")} == {
        "date": "2026-11-19", "source": "Social Main", "source_alias": "social",
    }  # fmt: skip
    assert list(row)[-4:] == ["clicks", "conversions", "total_conversions", "cost"]
    assert all(isinstance(row[name], int) for name in ("clicks", "conversions", "total_conversions"))
    assert row["total_conversions"] > row["conversions"]


def test_some_numbers_are_strings_and_mean_the_same(world, spend):
    plain = spend(redtrack_app(world, RedtrackOptions(texts=False)), date_from="2026-11-01").json()
    mixed = spend(redtrack_app(world), date_from="2026-11-01").json()
    measures = ("clicks", "conversions", "total_conversions", "cost")
    kinds = {type(row[name]) for row in mixed for name in measures}
    assert kinds == {int, float, str}
    for one, other in zip(plain, mixed, strict=True):
        assert [Decimal(str(one[name])) for name in measures] == [Decimal(str(other[name])) for name in measures]


@pytest.mark.parametrize(
    ("parameters", "status", "told"),
    [
        ({"api_key": ...}, 401, "api_key"),
        ({"api_key": "wrong"}, 401, "api_key"),
        ({"group": ...}, 400, "group is required"),
        ({"group": "day"}, 400, "'day' is not available"),
        ({"group_by": "date"}, 400, "unknown parameter 'group_by'"),
        ({"group": ["date", "source"]}, 400, "given twice"),
        ({"date_from": ...}, 400, "date_from is required"),
        ({"date_to": "20261119"}, 400, "date_to must be"),
        ({"date_to": "2026-11-31"}, 400, "date_to must be"),
        ({"date_to": "2026-11-18"}, 400, "before date_from"),
        ({"timezone": "Mars/Olympus"}, 400, "Mars/Olympus"),
        ({"timezone": "../etc"}, 400, "timezone"),
        ({"per": "1001"}, 400, "at most 1000"),
        ({"page": "0"}, 400, "page"),
        ({"total": "yes"}, 400, "total"),
        ({"sortby": "cost,clicks,date,source"}, 400, "at most 3"),
        ({"sortby": "weather"}, 400, "'weather'"),
        ({"direction": "up"}, 400, "direction"),
        ({"sub3": "x"}, 400, "no data"),
        ({"rt_ad": "x"}, 400, "no data"),
    ],
)
def test_what_is_not_in_the_contract_is_refused(world, spend, parameters, status, told):
    answer = spend(redtrack_app(world), **parameters)
    assert answer.status_code == status
    assert told in answer.json()["error"]


def test_only_get_report_exists(world, ask):
    app = redtrack_app(world)
    params = {"api_key": "redtrack-key", "group": "date", "date_from": "2026-11-19", "date_to": "2026-11-19"}
    assert ask(app, "POST", "/report", params=params).status_code == 404
    assert ask(app, "GET", "/reports", params=params).status_code == 404
    assert ask(app, "GET", "/report", params=params | {"total": "true", "tracks_view": "true"}).status_code == 200


def test_pages_join_to_the_whole(world, spend):
    app = redtrack_app(world)
    span = {"date_from": "2026-11-05", "group": "date,campaign"}
    whole = spend(app, **span).json()
    pages = [spend(app, **span, per="40", page=str(page)).json() for page in range(1, 6)]
    assert [row for page in pages for row in page] == whole
    assert len(pages[-1]) < 40
    assert spend(app, **span, per="40", page="6").json() == []


def test_groups_filters_and_sorting(world, spend):
    app = redtrack_app(world)
    by_source = spend(app).json()
    by_campaign = spend(app, group="date,source,campaign").json()
    by_offer = spend(app, group="offer").json()
    assert len(by_campaign) > len(by_source)
    assert cost(by_campaign) == cost(by_source) == sum(Decimal(str(row["cost"])) for row in by_offer)
    assert all(row["offer_id"] and "date" not in row for row in by_offer)
    alone = spend(app, source_id=SOCIAL).json()
    assert alone == [row for row in by_source if row["source_id"] == SOCIAL]
    dearest = spend(app, sortby="cost", direction="desc").json()
    assert dearest[0]["source_id"] == SOCIAL
    assert sorted(dearest, key=str) == sorted(by_source, key=str)


def test_twenty_requests_in_any_minute(world, spend):
    seconds = [0.0]
    app = redtrack_app(world, RedtrackOptions(clock=lambda: seconds[0]))
    statuses = []
    for _ in range(20):
        statuses.append(spend(app).status_code)
        seconds[0] += 2
    assert set(statuses) == {200}
    refused = spend(app)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "20")
    seconds[0] = 60.0
    assert spend(app).status_code == 200
    assert spend(app).status_code == 429


def test_429_without_retry_after(world, spend):
    refused = spend(redtrack_app(world, RedtrackOptions(requests_per_minute=0, retry_after=False)))
    assert refused.status_code == 429
    assert "Retry-After" not in refused.headers


def test_without_a_timezone_the_dates_are_utc(world, spend):
    app = redtrack_app(world)
    local = spend(app).json()
    utc = spend(app, timezone=...).json()
    assert cost(utc) != cost(local)
    assert utc == spend(app, timezone="UTC").json()


def test_a_date_of_25_hours_is_one_date(spend):
    world = World(7, date(2026, 11, 2), now=lambda: datetime(2026, 11, 9, tzinfo=UTC))
    rows = spend(redtrack_app(world), date_from="2026-10-31", date_to="2026-11-02").json()
    for row in rows:
        day = date.fromisoformat(row["date"])
        assert Decimal(str(row["cost"])) == world.cost(day, row["source_id"])
    assert {row["date"] for row in rows} == {"2026-10-31", "2026-11-01", "2026-11-02"}


def test_cost_restates_for_about_three_days_and_then_stays(world, spend):
    costs = []
    for moment in (
        datetime(2026, 11, 19, 18, tzinfo=UTC),
        datetime(2026, 11, 20, 6, tzinfo=UTC),
        datetime(2026, 11, 20, 20, tzinfo=UTC),
        datetime(2026, 11, 21, 20, tzinfo=UTC),
        datetime(2026, 11, 22, 20, tzinfo=UTC),
        datetime(2026, 11, 30, 20, tzinfo=UTC),
    ):
        world.set_now(moment)
        costs.append(cost(spend(redtrack_app(world)).json()))
    assert len(set(costs[:5])) == 5
    assert costs[0] < costs[1] * Decimal("0.8")  # the date is still under way
    assert abs(costs[1] / costs[4] - 1) < Decimal("0.08")
    assert costs[4] == costs[5]


def test_restated_costs_are_exact_whatever_the_grouping(world, spend):
    world.restate_cost(DAY, SOCIAL, Decimal("1234.57"), at=datetime(2026, 11, 20, 12, tzinfo=UTC))
    app = redtrack_app(world)
    assert cost(spend(app).json(), SOCIAL) == Decimal("1234.57") == world.cost(DAY, SOCIAL)
    assert cost(spend(app, group="date,source,campaign").json(), SOCIAL) == Decimal("1234.57")
    # Before that moment the old number stands, and long afterwards the new one does.
    assert world.cost(DAY, SOCIAL, datetime(2026, 11, 20, 11, 59, tzinfo=UTC)) != Decimal("1234.57")
    assert world.cost(DAY, SOCIAL, world.now() + timedelta(days=9)) == Decimal("1234.57")
    world.restate_cost(DAY, SOCIAL, Decimal(0))
    assert cost(spend(app).json(), SOCIAL) == 0
    with pytest.raises(ValueError, match="no spend"):
        world.restate_cost(DAY, "nobody", Decimal(1))
    with pytest.raises(ValueError, match="fractions of a cent"):
        world.restate_cost(DAY, SOCIAL, Decimal("0.001"))
