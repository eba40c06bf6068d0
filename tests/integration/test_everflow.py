"""The Everflow source against an upstream as strict as its documentation."""

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import orjson
import pytest

from everflow_upstream import KEY, TABLE, YESTERDAY, asked, assert_true, by_affiliate, everflow, make, up, upstream
from signalroom import steps
from signalroom.errors import ConfigError
from signalroom.room import Room
from signalroom.simulators import World
from upstream_laws import TODAY, UpstreamLaws, answer_through, clock, day, key, read, served, typed, world

__all__ = ["clock", "make", "served", "up", "upstream", "world"]  # fixtures


@pytest.fixture
def path():
    return "/table"


@pytest.fixture
def secret():
    return KEY


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
