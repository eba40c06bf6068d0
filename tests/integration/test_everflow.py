"""The Everflow source against an upstream as strict as its documentation."""

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from signalroom import steps
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.position import Position
from signalroom.room import Room
from signalroom.simulators import World, faults
from signalroom.sources import everflow_report
from signalroom.sources.everflow import Everflow
from upstream_laws import TODAY, UpstreamLaws, answer_through, clock, day, key, read, served, typed, world

__all__ = ["clock", "served", "world"]  # fixtures

KEY = "everflow-network-key"
YESTERDAY = date(2026, 11, 19)
TABLE, SUMMARY = "/v1/networks/reporting/entity/table", "/v1/networks/reporting/entity/summary"
MEASURES = {"clicks": "total_click", "conversions": "cv", "total_conversions": "total_cv"}


def everflow(up, clock, **settings):
    given = {"api_key": key(KEY), "base_url": up.everflow_url, "timezone": "America/New_York", "clock": clock}
    return Everflow(**(given | settings))


@pytest.fixture
def up(served):
    return served()


@pytest.fixture
def upstream(up):
    return up.everflow


@pytest.fixture
def make(up, clock):
    return lambda **settings: everflow(up, clock, **settings)


@pytest.fixture
def path():
    return "/table"


@pytest.fixture
def secret():
    return KEY


def asked(upstream, path):
    return [call.json() for call in upstream.calls if call.path == path]


def by_affiliate(rows, of):
    return {
        (row["advertiser_id"], row["affiliate_id"]): (
            str(row["conversions"]), f"{row['revenue']:.2f}", f"{row['payout']:.2f}",
        )
        for row in rows
        if row["date"] == of and row["conversions"]
    }  # fmt: skip


def assert_true(world, rows, days):
    for of in days:
        assert by_affiliate(rows, of) == world.truth_totals(of)["by_affiliate"]


class TestEverflow(UpstreamLaws):
    pass


def test_rows_equal_the_truth(make, world):
    source = make()
    rows = typed(source, read(source))
    assert_true(world, rows, [TODAY - timedelta(days=back) for back in range(4)])
    row = next(row for row in rows if (row["date"], row["affiliate_id"]) == (YESTERDAY, 101))
    assert (row["affiliate_label"], row["advertiser_label"]) == ("Northbank Media ", "CCW")
    assert row["profit"] == row["revenue"] - row["payout"] > 0
    assert row["clicks"] > row["total_conversions"] >= row["conversions"]


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_address_is_taken_with_or_without_v1(make, up, suffix):
    assert make(base_url=up.everflow_url + suffix).check() == []


def test_the_number_of_the_zone_is_looked_up(served, world, clock):
    up = served(everflow={"timezone_ids": {"UTC": 80, "America/New_York": 4}})
    source = everflow(up, clock)
    rows = typed(source, read(source))
    assert {body["timezone_id"] for body in asked(up.everflow, TABLE)} == {4}
    assert_true(world, rows, [YESTERDAY])


def test_a_zone_the_upstream_does_not_know_is_named_with_its_mend(served, clock):
    up = served(everflow={"timezone_ids": {"UTC": 3, "America/Chicago": 4}})
    source = everflow(up, clock)
    (told,) = source.check()
    assert told.startswith("Everflow has no time zone 'America/New_York'. Set account_timezone to one it has.")
    assert "America/Chicago" in told
    with pytest.raises(ConfigError, match="America/New_York"):
        read(source)


def test_an_affiliates_key_is_refused_on_network_paths(make):
    (told,) = make(api_key=key("everflow-affiliate-key"), advertisers=(1,)).check()
    assert "403 (Out Of Realm)" in told
    assert "UPSTREAM_KEY" in told


def test_an_advertiser_nobody_has_is_told_by_check(make):
    assert make(advertisers=[1, 9]).check() == ["Everflow has no advertiser 9: use some of 1 (CCW), 2 (EXP)."]
    with pytest.raises(ConfigError, match="one id twice"):
        make(advertisers=[1, 1])


