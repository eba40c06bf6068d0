"""Captured changes against Postgres' own decoder, for long: ``python tests/soak/changes.py [--lives N] [--seed N]``.

Each life is a handful of tables of every type, and up to sixty deeds of two connections to them: the program ends with 1
at the first change that our slot tells otherwise than `test_decoding`, and prints what was compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, given, seed, settings

from change_laws import Life, Tally, check_life, lives
from postgres_server import PostgresServer


def main() -> None:
    """Compare many lives; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    tally = Tally()
    with PostgresServer.started() as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.create_database()

        @seed(asked.seed)
        @settings(max_examples=asked.lives, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(life=lives())
        def compared(life: Life) -> None:
            check_life(dsn, Path(folder), life, tally)

        compared()
    sys.stdout.write(
        f"{tally.lives:,} lives: {tally.upserts:,} upserts, {tally.deletes:,} deletes, {tally.truncates:,} truncates of "
        f"{tally.committed:,} transactions ({tally.rolled_back:,} rolled back), {tally.unset:,} cells that did not "
        "arrive: 0 differences\n"
    )


if __name__ == "__main__":
    main()
