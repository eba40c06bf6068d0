"""What Everflow answers is taken whole, and only when it adds up: its third mistake, and what is like it."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import orjson
import pytest

from everflow_upstream import SUMMARY, TABLE, YESTERDAY, asked, assert_true, everflow, make, up, upstream
from signalroom.errors import DataError, RetryableError
from signalroom.position import Position
from signalroom.simulators import faults
from signalroom.sources import everflow_report
from upstream_laws import TODAY, answer_through, clock, day, read, served, typed, world

__all__ = ["clock", "make", "served", "up", "upstream", "world"]  # fixtures


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