def test_each_advertiser_is_a_slice_of_its_own(make):
    source = make(advertisers=[1, 2])
    first, second = read(source)
    assert [batch.replaces[0].filters for batch in (first, second)] == [
        (("advertiser_id", 1),), (("advertiser_id", 2),),
    ]  # fmt: skip
    assert "2026-11-19|advertiser_id=1" in first.position
    assert {row["advertiser_id"] for row in typed(source, [second])} == {2}
    assert typed(source, [first, second]) == sorted(
        typed(make(), read(make())), key=lambda row: row["advertiser_id"]
    )  # fmt: skip


def test_days_without_rows_are_a_slice_with_none(make):
    (batch,) = read(make(), day(date(2026, 12, 24), date(2026, 12, 25)))
    assert batch.content.rows == 0
    assert len(batch.replaces[0].days()) == 2


def test_an_empty_table_may_be_spelt_null(make, upstream):
    def null(call, answer):
        return replace(answer, body=b'{"table":null,"incomplete_results":false}') if call.path == TABLE else answer

    answer_through(upstream, null)
    (batch,) = read(make(), day(date(2026, 12, 24)))
    assert batch.content.rows == 0


def test_mistake_1_today_is_read_today_even_when_utc_is_already_tomorrow(make, upstream, clock, world):
    clock.set(datetime(2026, 11, 21, 3, 30, tzinfo=UTC))  # 22:30 in New York
    source = make()
    rows = typed(source, read(source))
    (body,) = asked(upstream, TABLE)
    assert (body["from"], body["to"]) == ("2026-11-17", "2026-11-20")
    assert by_affiliate(rows, TODAY) == world.truth_totals(TODAY)["by_affiliate"] != {}
    read(make(lookback_days=0))
    assert [asked(upstream, TABLE)[-1][end] for end in ("from", "to")] == ["2026-11-20", "2026-11-20"]


def test_mistake_3_filters_have_the_documented_form(make, upstream):
    read(make(advertisers=[2]), day(YESTERDAY))
    ((table,), (summary,)) = asked(upstream, TABLE), asked(upstream, SUMMARY)
    filters = [{"resource_type": "advertiser", "filter_id_value": "2"}]
    assert table["query"] == summary["query"] == {"filters": filters}
    assert table["columns"] == [{"column": "date"}, {"column": "affiliate"}, {"column": "advertiser"}]
    assert table["currency_id"] == "USD"
    assert table.keys() - summary.keys() == {"columns"}
    assert all(summary[name] == table[name] for name in summary)
    assert {call.status for call in upstream.calls} == {200}


@pytest.mark.parametrize("cap", [pytest.param(1, marks=pytest.mark.slow), 5, 40])
def test_mistake_3_what_is_cut_short_is_split_until_it_is_whole(served, world, clock, cap):
    up = served(everflow={"row_cap": cap})
    source = everflow(up, clock, advertisers=[1, 2])
    batches = read(source, day(date(2026, 11, 18), YESTERDAY))
    rows = typed(source, batches)
    assert_true(world, rows, [date(2026, 11, 18), YESTERDAY])
    whole = everflow(served(), clock, advertisers=[1, 2])
    expected = typed(whole, read(whole, day(date(2026, 11, 18), YESTERDAY)))
    assert sorted(map(repr, rows)) == sorted(map(repr, expected))
    assert all(0 < batch.content.rows <= cap for batch in batches)
    assert all(b'"incomplete_results":false' in batch.content.chunks[0] for batch in batches)
    assert {call.status for call in up.everflow.calls} == {200}


def test_mistake_3_the_pages_of_a_split_day_are_one_observation(served, clock):
    up = served(everflow={"row_cap": 5})
    answer_through(up.everflow, lambda _call, answer: (clock.advance(2), answer)[1])  # time passes between pages
    began = clock.now()
    batches = read(everflow(up, clock, advertisers=[1]), day(YESTERDAY))
    assert len(batches) > 1
    (pieces,) = {batch.replaces for batch in batches}
    assert pieces[0].days() == [YESTERDAY]
    assert began <= pieces[0].observed_at < began + timedelta(seconds=5)
    assert len({tuple(batch.position) for batch in batches}) == 1
    assert len({batch.source_ref for batch in batches}) == len(batches)


