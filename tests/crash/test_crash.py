"""Kill -9 at every failpoint of syncs and a delivery, and run again: nothing is lost and nothing is doubled.

The tests of every change kill once under each name, on Postgres under the names of its own code. ``make proof`` kills
at every hit, several times in a row and at moments nobody chose, and prints the figures.
"""

import json

import pytest

from crash import mutants, scene

SEED = 20261120

# The explorers of one worker serve all these tests.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("crash"), pytest.mark.timeout(1200)]
warehouses = pytest.mark.parametrize("warehouse", ["duckdb", "postgres"])


def test_the_undisturbed_run_is_what_was_worked_out_by_hand(explorer):
    tables = explorer("duckdb").reference[3]["tables"]
    wanted = scene.expected()
    columns = {"files.orders": ("id", "day", "total", "note"), "files.events": ("event",), "days.pings": ("ping",)}
    columns["days.stats"] = ("day", "place", "amount")
    for name, names in columns.items():
        rows = [json.loads(row) for row in tables[name]]
        assert sorted(tuple(str(row[one]) for one in names) for row in rows) == wanted[name], name


def test_both_warehouses_hold_the_same(explorer):
    here, there = explorer("duckdb").reference[3], explorer("postgres").reference[3]
    assert here["checksums"] == there["checksums"]


@warehouses
def test_killed_once_under_each_name(explorer, warehouse):
    found = explorer(warehouse)
    missed, problems = set(), []
    for first, *more in found.series(SEED):
        problems += found.crash(first, *more)
        missed |= {hit for hit, killed in zip((first, *more), found.killed, strict=False) if not killed}
    for hit in missed:  # the run after a kill went another way
        problems += found.crash(hit)
        assert found.killed == [True], hit
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("mutant", sorted(mutants.SHOWS))
def test_a_seeded_bug_is_caught(explorer, monkeypatch, mutant):
    found = explorer("duckdb")
    monkeypatch.setattr(found, "mutant", mutant)
    near = [hit for hit in found.hits if hit.name in mutants.SHOWS[mutant]]
    # The pings have no other defence than the load's record; what comes last in a sync has fewer kills before it.
    assert any(found.crash(hit) for hit in sorted(near, key=lambda hit: (hit.phase, -hit.place))), mutant
