"""Report views on Postgres: materialized, owned by the agency's role, refreshed without anybody waiting."""

import dataclasses
import threading

import psycopg
import pytest

from agency_views import AGENCIES, MANIFESTS, OWN, Views
from ledger_laws import HandClock
from signalroom.ledger.ledger import Ledger
from signalroom.view import ManifestSet
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret
from warehouses import postgres_warehouse

pytestmark = pytest.mark.slow


@pytest.fixture
def views(tmp_path, postgres_server):
    clock = HandClock()
    with (
        postgres_warehouse(postgres_server, tmp_path) as warehouse,
        Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger,
    ):
        yield Views(tmp_path, warehouse, ledger, clock)


def ask(views, sql, *values):
    with psycopg.connect(views.warehouse.url.reveal(), autocommit=True) as connection:
        cursor = connection.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


def oid(views, name="agency_acme.acme_offers"):
    return ask(views, "select to_regclass(%s)::oid", name)[0][0]


def change(views, query):
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(dataclasses.replace(OWN, query=query),)))
    return views.refresh("acme_offers")


def test_views_from_first_to_last(views):
    first = views.refresh()
    assert [str(one.error) for one in first.failed] == []
    assert (len(first.refreshed), views.differing()) == (7, 0)
    made = ask(views, "select relname, relkind from pg_class where relnamespace = 'agency_acme'::regnamespace"
                      " and relkind <> 'i' order by 1")  # fmt: skip
    assert made == [("acme_offers", "m"), ("daily__acme", "v"), ("top__acme", "m")]
    owners = "select distinct relowner::regrole::text from pg_class where relnamespace = 'agency_acme'::regnamespace"
    assert ask(views, owners) == [("signalroom_agency_acme",)]
    measured = {one.view.name: one for one in first.refreshed}
    assert (measured["top__acme"].rows, measured["top__acme"].memory_mb) == (200, None)  # a refresh tells nothing
    assert measured["daily__acme"].rows == 10
    assert {one.cpu_percent is not None for one in measured.values()} == {True}  # the server is on this machine
    assert (measured["daily__acme"].memory_mb or 0) >= 1
    assert measured["daily__acme"].bytes > 10 * 8
    assert measured["top__acme"].bytes > 200 * 8
    assert views.refresh().unchanged == 7

    before = {name: oid(views, name) for name in ("agency_acme.acme_offers", "agency_bolt.daily__bolt")}
    views.warehouse.run("update shop.clicks set revenue = revenue + 1 where agency_id = 8")
    views.load("L2")
    assert len(views.refresh().refreshed) == 7
    assert views.differing() == 0
    assert {name: oid(views, name) for name in before} == before  # refreshed concurrently, in place


def test_a_changed_query_keeps_grants_indexes_and_readers(views):
    views.refresh()
    ask(views, "create role reader_of_acme")
    ask(views, "grant select on agency_acme.acme_offers to reader_of_acme with grant option")
    ask(views, "create index offers_by_revenue on agency_acme.acme_offers (revenue)")
    ask(views, "comment on materialized view agency_acme.acme_offers is 'what they ask for'")
    ask(views, "create view public.ours as select offer, revenue from agency_acme.acme_offers")
    ask(views, "grant select on public.ours to reader_of_acme")
    (done,) = change(
        views, "select offer, sum(revenue) * 2 as revenue, count(*) as n from clicks group by offer"
    ).refreshed
    assert done.error is None
    doubled = ask(views, "select sum(revenue) from agency_acme.acme_offers")[0][0]
    assert doubled == 2 * ask(views, "select sum(revenue) from shop.clicks where agency_id = 7")[0][0]
    assert ask(views, "select sum(revenue) from public.ours")[0][0] == doubled
    assert ask(views, "select has_table_privilege('reader_of_acme', 'public.ours', 'select')") == [(True,)]
    asked = "select has_table_privilege('reader_of_acme', 'agency_acme.acme_offers', 'select with grant option')"
    assert ask(views, asked) == [(True,)]
    indexes = {row[0] for row in ask(views, "select indexname from pg_indexes where schemaname = 'agency_acme'")}
    assert "offers_by_revenue" in indexes
    assert ask(views, "select obj_description('agency_acme.acme_offers'::regclass)") == [("what they ask for",)]
    assert ask(views, "select count(*) from pg_matviews where matviewname like 'signalroom%'") == [(0,)]
    ask(views, "drop owned by reader_of_acme; drop role reader_of_acme")