def test_mistake_3_a_day_that_cannot_be_split_further_is_an_error_that_names_it(served, clock):
    up = served(everflow={"row_cap": 0})
    with pytest.raises(DataError, match=r"table of 2026-11-19, advertiser 1 short even for affiliate \d+ alone"):
        read(everflow(up, clock, advertisers=[1]), day(YESTERDAY))
    assert asked(up.everflow, SUMMARY) == []


def test_mistake_3_splitting_is_bounded(served, clock, monkeypatch):
    monkeypatch.setattr(everflow_report, "_MAX_TABLES", 3)
    up = served(everflow={"row_cap": 1})
    with pytest.raises(DataError, match="2026-11-19 short, and 3 requests by affiliate did not do"):
        read(everflow(up, clock), day(YESTERDAY))
    assert len(asked(up.everflow, TABLE)) == 4


def test_mistake_3_rows_that_are_missing_without_a_word_are_noticed(make, upstream):
    def cut(call, answer):
        if call.path != TABLE:
            return answer
        document = orjson.loads(answer.body)
        return replace(answer, body=orjson.dumps(document | {"table": document["table"][:-1]}))

    answer_through(upstream, cut)
    (stream,) = make().streams()
    batches = make().read(stream, Position(), day(YESTERDAY))
    with pytest.raises(RetryableError, match=r"2026-11-19 do not add up to its summary: total_click \d+ against \d+"):
        next(batches)
    assert (len(asked(upstream, TABLE)), len(asked(upstream, SUMMARY))) == (2, 2)


@pytest.mark.parametrize("measure", ["total_click", "cv", "total_cv", "revenue", "payout"])
def test_each_measure_is_held_against_the_summary(make, upstream, measure):
    def off(call, answer):
        if call.path != SUMMARY:
            return answer
        document = orjson.loads(answer.body)
        return replace(answer, body=orjson.dumps(document | {measure: document[measure] + 1}))

    answer_through(upstream, off)
    with pytest.raises(RetryableError, match=f"do not add up to its summary: {measure}"):
        read(make())


def test_a_summary_that_is_wrong_once_costs_one_more_pull(make, upstream, clock):
    wrong = []

    def once(call, answer):
        if call.path != SUMMARY or wrong:
            return answer
        wrong.append(call)
        clock.advance(3)
        return replace(answer, body=orjson.dumps(orjson.loads(answer.body) | {"cv": 0}))

    answer_through(upstream, once)
    began = clock.now()
    (batch,) = read(make())
    assert (len(asked(upstream, TABLE)), len(asked(upstream, SUMMARY))) == (2, 2)
    assert batch.replaces[0].observed_at >= began + timedelta(seconds=3)


def test_a_day_under_way_moves_between_a_table_and_its_summary(make, upstream, world, clock):
    def happen(call, answer):
        if call.path == TABLE:
            at = clock.now() - timedelta(minutes=1)
            world.add_conversion(at, affiliate_id=101, offer_id=501, revenue=Decimal("9.50"), payout=Decimal(5))
        return answer

    answer_through(upstream, happen)
    source = make()
    rows = typed(source, read(source, day(TODAY)))
    assert len(asked(upstream, TABLE)) == 2
    # What it says was true when it was asked, between the two summaries.
    mine = sum(row["conversions"] for row in rows)
    assert mine == int(world.truth_totals(TODAY)["conversions"]) - 1


def test_a_summary_that_repeats_is_noticed_and_the_slices_before_it_stand(make, upstream):
    upstream.faults.push(faults.repeat_page(), path="/summary")
    source = make(advertisers=[1, 2])
    (stream,) = source.streams()
    batches = source.read(stream, Position(), day(YESTERDAY))
    assert next(batches).replaces[0].filters == (("advertiser_id", 1),)
    with pytest.raises(RetryableError, match="2026-11-19, advertiser 2 do not add up"):
        next(batches)


def test_a_table_that_repeats_is_noticed(make, upstream):
    upstream.faults.push(faults.repeat_page(), path="/table")
    source = make(advertisers=[1, 2])
    (stream,) = source.streams()
    batches = source.read(stream, Position(), day(YESTERDAY))
    next(batches)
    with pytest.raises(RetryableError, match="for 2026-11-19, advertiser 2 with the table of another request"):
        next(batches)


