"""Report views on DuckDB: each agency's rows and no other's, computed when something changed, recorded as measured."""

import dataclasses
from datetime import timedelta

import pytest

from agency_views import AGENCIES, DAY, MANIFESTS, OWN, Views
from ledger_laws import HandClock
from signalroom.errors import ConfigError
from signalroom.ledger.ledger import Ledger
from signalroom.view import ManifestSet
from warehouses import duckdb_warehouse

pytestmark = pytest.mark.slow  # each refresh starts processes


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def views(tmp_path, clock):
    with duckdb_warehouse(tmp_path) as warehouse, Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger:
        yield Views(tmp_path, warehouse, ledger, clock)


def test_views_from_first_to_last(views):
    first = views.refresh()
    assert (len(first.refreshed), first.unchanged, first.failed) == (7, 0, ())
    assert views.differing() == 0
    assert [len(views.rows("daily__" + slug, slug)) for slug in ("acme", "bolt", "crow")] == [10, 10, 10]
    measured = {one.view.name: one for one in first.refreshed}["top__acme"]
    assert measured.rows == 200
    assert measured.bytes > 200 * 8
    assert measured.memory_mb > 10
    (row,) = views.ledger.views.history("top__acme")
    assert (row["status"], row["records_processed"], row["bytes_processed"]) == ("success", 200, measured.bytes)

    again = views.refresh()
    assert (len(again.refreshed), again.unchanged) == (0, 7)
    assert len(views.ledger.views.history("top__acme")) == 1

    views.warehouse.run("update shop.clicks set revenue = revenue + 1 where agency_id = 8")
    views.load("L2")
    third = views.refresh()
    assert len(third.refreshed) == 7
    assert views.differing() == 0


def test_a_changed_query_changes_one_view_and_readers_always_find_it(views):
    views.refresh()
    changed = dataclasses.replace(OWN, query="select offer, max(day) as last from clicks group by offer")
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(changed,)))
    with views.warehouse.snapshot() as ask:
        assert "revenue" in ask("select * from agency_acme.acme_offers").column_names
        result = views.refresh()
        assert "revenue" in ask("select * from agency_acme.acme_offers").column_names
    assert [one.view.name for one in result.refreshed] == ["acme_offers"]
    assert sorted(views.rows("acme_offers", "acme")[0]) == ["last", "offer"]


def test_what_asks_for_the_date_is_computed_each_day(views):
    query = "select current_date as today, current_date - 1 as before, count(*) as n from clicks"
    assert views.ask(query).error is None
    assert views.rows("hostile", "acme")[0]["today"] == DAY
    assert views.refresh("hostile").unchanged == 1
    tomorrow = views.refresh("hostile", today=DAY + timedelta(days=1))
    assert len(tomorrow.refreshed) == 1
    assert views.rows("hostile", "acme")[0]["before"] == DAY


def test_a_failing_view_stays_as_it_was_and_rests_after_a_while(views, clock):
    alone = ManifestSet(AGENCIES, (OWN,))
    views.ledger.manifests.bring(alone)
    views.refresh()
    before = views.rows("acme_offers", "acme")
    broken = dataclasses.replace(OWN, query="select nothing_of_the_kind from clicks")
    views.ledger.manifests.bring(dataclasses.replace(alone, custom=(broken,)))
    for _ in range(5):
        (failed,) = views.refresh("acme").failed
        assert "nothing_of_the_kind" in str(failed.error)
    assert views.rows("acme_offers", "acme") == before
    resting = views.refresh()
    assert (resting.resting, resting.refreshed, resting.unchanged) == (("acme_offers",), (), 0)
    clock.advance(6 * 3600 + 1)
    assert len(views.refresh().failed) == 1
    views.ledger.manifests.bring(alone)
    assert [one.error for one in views.refresh().refreshed] == [None]
    assert views.ledger.views.statuses()["acme_offers"].failures == 0


def test_one_that_takes_too_long_ends_and_the_next_is_computed(views):
    views.workspace = dataclasses.replace(
        views.workspace, views=dataclasses.replace(views.workspace.views, timeout_s=2, memory_mb=100)
    )
    bomb = "select count(*) as n from clicks a, clicks b, clicks c, clicks d, clicks e"
    big = "select string_agg(a.offer || b.offer, c.offer) as n from clicks a, clicks b, clicks c, clicks d"
    given = [
        dataclasses.replace(OWN, name=f"v{i}", manifest_id=50 + i, query=q)
        for i, q in enumerate([bomb, big, OWN.query])
    ]
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=tuple(given), assigned=()))
    result = {one.view.name: one for one in views.refresh().refreshed}
    assert "longer than 2 s" in str(result["v0"].error)
    assert result["v0"].seconds > 1.9
    assert result["v1"].error is not None
    assert result["v2"].error is None
    assert len(views.rows("v2", "acme")) == 5


def test_disabled_views_and_unknown_names(views):
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(dataclasses.replace(OWN, enabled=False),)))
    assert "acme_offers" not in {one.view.name for one in views.refresh("acme").refreshed}
    with pytest.raises(ConfigError, match=r"no view or agency 'acm'.*Did you mean 'acme'"):
        views.refresh("acm")
    views.workspace = dataclasses.replace(
        views.workspace, views=dataclasses.replace(views.workspace.views, tables=["shop.gone"])
    )
    assert {one.view.name for one in views.refresh().failed} == {view.name for view in MANIFESTS.views()} - {
        "acme_offers"
    }


def test_another_connection_is_refused(views):
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(dataclasses.replace(OWN, database_id=2),)))
    (failed,) = views.refresh().failed
    assert "asks for database 2" in str(failed.error)


def test_a_slug_that_goes_to_another_agency_shows_that_one_s_rows(views):
    views.refresh()
    moved = [
        dataclasses.replace(one, slug={"acme": "delta", "bolt": "acme"}.get(one.slug, one.slug)) for one in AGENCIES
    ]
    for agencies in ((moved[0],), (moved[0], moved[1])):  # first the old name is free, then it is taken
        views.ledger.manifests.bring(ManifestSet(agencies))
    view = dataclasses.replace(OWN, name="moved", agency_id=8, query="select distinct offer from clicks")
    views.ledger.manifests.bring(ManifestSet(tuple(moved), (view,)))
    assert views.refresh("moved").failed == ()
    assert {row["offer"][-1] for row in views.rows("moved", "acme")} == {"8"}
