"""The ledger on Postgres: the same laws, and what only a server can do to it."""

import dataclasses
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from alert_laws import AlertLaws
from key_laws import KeyLaws
from lease_laws import LeaseLaws
from ledger_laws import ArchiveLaws, DeliveryLaws, HandClock, RunLaws, delivery
from postgres_server import PostgresServer
from request_laws import RequestLaws
from run_laws import ManyRunsLaws
from signalroom.errors import ConfigError, RetryableError
from signalroom.ledger.ledger import Ledger, LedgerSettings
from signalroom.ledger.manifest_source import read_source
from signalroom.ledger.store import tables
from signalroom.ledger.view_tables import view_tables
from signalroom.view import ManifestSet, Refreshed
from signalroom.views.imported import sort_out
from view_laws import GIVEN, OWN, ViewLaws

WAITING = "select count(*) from pg_locks where not granted"

pytestmark = pytest.mark.slow


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def ledger(postgres, clock):
    with Ledger.open(LedgerSettings(None, clock, postgres(), run_lease_s=300.0)) as opened:
        yield opened


class TestRuns(RunLaws, LeaseLaws):
    """Runs on Postgres."""


class TestManyRuns(ManyRunsLaws):
    """Runs over time on Postgres."""


class TestDeliveries(DeliveryLaws):
    """Deliveries on Postgres."""


class TestArchive(ArchiveLaws):
    """The archive on Postgres."""


class TestAlerts(AlertLaws):
    """Alerts on Postgres."""


class TestViews(ViewLaws):
    """Manifests, history and status of views on Postgres."""


class TestKeys(KeyLaws):
    """API keys on Postgres."""


class TestRequests(RequestLaws):
    """Refreshes that were asked for, on Postgres."""


def test_the_migration_makes_the_tables_we_use(postgres):
    dsn = postgres()
    for _ in range(2):
        Ledger.open(dsn).close()
    known = tables("postgresql")
    query = "select column_name from information_schema.columns where table_schema = %s and table_name = %s"
    with psycopg.connect(dsn) as connection:
        views = view_tables("postgresql")
        of_views = [getattr(views, field.name) for field in dataclasses.fields(views)]
        for table in (known.runs, known.deliveries, known.archive, known.images, known.alerts, *of_views):
            rows = connection.execute(query + " order by ordinal_position", [table.schema, table.name]).fetchall()
            assert [name for (name,) in rows] == [column.name for column in table.columns]
            assert table.schema == ("reporting" if table in of_views else "signalroom")


def test_many_may_open_an_empty_ledger_at_once(postgres):
    dsn = postgres()

    def open_one(_):
        with Ledger.open(dsn) as opened:
            return opened.runs.start("j", "s").run_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(open_one, range(8)))) == 8


def test_a_role_without_rights_and_a_database_that_is_not_there(postgres, postgres_server):
    dsn = postgres()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop role if exists weak")
        connection.execute("create role weak login")
    with pytest.raises(ConfigError, match="permission denied"):
        Ledger.open(dsn.replace("postgres@", "weak@"))
    Ledger.open(dsn).close()
    with pytest.raises(ConfigError, match="permission denied"):
        Ledger.open(dsn.replace("postgres@", "weak@"))
    with pytest.raises(ConfigError, match="does not exist"):
        Ledger.open(postgres_server.dsn("nowhere"))


def test_a_role_that_owns_the_schemas_only(postgres):
    dsn = postgres()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop role if exists tenant")
        connection.execute("create role tenant login")
        connection.execute("create schema signalroom authorization tenant")
        connection.execute("create schema reporting authorization tenant")
    with Ledger.open(dsn.replace("postgres@", "tenant@")) as opened:
        assert opened.manifests.all().views() == ()
        assert opened.runs.start("j", "s").fence == 1
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop owned by tenant cascade")
        connection.execute("drop role tenant")


def test_claims_are_durable_whatever_the_servers_default(postgres):
    dsn = postgres()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"alter database {dsn.rpartition('/')[2]} set synchronous_commit = off")
    with Ledger.open(dsn) as opened, opened._store.write() as connection:
        assert connection.exec_driver_sql("show synchronous_commit").scalar() == "on"


def test_a_server_that_dies_and_comes_back():
    with PostgresServer.started() as server:
        dsn = server.create_database()
        with Ledger.open(dsn) as opened:
            claimed = opened.deliveries.claim(delivery())
            server.stop(signal.SIGQUIT)
            with pytest.raises(RetryableError, match="did not answer"):
                opened.deliveries.settle(claimed, "sent", "m")
            server.start()
            assert opened.deliveries.settle(claimed, "sent", "m").state == "sent"


def test_two_that_sweep_at_once_leave_alone_what_was_claimed_between(ledger, clock, monkeypatch):
    """Whoever sweeps second found the dead run too; the refresh that took its place is not that run."""
    ledger.manifests.bring(GIVEN)
    ledger.views.claim([OWN], 60)
    clock.advance(61)
    before, claims = ledger.views._before, []

    def between(connection, names):
        monkeypatch.setattr(ledger.views, "_before", before)
        claims.append(pool.submit(ledger.views.claim, [OWN], 60))
        while not (claims[0].done() or connection.execute(sa.text(WAITING)).scalar()):
            pass  # it has claimed, or waits for us
        return before(connection, names)

    monkeypatch.setattr(ledger.views, "_before", between)
    with ThreadPoolExecutor(1) as pool:
        assert ledger.views.sweep() == 1
        (held,) = claims[0].result()
    assert ledger.views.finish([(held, Refreshed(OWN, rows=1))]) == 1
    assert [row["status"] for row in ledger.views.history("acme_top")] == ["success", "error"]


def test_manifests_of_another_database_are_read_as_they_are(postgres, clock):
    dsn = postgres()
    with Ledger.open(LedgerSettings(None, clock, dsn)) as ledger:
        ledger.manifests.bring(GIVEN)
        given, left = sort_out(read_source(dsn, Path(), "reporting"), ManifestSet(), ManifestSet())
        assert (given, left) == (GIVEN, ())
        ledger.manifests.take(given)
        assert ledger.manifests.all() == GIVEN
    with pytest.raises(ConfigError, match="cannot be read"):
        read_source(dsn, Path(), "elsewhere")
