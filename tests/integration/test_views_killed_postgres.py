"""A refresh on Postgres killed at each of its borders: every view is one whole version, and the next refresh is right."""

import os
import signal
import sys
from datetime import timedelta

import psycopg
import pytest

from agency_views import MANIFESTS, Views
from ledger_laws import HandClock
from signalroom import failpoints
from signalroom.ledger.ledger import Ledger
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret

pytestmark = pytest.mark.slow

BORDERS = [
    "views.publish.computed", "views.publish.commit", "views.publish.shown",
    "ledger.views.finish.before",
]  # fmt: skip
CHANGE = "update shop.clicks set revenue = revenue * 2 + 0.01 where day = '2026-11-13'"
AGAIN = ("views.publish.after", "views.publish.commit", "views.publish.computed")


def killed_at(border, views, dsn):
    """Let a child refresh until it is killed at a border, where others have passed it before."""
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - it ends with the process
        warehouse = PostgresWarehouse(url=Secret("env:W", dsn))
        with Ledger.open(str(views.workspace.root / "l.sqlite"), clock=views.clock) as ledger:
            views.warehouse, views.ledger = warehouse, ledger
            failpoints.arm(kill_at=1 if border == "views.publish.computed" else 2, only=border)  # one shared report
            views.refresh()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with psycopg.connect(dsn, autocommit=True) as connection:  # what the server still does for the dead is over
        others = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        while connection.execute(others).fetchall():
            connection.execute(f"select pg_terminate_backend(pid, 5000) from ({others}) o")


def versions(views):
    """What each view holds, as one text; empty where there is none yet."""
    with psycopg.connect(views.warehouse.url.reveal()) as connection:
        found = {}
        for one in MANIFESTS.views():
            place = f"agency_{one.agency_slug}.{one.name}"
            there = connection.execute("select to_regclass(%s) is not null", [place]).fetchone()
            asked = f"select string_agg(v::text, ';' order by v::text) from {place} v"
            found[one.name] = connection.execute(asked).fetchone()[0] if there[0] else ""
        return found


def run(border, tmp_path, dsn, *, again):
    clock = HandClock()
    with Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger:
        views = Views(tmp_path, PostgresWarehouse(url=Secret("env:W", dsn)), ledger, clock, concurrency=1)
        if again:
            assert views.refresh().failed == ()
            views.warehouse.run(CHANGE)
            views.load("L2")
        before = versions(views)
        views.warehouse.close()
    views.ledger = None
    killed_at(border, views, dsn)
    clock.advance(timedelta(hours=1).total_seconds())
    with Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger:
        views.warehouse, views.ledger = PostgresWarehouse(url=Secret("env:W", dsn)), ledger
        half = versions(views)
        ledger.views.sweep()
        assert "running" not in {one.status for one in ledger.views.statuses().values()}
        assert views.refresh().failed == ()
        after = versions(views)
        assert {name for name, held in half.items() if held not in (before[name], after[name])} == set()
        assert views.differing() == 0
        assert {one.status for one in ledger.views.statuses().values()} == {"success"}
        past = [row for view in MANIFESTS.views() for row in ledger.views.history(view.name)]
        assert all("its process ended" in row["errors"] for row in past if row["status"] == "error")
        assert {row["status"] for row in past} <= {"success", "error"}
        assert views.refresh().unchanged == len(MANIFESTS.views())
        views.warehouse.close()


@pytest.mark.parametrize("border", BORDERS)
def test_killed_in_its_first_refresh(border, tmp_path, postgres):
    run(border, tmp_path, postgres(), again=False)


@pytest.mark.parametrize("border", AGAIN)
def test_killed_in_a_later_one(border, tmp_path, postgres):
    run(border, tmp_path, postgres(), again=True)
