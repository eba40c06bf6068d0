"""Kill -9 at every failpoint of syncs and a delivery, and run again: nothing is lost and nothing is doubled.

The quick test kills once under each name. ``make proof`` (and ``SIGNALROOM_PROOF=1``) kills at every hit, several times
in a row and at moments nobody chose, and prints the figures.
"""

import json
import os

import pytest
from crash import mutants, scene
from crash.proof import prove

WAREHOUSES = ("duckdb", pytest.param("postgres", marks=pytest.mark.slow))
SEED = 20261120


@pytest.fixture
def duckdb(explorer):
    return explorer("duckdb")


def test_the_undisturbed_run_is_what_was_worked_out_by_hand(explorer):
    tables = explorer("duckdb").reference[3]["tables"]
    wanted = scene.expected()
    columns = {"files.orders": ("id", "day", "total", "note"), "files.events": ("event",), "days.pings": ("ping",)}
    columns["days.stats"] = ("day", "place", "amount")
    for name, names in columns.items():
        rows = [json.loads(row) for row in tables[name]]
        assert sorted(tuple(str(row[one]) for one in names) for row in rows) == wanted[name], name


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_killed_once_under_each_name(explorer, warehouse, half):
    found = explorer(warehouse)
    for hit in found.one_of_each(SEED)[half::2]:
        found.crash(hit)
    assert not found.figures.failures, f"{found.figures}\n" + "\n".join(found.figures.failures)
    assert found.figures.kills == found.figures.runs


@pytest.mark.slow
@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_both_warehouses_hold_the_same(explorer, warehouse):
    if warehouse == "duckdb":
        pytest.skip("compared with itself")
    here, there = explorer("duckdb").reference[3], explorer(warehouse).reference[3]
    assert here["checksums"] == there["checksums"]


@pytest.mark.parametrize("mutant", sorted(mutants.SHOWS))
def test_a_seeded_bug_is_caught(duckdb, mutant):
    duckdb.mutant = mutant
    near = [hit for hit in duckdb.hits if hit.name in mutants.SHOWS[mutant]]
    assert any(duckdb.crash(hit) for hit in near), f"{len(near)} kills near it found nothing: {mutant}"


@pytest.mark.slow
@pytest.mark.skipif("SIGNALROOM_PROOF" not in os.environ, reason="`make proof` runs the whole set")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_killed_everywhere(explorer, warehouse):
    found = explorer(warehouse)
    prove(found, seeds=int(os.environ["SIGNALROOM_PROOF"]))
    assert not found.figures.failures, f"{found.figures}\n" + "\n".join(found.figures.failures)
