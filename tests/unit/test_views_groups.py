"""The order of a wave: what failed, then what waited longest, then what takes longest."""

import dataclasses
from datetime import UTC, date, datetime, timedelta

import pytest

from agency_views import Views
from ledger_laws import HandClock
from signalroom.ledger.ledger import Ledger
from signalroom.ledger.view_history import ViewStatus
from signalroom.view import Pending, View
from signalroom.views.groups import Group, groups_of, in_turn
from signalroom.views.guard import check
from signalroom.warehouse import view_parser
from warehouses import duckdb_warehouse

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SQL = "select day, count(*) as n from clicks group by day"
QUERY = check(SQL, view_parser.parse(SQL), ["clicks"], date(2026, 11, 20))


def pending(name, kind="custom", agency=7):
    return Pending(View(name, name, agency, f"a{agency}", SQL, report_type=kind), QUERY, "1")


def status(name, *, hours=0.0, failures=0, seconds=0):
    return ViewStatus(name, "success", failures, "", NOW - timedelta(hours=hours), "", seconds)


def order(*given):
    groups = [Group((pending(one.name),), together=False) for one in given]
    return [group.pending[0].view.name for group in in_turn(groups, {one.name: one for one in given}, NOW)]


def test_failed_then_stale_then_long():
    given = [
        status("fresh", hours=0.2, seconds=1),
        status("fresh_and_long", hours=0.1, seconds=40),
        status("stale", hours=30),
        status("failed", failures=2),
        status("failed_long_ago", hours=9, failures=1),
    ]
    expected = ["failed_long_ago", "failed", "stale", "fresh_and_long", "fresh"]
    assert order(*given) == expected
    assert order(*reversed(given)) == expected


def test_a_group_is_as_long_as_its_queries():
    shared = [pending(f"s{n}", "canned", n) for n in (7, 8, 9)]
    own = [pending(f"o{n}") for n in range(3)]
    statuses = {one.view.name: status(one.view.name, seconds=4) for one in (*shared, *own)}
    together, alone = groups_of([*shared, *own])
    assert in_turn([together, alone], statuses, NOW) == (alone, together)  # three queries of four seconds, and one
    statuses["s8"] = dataclasses.replace(statuses["s8"], failures=1)
    assert in_turn([alone, together], statuses, NOW) == (together, alone)


@pytest.mark.slow
def test_a_number_of_another_database_means_this_warehouse_where_it_is_named(tmp_path):
    with duckdb_warehouse(tmp_path) as warehouse, Ledger.open(str(tmp_path / "l.sqlite"), clock=HandClock()) as ledger:
        views = Views(tmp_path, warehouse, ledger, HandClock(), databases=[4])
        refused = views.refresh("acme").failed
        assert "asks for database 1, and there is 4" in str(refused[0].error)
        views.workspace = dataclasses.replace(
            views.workspace, views=dataclasses.replace(views.workspace.views, databases=[4, 1])
        )
        assert views.refresh("acme").failed == ()
