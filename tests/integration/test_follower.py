"""The follower: hints, sweeps and comparisons bring an app's rows here, on both warehouses."""

from __future__ import annotations

import itertools

import pytest

from following import followed
from leader_app import ONE, TWO
from signalroom.errors import DataError
from signalroom.projections.follower import Pulled
from signalroom.projections.reconcile import Reconciled
from warehouses import duckdb_warehouse, postgres_warehouse

pytestmark = pytest.mark.slow
NOWHERE = "00000000-0000-0000-0000-00000000000f"
_names = (f"app{number}" for number in itertools.count(1))


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


def test_a_hint_brings_a_row(world):
    assert world.follower.hint(world.relay()) == 2
    assert world.follower.pull() == Pulled(wanted=2, applied=2)
    assert world.pages() == {ONE: ("Ada runs", 0), TWO: ("", 0)}
    assert world.wanted() == 0
    world.session.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 250)")
    hints = world.relay()
    world.follower.hint([*hints, *hints, ("page", ONE, 1), ("stranger", ONE, 1)])
    assert world.follower.pull() == Pulled(wanted=1, applied=1)
    assert world.pages()[ONE] == ("Ada runs", 250)
    assert world.differences() == set()


def test_a_deletion_and_a_rebirth_arrive_in_any_order(world):
    world.follower.hint(first := world.relay())
    world.follower.pull()
    world.session.execute(f"delete from pages where uuid = '{ONE}'")
    gone = world.relay()
    world.follower.hint(gone)
    world.follower.pull()
    assert world.pages() == {TWO: ("", 0)}
    world.follower.hint(first)  # late and out of order
    assert world.follower.pull().applied == 0
    world.session.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada again')")
    born = world.relay()
    world.follower.hint([*born, *gone, *first])
    world.follower.pull()
    assert world.pages()[ONE] == ("Ada again", 0)
    assert world.differences() == set()


def test_a_version_that_is_not_there_yet_is_looked_for_again(world):
    (_, _, version), _ = sorted(world.relay())
    world.follower.hint([("page", ONE, version + 1), ("page", TWO, 0)])
    assert world.follower.pull() == Pulled(wanted=2, applied=2, late=1)  # what is there is newer than nothing
    assert world.follower.pull() == Pulled()  # not before some time has passed
    world.clock.sleep(1)
    assert world.follower.pull() == Pulled(wanted=1, late=1)
    world.session.execute(f"update pages set name = 'Ada swims' where uuid = '{ONE}'")
    world.relay()
    world.clock.sleep(1)
    assert world.follower.pull() == Pulled(wanted=1, applied=1)
    assert world.wanted() == 0


def test_a_forged_hint_costs_a_read_and_ends(world):
    world.follower.hint([("page", NOWHERE, 7), ("page", ONE, 99 << 40)])
    world.relay()
    assert world.follower.pull() == Pulled(wanted=2, applied=1, late=2)
    world.clock.sleep(60)
    assert world.follower.pull() == Pulled(wanted=2, unknown=2)
    assert world.wanted() == 0


def test_the_sweep_finds_what_no_hint_told(world):
    assert world.relay()
    assert world.follower.sweep("page").applied == 2
    assert world.differences() == set()
    cursor = world.follower.store.states(world.follower.name)["page"].cursor
    world.session.execute(f"delete from pages where uuid = '{TWO}'")
    world.session.execute(f"update pages set name = 'Ada rests' where uuid = '{ONE}'")
    world.relay()
    done = world.follower.sweep("page")
    assert (done.applied, done.stale) == (2, 0)
    assert world.differences() == set()
    assert int(world.follower.store.states(world.follower.name)["page"].cursor) > int(cursor)
    assert world.follower.sweep("page").applied == 0


def test_a_sweep_skips_no_transaction_that_is_under_way(world):
    """A row whose transaction began before the sweep and ends after it is found by the next one."""
    with world.session.transaction():
        world.session.execute("select * from public.reporting_relay(10)")
        world.leader.connection.execute("insert into teams (name) values ('Blue')")  # begins later and ends before it
        world.follower.sweep("page")
        assert world.pages() == {}
    world.follower.sweep("page")
    assert world.differences() == set()
    assert len(world.pages()) == 2


