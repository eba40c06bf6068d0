"""Conversions one by one, and the names behind the ids, against an upstream as strict as its documentation."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import orjson
import pytest

from everflow_upstream import KEY, YESTERDAY, asked, everflow, up, upstream
from signalroom import steps
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.room import Room
from signalroom.simulators import faults
from signalroom.sources import everflow_lists
from upstream_laws import TODAY, UpstreamLaws, answer_through, clock, day, read, served, typed, world

__all__ = ["clock", "served", "up", "upstream", "world"]  # fixtures

CONVERSIONS = "/v1/networks/reporting/conversions"
PAYING = ("approved",)


@pytest.fixture
def path():
    return "/conversions"


@pytest.fixture
def secret():
    return KEY


@pytest.fixture
def make(up, clock):
    return lambda **settings: everflow(up, clock, **({"streams_": ("conversions",)} | settings))


class TestConversions(UpstreamLaws):
    pass


def true_statuses(world, of):
    now_s = world.now().timestamp()
    found = {one.id: one.status(now_s) for one in world.conversions(of)}
    return {name: status for name, status in found.items() if status != "absent"}


def test_conversions_and_their_statuses_equal_the_truth(make, world):
    source = make()
    rows = typed(source, read(source))
    for of in (TODAY - timedelta(days=back) for back in range(4)):
        mine = {row["conversion_id"]: row["status"] for row in rows if row["date"] == of}
        assert mine == true_statuses(world, of) != {}
        sums = {}
        for row in rows:
            if row["date"] == of and row["status"] in PAYING:
                held = sums.setdefault((row["advertiser_id"], row["affiliate_id"]), [0, 0, 0])
                for place, value in enumerate((1, row["revenue"], row["payout"])):
                    held[place] += value
        true = world.truth_totals(of)["by_affiliate"]
        assert {key: (str(n), f"{paid:.2f}", f"{out:.2f}") for key, (n, paid, out) in sums.items()} == true
    assert {row["status"] for row in rows} >= {"approved", "rejected"}
    assert {row["converted_at"].date() - row["date"] for row in rows} <= {timedelta(0), timedelta(1)}  # UTC is ahead


def test_the_request_has_the_documented_form(make, upstream):
    read(make(advertisers=[2]), day(YESTERDAY))
    (body,) = asked(upstream, CONVERSIONS)
    filters = [{"resource_type": "advertiser", "filter_id_value": "2"}]
    assert body | {"timezone_id": 0} == {
        "from": "2026-11-19", "to": "2026-11-19", "timezone_id": 0, "show_conversions": True, "show_events": False,
        "query": {"filters": filters},
    }  # fmt: skip
    assert dict(upstream.calls[-1].query) == {"page": "1", "page_size": "2000"}
    assert {call.status for call in upstream.calls} == {200}


def test_each_advertiser_is_a_slice_of_its_own(make):
    source = make(advertisers=[1, 2])
    first, second = read(source)
    assert "2026-11-19|advertiser_id=1" in first.position
    assert {row["advertiser_id"] for row in typed(source, [second])} == {2}
    whole = make()
    assert Counter(map(repr, typed(source, [first, second]))) == Counter(map(repr, typed(whole, read(whole))))


def test_pages_are_one_observation(make, clock, upstream, monkeypatch):
    source = make()
    whole = typed(source, read(source))
    monkeypatch.setattr(everflow_lists, "_PAGE_SIZE", 500)
    answer_through(upstream, lambda _call, answer: (clock.advance(2), answer)[1])  # time passes between pages
    batches = read(source, day(TODAY - timedelta(days=3), YESTERDAY))
    assert [batch.content.rows for batch in batches[:-1]] == [500] * (len(batches) - 1)
    assert len(batches) > 1
    assert len({batch.replaces for batch in batches}) == 1
    assert len({batch.source_ref for batch in batches}) == len(batches)
    ids = {row["conversion_id"] for row in whole if row["date"] < TODAY}
    assert {row["conversion_id"] for row in typed(source, batches)} == ids


def test_a_page_that_repeats_is_noticed(make, upstream, monkeypatch):
    monkeypatch.setattr(everflow_lists, "_PAGE_SIZE", 500)
    upstream.faults.push(faults.repeat_page(), times=4, path="/conversions")
    with pytest.raises(RetryableError, match="conversions of 2026-11-17 to 2026-11-20 moved between its pages"):
        read(make())


def test_a_conversion_that_comes_in_between_two_pages_is_read_the_second_time(make, upstream, monkeypatch):
    monkeypatch.setattr(everflow_lists, "_PAGE_SIZE", 500)
    asked_for = []

    def grow(call, answer):
        if call.path != CONVERSIONS:
            return answer
        asked_for.append(call)
        document = orjson.loads(answer.body)
        document["paging"]["total_count"] -= len(asked_for) == 1
        return replace(answer, body=orjson.dumps(document))

    answer_through(upstream, grow)
    source = make()
    rows = typed(source, read(source))
    assert len({row["conversion_id"] for row in rows}) == len(rows)
    assert len(asked_for) == 2 + -(-len(rows) // 500)


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        (b"[]", DataError, "not its own"),
        (b'{"conversions":[{}],"paging":{"total_count":1}}', DataError, "not its own"),
        (b'{"conversions":[],"paging":{"total_count":1}}', RetryableError, "moved between its pages"),
    ],
)
def test_answers_of_another_form_are_refused(make, upstream, body, error, told):
    answer_through(upstream, lambda call, answer: replace(answer, body=body) if call.path == CONVERSIONS else answer)
    with pytest.raises(error, match=told):
        read(make())


@pytest.mark.parametrize(
    "change", [{"conversion_unix_timestamp": 1}, {"relationship": {"advertiser": {"network_advertiser_id": 9}}}]
)
def test_rows_nobody_asked_for_are_refused(make, upstream, change):
    def alter(call, answer):
        if call.path != CONVERSIONS:
            return answer
        document = orjson.loads(answer.body)
        document["conversions"][0] |= change
        return replace(answer, body=orjson.dumps(document))

    answer_through(upstream, alter)
    with pytest.raises(RetryableError, match="unasked"):
        read(make(advertisers=[1]), day(YESTERDAY))


def test_more_than_a_year_back_is_refused_by_the_vendor(make):
    with pytest.raises(ConfigError, match="prior 365 days"):
        read(make(), day(date(2025, 11, 1)))


def test_the_names_behind_the_ids(make, world):
    cast = world.cast
    found = {}
    for kind in ("affiliates", "advertisers", "offers"):
        source = make(streams_=(kind,))
        assert source.streams()[0].tables[0].disposition == "replace"
        found[kind] = typed(source, read(source))
    assert [(row["affiliate_id"], row["name"]) for row in found["affiliates"]] == [
        (one.id, one.label) for one in cast.affiliates
    ]
    assert {row["advertiser_id"]: row["name"] for row in found["advertisers"]} == {1: "CCW", 2: "EXP"}
    assert {row["offer_id"]: row["advertiser_id"] for row in found["offers"]} == {
        one.id: one.advertiser_id for one in cast.offers
    }
    assert {row["status"] for rows in found.values() for row in rows} == {"active"}


def test_streams_are_off_unless_named(make, up, clock):
    assert [stream.name for stream in everflow(up, clock).streams()] == ["daily_stats"]
    with pytest.raises(ConfigError, match=r"'conversion'.*Did you mean 'conversions'"):
        make(streams_=("conversion",))


@pytest.fixture
def room(tmp_path, up, clock):
    (tmp_path / "signalroom.toml").write_text(f"""
        name = "test"
        timezone = "America/New_York"
        [warehouse]
        kind = "duckdb"
        [sources.everflow]
        kind = "everflow"
        api_key = "env:UPSTREAM_KEY"
        base_url = "{up.everflow_url}"
        streams = ["conversions", "offers"]
    """)
    (tmp_path / ".env").write_text(f"UPSTREAM_KEY={KEY}\n")
    with Room.open(tmp_path, clock=clock) as opened:
        yield opened


def in_warehouse(room, of):
    sql = "SELECT conversion_id, status FROM everflow.conversions WHERE date = :day"
    return {row["conversion_id"]: row["status"] for row in room.warehouse.query(sql, {"day": of}).to_pylist()}


@pytest.mark.slow
def test_a_conversion_rejected_upstream_is_marked_and_one_withdrawn_is_gone(room, world, clock, monkeypatch):
    monkeypatch.setattr(everflow_lists, "_PAGE_SIZE", 300)
    stream, offers = room.streams("everflow")
    steps.sync(room, stream)
    before = in_warehouse(room, YESTERDAY)
    assert before == true_statuses(world, YESTERDAY)
    rejected = next(name for name, status in before.items() if status == "approved")
    world.reject_conversion(rejected)
    clock.advance(60)
    steps.sync(room, stream)
    after = in_warehouse(room, YESTERDAY)
    assert after[rejected] == "rejected"
    assert after == true_statuses(world, YESTERDAY)
    world.erase_traffic(YESTERDAY, 101)
    clock.advance(60)
    steps.sync(room, stream)
    assert in_warehouse(room, YESTERDAY) == true_statuses(world, YESTERDAY)
    assert len(in_warehouse(room, YESTERDAY)) < len(after)
    for _ in range(2):
        steps.sync(room, offers)
        counted = room.warehouse.query("SELECT count(*) AS n FROM everflow.offers").to_pylist()
        assert counted == [{"n": len(world.cast.offers)}]
