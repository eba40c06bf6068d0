"""What one agency's rows do to a report of many: the others have theirs, and hear nothing of its values."""

import dataclasses

import pytest

from agency_views import AGENCIES, MANIFESTS, OWN, Views
from ledger_laws import HandClock
from signalroom.ledger.ledger import Ledger
from signalroom.view import CannedReport
from warehouses import duckdb_warehouse, postgres_warehouse

pytestmark = pytest.mark.slow

FAILS = "select day, sum(cast(offer as integer)) as n from clicks group by day"


@pytest.fixture(params=["duckdb", "postgres"])
def views(request, tmp_path):
    opened = (
        duckdb_warehouse(tmp_path)
        if request.param == "duckdb"
        else postgres_warehouse(request.getfixturevalue("postgres_server"), tmp_path)
    )
    with opened as warehouse, Ledger.open(str(tmp_path / "l.sqlite"), clock=HandClock()) as ledger:
        views = Views(tmp_path, warehouse, ledger, HandClock())
        warehouse.run("update shop.clicks set offer = '12' where agency_id <> 8")
        yield views


def test_one_agency_s_value_fails_its_own_report_only(views):
    report = CannedReport(3, "fails", "F", FAILS)
    assigned = tuple((50 + one.id, one.id, 3) for one in AGENCIES)
    views.ledger.manifests.bring(
        dataclasses.replace(MANIFESTS, canned=(*MANIFESTS.canned, report), assigned=(*MANIFESTS.assigned, *assigned))
    )
    result = views.refresh()
    assert [one.view.name for one in result.failed] == ["fails__bolt"]
    told = {one.name: one.error for one in views.ledger.views.statuses().values() if one.error}
    assert list(told) == ["fails__bolt"]
    assert " of 8" in told["fails__bolt"]  # its own value, which it needs to mend it
    assert {row["n"] for row in views.rows("fails__acme", "acme")} == {20 * 12}
    views.warehouse.run("update shop.clicks set offer = '12'")
    views.load("L2")
    assert views.refresh().failed == ()
    assert {row["n"] for row in views.rows("fails__bolt", "bolt")} == {20 * 12}


def test_another_s_value_is_in_no_agency_s_errors(views):
    """Conditions on rows that are not its own never run, however cheap they are made to look."""
    for number, where in enumerate(
        (
            "cast(offer as integer) > 3",
            "1 / (length(offer) - 12) >= 0",  # 'offer n of 8' has 12 characters
            "length(offer) = 12 and cast(offer as integer) > 0",
            "cast(substr(offer, 7) as integer) is null or true",
        )
    ):
        query = f"select day, count(*) as n from clicks where {where} group by day"
        own = dataclasses.replace(OWN, query=query)
        views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(own,)))
        for one in views.refresh("acme_offers", force=True).refreshed:
            assert " of 8" not in str(one.error), (number, where)
            assert "of 8" not in str(views.ledger.views.history("acme_offers", 1))


def test_a_manifest_without_a_query_keeps_no_other_from_its_record(views):
    empty = dataclasses.replace(OWN, name="empty", manifest_id=2, query="")
    refused = dataclasses.replace(OWN, name="refused", manifest_id=3, query="select now()")
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(OWN, refused, empty)))
    assert {one.view.name for one in views.refresh().failed} == {"empty", "refused"}
    assert {one.name for one in views.ledger.views.statuses().values() if one.error} == {"empty", "refused"}


def test_a_moment_is_of_its_day_in_the_workspace_s_zone(views):
    views.warehouse.run("create table shop.calls (agency_id integer, moment timestamptz, day date)")
    views.warehouse.run(
        """insert into shop.calls values (7, timestamptz '2026-11-01 03:30:00+00', date '2026-10-31'),
            (7, timestamptz '2026-11-01 05:30:00+00', date '2026-11-01')"""
    )
    views.warehouse.run("insert into signalroom.loads values ('C1', 'shop', 'calls', now(), now(), 1, 2)")
    query = "select day, cast(min(moment) as date) as local from calls group by day"
    own = dataclasses.replace(OWN, query=query)
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(own,)))
    settings = dataclasses.replace(views.workspace.views, tables=["shop.clicks", "shop.calls"])
    for zone, days in (("America/New_York", [31, 1]), ("UTC", [1, 1]), ("America/New_York", [31, 1])):
        views.workspace = dataclasses.replace(views.workspace, timezone=zone, views=settings)
        (done,) = views.refresh("acme_offers").refreshed
        assert done.error is None
        assert [row["local"].day for row in views.rows("acme_offers", "acme")] == days
