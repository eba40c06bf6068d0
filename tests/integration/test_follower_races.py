"""Races of the follower, each played out step by step: two pulls at once, and a replica that stands still."""

from __future__ import annotations

import dataclasses
import itertools
from contextlib import contextmanager

import psycopg
import pytest

from following import followed
from leader_app import ONE, TWO
from signalroom.projections.follower import Follower, Pulled
from signalroom.projections.reconcile import Reconciled
from signalroom.workspace.settings import Secret
from warehouses import duckdb_warehouse, postgres_warehouse

pytestmark = pytest.mark.slow
_names = (f"race{number}" for number in itertools.count(1))


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def warehouse(request, postgres_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with duckdb_warehouse(folder) if request.param == "duckdb" else postgres_warehouse(postgres_server, folder) as made:
        yield made


@pytest.fixture
def world(tmp_path, postgres, warehouse):
    with followed(tmp_path, postgres(), warehouse, next(_names)) as one:
        one.session.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada runs'), ('{TWO}', '')")
        yield one


class Interrupted:
    """A store whose next upsert happens only after something else did."""

    def __init__(self, store, meanwhile):
        self._store, self._meanwhile = store, [meanwhile]

    def upsert(self, entity, rows, at, **more):
        while self._meanwhile:
            self._meanwhile.pop()()
        return self._store.upsert(entity, rows, at, **more)

    def __getattr__(self, name):
        return getattr(self._store, name)


def another(world, **settings) -> Follower:
    """Return one more follower of the same app into the same warehouse."""
    one = world.follower
    return Follower(dataclasses.replace(one.settings, **settings), one.store, one.queue, one.clock)


def rename(world, name: str):
    world.session.execute("update pages set name = %s where uuid = %s", [name, ONE])
    return world.relay()


def test_of_two_pulls_the_one_that_read_later_wins(world):
    slow = world.follower
    slow.hint(world.relay())
    slow.pull()

    def meanwhile():
        with another(world, follow=slow.settings.follow) as quick:
            quick.store = plain
            quick.hint(rename(world, "Ada swims"))
            assert quick.pull().applied == 1

    plain, slow.store = slow.store, Interrupted(slow.store, meanwhile)
    slow.hint(rename(world, "Ada walks"))
    assert slow.pull() == Pulled(wanted=1), "what it had read was old by then"
    assert world.pages()[ONE] == ("Ada swims", 0)
    assert world.differences() == set()


def test_a_deletion_that_overtakes_a_pull_stays(world):
    slow = world.follower

    def meanwhile():
        with another(world) as quick:
            quick.store = plain
            world.session.execute(f"delete from pages where uuid = '{ONE}'")
            quick.hint(world.relay())
            assert quick.pull().applied == 2

    slow.hint(world.relay())
    plain, slow.store = slow.store, Interrupted(slow.store, meanwhile)
    assert slow.pull().applied == 0
    assert list(world.pages()) == [TWO]
    assert world.wanted() == 0


def test_a_sweep_that_is_overtaken_by_a_pull_takes_nothing_back(world):
    slow = world.follower
    world.relay()

    def meanwhile():
        with another(world) as quick:
            quick.store = plain
            quick.hint(rename(world, "Ada swims"))
            assert quick.pull().applied == 1

    plain, slow.store = slow.store, Interrupted(slow.store, meanwhile)
    assert slow.sweep("page").applied == 1
    assert world.pages()[ONE] == ("Ada swims", 0)
    slow.sweep("page")
    assert world.differences() == set()


def standing_still(world) -> str:
    """Return the address of a copy of the app's database as it is now, such as a replica that replays no more has."""
    here = world.session.info.dbname
    world.leader.close()
    world.follower.close()
    address = world.follower.settings.url.reveal()
    server, _, _ = address.rpartition("/")
    world.session.close()
    with psycopg.connect(f"{server}/postgres", autocommit=True) as session:
        session.execute(f"create database {here}_still template {here}")
    world.session = psycopg.connect(address, autocommit=True)
    world.leader.connection = psycopg.connect(address, autocommit=True)
    return f"{server}/{here}_still"


@contextmanager
def behind_its_replica(world):
    """Yield a follower that reads from a replica which stands still, the app's first rows read."""
    world.follower.hint(world.relay())
    world.follower.pull()
    address = standing_still(world)
    with another(world, replica=Secret("env:REPLICA_URL", address)) as one:
        world.follower = one
        yield world
    world.leader.close()
    world.session.close()
    server, _, name = address.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as session:
        session.execute(f"drop database {name} with (force)")


@pytest.fixture
def behind(world):
    with behind_its_replica(world) as one:
        yield one


def test_a_hint_before_its_replica_waits_and_then_asks_the_leader(behind):
    world = behind
    world.follower.hint(rename(world, "Ada swims"))
    assert world.follower.pull() == Pulled(wanted=1, late=1)
    assert world.pages()[ONE] == ("Ada runs", 0)
    world.clock.sleep(world.follower.settings.follow.leader_after_s)
    assert world.follower.pull() == Pulled(wanted=1, applied=1, late=0)
    assert world.pages()[ONE] == ("Ada swims", 0)
    assert world.wanted() == 0


def test_a_replica_that_is_behind_undoes_nothing(behind):
    world = behind
    world.follower.hint(rename(world, "Ada swims"))
    world.clock.sleep(1)
    world.follower.pull()
    world.clock.sleep(60)
    assert world.follower.pull().applied == 1, "the leader was asked"
    world.follower.sweep("page")
    assert world.follower.reconcile("page") == Reconciled(rows=2)
    assert world.pages()[ONE] == ("Ada swims", 0)
