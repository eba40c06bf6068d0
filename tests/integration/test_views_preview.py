"""Previews on both engines: what a query would do, without doing it."""

import dataclasses

import psycopg
import pytest

from agency_views import OWN, Views
from ledger_laws import HandClock
from preview_laws import PreviewLaws
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