def test_rows_of_other_days_or_advertisers_are_refused(make, upstream):
    source = make(advertisers=[1])
    upstream.faults.push(faults.repeat_page(), path="/table")
    read(source, day(date(2026, 11, 18)))
    with pytest.raises(RetryableError, match="rows of 2026-11-18 when asked for 2026-11-19, advertiser 1"):
        read(source, day(YESTERDAY))
    with pytest.raises(RetryableError, match=r"rows of affiliate \d+ and advertiser 1 when asked for"):
        read(make(advertisers=[2]), day(date(2026, 11, 18)))


def changed(**change):
    return lambda row: row | change


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (changed(reporting=None), DataError, "columns are not date, affiliate, advertiser"),
        (lambda row: row | {"columns": row["columns"][::-1]}, DataError, "in that order"),
        (lambda row: row | {"columns": row["columns"][:2]}, DataError, "in that order"),
        (lambda row: row | {"reporting": row["reporting"] | {"cv": None}}, DataError, "no number for 'cv'"),
        (lambda row: row | {"reporting": row["reporting"] | {"cv": "many"}}, DataError, "no number for 'cv'"),
        (lambda row: row | {"reporting": row["reporting"] | {"cv": True}}, DataError, "no number for 'cv'"),
        (lambda row: row | {"columns": [row["columns"][0] | {"id": "x"}, *row["columns"][1:]]}, RetryableError, "'x'"),
        (lambda _row: "row", DataError, "in that order"),
    ],
)
def test_rows_of_another_form_are_refused(make, upstream, change, error, told):
    def alter(call, answer):
        if call.path != TABLE:
            return answer
        document = orjson.loads(answer.body)
        return replace(answer, body=orjson.dumps(document | {"table": [change(row) for row in document["table"]]}))

    answer_through(upstream, alter)
    with pytest.raises(error, match=told):
        read(make(), day(YESTERDAY))


@pytest.mark.parametrize(
    ("path", "body", "error", "told"),
    [
        (TABLE, b"[]", RetryableError, "without a table"),
        (TABLE, b'{"rows":[]}', RetryableError, "without a table"),
        (SUMMARY, b"[]", RetryableError, "without a summary"),
        (SUMMARY, b"{}", DataError, "no number for 'total_click'"),
        ("/v1/meta/timezones", b"{}", RetryableError, "without its time zones"),
        ("/v1/networks/affiliates", b'{"affiliates":[{}]}', DataError, "not its own"),
    ],
)
def test_answers_of_another_form_are_refused(served, clock, path, body, error, told):
    up = served(everflow={"row_cap": 5})
    answer_through(up.everflow, lambda call, answer: replace(answer, body=body) if call.path == path else answer)
    with pytest.raises(error, match=told):
        read(everflow(up, clock), day(date(2026, 12, 24) if path == SUMMARY else YESTERDAY))


def test_the_same_row_twice_is_refused(make, upstream):
    def double(call, answer):
        document = orjson.loads(answer.body)
        return replace(answer, body=orjson.dumps(document | {"table": document["table"] * 2})) \
            if call.path == TABLE else answer  # fmt: skip

    answer_through(upstream, double)
    with pytest.raises(RetryableError, match="same row of 2026-11-19 twice"):
        read(make(), day(YESTERDAY))


def test_affiliates_are_paged_and_a_page_that_repeats_is_noticed(served, world, clock, monkeypatch):
    monkeypatch.setattr(everflow_report, "_PAGE_SIZE", 5)
    up = served(everflow={"row_cap": 5})
    source = everflow(up, clock)
    assert_true(world, typed(source, read(source, day(YESTERDAY))), [YESTERDAY])
    up.everflow.faults.push(faults.repeat_page(), path="/affiliates")
    with pytest.raises(RetryableError, match=r"gave 5 of \d+ affiliates, and page 2 brought no other"):
        read(source, day(YESTERDAY))


