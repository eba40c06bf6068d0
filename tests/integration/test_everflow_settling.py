"""Conversions on hold and adjustments, against an upstream as strict as its documentation, and against ones that lie."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from everflow_upstream import KEY, YESTERDAY, asked, everflow, up, upstream
from signalroom import steps
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.room import Room
from signalroom.simulators import faults
from signalroom.sources import everflow_lists
from upstream_laws import NOW, TODAY, UpstreamLaws, answer_through, clock, day, read, served, typed, world

__all__ = ["clock", "served", "up", "upstream", "world"]  # fixtures

ON_HOLD = "/v1/networks/reporting/onhold"
ADJUSTMENTS = "/v1/networks/reportingadjustments"
FIRST = datetime(2026, 11, 17, 14, 0, tzinfo=UTC)


def hold(world, number, offer_id=501, **changed):
    given = {"affiliate_id": 101, "revenue": Decimal("40.10"), "payout": Decimal("25.05")}
    return world.hold_conversion(
        FIRST + timedelta(hours=number), offer_id=offer_id, until=NOW + timedelta(hours=number), **(given | changed)
    )


@pytest.fixture
def holds(world):
    other = next(one.id for one in world.cast.offers if one.advertiser_id == 2)
    return [hold(world, number, offer_id=other if number % 3 else 501) for number in range(60)]


@pytest.fixture
def secret():
    return KEY


@pytest.mark.slow
class TestOnHold(UpstreamLaws):
    @pytest.fixture
    def path(self):
        return "/onhold"

    @pytest.fixture
    def make(self, up, clock, holds):
        return lambda **settings: everflow(up, clock, **({"streams_": ("on_hold",), "holding_days": 0} | settings))


@pytest.mark.slow
class TestAdjustments(UpstreamLaws):
    @pytest.fixture
    def path(self):
        return "/reportingadjustments"

    @pytest.fixture
    def make(self, up, clock, world):
        world.adjust(YESTERDAY, affiliate_id=101, offer_id=501, payout=Decimal("-3.20"))
        settings = {"streams_": ("adjustments",), "adjustable_days": 0}
        return lambda **changed: everflow(up, clock, **(settings | changed))


@pytest.fixture
def make(up, clock):
    return lambda stream="on_hold", **settings: everflow(up, clock, **({"streams_": (stream,)} | settings))


def test_each_hold_has_its_status_and_its_end(make, world, holds):
    world.reject_hold(holds[7].id)
    source = make()
    rows = {row["on_hold_id"]: row for row in typed(source, read(source))}
    assert {name: row["status"] for name, row in rows.items()} == {
        one.id: "rejected" if one == holds[7] else "on_hold" if one.until_s > NOW.timestamp() else "approved"
        for one in holds
    }
    row = rows[holds[3].id]
    assert (row["revenue"], row["payout"], row["currency_id"]) == (Decimal("40.10"), Decimal("25.05"), "USD")
    assert (row["date"], row["is_event"], row["affiliate_id"]) == (date(2026, 11, 17), False, 101)
    assert row["held_until"].astimezone(UTC) == NOW + timedelta(hours=3)
    assert row["conversion_id"] == holds[3].conversion_id


def test_a_sync_reads_as_far_back_as_a_hold_may_last(make, upstream):
    read(make())
    bodies = asked(upstream, ON_HOLD)
    assert [(body["from"], body["to"]) for body in bodies] == [
        ("2026-10-18", "2026-11-17"), ("2026-11-18", "2026-11-20")
    ]  # fmt: skip
    assert bodies[0].keys() == {
        "from", "to", "timezone_id", "show_conversions", "show_events", "on_hold_status_filter", "query"
    }  # fmt: skip
    assert (bodies[0]["show_conversions"], bodies[0]["show_events"], bodies[0]["on_hold_status_filter"]) == (
        True,
    ) * 2 + ("",)


@pytest.mark.parametrize(("name", "days"), [("holding_days", -1), ("holding_days", 362), ("adjustable_days", 400)])
def test_days_the_vendor_does_not_list_are_refused(make, name, days):
    with pytest.raises(ConfigError, match=name):
        make(**{name: days})
    assert make(**{name: 361}).check() == []


def test_each_advertiser_is_a_slice_of_its_own_and_adjustments_are_asked_for_once(make, world, holds, upstream):
    source = make(advertisers=[1, 2])
    batches = read(source, day(date(2026, 11, 17), TODAY))
    assert [{row["advertiser_id"] for row in typed(source, [batch])} for batch in batches] == [{1}, {2}]
    assert sum(batch.content.rows for batch in batches) == len(holds)
    (batch,) = read(make("adjustments", advertisers=[1, 2]), day(YESTERDAY))
    assert list(batch.position) == ["2026-11-19"]
    assert len([call for call in upstream.calls if call.path == ADJUSTMENTS]) == 1


def test_a_page_that_repeats_is_noticed_and_a_size_nobody_keeps_loses_nothing(make, holds, upstream, monkeypatch):
    monkeypatch.setattr(everflow_lists, "_PAGE_SIZE", 25)
    source = make(holding_days=0)
    assert [batch.content.rows for batch in read(source)] == [25, 25, 10]

    def smaller(call, answer):
        return (
            answer
            if call.path != ON_HOLD
            else upstream_answer(replace(call, query=(*call.query[:1], ("page_size", "7"))))
        )

    upstream_answer = upstream._answer
    answer_through(upstream, smaller)
    assert [batch.content.rows for batch in read(source)] == [7] * 8 + [4]
    upstream.faults.push(faults.repeat_page(), times=4, path="/onhold")
    with pytest.raises(RetryableError, match="conversions on hold of 2026-11-17 to 2026-11-20 moved between its pages"):
        read(source)


def test_one_that_arrives_between_two_pages_neither_skips_nor_doubles_a_row(make, world, holds, upstream, monkeypatch):
    monkeypatch.setattr(everflow_lists, "_PAGE_SIZE", 20)
    calls = []

    def grow(call, answer):
        if call.path == ON_HOLD:
            calls.append(call)
            if len(calls) == 1:
                hold(world, 61)
        return answer

    answer_through(upstream, grow)
    source = make(holding_days=0)
    rows = typed(source, read(source))
    assert len({row["on_hold_id"] for row in rows}) == len(rows) == 61
    assert len(calls) == 2 + 4


def altered(path, change):
    def alter(call, answer):
        if call.path != path:
            return answer
        document = orjson.loads(answer.body)
        change(document)
        return replace(answer, body=orjson.dumps(document))

    return alter


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda rows: rows[0]["conversion"].update(conversion_unix_timestamp=1), RetryableError, "1969-12-31, unasked"),
        (lambda rows: rows[0]["conversion"]["relationship"]["advertiser"].update(network_advertiser_id=9),
         RetryableError, "advertiser 9, unasked"),
        (lambda rows: rows.append(rows[0]), RetryableError, "moved between its pages"),
        (lambda rows: rows.__delitem__(slice(1)), RetryableError, "moved between its pages"),
        (lambda rows: rows[0].pop("conversion"), DataError, "not its own"),
        (lambda rows: rows[0].pop("on_hold_conversion_id"), DataError, "not its own"),
    ],
)  # fmt: skip
def test_holds_that_do_not_fit_are_refused_whole(make, holds, upstream, change, error, told):
    answer_through(upstream, altered(ON_HOLD, lambda document: change(document["conversions"])))
    with pytest.raises(error, match=told):
        read(make(advertisers=[1]), day(date(2026, 11, 17), TODAY))


def test_holds_filtered_in_another_zone_are_refused(make, world, upstream):
    hold(world, 14)  # 23:00 of the 17th in New York is the 18th in London
    source = make(account_timezone="Europe/London")
    assert [row["date"] for row in typed(source, read(source, day(date(2026, 11, 18))))] == [date(2026, 11, 18)]
    (number,) = {body["timezone_id"] for body in asked(upstream, ON_HOLD)}
    upstream_answer = upstream._answer
    answer_through(upstream, lambda call, answer: upstream_answer(elsewhere(call, number)) if number else answer)
    with pytest.raises(RetryableError, match="of 2026-11-18, unasked"):
        read(source, day(date(2026, 11, 17)))


def elsewhere(call, number):
    """Return the call as if the network had taken its dates in New York's zone."""
    if call.path != ON_HOLD:
        return call
    body = orjson.loads(call.body) | {"from": "2026-11-17 00:00:00", "to": "2026-11-18 04:59:59", "timezone_id": number}
    return replace(call, body=orjson.dumps(body))


