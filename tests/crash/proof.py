"""``make proof``: every failpoint killed, on DuckDB and on Postgres, and the figures printed.

``python tests/crash/proof.py [--seed S] [--rounds N] [duckdb] [postgres]``
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from crash.databases import Databases
from crash.explorer import Explorer, Hit
from crash.mutants import SHOWS

_MOMENTS = 100  # kills at moments nobody chose, in each round
_SERIES = 100  # runs that are killed two to three times in a row, in each round


def prove(explorer: Explorer, rounds: int = 1, said: Callable[[str], None] = lambda _: None, *, seed: int = 0) -> None:
    """Kill at every hit, then, in each round, several times in a row and at moments nobody chose."""
    for hit in explorer.hits:
        explorer.crash(hit, to_the_end=True)
    said(f"every hit once, to the last sync: {explorer.figures}")
    for number in range(seed, seed + rounds):
        chance = random.Random(number)
        for hit, more in _series(explorer, chance):
            explorer.crash(hit, *more)
        said(f"several kills in a row, seed {number}: {explorer.figures}")
        for _ in range(_MOMENTS):
            phase, kills = chance.choice([1, 2, 3]), chance.choice([1, 1, 2])
            explorer.crash_after(phase, *(chance.uniform(0.0, explorer.seconds[phase]) for _ in range(kills)))
        said(f"at moments nobody chose, seed {number}: {explorer.figures}")


def _series(explorer: Explorer, chance: random.Random) -> Iterator[tuple[Hit, list[int]]]:
    for _ in range(_SERIES):
        hit = chance.choice(explorer.hits)
        many = sum(one.phase == hit.phase for one in explorer.hits)
        yield hit, [chance.randint(1, many) for _ in range(chance.choice([1, 1, 2]))]


def bite(explorer: Explorer, said: Callable[[str], None]) -> int:
    """Return how many of the seeded bugs no kill near them finds."""
    missed = 0
    for mutant, names in SHOWS.items():
        explorer.mutant = mutant
        near = [hit for hit in explorer.hits if hit.name in names]
        caught = sum(bool(explorer.crash(hit)) for hit in near)
        missed += not caught
        said(f"seeded bug, {mutant}: caught at {caught} of {len(near)} points")
    return missed


def main() -> int:
    """Run the proof; the exit code is 1 when anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouses", nargs="*", default=["duckdb", "postgres"])
    parser.add_argument("--seed", type=int, default=1, help="where chance begins")
    parser.add_argument("--rounds", type=int, default=1, help="how often chance has its turn, each under the next seed")
    asked = parser.parse_args()
    bad = 0
    for warehouse in asked.warehouses:
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            databases = None
            if warehouse == "postgres":
                from postgres_server import PostgresServer

                databases = Databases(stack.enter_context(PostgresServer.started()))
            explorer = stack.enter_context(Explorer(warehouse, databases))
            explorer.record()

            def said(text: str, warehouse: str = warehouse, began: float = began) -> None:
                sys.stdout.write(f"{warehouse}  {time.monotonic() - began:6.0f} s  {text}\n")
                sys.stdout.flush()

            prove(explorer, asked.rounds, said, seed=asked.seed)
            for failure in explorer.figures.failures:
                said(failure)
            bad += len(explorer.figures.failures)
            if warehouse == "duckdb":
                bad += bite(explorer, said)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
