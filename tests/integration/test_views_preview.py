"""Previews on both engines: what a query would do, without doing it."""

import dataclasses

import psycopg
import pytest

from agency_views import OWN, Views
from agency_workspace import make_network
from ledger_laws import HandClock
from preview_laws import PreviewLaws
from shop_workspace import ask, call
from signalroom.errors import ConfigError, DataError
from signalroom.ledger.ledger import Ledger
from signalroom.view import Pending
from warehouses import duckdb_warehouse, postgres_warehouse

pytestmark = pytest.mark.slow


@pytest.fixture
def clock():
    return HandClock()


class TestOnDuckDB(PreviewLaws):
    """In the sealed process."""

    @pytest.fixture
    def views(self, tmp_path, clock):
        with duckdb_warehouse(tmp_path) as warehouse, Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger:
            yield Views(tmp_path, warehouse, ledger, clock)


class TestOnPostgres(PreviewLaws):
    """As the agency's role, in a transaction that is taken back."""

    @pytest.fixture
    def views(self, tmp_path, clock, postgres_server):
        with (
            postgres_warehouse(postgres_server, tmp_path) as warehouse,
            Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger,
        ):
            yield Views(tmp_path, warehouse, ledger, clock)

    def test_a_slug_that_went_to_another_agency_shows_that_ones_rows(self, views):
        views.refresh()
        query = "select distinct offer from clicks"
        (row, *_) = self.tried(views, query, dataclasses.replace(OWN, agency_id=9)).sample_appearing
        assert row["offer"].endswith("of 9")
        views.warehouse.run("alter table shop.clicks add column note text")
        assert self.tried(views, "select max(note) as note, count(*) as n from clicks").rows_after == 1

    def test_it_ends_in_time_and_reads_nothing_else_even_without_the_guard(self, views, tmp_path):
        views.refresh()
        refresher = views.refresher()
        limits = dataclasses.replace(refresher._limits, timeout_s=1)
        harmless = refresher.checked(OWN.query)
        for text, told in (
            ("select count(*) as n from clicks a, clicks b, clicks c, clicks d", "longer than 1 s"),
            ("select * from private.secrets", "permission denied"),
            ("select word from clicks join private.secrets s on true", "permission denied"),
        ):
            query = dataclasses.replace(harmless, text=text)
            with pytest.raises((ConfigError, DataError), match=told) as caught:
                views.warehouse.views().preview(Pending(OWN, query, ""), limits, samples=3)
            assert "canary" not in str(caught.value)
        with psycopg.connect(views.warehouse.url.reveal()) as connection:
            left = connection.execute(
                "select count(*) from pg_class where relname like 'signalroom_preview%'"
            ).fetchone()
        assert left == (0,)


def test_the_command_shows_what_would_change_and_leaves_everything_as_it_was(tmp_path):
    shop = make_network(tmp_path)
    call(shop, "sync", "shop")
    assert "The view is not there yet: it would have 3 rows." in call(shop, "views", "preview", "acme_offers").stdout
    call(shop, "refresh")
    assert "Nothing would change: 3 rows." in call(shop, "views", "preview", "acme_offers").stdout
    file = shop / "views/acme_offers.sql"
    file.write_text("select offer, sum(revenue) + 1 as revenue, count(*) as clicks from clicks group by offer")
    said = call(shop, "views", "preview", "acme_offers").stdout
    assert "3 rows now, 3 then: 3 appear, 3 vanish." in said
    assert "clicks                  BIGINT         added" in said
    (shown,) = ask(shop, "views", "preview", str(file), "--rows", "1")["previews"]
    assert (shown["view"], len(shown["sample_appearing"]), shown["vanishing"]) == ("acme_offers", 1, 3)
    assert len(ask(shop, "views", "history", "acme_offers")["history"]) == 1
    (shop / "bad.sql").write_text("select * from secrets")
    for words, told in (
        (("acme_offers", "--query", str(shop / "bad.sql")), "it reads 'secrets'"),
        (("acme_offer",), "Did you mean 'acme_offers'?"),
        ((str(shop / "bad.sql"),), "No manifest asks"),
        (("gone.sql",), "no such file or directory"),
    ):
        assert told in call(shop, "views", "preview", *words, code=2).stderr