def test_adjustments_are_what_a_report_changed_by(make, world):
    stats = make("daily_stats")
    before = {(row["affiliate_id"], row["advertiser_id"]): row for row in typed(stats, read(stats, day(YESTERDAY)))}
    world.adjust(YESTERDAY, affiliate_id=101, offer_id=501, conversions=-2, revenue=Decimal(-80), payout=Decimal(-50))
    gone = world.adjust(YESTERDAY, affiliate_id=101, offer_id=501, payout=Decimal("9.99"))
    world.delete_adjustment(gone.id)
    source = make("adjustments")
    rows = typed(source, read(source, day(YESTERDAY)))
    assert [(row["adjustment_id"], row["is_deleted"]) for row in rows] == [(2, True), (1, False)]
    (kept,) = (row for row in rows if not row["is_deleted"])
    after = {(row["affiliate_id"], row["advertiser_id"]): row for row in typed(stats, read(stats, day(YESTERDAY)))}
    for name in ("conversions", "revenue", "payout"):
        assert after[101, 1][name] - before[101, 1][name] == kept[name]
    assert (kept["date"], kept["made_at"].astimezone(UTC)) == (YESTERDAY, NOW)


def test_adjustments_are_read_as_far_back_as_a_day_may_be_adjusted(make, upstream):
    read(make("adjustments"))
    asked_for = [dict(call.query) for call in upstream.calls if call.path == ADJUSTMENTS]
    assert [(one["from"], one["to"]) for one in asked_for] == [
        ("2026-08-19", "2026-09-18"), ("2026-09-19", "2026-10-19"), ("2026-10-20", "2026-11-19"),
        ("2026-11-20", "2026-11-20"),
    ]  # fmt: skip
    assert all(one["timezone_id"].isdecimal() for one in asked_for)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda found: found["adjustments"].append(found["adjustments"][0]), RetryableError, "twice"),
        (
            lambda found: found["adjustments"][0].update(date_adjustment="2026-11-18"),
            RetryableError,
            "2026-11-18, unasked",
        ),
        (lambda found: found["adjustments"][0].update(date_adjustment="yesterday"), DataError, "not its own"),
        (lambda found: found.pop("adjustments"), DataError, "not its own"),
        (lambda found: found.update(incomplete_results=True), DataError, "not whole"),
        (lambda found: found.update(paging={"total_count": 3}), DataError, "not whole: 1 rows of 3"),
    ],
)
def test_adjustments_that_do_not_fit_are_refused_whole(make, world, upstream, change, error, told):
    world.adjust(YESTERDAY, affiliate_id=101, offer_id=501, payout=Decimal(1))
    answer_through(upstream, altered(ADJUSTMENTS, change))
    with pytest.raises(error, match=told):
        read(make("adjustments"), day(YESTERDAY))