@pytest.mark.parametrize(("today", "hours"), [(date(2026, 11, 2), (4, 4, 5)), (date(2026, 3, 9), (5, 5, 4))])
def test_mistake_4_date_ids_are_local_midnights_on_both_sides_of_a_clock_change(served, clock, today, hours):
    clock.set(datetime(today.year, today.month, today.day, 23, tzinfo=UTC) + timedelta(days=9))
    world = World(7, today, now=clock.now)
    source = everflow(served(world), clock)
    batches = read(source, day(today - timedelta(days=2), today))
    rows = typed(source, batches)
    days = [today - timedelta(days=back) for back in (2, 1, 0)]
    assert_true(world, rows, days)
    assert {row["date"] for row in rows} == set(days)
    ids = {row["columns"][0]["id"] for row in orjson.loads(batches[0].content.chunks[0])["table"]}
    midnights = [datetime(of.year, of.month, of.day, hour, tzinfo=UTC) for of, hour in zip(days, hours, strict=True)]
    assert sorted(map(int, ids)) == [int(at.timestamp()) for at in midnights]
    # Each day alone is the same day.
    for of in days:
        assert typed(source, read(source, day(of))) == [row for row in rows if row["date"] == of]


def test_mistake_4_days_of_another_zone_are_that_zones_days(make):
    here, there = make(), make(account_timezone="UTC")
    rows = typed(there, read(there, day(YESTERDAY)))
    assert {row["date"] for row in rows} == {YESTERDAY}
    assert sum(row["conversions"] for row in rows) != sum(
        row["conversions"] for row in typed(here, read(here, day(YESTERDAY)))
    )


def test_mistake_5_a_real_zero_stays_zero(make, world):
    for conversion in world.conversions(YESTERDAY):
        if conversion.affiliate_id == 101:
            world.reject_conversion(conversion.id)
    source = make()
    rows = typed(source, read(source, day(YESTERDAY)))
    mine = [row for row in rows if row["affiliate_id"] == 101]
    assert mine
    assert all(row["conversions"] == 0 < row["total_conversions"] for row in mine)
    assert all(row["revenue"] == 0 for row in mine)


def test_a_long_window_is_read_31_days_at_once_and_logged_without_the_key(make, upstream, caplog):
    caplog.set_level(logging.DEBUG)
    batches = read(make(), day(date(2026, 10, 1), date(2026, 11, 20)))
    assert [(body["from"], body["to"]) for body in asked(upstream, TABLE)] == [
        ("2026-10-01", "2026-10-31"), ("2026-11-01", "2026-11-20"),
    ]  # fmt: skip
    assert [len(batch.replaces[0].days()) for batch in batches] == [31, 20]
    assert KEY not in caplog.text
    assert "Everflow POST /v1/networks/reporting/entity/table: 200 in " in caplog.text


@pytest.mark.slow
def test_vanished_rows_vanish_and_another_advertisers_stay(tmp_path, served, world, clock):
    up = served(everflow={"row_cap": 5})
    (tmp_path / "signalroom.toml").write_text(f"""
        name = "test"
        timezone = "America/New_York"
        [warehouse]
        kind = "duckdb"
        memory_mb = 4096
        [sources.everflow]
        kind = "everflow"
        api_key = "env:UPSTREAM_KEY"
        base_url = "{up.everflow_url}/v1"
        advertisers = [1, 2]
    """)
    (tmp_path / ".env").write_text(f"UPSTREAM_KEY={KEY}\n")
    with Room.open(tmp_path, clock=clock) as room:
        (stream,) = room.streams("everflow")

        def rows(of):
            sql = "SELECT * FROM everflow.daily_stats WHERE date = :day"
            return room.warehouse.query(sql, {"day": of}).to_pylist()

        steps.sync(room, stream, day(date(2026, 11, 18), YESTERDAY))
        before = rows(YESTERDAY)
        assert_true(world, before, [YESTERDAY])
        assert world.erase_traffic(YESTERDAY, 101)
        clock.advance(60)
        steps.sync(room, stream, day(YESTERDAY))
        assert_true(world, rows(YESTERDAY), [YESTERDAY])
        assert {row["affiliate_id"] for row in before} - {row["affiliate_id"] for row in rows(YESTERDAY)} == {101}
        assert_true(world, rows(date(2026, 11, 18)), [date(2026, 11, 18)])
