"""Tombstones: remembered until every follower has passed them and some days are over, and not needed after that."""

from __future__ import annotations

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from following import followed
from integration.test_leader_races import until_it_waits
from leader_app import ONE, TWO
from signalroom.projections.follower import Follower
from signalroom.projections.leader import Leader
from signalroom.projections.reconcile import Reconciled
from warehouses import duckdb_warehouse, postgres_warehouse

pytestmark = pytest.mark.slow
_names = (f"gone{number}" for number in itertools.count(1))


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def warehouse(request, postgres_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with duckdb_warehouse(folder) if request.param == "duckdb" else postgres_warehouse(postgres_server, folder) as made:
        yield made


@pytest.fixture
def world(tmp_path, postgres, warehouse):
    with followed(tmp_path, postgres(), warehouse, next(_names)) as one:
        one.session.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada runs'), ('{TWO}', '')")
        one.relay()
        one.follower.sweep("page")
        yield one


def held(world) -> list[str]:
    """Return the ids that the leader knows, those that are gone included."""
    return [name for (name,) in world.session.execute("select _id from reporting_page order by 1")]


def gone_for_days(world, days: int) -> None:
    """Delete a page, so many days ago."""
    world.session.execute(f"delete from pages where uuid = '{ONE}'")
    world.relay()
    world.session.execute("update reporting_page set _updated_at = now() - %s where _deleted", [timedelta(days=days)])


def another(world, name: str) -> Follower:
    one = world.follower
    return Follower(one.settings, one.store, one.queue, one.clock, name)


def test_a_tombstone_goes_when_its_days_are_over_and_every_follower_has_passed_it(world):
    with another(world, "late") as late:
        assert late.purge("page") == 0
        gone_for_days(world, 29)
        world.follower.sweep("page")
        late.sweep("page")
        assert late.purge("page") == world.follower.purge("page") == 0, "its days are not over"
        world.session.execute("update reporting_page set _updated_at = now() - interval '31 days' where _deleted")
        world.session.execute("update reporting_pulls set xid = '3' where follower like 'late.%'")
        assert world.follower.purge("page") == 0, "one follower has not passed it"
        assert held(world) == [ONE, TWO]
        seen = [one.name for one in world.leader.status().followers]
        assert seen == [world.follower.name, f"late.{world.follower.name}"]
        assert late.purge("page") == 1
    assert held(world) == [TWO]
    assert world.follower.reconcile("page") == Reconciled(rows=1, purged=1), "here it goes with the next comparison"
    assert list(world.follower.store.versions(world.follower.replica_entity("page"), ())) == [TWO]


def test_a_follower_that_is_no_more_is_waited_for_until_it_is_forgotten(world):
    with another(world, "old") as old:
        old.purge("page")
    gone_for_days(world, 31)
    world.session.execute("update reporting_pulls set xid = '3'")
    world.follower.sweep("page")
    assert world.follower.purge("page") == 0
    world.session.execute("select reporting_forget(%s)", [f"old.{world.follower.name}"])
    assert world.follower.purge("page") == 1


def test_who_comes_back_after_the_purge_is_newer_than_the_tombstone(world):
    gone_for_days(world, 31)
    world.follower.sweep("page")
    assert world.follower.purge("page") == 1
    world.session.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada again')")
    world.follower.hint(world.relay())
    assert world.follower.pull().applied == 1, "its tombstone is still here"
    assert world.pages()[ONE] == ("Ada again", 0)
    assert world.follower.reconcile("page") == Reconciled(rows=2)


def test_a_warehouse_from_before_the_purge_finds_out(world):
    """Its cursor is older than a tombstone that is purged: nothing but a comparison can tell that the row is gone."""
    store, name = world.follower.store, world.follower.name
    before = store.states(name)["page"]
    gone_for_days(world, 31)
    world.follower.sweep("page")
    assert world.follower.purge("page") == 1
    world.warehouse.run(f"UPDATE {name}.page__rows SET _version = _version - 1, _deleted = false WHERE _id = '{ONE}'")
    store.record(world.follower.replica_entity("page"), before)
    world.follower.sweep("page")
    assert list(world.pages()) == [TWO]
    assert world.differences() == set()


def test_a_new_server_purges_nothing_by_what_followers_said_to_the_old_one(world):
    gone_for_days(world, 31)
    world.follower.sweep("page")
    world.session.execute("select reporting_acknowledge('app', 'page', '999999999')")
    world.session.execute("update reporting_state set timeline = timeline + 1")
    world.leader.relay()
    assert world.leader.status().followers == ()
    assert world.leader.purge("app", "page", "1", timedelta(0)) == 0
    assert held(world) == [ONE, TWO]


def test_a_purge_takes_no_row_that_comes_back_meanwhile(world):
    gone_for_days(world, 31)
    world.follower.sweep("page")
    world.session.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada again')")
    with ThreadPoolExecutor(1) as pool, Leader(world.session.info.dsn) as purging:
        cursor = world.follower.state("page").cursor
        with world.leader.connection.transaction():
            assert world.leader.relay()
            waiting = pool.submit(purging.purge, "app", "page", cursor, timedelta(days=30))
            until_it_waits(world.session, purging)
        assert waiting.result(20) == 0
    assert held(world) == [ONE, TWO]


def test_it_is_done_once_an_hour_and_never_where_days_are_none(world):
    follower = world.follower
    assert follower.is_purge_due("page")
    follower.purge("page")
    assert not follower.is_purge_due("page")
    world.clock.advance(3600)
    assert follower.is_purge_due("page")
    never = dataclasses.replace(follower.settings.follow, tombstones_days=0)
    follower.settings = dataclasses.replace(follower.settings, follow=never)
    assert not follower.is_purge_due("page")


def test_a_kit_from_before_is_followed_without_purging(world):
    with psycopg.connect(world.session.info.dsn, autocommit=True) as app:
        app.execute("alter table reporting_entities drop column purged_xid")
        app.execute("drop table reporting_pulls")
    gone_for_days(world, 31)
    assert world.follower.sweep("page").applied == 1
    assert world.follower.purge("page") == 0
    assert world.leader.status().followers == ()
