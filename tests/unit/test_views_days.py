"""Shared reports on DuckDB: only the days whose rows changed are read, handed over and replaced."""

import dataclasses

import pytest

from agency_views import AGENCIES, DAILY, DAY
from signalroom.view import Pending, ViewLimits
from signalroom.views.guard import check
from signalroom.warehouse import view_parser
from signalroom.warehouse.sealed import Sealed
from warehouses import duckdb_warehouse

pytestmark = pytest.mark.slow  # each refresh starts a process

LIMITS = ViewLimits({"clicks": "shop.clicks"}, timeout_s=30)
SETUP = """create schema shop; create table shop.clicks as
    select 7 + n % 3 as agency_id, date '2026-11-01' + cast(n // 3 % 10 as integer) as day, 'offer ' || n as offer,
        cast(n as decimal(12, 2)) as revenue from range(300) s(n)"""
FULL, PART = 300, 10  # rows in all; of one agency's day


@pytest.fixture
def given(monkeypatch):
    """How many rows each process was handed."""
    handed = []
    give = Sealed.give
    monkeypatch.setattr(Sealed, "give", lambda self, name, rows: handed.append(rows.num_rows) or give(self, name, rows))
    return handed


@pytest.fixture
def warehouse(tmp_path):
    with duckdb_warehouse(tmp_path) as opened:
        opened.positions("shop", "clicks")
        opened.run(SETUP)
        yield opened


def asking(query=DAILY.query, version="1"):
    canned = dataclasses.replace(DAILY, query=query)
    checked = check(query, view_parser.parse(query), ["clicks"], DAY)
    return [Pending(canned.view(one.id, one), checked, version) for one in AGENCIES]


def refreshed(warehouse, pending):
    done = warehouse.views().refresh(pending, LIMITS, together=True)
    assert [one.error for one in done] == [None] * len(pending)
    return done


def differing(warehouse, pending):
    found = 0
    for one in pending:
        mine = f"with clicks as (select * from shop.clicks where agency_id = {one.view.agency_id})"
        shown = f"select * from agency_{one.view.agency_slug}.{one.view.name}"
        for left, right in ((shown, one.view.query), (one.view.query, shown)):
            sql = f"{mine} select count(*) as n from (({left}) except all ({right})) as d"
            found += warehouse.query(sql).to_pylist()[0]["n"]
    return found


def test_what_changed_is_handed_over_and_nothing_else(warehouse, given):
    first = refreshed(warehouse, asking())
    assert given == [FULL]
    changes = {
        "update shop.clicks set offer = offer || '!'": [],  # no column that the report names
        "create or replace table shop.clicks as select * from shop.clicks order by revenue desc": [],  # as dbt does
        "update shop.clicks set revenue = revenue + 1 where agency_id = 8 and day = date '2026-11-04'": [PART],
        "update shop.clicks set day = null where agency_id = 7 and day = date '2026-11-05'": [PART],
        "delete from shop.clicks where agency_id = 9 and day = date '2026-11-06'": [0],
        "insert into shop.clicks values (7, null, 'late', 3), (8, date '2026-12-01', 'new', 4)": [PART + 1 + 1],
        "alter table shop.clicks alter revenue type decimal(14, 3)": [FULL - PART + 2],  # nothing is as it was
    }
    for statement, handed in changes.items():
        given.clear()
        warehouse.run(statement)
        done = refreshed(warehouse, asking(version=statement))
        assert given == handed, statement
        assert differing(warehouse, asking()) == 0, statement
        assert warehouse.views().states()["daily__acme"][1] == statement
    assert [one.rows for one in first] == [10, 10, 10]
    assert [one.rows for one in done] == [10, 11, 9]


def test_who_is_new_or_asks_for_something_else_is_computed_in_full(warehouse, given):
    refreshed(warehouse, asking()[:2])
    refreshed(warehouse, asking())
    other = asking("select day, max(revenue) as best from clicks group by day")
    refreshed(warehouse, other)
    refreshed(warehouse, asking("select offer, max(revenue) as best from clicks group by offer"))
    given.clear()
    refreshed(warehouse, other)  # what its days were then says nothing any more
    assert given == [FULL]
    assert differing(warehouse, other) == 0


def test_what_somebody_changed_by_hand_is_put_right(warehouse, given):
    pending = asking()
    refreshed(warehouse, pending)
    for surprise in (
        "drop table agency_acme.daily__acme",
        "alter table agency_acme.daily__acme drop column clicks",
    ):
        warehouse.run(surprise)
        warehouse.run("update shop.clicks set revenue = revenue + 1 where day = date '2026-11-02' and agency_id = 7")
        refreshed(warehouse, pending)
        assert differing(warehouse, pending) == 0
    warehouse.run("delete from agency_bolt.daily__bolt")
    given.clear()
    refreshed(warehouse, [dataclasses.replace(one, anew=True) for one in pending])
    assert given == [FULL]
    assert differing(warehouse, pending) == 0


def test_two_reports_of_one_query_in_one_agency(warehouse):
    twice = [
        *asking(),
        *[dataclasses.replace(one, view=dataclasses.replace(one.view, name="again")) for one in asking()][:1],
    ]
    refreshed(warehouse, twice[:3])
    refreshed(warehouse, twice)
    warehouse.run("delete from shop.clicks where day = date '2026-11-03'")
    assert [one.rows for one in refreshed(warehouse, twice)] == [9, 9, 9, 9]
    assert differing(warehouse, twice) == 0
