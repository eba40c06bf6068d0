"""So many refreshes at once, of all processes: who waits begins when another is done, or was killed."""

import dataclasses
import os
import signal
import sys
import threading

import psycopg
import pytest

from agency_views import DAY, MANIFESTS, Views
from ledger_laws import HandClock
from signalroom.ledger.ledger import Ledger
from signalroom.run import ignore_progress
from signalroom.views.refresh import Refresher
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.warehouse.view_turns import TURNS, Turnstile
from signalroom.workspace.settings import Secret

HEAD = f"select count(*) from pg_locks where locktype = 'advisory' and classid = {TURNS} and objid = 0"


class Watched:
    """A store that notes how many refreshes run, of all processes, whenever one begins."""

    def __init__(self, store, dsn):
        self._store, self._dsn = store, dsn

    def __getattr__(self, name):
        return getattr(self._store, name)

    def refresh(self, *asked, **options):
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            # one at a time, so that of two that begin together one sees the other
            with connection.transaction():
                connection.execute("lock table inside")
                connection.execute("insert into inside values (pg_backend_pid())")
                connection.execute("insert into seen select count(*) from inside")
            try:
                return self._store.refresh(*asked, **options)
            finally:
                connection.execute("delete from inside where pid = pg_backend_pid()")


@pytest.fixture
def views(tmp_path, postgres):
    clock = HandClock()
    dsn = postgres()
    with Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger:
        made = Views(tmp_path, PostgresWarehouse(url=Secret("env:W", dsn)), ledger, clock, concurrency=1)
        made.warehouse.close()
    made.ledger = None
    return made


def forked(views, act):
    """Run ``act`` in a child with a warehouse and a ledger of its own; return its pid."""
    dsn = views.warehouse.url.reveal()
    child = os.fork()
    if child == 0:  # pragma: no cover - it ends or is killed
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - it ends with the process
        try:
            with Ledger.open(str(views.workspace.root / "l.sqlite"), clock=views.clock) as ledger:
                views.warehouse, views.ledger = PostgresWarehouse(url=Secret("env:W", dsn)), ledger
                act(views)
        except BaseException:  # the parent reads the exit code
            os._exit(1)
        os._exit(0)
    return child


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def statuses(views):
    with Ledger.open(str(views.workspace.root / "l.sqlite"), clock=views.clock) as ledger:
        return {one.status for one in ledger.views.statuses().values()}


@pytest.mark.slow
def test_who_waits_begins_when_the_holder_is_killed(views):
    reading, writing = os.pipe()

    def hold(mine):
        with mine.warehouse.views().turn(1):
            os.write(writing, b"1")
            signal.pause()

    holder = forked(views, hold)
    assert os.read(reading, 1) == b"1"
    waiter = forked(views, lambda mine: mine.refresh())
    with psycopg.connect(views.warehouse.url.reveal(), autocommit=True) as connection:
        while not connection.execute(HEAD).fetchone()[0]:  # until it stands at the head of the queue
            assert os.waitpid(waiter, os.WNOHANG) == (0, 0)
        assert statuses(views) == {"pending"}
        os.kill(holder, signal.SIGKILL)
        assert (ended(holder), ended(waiter)) == (-signal.SIGKILL, 0)
        held = f"select count(*) from pg_locks where locktype = 'advisory' and classid = {TURNS}"
        assert connection.execute(held).fetchone() == (0,)
    assert statuses(views) == {"success"}


def refreshing(views, limit):
    """Refresh everything, as a process with threads enough to break the limit would."""
    store = Watched(views.warehouse.views(), views.warehouse.url.reveal())
    settings = dataclasses.replace(views.workspace.views, concurrency=limit)
    workspace = dataclasses.replace(views.workspace, views=settings)
    refresher = Refresher(workspace, views.ledger, store, views.clock.now(), DAY)
    assert refresher.refresh("", ignore_progress, force=True).failed == ()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 2])
def test_processes_together_never_run_more_than_the_limit(views, limit):
    dsn = views.warehouse.url.reveal()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table inside (pid integer)")
        connection.execute("create table seen (number integer)")
    children = [forked(views, lambda mine: refreshing(mine, limit)) for _ in range(3)]
    assert [ended(child) for child in children] == [0, 0, 0]
    with psycopg.connect(dsn) as connection:
        most, count = connection.execute("select max(number), count(*) from seen").fetchone()
    assert most <= limit
    assert count >= len({one.agency_slug for one in MANIFESTS.views()}) + 1  # groups: by agency, and what they share
    assert statuses(views) == {"success"}


def test_threads_of_one_process_take_turns_in_the_order_they_came():
    gate, order = Turnstile(), []

    def enter(number):
        with gate.turn(1):
            order.append(number)

    threads = [threading.Thread(target=enter, args=[number]) for number in range(6)]
    with gate.turn(1), gate.turn(2):  # two are in
        for waiting, one in enumerate(threads):
            one.start()
            while len(gate._waiting) <= waiting:
                pass
        assert order == []
    for one in threads:
        one.join()
    assert order == list(range(6))
