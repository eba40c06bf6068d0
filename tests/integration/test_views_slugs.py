"""Agencies are called otherwise from one day to the next, and keep what is theirs, on either warehouse."""

import psycopg
import pytest

from agency_views import Views
from ledger_laws import HandClock
from signalroom.ledger.ledger import Ledger
from slug_laws import SlugLaws, renamed
from warehouses import duckdb_warehouse, postgres_warehouse

pytestmark = pytest.mark.slow


class TestOnDuckDB(SlugLaws):
    @pytest.fixture
    def views(self, tmp_path):
        clock = HandClock()
        with duckdb_warehouse(tmp_path) as warehouse, Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger:
            yield Views(tmp_path, warehouse, ledger, clock)

    def tables(self, views):
        sql = "select schema_name as s, table_name as t from duckdb_tables() where schema_name like 'agency\\_%' escape '\\'"
        return {(row["s"], row["t"]) for row in views.warehouse.query(sql).to_pylist()}


def ask(views, sql):
    with psycopg.connect(views.warehouse.url.reveal(), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


class TestOnPostgres(SlugLaws):
    @pytest.fixture
    def views(self, tmp_path, postgres_server):
        clock = HandClock()
        with (
            postgres_warehouse(postgres_server, tmp_path) as warehouse,
            Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger,
        ):
            yield Views(tmp_path, warehouse, ledger, clock)

    def tables(self, views):
        sql = """select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname ~ '^agency_' and n.nspname !~ '_rows$' and c.relkind in ('m', 'v')"""
        return set(ask(views, sql))

    def test_grants_follow_and_the_old_roles_may_nothing(self, views):
        views.refresh()
        ask(views, "create role analyst_of_acme")
        ask(views, "grant usage on schema agency_acme to analyst_of_acme")
        ask(views, "grant select on agency_acme.acme_offers, agency_acme.daily__acme to analyst_of_acme")
        held = "select 'agency_{}.acme_offers'::regclass::oid::int, 'agency_{}.daily__{}'::regclass::oid::int"
        before = ask(views, held.format("acme", "acme", "acme"))
        given = renamed(views, acme="apex")
        refresher = views.refresher()
        assert refresher._store.settle(given, refresher._limits) == {}
        assert ask(views, held.format("apex", "apex", "apex")) == before  # the same views
        may = "select has_table_privilege('{}', 'agency_apex.{}', 'select')"
        for _ in range(2):  # before the refresh, and after it
            for name in ("acme_offers", "daily__apex"):
                for role in ("analyst_of_acme", "signalroom_login_apex", "agency_reader"):
                    assert ask(views, may.format(role, name)) == [(True,)], (role, name)
                assert ask(views, may.format("signalroom_login_acme", name)) == [(False,)]
            with psycopg.connect(views.warehouse.url.reveal()) as connection:
                connection.execute("set role signalroom_login_apex")
                assert connection.execute("select count(*) from agency_apex.daily__apex").fetchone() == (10,)
            left = """select distinct d.refobjid::regrole::text, d.classid::regclass::text, d.objid from pg_shdepend d
                where d.refclassid = 'pg_authid'::regclass and d.dbid = (select oid from pg_database
                where datname = current_database())
                and d.refobjid::regrole::text in ('signalroom_agency_acme', 'signalroom_login_acme')"""
            assert ask(views, left) == []
            assert views.refresh().failed == ()
