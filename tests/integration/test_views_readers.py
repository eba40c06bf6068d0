"""Report views on Postgres as others see them: always there, never half, and nothing but their own."""

import dataclasses

import psycopg
import pytest

from agency_views import AGENCIES, MANIFESTS, OWN, Views
from hostile_manifests import HOSTILE
from ledger_laws import HandClock
from signalroom.errors import ConfigError
from signalroom.ledger.ledger import Ledger
from signalroom.view import ViewLimits
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.warehouse.postgres_roles import prepare
from signalroom.workspace.settings import Secret
from view_readers import Readers
from warehouses import postgres_warehouse

pytestmark = pytest.mark.slow

FOREIGN = (" of 8", " of 9", "canary", "root:")
ATTEMPTS = (
    "select offer from agency_acme_rows.clicks where agency_id = 8",
    "select set_config('role', 'signalroom_agency_bolt', false), (select string_agg(offer, '') from clicks)",
    "with s as materialized (select set_config('session_authorization', 'postgres', false) x) select * from s, clicks",
    "set role signalroom_agency_bolt; select * from agency_bolt.daily__bolt",
    "set session authorization postgres; select * from shop.clicks",
    "select query_to_xml('select * from shop.clicks', true, true, '')",
    "select set_config('row_security', 'off', false), * from clicks",
    "set transaction_read_only = off; create or replace view agency_acme.daily__acme as select 'canary' as day",
    "set transaction_read_only = off; delete from agency_acme.top__acme",
    "set transaction_read_only = off; drop materialized view agency_acme.top__acme",
    "set transaction_read_only = off; create table agency_acme.mine (n int)",
    "grant select on agency_acme.top__acme to public",
    "select * from pg_read_file('/etc/passwd')",
    "copy clicks to program 'touch /tmp/signalroom-hostile'",
    "create function agency_acme.leak(text) returns bool language plpgsql cost 0.0001 as 'begin return true; end'",
)


@pytest.fixture
def views(tmp_path, postgres_server):
    clock = HandClock()
    with (
        postgres_warehouse(postgres_server, tmp_path) as warehouse,
        Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger,
    ):
        made = Views(tmp_path, warehouse, ledger, clock)
        assert made.refresh().failed == ()
        yield made


def ask(views, sql):
    with psycopg.connect(views.warehouse.url.reveal(), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def change(views, query):
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(dataclasses.replace(OWN, query=query),)))
    assert views.refresh("acme_offers").failed == ()


def test_whatever_happens_every_view_answers(views):
    ask(views, "create view public.ours as select revenue from agency_acme.acme_offers")
    ask(views, "create role bystander_of_acme")
    ask(views, "grant select on agency_acme.acme_offers to bystander_of_acme")
    named = [f"agency_{one.agency_slug}.{one.name}" for one in MANIFESTS.views()]
    with Readers(views.warehouse.url.reveal(), ["public.ours", *named]) as readers:
        for turn in range(2):
            ask(views, "update shop.clicks set revenue = revenue + 1 where day = '2026-11-12'")
            views.load(f"L2 {turn}")
            assert len(views.refresh().refreshed) == 7
        kinds = [
            kind_after(views, "select offer, sum(revenue) * 2 as revenue from clicks group by offer"),  # swapped
            kind_after(views, "select day, sum(revenue) as revenue from clicks group by day"),  # into a shared table
            kind_after(views, "select day, count(*) as n, sum(revenue) as revenue from clicks group by day"),  # another
            kind_after(views, "select offer, sum(revenue) * 3 as revenue from clicks group by offer"),  # and back
        ]
    assert kinds == ["m", "v", "v", "m"]
    assert readers.problems == []
    assert readers.reads > 0
    granted = "select has_table_privilege('bystander_of_acme', 'agency_acme.acme_offers', 'select')"
    assert ask(views, granted) == [(True,)]
    shared = "select count(*) from pg_class where relnamespace = 'signalroom_shares'::regnamespace and relkind = 'r'"
    assert ask(views, shared) == [(1,)]  # what no view reads any more is gone
    ask(views, "drop owned by bystander_of_acme; drop role bystander_of_acme")


