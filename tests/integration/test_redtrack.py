"""The Redtrack source against an upstream as strict as its documentation."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from signalroom import steps
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.room import Room
from signalroom.simulators import World, faults
from signalroom.sources.redtrack import Redtrack
from upstream_laws import (
    NOW,
    TODAY,
    UpstreamLaws,
    answer_through,
    clock,
    day,
    key,
    read,
    served,
    typed,
    world,
)

__all__ = ["clock", "served", "world"]  # fixtures

KEY = "redtrack-key"
YESTERDAY = date(2026, 11, 19)
ID = {"campaign": "id", "offer": "offer_id"}
SOCIAL = "66aa04c1d3b0e7000128f101"


def redtrack(up, clock, **settings):
    given = {"api_key": key(KEY), "base_url": up.redtrack_url, "timezone": "America/New_York", "clock": clock}
    return Redtrack(**(given | settings))


@pytest.fixture
def up(served):
    return served()


@pytest.fixture
def upstream(up):
    return up.redtrack


@pytest.fixture
def make(up, clock):
    return lambda **settings: redtrack(up, clock, **settings)


@pytest.fixture
def path():
    return "/report"


@pytest.fixture
def secret():
    return KEY


def spend(rows, of):
    return {row["source_id"]: row["cost"] for row in rows if row["date"] == of}


class TestRedtrack(UpstreamLaws):
    pass


class TestRedtrackCampaigns(UpstreamLaws):
    @pytest.fixture
    def make(self, up, clock):
        return lambda **settings: redtrack(up, clock, streams_=("daily_campaign_spend",), **settings)


@pytest.mark.parametrize("by", ["campaign", "offer"])
def test_spend_by_campaign_and_offer_splits_the_same_cents(make, upstream, world, by):
    source = make(streams_=[f"daily_{by}_spend"], page_rows=7)
    rows = typed(source, read(source))
    assert {dict(call.query)["group"] for call in upstream.calls} == {f"date,{by}"}
    for of in (TODAY - timedelta(days=back) for back in range(4)):
        cells = world.spend.observed(of, NOW.timestamp())
        true = dict.fromkeys((getattr(cell.campaign, ID[by]) for cell in cells), 0)
        for cell in cells:
            true[getattr(cell.campaign, ID[by])] += cell.cents
        assert {row[f"{by}_id"]: row["cost"] * 100 for row in rows if row["date"] == of} == true
        total = sum(row["cost"] for row in rows if row["date"] == of)
        assert f"{total:.2f}" == world.truth_totals(of)["spend"]
    assert all(row[f"{by}_name"] for row in rows)


def test_streams_are_off_unless_named(make):
    assert [stream.name for stream in make().streams()] == ["daily_spend"]
    named = ("daily_offer_spend", "daily_spend")
    assert tuple(stream.name for stream in make(streams_=named).streams()) == named
    with pytest.raises(ConfigError, match=r"'daily_ofer_spend'.*Did you mean 'daily_offer_spend'"):
        make(streams_=("daily_ofer_spend",))
    for wrong in ((), ("daily_spend", "daily_spend")):
        with pytest.raises(ConfigError, match="no stream, or one twice"):
            make(streams_=wrong)


def test_a_read_is_one_request_in_the_documented_form(make, upstream):
    (batch,) = read(make(), day(date(2026, 11, 17), YESTERDAY))
    (call,) = upstream.calls
    assert (call.method, call.path) == ("GET", "/report")
    assert dict(call.query) == {
        "api_key": "***",
        "group": "date,source",
        "date_from": "2026-11-17",
        "date_to": "2026-11-19",
        "timezone": "America/New_York",
        "page": "1",
        "per": "1000",
    }
    assert batch.content.records == "$"
    assert batch.request["params"] == {name: value for name, value in call.query if name != "api_key"}


def test_rows_equal_the_truth_though_numbers_are_spelt_as_strings(make, world):
    source = make()
    batches = read(source)
    assert any(isinstance(row["cost"], str) for batch in batches for row in orjson.loads(batch.content.chunks[0]))
    rows = typed(source, batches)
    for back in range(4):
        of = TODAY - timedelta(days=back)
        mine = {source_id: f"{cost:.2f}" for source_id, cost in spend(rows, of).items()}
        assert mine == world.truth_totals(of)["spend_by_source"]
    (row,) = [row for row in rows if (row["date"], row["source_id"]) == (YESTERDAY, SOCIAL)]
    assert (row["source_name"], row["source_alias"]) == ("Social Main", "social")
    assert row["total_conversions"] > row["conversions"] > 0
    assert row["clicks"] > 0


def test_pages_are_asked_for_until_a_short_one_and_are_one_observation(make, upstream, clock):
    whole = typed(make(), read(make()))
    answer_through(upstream, lambda _call, answer: (clock.advance(2), answer)[1])  # time passes between pages
    source = make(page_rows=7)
    batches = read(source)
    sizes = [batch.content.rows for batch in batches]
    assert sizes == [7] * (len(whole) // 7) + ([len(whole) % 7] if len(whole) % 7 else [])
    assert typed(source, batches) == whole
    assert len({batch.replaces for batch in batches}) == 1
    assert len({batch.source_ref for batch in batches}) == len(batches)


def test_when_the_last_page_is_full_the_empty_one_after_it_is_no_batch(make, upstream):
    count = read(make())[0].content.rows
    upstream.calls.clear()
    (batch,) = read(make(page_rows=count))
    assert batch.content.rows == count
    assert len(upstream.calls) == 2


def test_days_without_spend_are_a_slice_with_no_rows(make):
    (batch,) = read(make(), day(date(2026, 12, 24)))
    assert batch.content.rows == 0
    assert batch.replaces[0].days() == [date(2026, 12, 24)]


def test_long_windows_are_read_in_pieces_of_31_days(make, upstream):
    batches = read(make(), day(date(2026, 9, 20), TODAY))
    asked = [(dict(call.query)["date_from"], dict(call.query)["date_to"]) for call in upstream.calls]
    assert asked == [("2026-09-20", "2026-10-20"), ("2026-10-21", "2026-11-20")]
    assert [len(batch.position) for batch in batches] == [31, 31]


def test_twenty_requests_a_minute_are_never_one_too_many(make, upstream, clock):
    source = make(page_rows=1)
    for _ in range(3):
        read(source, day(YESTERDAY))
    assert len(upstream.calls) > 20
    assert {call.status for call in upstream.calls} == {200}
    assert clock.seconds >= 60 * ((len(upstream.calls) - 1) // 20)
    assert clock.seconds < 61 * ((len(upstream.calls) - 1) // 20)


def test_a_repeating_page_ends_the_read(make, upstream):
    upstream.faults.push(faults.repeat_page())
    with pytest.raises(RetryableError, match="page 2 of 2026-11-17 to 2026-11-20 with page 1 again"):
        read(make(page_rows=5))
    assert len(upstream.calls) == 2


def test_a_page_of_other_days_is_refused(make, upstream):
    upstream.faults.push(faults.repeat_page())
    source = make()
    read(source, day(date(2026, 11, 18)))
    with pytest.raises(RetryableError, match=r"rows of 2026-11-18 when asked for 2026-11-19\."):
        read(source, day(YESTERDAY))


def test_rows_that_move_between_pages_are_read_again(make, upstream):
    shifted = []

    def shift(call, answer):
        if dict(call.query)["page"] == "2" and len(shifted) < times:
            shifted.append(call)
            rows = orjson.loads(answer.body)
            return replace(answer, body=orjson.dumps([last[0], *rows[1:]]))
        last[:] = orjson.loads(answer.body)
        return answer

    last, times = [], 1
    answer_through(upstream, shift)
    source = make(page_rows=30)
    whole = typed(source, read(source))
    assert len({(row["date"], row["source_id"]) for row in whole}) == len(whole)
    assert len(upstream.calls) == 4
    times = 9
    with pytest.raises(RetryableError, match="the same source of the same day on two pages"):
        read(source)


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        (b'{"error":"busy"}', RetryableError, "other than a list of rows"),
        (b'[{"source_id":"a"}]', DataError, "no date"),
        (b'["a"]', DataError, "no date"),
        (
            b"[" + b",".join([b'{"date":"2026-11-19","source_id":"a"}'] * 6) + b"]",
            RetryableError,
            "6 rows instead of 5",
        ),
    ],
)
def test_answers_that_are_no_page(make, upstream, body, error, told):
    answer_through(upstream, lambda _call, answer: replace(answer, body=body))
    with pytest.raises(error, match=told):
        read(make(page_rows=5))


def test_spend_without_a_source_is_not_taken_for_a_repeated_row(make, upstream):
    body = b'[{"date":"2026-11-19","source_id":"","cost":1},{"date":"2026-11-19","source_id":null,"cost":2}]'
    answer_through(upstream, lambda _call, answer: replace(answer, body=body))
    (batch,) = read(make(), day(YESTERDAY))
    assert batch.content.rows == 2


@pytest.mark.parametrize("rows", [0, 1001])
def test_page_rows_are_bounded(make, rows):
    with pytest.raises(ConfigError, match="page_rows"):
        make(page_rows=rows)


def test_mistake_1_today_is_read_today_even_when_utc_is_already_tomorrow(make, upstream, clock, world):
    clock.set(datetime(2026, 11, 21, 3, 30, tzinfo=UTC))  # 22:30 in New York
    source = make()
    rows = typed(source, read(source))
    assert dict(upstream.calls[0].query)["date_to"] == "2026-11-20"
    assert f"{sum(spend(rows, TODAY).values()):.2f}" == world.truth_totals(TODAY)["spend"] != "0.00"
    read(make(lookback_days=0))
    asked = dict(upstream.calls[-1].query)
    assert (asked["date_from"], asked["date_to"]) == ("2026-11-20", "2026-11-20")


@pytest.mark.parametrize("today", [date(2026, 11, 2), date(2026, 3, 9)])
def test_mistake_4_days_are_local_on_both_sides_of_a_clock_change(served, clock, today):
    clock.set(datetime(today.year, today.month, today.day, 23, tzinfo=UTC) + timedelta(days=9))
    world = World(7, today, now=clock.now)
    up = served(world)
    source = redtrack(up, clock)
    rows = typed(source, read(source, day(today - timedelta(days=2), today)))
    for back in range(3):
        of = today - timedelta(days=back)
        mine = {source_id: f"{cost:.2f}" for source_id, cost in spend(rows, of).items()}
        assert mine == world.truth_totals(of)["spend_by_source"]


@pytest.fixture
def room(tmp_path, up, clock):
    (tmp_path / "signalroom.toml").write_text(f"""
        name = "test"
        timezone = "America/New_York"
        [warehouse]
        kind = "duckdb"
        [sources.redtrack]
        kind = "redtrack"
        api_key = "env:UPSTREAM_KEY"
        base_url = "{up.redtrack_url}"
        page_rows = 10
    """)
    (tmp_path / ".env").write_text(f"UPSTREAM_KEY={KEY}\n")
    with Room.open(tmp_path, clock=clock) as opened:
        yield opened


def in_warehouse(room, of):
    sql = "SELECT source_id, cost FROM redtrack.daily_spend WHERE date = :day"
    return {row["source_id"]: row["cost"] for row in room.warehouse.query(sql, {"day": of}).to_pylist()}


@pytest.mark.slow
def test_restated_costs_replace_and_vanished_rows_vanish(room, world, upstream, clock):
    (stream,) = room.streams("redtrack")
    steps.sync(room, stream)
    before = in_warehouse(room, YESTERDAY)
    assert f"{sum(before.values()):.2f}" == world.truth_totals(YESTERDAY)["spend"]
    world.restate_cost(YESTERDAY, SOCIAL, Decimal("1234.57"))
    gone = next(source_id for source_id in before if source_id != SOCIAL)

    def without(_call, answer):
        rows = [row for row in orjson.loads(answer.body) if (row["date"], row["source_id"]) != ("2026-11-19", gone)]
        return replace(answer, body=orjson.dumps(rows))

    clock.advance(60)
    steps.sync(room, stream)
    assert in_warehouse(room, YESTERDAY) == before | {SOCIAL: Decimal("1234.57")}
    answer_through(upstream, without)
    clock.advance(60)
    steps.sync(room, stream, day(YESTERDAY))
    assert in_warehouse(room, YESTERDAY).keys() == before.keys() - {gone}
    assert in_warehouse(room, TODAY)