def test_no_adjustments_may_be_written_as_null(make, upstream):
    answer_through(upstream, altered(ADJUSTMENTS, lambda found: found.update(adjustments=None)))
    (batch,) = read(make("adjustments"), day(YESTERDAY))
    assert (batch.content.rows, batch.replaces[0].first_day) == (0, YESTERDAY)


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
        streams = ["on_hold", "adjustments"]
    """)
    (tmp_path / ".env").write_text(f"UPSTREAM_KEY={KEY}\n")
    with Room.open(tmp_path, clock=clock) as opened:
        yield opened


def statuses(room):
    rows = room.warehouse.query("SELECT on_hold_id, status FROM everflow.on_hold").to_pylist()
    return {row["on_hold_id"]: row["status"] for row in rows}


@pytest.mark.slow
def test_a_status_that_changes_between_pulls_is_followed_and_a_row_withdrawn_is_gone(room, world, clock):
    kept, rejected, withdrawn = (hold(world, number) for number in (1, 2, 3))
    adjustment = world.adjust(YESTERDAY, affiliate_id=101, offer_id=501, payout=Decimal("-12.34"))
    on_hold, adjustments = room.streams("everflow")
    for stream in (on_hold, adjustments):
        steps.sync(room, stream)
    assert set(statuses(room).values()) == {"on_hold"}
    world.reject_hold(rejected.id)
    world.erase_hold(withdrawn.id)
    world.delete_adjustment(adjustment.id)
    clock.advance(3600)
    for stream in (on_hold, adjustments):
        steps.sync(room, stream)
    assert statuses(room) == {kept.id: "approved", rejected.id: "rejected"}
    found = room.warehouse.query("SELECT payout, is_deleted FROM everflow.adjustments").to_pylist()
    assert found == [{"payout": Decimal("-12.34"), "is_deleted": True}]