def kind_after(views, query):
    change(views, query)
    return ask(views, "select relkind::text from pg_class where oid = 'agency_acme.acme_offers'::regclass")[0][0]


def as_agency(views, sql):
    """What an agency's login sees of a statement, as one text; whatever it prints included."""
    seen = []
    address = views.warehouse.url.reveal().replace("//postgres@", "//signalroom_login_acme@")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.add_notice_handler(lambda told: seen.append(told.message_primary))
        try:
            cursor = connection.execute(sql)
            while True:
                seen += cursor.fetchall() if cursor.description else []
                if not cursor.nextset():
                    break
        except psycopg.Error:
            seen.append("refused")
    return str(seen)


def test_an_agency_that_logs_in_sees_its_own_and_changes_nothing(views):
    rows = "select (select count(*) from shop.clicks), (select count(*) from agency_acme.top__acme),"
    state = f"{rows} (select count(*) from pg_class), (select sum(clicks) from agency_acme.daily__acme)"
    before = ask(views, state)
    assert " of 7" in as_agency(views, "select * from clicks")
    assert as_agency(views, "select sum(clicks) from daily__acme") == "[(Decimal('200'),)]"
    ((share,),) = ask(views, "select relname from pg_class where relname like 's\\_%' and relkind = 'r'")
    assert as_agency(views, f"select * from signalroom_shares.{share}") == "['refused']"
    hostile = [one for name, one in HOSTILE.items() if not name.startswith(("no end", "sleep", "nul", "who"))]
    leaked = [one for one in (*ATTEMPTS, *hostile) if any(word in as_agency(views, one) for word in FOREIGN)]
    assert leaked == []
    assert ask(views, state) == before


def test_the_owner_of_a_view_sees_its_own_rows_of_a_shared_table(views):
    ((share,),) = ask(views, "select relname from pg_class where relname like 's\\_%' and relkind = 'r'")
    with psycopg.connect(views.warehouse.url.reveal()) as connection:
        connection.execute("set role signalroom_agency_acme")
        found = connection.execute(f"select distinct signalroom_agency from signalroom_shares.{share}").fetchall()
    assert found == [(7,)]


def test_a_front_end_reads_every_agency_s_views_and_no_table(views):
    address = views.warehouse.url.reveal()
    with psycopg.connect(address) as connection:
        connection.execute("set role agency_reader")
        for one in MANIFESTS.views():
            assert connection.execute(f"select count(*) from agency_{one.agency_slug}.{one.name}").fetchone() > (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from shop.clicks")


def test_what_an_agency_may_use_is_bounded_on_its_role(views):
    settings = ask(views, "select unnest(rolconfig) from pg_roles where rolname = 'signalroom_login_acme'")
    assert {one.partition("=")[0] for (one,) in settings} == {
        "default_transaction_read_only", "statement_timeout", "work_mem", "search_path", "temp_file_limit",
    }  # fmt: skip
    rights = "rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolinherit, rolbypassrls"
    (found,) = ask(views, f"select {rights} from pg_roles where rolname = 'signalroom_login_acme'")
    assert found == (True, False, False, False, False, False)


def test_preparing_again_changes_nothing_and_missing_rights_are_told(views, postgres_server):
    limits = ViewLimits({"clicks": "shop.clicks"})
    rules = "select oid, xmin::text from pg_class where relnamespace::regnamespace::text like 'agency%' order by 1"
    before = ask(views, rules)
    with psycopg.connect(views.warehouse.url.reveal(), autocommit=True) as connection:
        for one in AGENCIES:
            prepare(connection, one.id, one.slug, limits)
    assert ask(views, rules) == before
    ask(views, "create role powerless login")
    database = views.warehouse.url.reveal().rpartition("/")[2]
    weak = PostgresWarehouse(url=Secret("env:W", postgres_server.dsn(database, "powerless")))
    with (
        psycopg.connect(weak.url.reveal(), autocommit=True) as connection,
        pytest.raises(ConfigError, match="permission denied") as told,
    ):
        prepare(connection, 70, "newcomer", limits)
    assert 'ALTER ROLE "powerless" CREATEROLE' in told.value.mend
    ask(views, "drop role powerless")
