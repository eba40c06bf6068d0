"""What a preview promises, whatever warehouse keeps the views."""

import dataclasses
from decimal import Decimal

import pytest

from agency_views import MANIFESTS, OWN
from signalroom.errors import ConfigError, DataError, SignalRoomError

HOSTILE = (
    "select * from private.secrets", "select set_config('role', 'postgres', false) from clicks",
    "select * from read_csv('/etc/passwd')", "delete from clicks", "select 1; select 2", "select pg_sleep(1)",
)  # fmt: skip


class PreviewLaws:
    """Previews: needs ``views`` (:class:`agency_views.Views`)."""

    def tried(self, views, query, view=OWN, samples=3):
        return views.refresher().preview(dataclasses.replace(view, query=query), samples=samples)

    def state(self, views):
        """Return everything that a preview could have written."""
        rows = {one.name: views.rows(one.name, one.agency_slug) for one in MANIFESTS.views()}
        tables = views.warehouse.query(
            "select table_schema, table_name from information_schema.tables order by 1, 2"
        ).to_pylist()
        histories = {one.name: views.ledger.views.history(one.name) for one in MANIFESTS.views()}
        return rows, tables, histories, views.warehouse.views().states(), views.ledger.manifests.all()

    def test_a_preview_says_what_would_change_and_writes_nothing(self, views):
        views.refresh()
        before = self.state(views)
        same = self.tried(views, OWN.query)
        assert (same.rows_before, same.rows_after, same.appearing, same.vanishing) == (5, 5, 0, 0)
        assert (same.before, same.sample_appearing, same.sample_vanishing) == (same.after, (), ())
        assert same.seconds > 0

        query = """select offer, case when offer like 'offer 0%' then sum(revenue) + 1 else sum(revenue) end as revenue,
            count(*) as clicks from clicks where offer not like 'offer 4%' group by offer"""
        made = self.tried(views, query)
        assert (made.rows_before, made.rows_after, made.appearing, made.vanishing) == (5, 4, 1, 2)
        assert [(name, now is None, then is None) for name, now, then in made.columns] == [
            ("offer", False, False), ("revenue", False, False), ("clicks", True, False),
        ]  # fmt: skip
        (comes,) = made.sample_appearing
        gone = {row["offer"]: row["revenue"] for row in made.sample_vanishing}
        assert comes == {"offer": "offer 0 of 7", "revenue": gone["offer 0 of 7"] + Decimal(1)}
        assert set(gone) == {"offer 0 of 7", "offer 4 of 7"}
        assert len(self.tried(views, query, samples=1).sample_vanishing) == 1

        retyped = self.tried(views, "select offer, cast(sum(revenue) as bigint) as revenue from clicks group by offer")
        assert (retyped.appearing, retyped.vanishing) == (5, 5)
        ((_, now, then),) = [one for one in retyped.columns if one[0] == "revenue"]
        assert now != then
        other = self.tried(views, "select count(*) as n from clicks")
        assert (other.appearing, other.vanishing, other.sample_appearing) == (1, 5, ({"n": 200},))
        assert len(other.sample_vanishing) == 3
        assert self.state(views) == before

    def test_a_view_that_is_not_there_yet_is_previewed_for_its_own_agency(self, views):
        for view in (one for one in MANIFESTS.views() if one.name.startswith("top__")):
            made = self.tried(views, "select distinct offer from clicks", view)
            assert (made.before, made.rows_before, made.rows_after) == ((), 0, 5)
            assert all(row["offer"].endswith(f"of {view.agency_id}") for row in made.sample_appearing)
        assert views.warehouse.views().states() == {}

    @pytest.mark.parametrize("query", HOSTILE)
    def test_what_a_manifest_may_not_be_is_refused(self, views, query):
        with pytest.raises((ConfigError, DataError)):
            self.tried(views, query)

    def test_what_the_warehouse_refuses_is_told(self, views):
        with pytest.raises(SignalRoomError, match="nothing"):
            self.tried(views, "select nothing from clicks")

    def test_what_the_next_refresh_would_find_is_read_and_not_kept(self, views):
        root = views.workspace.root
        (root / "views").mkdir()
        (root / "views/a.toml").write_text(
            '[[agencies]]\nid = 7\nslug = "acme"\nname = "A"\n[[custom]]\nid = 1\nagency = "acme"\n'
            'table_name = "acme_offers"\nreport_name = "O"\nquery = "select count(*) as n from clicks"\n'
        )
        proposed = {one.name: one.query for one in views.refresher().proposed()}
        assert proposed["acme_offers"] == "select count(*) as n from clicks"
        assert set(proposed) == {one.name for one in MANIFESTS.views()}
        assert views.ledger.manifests.all() == MANIFESTS
