"""The soak of projections for a few seconds, and its negative control: what it counts is there to be counted."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from ledger_laws import DUE
from signalroom.projection import Entity
from signalroom.stream import Column
from signalroom.testing.warehouse_projections import pulled
from soak import followers
from soak.projections import Figures, soak
from soak.watched_stores import Slow, Unguarded, Watch
from warehouses import duckdb_warehouse


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"])
def test_no_row_differs_and_none_goes_back_whatever_fails(tmp_path, warehouse):
    figures = soak(tmp_path, warehouse, seconds=2, seed=7)
    assert (figures.differing, figures.backward) == (0, 0), figures.told()
    assert min(figures.commits, figures.relays_killed, figures.hints, figures.swept) > 0, figures.told()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"])
def test_no_row_differs_and_none_goes_back_whoever_is_killed(tmp_path, warehouse):
    figures = followers.soak(tmp_path / "workspace", warehouse, seconds=1, kills=2, seed=7)
    assert (figures.differing, figures.backward) == (0, 0), figures.told()
    assert (
        min(figures.commits, figures.hints, figures.followers_killed, figures.swept_after_days, figures.lost_commits)
        > 0
    )


@pytest.mark.slow
@pytest.mark.parametrize("program", ["followers", "once", "projections", "soak"])
def test_a_soak_begins_when_it_is_run_as_a_program(program):
    file = Path(followers.__file__).with_name(f"{program}.py")
    done = subprocess.run([sys.executable, file, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("kind", "steps_back"), [(Slow, 0), (Unguarded, 1)])
def test_without_the_guard_rows_go_back_and_that_is_seen(tmp_path, kind, steps_back):
    entity, figures = Entity("app", "page", (Column("name"),)), Figures("duckdb")
    with duckdb_warehouse(tmp_path) as warehouse:
        store = kind(warehouse.projections(), random.Random(1), Watch(figures))
        for version in (1, 3, 2):  # the last was read before the one before it, and comes after it
            store.applied(entity, pulled(entity, ("a", version, {"name": f"a{version}"})), DUE, {})
    assert figures.backward == steps_back
