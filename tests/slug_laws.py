"""What becomes of an agency's views when its slug changes, whatever warehouse they are in."""

from __future__ import annotations

import dataclasses
from typing import Any

from agency_views import AGENCIES, MANIFESTS
from signalroom.view import ManifestSet
from signalroom.views.imported import sort_out


def renamed(views: Any, **slugs: str) -> ManifestSet:
    """Import the manifests as another database has them once agencies are called otherwise; return them."""
    agencies = tuple(dataclasses.replace(one, slug=slugs.get(one.slug, one.slug)) for one in AGENCIES)
    called = {one.id: one.slug for one in agencies}
    rows = {
        "agency": [dataclasses.asdict(one) for one in agencies],
        "seeder_canned_report": [dataclasses.asdict(one) for one in MANIFESTS.canned],
        "seeder_canned_report_manifest": [
            {"id": number, "agency_id": agency, "agency_slug": called[agency], "canned_report_id": report}
            for number, agency, report in MANIFESTS.assigned
        ],
        "seeder_custom_report_manifest": [
            {**dataclasses.asdict(one), "id": one.manifest_id, "table_name": one.name,
             "agency_slug": called[one.agency_id]}
            for one in MANIFESTS.custom
        ],
    }  # fmt: skip
    given, left = sort_out(rows, views.ledger.manifests.all(), ManifestSet())
    assert left == ()
    views.ledger.manifests.take(given)
    return given


class SlugLaws:
    """Needs ``views``: a warehouse and a ledger with :data:`agency_views.MANIFESTS`."""

    def tables(self, views: Any) -> set[tuple[str, str]]:
        """Return (schema, name) of what is in the agencies' schemas."""
        raise NotImplementedError

    def expected(self, given: ManifestSet) -> set[tuple[str, str]]:
        return {(f"agency_{view.agency_slug}", view.name) for view in given.views()}

    def test_history_status_and_views_follow_the_agency(self, views: Any) -> None:
        views.refresh()
        daily = views.rows("daily__acme", "acme")
        given = renamed(views, acme="apex")
        done = views.refresh()
        assert [str(one.error) for one in done.failed] == []
        assert {one.view.name for one in done.refreshed} == {"acme_offers", "daily__apex", "top__apex"}
        assert self.tables(views) == self.expected(given)
        assert views.rows("daily__apex", "apex") == daily
        history = {
            name: len(views.ledger.views.history(name)) for name in ("acme_offers", "daily__apex", "daily__acme")
        }
        assert history == {"acme_offers": 2, "daily__apex": 2, "daily__acme": 0}
        assert {row["agency_slug"] for row in views.ledger.views.history("acme_offers")} == {"apex"}
        statuses = views.ledger.views.statuses()
        assert sorted(statuses) == [view.name for view in given.views()]
        assert {one.status for one in statuses.values()} == {"success"}
        assert views.refresh().unchanged == 7

    def test_agencies_exchange_their_slugs(self, views: Any) -> None:
        views.refresh()
        acmes, bolts = views.rows("daily__acme", "acme"), views.rows("daily__bolt", "bolt")
        given = renamed(views, acme="bolt", bolt="acme")
        views.refresher()._store.settle(given, views.refresher()._limits)
        assert (views.rows("daily__bolt", "bolt"), views.rows("daily__acme", "acme")) == (acmes, bolts)
        assert views.refresh().failed == ()
        assert (views.rows("daily__bolt", "bolt"), views.rows("daily__acme", "acme")) == (acmes, bolts)
        assert self.tables(views) == self.expected(given)
        assert len(views.ledger.views.history("daily__bolt")) == 2

    def test_somebody_elses_schema_is_left_and_the_agency_told(self, views: Any) -> None:
        views.refresh()
        views.warehouse.run("create schema agency_apex")
        views.warehouse.run("create table agency_apex.notes (n integer)")
        renamed(views, acme="apex")
        done = views.refresh()
        assert {one.view.agency_id for one in done.failed} == {7}
        assert "is there already" in str(done.failed[0].error)
        assert len(views.rows("daily__acme", "acme")) == 10
        views.warehouse.run("drop table agency_apex.notes")
        views.warehouse.run("drop schema agency_apex")
        assert views.refresh(force=True).failed == ()
        assert len(views.rows("daily__apex", "apex")) == 10
