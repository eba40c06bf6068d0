"""The law of capture: whatever is done to the tables, our slot tells what Postgres' own decoder tells of the same WAL."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
from hypothesis import strategies as st

from captured import Follower, captured, rows_of
from change_oracle import Change, Oracle, told
from change_writer import KINDS, TYPES, Deed, Writer, ddl, deeds
from signalroom.sources.postgres_cdc import CapturedTable

_SLOTS = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
_BOUND_BYTES = 64 << 10  # what a transaction may take before the server sends it in blocks


@dataclass(frozen=True, slots=True)
class Life:
    """What is captured, how, and what happens to it."""

    tables: tuple[str, ...]
    mode: Literal["stream", "poll"]
    deeds: tuple[Deed, ...]


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Return the life of some tables; one that nobody captures lives beside them."""
    tables = draw(st.sampled_from([("plain",), ("plain", "whole"), ("strange",), ("plain", "strange", "whole")]))
    mode: Literal["stream", "poll"] = draw(st.sampled_from(["stream", "stream", "stream", "poll"]))
    return Life(tables, mode, tuple(draw(st.lists(deeds((*tables, "other")), min_size=10, max_size=60))))


@dataclass(slots=True)
class Tally:
    """What was compared: changes of each verb, cells that did not arrive, transactions."""

    lives: int = 0
    upserts: int = 0
    deletes: int = 0
    truncates: int = 0
    unset: int = 0
    committed: int = 0
    rolled_back: int = 0

    def add(self, changes: Sequence[Change]) -> None:
        """Count changes."""
        self.upserts += sum(one.verb == "upsert" for one in changes)
        self.deletes += sum(one.verb == "delete" for one in changes)
        self.truncates += sum(one.verb == "truncate" for one in changes)
        self.unset += sum(len(one.unset) for one in changes)


def check_life(dsn: str, folder: Path, life: Life, tally: Tally | None = None) -> None:
    """Assert the law for one life, in a database that is emptied before."""
    _empty(dsn)
    source = captured(
        dsn, folder, tables={name: CapturedTable(key=KINDS[name].key) for name in life.tables}, mode=life.mode,
        slot="ours_" + dsn.rpartition("/")[2],
    )  # fmt: skip
    follower = Follower(source)
    follower.sync()
    oracle = Oracle(dsn, {name: KINDS[name].key for name in life.tables}, frozenset({"gen"}))
    writer = Writer(dsn)
    tally = tally or Tally()
    try:
        for deed in life.deeds:
            writer.do(deed)
            if deed.what.startswith("sync"):
                if writer.whole is not None:  # the server's own function would wait for who keeps a table to himself
                    writer.end(writer.whole)
                _compare(follower, oracle, tally, confirm=deed.what == "sync")
        for by in (0, 1):
            writer.end(by)
        _compare(follower, oracle, tally, confirm=True)
    finally:
        writer.close()
    tally.lives += 1
    tally.committed += writer.committed
    tally.rolled_back += writer.rolled_back
    assert follower.sync() == 0
    for name in life.tables:  # a column that was added later is not in rows from before
        now = rows_of(dsn, name, KINDS[name].key)
        held = {key: dict.fromkeys(now.get(key, {})) | row for key, row in follower.tables[name].items()}
        assert held == now


def _compare(follower: Follower, oracle: Oracle, tally: Tally, *, confirm: bool) -> None:
    follower.sync(confirm=confirm)
    ours, theirs = told(follower.batches, list(follower.tables)), oracle.read()
    for name, expected in theirs.items():
        found = [
            _as_told(one, other) if _moved(other, expected) else one
            for one, other in itertools.zip_longest(ours[name], expected)
            if one is not None and other is not None
        ]
        assert len(ours[name]) == len(expected)
        assert found == expected
        tally.add(expected)


def _moved(change: Change, expected: Sequence[Change]) -> bool:
    """Return whether a change is the second half of a move: what it left out was asked for."""
    return change.verb == "upsert" and bool(change.unset) and any(
        one.seq == change.seq and one.verb == "delete" for one in expected
    )  # fmt: skip


def _as_told(ours: Change, theirs: Change) -> Change:
    """Return our change without the values that were asked for; these the table itself is compared with."""
    extra = theirs.unset - ours.unset
    values = tuple(pair for pair in ours.values if pair[0] not in extra)
    return Change(ours.seq, ours.verb, values, ours.absent - extra, ours.unset | extra)


def _empty(dsn: str) -> None:
    name = dsn.rpartition("/")[2]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SLOTS)
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.execute(f"ALTER DATABASE {name} SET logical_decoding_work_mem = '{_BOUND_BYTES >> 10}kB'")
        for (made,) in connection.execute("SELECT quote_ident(pubname) FROM pg_publication").fetchall():
            connection.execute(f"DROP PUBLICATION {made}")
        for statement in (TYPES, *(one for table in KINDS for one in ddl(table))):
            connection.execute(statement)
