"""A transaction that does not fit: ``python tests/soak/large_transaction.py [--rows N]``, a million where nobody says.

One transaction inserts N rows of about 170 bytes, another as many and is rolled back. They are read by a process of its own
that keeps nothing of them; printed are its memory at its peak and what is left on disk. It ends with 1 where that is more
than 300 MB, or anything, or where the rows are not those that committed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psycopg

from captured import captured
from postgres_server import PostgresServer
from signalroom.position import Position

MOST_MB = 300
_FILL = "INSERT INTO t SELECT g, repeat(md5(g::text), 4), g * 1.25, now() FROM generate_series({}, {}) g"


@dataclass(frozen=True)
class Read:
    """What a process read: rows, those of the largest batch, its memory at the peak in MB, and files it held in the spool."""

    rows: int
    largest: int
    peak_mb: float
    left: list[str]


def large(dsn: str, folder: Path, rows: int) -> tuple[Read, Read]:
    """Return what was read of a transaction that was rolled back, and of one that committed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, n numeric(14,2), at timestamptz)")
        name = dsn.rpartition("/")[2]
        connection.execute(f"ALTER DATABASE {name} SET logical_decoding_work_mem = '1MB'")
    since = Position()
    source = captured(dsn, folder, tables=["t"], slot=f"large_{name}")
    (stream,) = source.streams()
    for batch in source.read(stream, since, None):
        since = since.overlay(batch.position)
    found: list[Read] = []
    for back in (True, False):
        with psycopg.connect(dsn) as connection:
            connection.execute(_FILL.format(1, rows))
            (connection.rollback if back else connection.commit)()
        child = subprocess.run(
            [sys.executable, __file__, "--read", dsn, str(folder), json.dumps(since.partitions)],
            check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        found.append(Read(**json.loads(child.stdout)))
    return found[0], found[1]


def read(dsn: str, folder: Path, partitions: str) -> Read:
    """Read from a position to the WAL's end of now and keep nothing."""
    source = captured(dsn, folder, tables=["t"], slot=f"large_{dsn.rpartition('/')[2]}")
    (stream,) = source.streams()
    rows = largest = 0
    for batch in source.read(stream, Position(json.loads(partitions)), None):
        rows, largest = rows + batch.content.num_rows, max(largest, batch.content.num_rows)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    spool = folder / ".signalroom" / "spool"
    held = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    return Read(
        rows, largest, peak / 1024, [*map(str, spool.iterdir()), *(one for one in held if one.startswith(str(spool)))]
    )


def main() -> None:
    """Make both transactions, read them, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--read", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        dsn, folder, partitions = asked.read
        sys.stdout.write(json.dumps(vars(read(dsn, Path(folder), partitions))))
        return
    with PostgresServer.started(max_wal_size="4GB") as server, tempfile.TemporaryDirectory() as folder:
        back, whole = large(server.create_database(), Path(folder), asked.rows)
    sys.stdout.write(
        f"a transaction of {asked.rows:,} rows: {whole.rows:,} read within {whole.peak_mb:.0f} MB, {len(whole.left)} files left; "
        f"rolled back: {back.rows:,} within {back.peak_mb:.0f} MB, {len(back.left)} files left\n"
    )
    if (
        (back.rows, whole.rows) != (0, asked.rows)
        or max(whole.peak_mb, back.peak_mb) > MOST_MB
        or back.left + whole.left
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