def test_a_comparison_finds_and_repairs_whatever_differs(world):
    world.relay()
    world.follower.sweep("page")
    assert world.follower.reconcile("page") == Reconciled(rows=2)
    name = world.follower.name
    world.warehouse.run(f"DELETE FROM {name}.page__rows WHERE _id = '{ONE}'")  # missing here
    world.warehouse.run(f"UPDATE {name}.page__rows SET _version = _version - 1 WHERE _id = '{TWO}'")  # behind
    world.warehouse.run(
        f"INSERT INTO {name}.page__rows (_id, _version, _deleted, _hash) VALUES ('{NOWHERE}', 9, false, 1)"
    )  # unknown
    assert world.follower.reconcile("page") == Reconciled(rows=2, differing=3, repaired=2, removed=1)
    world.warehouse.run(
        f"UPDATE {name}.page__rows SET _version = 1098437885952000, name = 'lost' WHERE _id = '{ONE}'"
    )  # ahead
    world.warehouse.run(f"UPDATE {name}.page__rows SET _hash = 5, name = 'other' WHERE _id = '{TWO}'")  # a twin
    assert world.follower.reconcile("page") == Reconciled(rows=2, differing=2, repaired=1, undone=1)
    assert world.differences() == set()
    assert world.follower.reconcile("page") == Reconciled(rows=2)


def test_a_new_epoch_copies_everything_and_takes_lost_rows_out(world):
    world.relay()
    world.follower.sweep("page")
    name = world.follower.name
    world.warehouse.run(f"UPDATE {name}.page__rows SET _version = _version + 7, name = 'lost' WHERE _id = '{ONE}'")
    world.warehouse.run(
        f"INSERT INTO {name}.page__rows (_id, _version, _deleted, _hash) VALUES ('{NOWHERE}', 9, false, 1)"
    )
    world.session.execute("update public.reporting_state set timeline = timeline + 1")  # as after a promotion
    world.session.execute(f"update pages set name = 'Ada leads' where uuid = '{TWO}'")
    world.relay()
    world.follower.sweep("page")
    assert world.differences() == set()
    assert NOWHERE not in world.follower.store.versions(world.follower.replica_entity("page"), ())
    state = world.follower.store.states(name)["page"]
    assert state.leader.endswith("/2")
    assert state.reconciled_at is not None


def test_poison_is_set_aside_and_healed(world):
    world.session.execute("alter table public.reporting_page alter total type numeric")
    world.session.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 5)")
    world.relay()
    world.session.execute(
        f"update public.reporting_page set total = 'NaN', _version = _version + 1 where _id = '{ONE}'"
    )
    world.follower.sweep("page")
    assert list(world.pages()) == [TWO]
    reject = world.warehouse.query("SELECT * FROM signalroom.rejects WHERE source = :s", {"s": world.follower.name})
    assert [(row["part"], row["column_name"], row["value"]) for row in reject.to_pylist()] == [(ONE, "total", "NaN")]
    assert world.follower.reconcile("page") == Reconciled(rows=2)  # it is known
    world.session.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 7)")
    world.follower.hint(world.relay())
    world.follower.pull()
    assert world.pages()[ONE] == ("Ada runs", 12)
    assert world.follower.store.waiting(world.follower.replica_entity("page")) == {}


def test_a_type_that_changed_keeps_only_its_entity_waiting(world):
    world.session.execute("insert into teams (name) values ('Blue')")
    world.relay()
    world.follower.sweep("page")
    world.session.execute("alter table public.reporting_page alter total type text")
    world.session.execute("update public.reporting_page set _version = _version + 1, _txid = pg_current_xact_id()")
    world.follower.hint([("page", ONE, 0), ("team", str(_team(world)), 0)])
    done = world.follower.pull()
    assert done.applied == 1
    assert len(done.problems) == 1
    assert "signalroom follow --resync" in done.problems[0]
    with pytest.raises(DataError, match="other types"):
        world.follower.sweep("page")
    assert world.follower.resync("page").applied == 2
    assert world.pages()[ONE] == ("Ada runs", "0")


def _team(world):
    return world.session.execute("select uuid from teams").fetchone()[0]