def test_what_a_reader_needs_is_not_taken_away(views):
    views.refresh()
    ask(views, "create view public.ours as select revenue from agency_acme.acme_offers")
    before = oid(views)
    (failed,) = change(views, "select offer, count(*) as n from clicks group by offer").failed
    assert failed.error is not None
    assert oid(views) == before
    assert len(ask(views, "select * from public.ours")) == 5


def test_a_reader_holds_up_the_swap_and_nobody_else(views):
    views.refresh()
    with psycopg.connect(views.warehouse.url.reveal()) as reader:
        reader.execute("select count(*) from agency_acme.acme_offers")  # holds its lock until it commits
        swapping = threading.Thread(
            target=change, args=(views, "select offer, 1 as revenue from clicks group by offer")
        )
        swapping.start()
        for _ in range(20):  # others come and go while the swap waits its short turns
            with psycopg.connect(views.warehouse.url.reveal(), options="-c statement_timeout=5s") as other:
                other.execute("select count(*) from agency_acme.acme_offers").fetchall()
        reader.rollback()
        swapping.join(60)
    assert ask(views, "select distinct revenue from agency_acme.acme_offers") == [(1,)]


def test_two_refreshers_share_the_work(views):
    results = []
    refreshers = [threading.Thread(target=lambda: results.append(views.refresh())) for _ in range(2)]
    for one in refreshers:
        one.start()
    for one in refreshers:
        one.join(60)
    done = [one.view.name for result in results for one in result.refreshed]
    assert sorted(done) == sorted(view.name for view in MANIFESTS.views())
    assert [one for result in results for one in result.failed] == []
    assert views.differing() == 0


def test_one_that_takes_too_long_ends(views):
    short = dataclasses.replace(views.workspace.views, timeout_s=1)
    views.workspace = dataclasses.replace(views.workspace, views=short)
    done = views.ask("select count(*) as n from clicks a, clicks b, clicks c, clicks d, clicks e")
    assert "longer than 1 s" in str(done.error)
    assert done.seconds > 0.9


def test_a_view_that_was_dropped_by_hand_is_made_again(views):
    views.refresh()
    ask(views, "drop materialized view agency_acme.acme_offers")
    assert [one.view.name for one in views.refresh().refreshed] == ["acme_offers"]
    assert len(views.rows("acme_offers", "acme")) == 5


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


def test_the_warehouse_s_user_need_not_be_a_superuser(tmp_path, postgres_server):
    dsn = postgres_server.create_database()
    database = dsn.rpartition("/")[2]
    slugs = {"acme": "acme_plain", "bolt": "bolt_plain", "crow": "crow_plain"}  # roles are the cluster's, not ours
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create role plain_writer login createrole")
        connection.execute(f"grant create on database {database} to plain_writer")
    warehouse = PostgresWarehouse(url=Secret("env:W", postgres_server.dsn(database, "plain_writer")))
    with Ledger.open(str(tmp_path / "l.sqlite"), clock=HandClock()) as ledger:
        views = Views(tmp_path, warehouse, ledger, HandClock())
        named = tuple(dataclasses.replace(one, slug=slugs[one.slug]) for one in AGENCIES)
        own = dataclasses.replace(OWN, agency_slug="acme_plain")
        ledger.manifests.bring(dataclasses.replace(MANIFESTS, agencies=named, custom=(own,)))
        assert [str(one.error) for one in views.refresh().failed] == []
        changed = dataclasses.replace(own, query="select offer, 1 as revenue from clicks group by offer")
        ledger.manifests.bring(dataclasses.replace(MANIFESTS, agencies=named, custom=(changed,)))
        assert [str(one.error) for one in views.refresh().failed] == []
        views.load("L2")
        assert (len(views.refresh().refreshed), views.refresh().unchanged) == (7, 7)
    warehouse.close()
    postgres_server.drop_database(dsn)
