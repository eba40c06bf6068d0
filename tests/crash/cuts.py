"""Cut the wire to Postgres in the midst of merges, try again, and hold the tables against a plain dict.

``python tests/crash/cuts.py [--every N] [--seed S]``: every Nth byte of a merge both ways, every byte of its COMMIT and
of the answer, and every way to cut; the figures are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from crash.wire import COMMIT_BYTES, Cut, Way, Wire
from handmade_loads import Loads
from signalroom.errors import RetryableError
from signalroom.load import Load
from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret

_TRIES = 3


@dataclass
class Cuts:
    """What was cut and what came of it.

    Attributes:
        made: Merges whose wire was cut.
        told: Those that ended in an error, always one that says to try again.
        landed: Those whose transaction was committed although the client was told of an error.
        lost: Rows missing after the next try.
        doubled: Rows too many.
        failures: What else was not as it should be.
    """

    made: int = 0
    told: int = 0
    landed: int = 0
    lost: int = 0
    doubled: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.made} cuts, {self.told} told as errors, {self.landed} of them committed all the same: "
            f"{self.lost} rows lost, {self.doubled} doubled, {len(self.failures)} failures"
        )


class Trials:
    """Merges of small loads into one database, through a wire.

    Args:
        server: The Postgres server.
        wire: The wire to it.
        folder: Where the loads are kept.
    """

    def __init__(self, server: Any, wire: Wire, folder: Path) -> None:
        self.wire, self._lake = wire, Loads(folder)
        self._direct = server.create_database()
        through = self._direct.replace(f":{server.port}/", f":{wire.port}/")
        self.warehouse = PostgresWarehouse(url=Secret("env:WAREHOUSE_URL", through), memory_mb=256, connections=1)
        self.cuts = Cuts()
        self._streams = 0
        self._fresh()

    def close(self) -> None:
        self.warehouse.close()

    def sizes(self) -> dict[Way, int]:
        """Return how many bytes a merge that is left alone sends each way; the first makes the tables."""
        self._merge_again(self._add())
        self.wire.arm(None)
        self._merge_again(self._add())
        return dict(self.wire.passed)

    def cut(self, cut: Cut, *, first: bool = False) -> None:
        """Merge one load, cut the wire meanwhile, merge it again, and look at the tables.

        Args:
            cut: Where and how.
            first: Whether it is the load that makes the tables; else the tables hold what earlier trials left.
        """
        if first:
            self._fresh()
        load = self._add()
        self.wire.arm(cut)
        told = ""
        try:
            self.warehouse.merge(self._stream, [load], self._lake)
        except RetryableError as problem:
            told = str(problem)
        except Exception as problem:
            told = f"{type(problem).__name__}: {problem}"
            self.cuts.failures.append(f"{cut}: {told}")
        happened = self.wire.happened
        self.wire.arm(None)
        landed = self._merge_again(load)
        self.cuts.made += happened
        self.cuts.told += bool(told)
        self.cuts.landed += bool(told) and landed
        if bool(told) is not happened:
            self.cuts.failures.append(f"{cut}: the wire {'was' if happened else 'was not'} cut, yet it said {told!r}")
        self._look(cut)

    def _fresh(self) -> None:
        self._streams += 1
        orders = Table("orders", (Column("k", "bigint"), Column("v")), key=("k",), disposition="merge")
        events = Table(
            "events", (Column("k", "bigint"), Column("v"))
        )  # only the record of loads keeps it from doubling
        self._stream = Stream(f"cut_{self._streams}", "all", (orders, events))
        self._orders: dict[int, str] = {}
        self._events: Counter[tuple[int, str]] = Counter()
        self._loads: list[str] = []

    def _add(self) -> Load:
        """Put a load into the lake: a row that every load has, one of its own, and one that cannot be typed."""
        number = len(self._loads) + 1
        rows = ((1, f"load {number}"), (100 + number, "new"))
        body = "".join(["k,v\n", *(f"{k},{v}\n" for k, v in rows), "one,misfit\n"]).encode()
        load = self._lake.add(
            self._stream,
            Batch("orders", Raw([body], "csv"), {"cursor": number}, source_ref="page"),
            Batch("events", Raw([body], "csv"), source_ref="page"),
        )
        self._loads.append(load.load_id)
        self._orders |= dict(rows)
        self._events.update(rows)
        return load

    def _merge_again(self, load: Load) -> bool:
        """Merge as a job would, a few times; return whether it had been merged before."""
        for attempt in range(1, _TRIES + 1):
            try:
                return load.load_id in self.warehouse.merge(self._stream, [load], self._lake).already
            except RetryableError as problem:
                if attempt == _TRIES:
                    self.cuts.failures.append(f"load {load.load_id} was never merged: {problem}")
        return False

    def _look(self, cut: Cut) -> None:
        """Compare everything with what plain Python says, over a connection that is not cut."""
        source = self._stream.source
        with psycopg.connect(self._direct) as connection:
            found = connection.execute(f"SELECT k, v FROM {source}.orders").fetchall()
            self._compare(cut, "orders", Counter(found), Counter(self._orders.items()))
            found = connection.execute(f"SELECT k, v FROM {source}.events").fetchall()
            self._compare(cut, "events", Counter(found), self._events)
            asked = "SELECT load_id FROM signalroom.loads WHERE source = %s"
            found = connection.execute(asked, [source]).fetchall()
            self._compare(cut, "loads", Counter(found), Counter((name,) for name in self._loads))
            asked = "SELECT load_id, table_name FROM signalroom.rejects WHERE source = %s"
            wanted = Counter((name, table) for name in self._loads for table in ("orders", "events"))
            self._compare(cut, "rejects", Counter(connection.execute(asked, [source]).fetchall()), wanted)
            left = connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'incoming%'").fetchone()
            if left != (0,):
                self.cuts.failures.append(f"{cut}: {left} tables of the merge are left over")
        if self.warehouse.positions(source, "all").get("cursor") != len(self._loads):
            self.cuts.failures.append(f"{cut}: the position is not that of the newest load")

    def _compare(self, cut: Cut, what: str, found: Counter[Any], wanted: Counter[Any]) -> None:
        less, more = (wanted - found).total(), (found - wanted).total()
        if less or more:
            self.cuts.lost, self.cuts.doubled = self.cuts.lost + less, self.cuts.doubled + more
            self.cuts.failures.append(f"{cut}: {what}: {less} lost, {more} doubled")


@contextlib.contextmanager
def trials(server: Any, folder: Path) -> Iterator[Trials]:
    """Yield trials against a server; their wire ends with them."""
    with Wire(server.port) as wire:
        found = Trials(server, wire, folder)
        try:
            yield found
        finally:
            found.close()


def at_the_commit() -> list[Cut]:
    """Return a cut at every byte of a COMMIT and of its answer, in every way."""
    ways: tuple[Way, ...] = ("up", "down")
    cuts = [Cut(way, n, "commit", how) for way in ways for n in range(COMMIT_BYTES[way]) for how in ("reset", "end")]
    return [*cuts, *(Cut("up", n, "commit", "late") for n in range(COMMIT_BYTES["up"]))]


def throughout(sizes: dict[Way, int], every: int, start: int = 0) -> list[Cut]:
    """Return a cut at every ``every``th byte of a merge, both ways, reset and ended in turn."""
    found = [Cut(way, n) for way, size in sizes.items() for n in range(start, size, every)]
    return [Cut(one.way, one.after, one.of, "end" if n % 2 else "reset") for n, one in enumerate(found)]


def main() -> int:
    """Cut everywhere; the exit code is 1 when anything was lost, doubled or told wrongly."""
    from postgres_server import PostgresServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=5, help="bytes from one cut to the next; 1 is the full sweep")
    parser.add_argument("--seed", type=int, default=1, help="at which byte the sweep begins, and which loads are first")
    asked = parser.parse_args()
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of each rollback on a wire that is cut
    chance, began = random.Random(asked.seed), time.monotonic()
    with (
        PostgresServer.started() as server,
        tempfile.TemporaryDirectory() as folder,
        trials(server, Path(folder)) as all_,
    ):
        sizes = all_.sizes()
        start = chance.randrange(asked.every)
        for title, cuts in (("COMMIT", at_the_commit()), ("merge", throughout(sizes, asked.every, start))):
            for one in cuts:
                all_.cut(one, first=chance.random() < 0.3)
            sys.stdout.write(f"cut wire {time.monotonic() - began:6.0f} s  {title}, {sizes} bytes: {all_.cuts}\n")
            sys.stdout.flush()
        for failure in all_.cuts.failures:
            sys.stdout.write(f"{failure}\n")
        return 1 if all_.cuts.failures else 0


if __name__ == "__main__":
    sys.exit(main())
