"""The ``history`` disposition against versions worked out in plain Python, on every engine, to the bit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handmade_loads import Loads
from property_profiles import examples
from signalroom.stream import Batch, Column, Stream, Table
from signalroom.warehouse.base import Warehouse
from warehouse_laws import fresh_source

_folders = itertools.count(1)
_START = datetime(2026, 3, 8, tzinfo=UTC)
Version = tuple[int, str | None, datetime | None, datetime | None, bool]


@dataclass(frozen=True)
class Seen:
    """One row: its key, the hour it speaks of, its place in the stream, what it does and what it says."""

    k: int
    at: int | None
    seq: int
    op: str
    v: str | None

    @property
    def moment(self) -> datetime | None:
        return None if self.at is None else _START + timedelta(hours=self.at)


@dataclass(frozen=True)
class Sightings:
    """Loads of rows, and the order in which they are merged, several at once or one by one."""

    loads: tuple[tuple[Seen, ...], ...]
    merges: tuple[tuple[int, ...], ...]
    order: tuple[str, ...]
    zone: str


seen = st.builds(
    Seen, k=st.integers(0, 3), at=st.one_of(st.none(), st.integers(0, 5)), seq=st.integers(0, 4),
    op=st.sampled_from(["upsert", "upsert", "upsert", "delete"]), v=st.sampled_from([None, "", "a", "b", "é"]),
)  # fmt: skip


@st.composite
def sightings(draw: st.DrawFn) -> Sightings:
    loads = tuple(tuple(draw(st.lists(seen, max_size=8))) for _ in range(draw(st.integers(1, 5))))
    order = list(draw(st.permutations(range(len(loads)))))
    merges: list[tuple[int, ...]] = []
    while order:
        taken = draw(st.integers(1, len(order)))
        merges.append(tuple(order[:taken]))
        order = order[taken:]
    by = draw(st.sampled_from([("at",), ("at", "_seq")]))
    return Sightings(loads, tuple(merges), by, draw(st.sampled_from(["timestamptz", "timestamp"])))


def expected(history: Sightings, merged: Sequence[int]) -> tuple[set[Version], set[tuple[int, int]]]:
    """Return the versions the table must hold, and which rows (load, row) say something new."""
    told: dict[int, dict[int, tuple[tuple[Any, ...], Seen]]] = {}
    for load in merged:
        for row, one in enumerate(history.loads[load]):
            at = -1 if one.at is None else one.at
            rank = (*((one.seq,) if "_seq" in history.order else ()), load, row)
            held = told.setdefault(one.k, {}).get(at)
            if held is None or rank > held[0]:
                told[one.k][at] = (rank, one)
    versions: set[Version] = set()
    new: set[tuple[int, int]] = set()
    for k, moments in told.items():
        events: list[Seen] = []
        for _, (rank, one) in sorted(moments.items()):
            last = events[-1] if events else None
            same = last is not None and last.op == one.op and (one.op == "delete" or last.v == one.v)
            if not same:
                events.append(one)
                new.add((rank[-2], rank[-1]))
        for one, after in itertools.zip_longest(events, events[1:]):
            if one.op == "upsert":
                versions.add((k, one.v, one.moment, after and after.moment, after is None))
    return versions, new


def check_history(warehouse: Warehouse, folder: Path, history: Sightings) -> str:
    """Assert the law after each merge and after a replay; return the table's checksum."""
    lake = Loads(folder)
    columns = (Column("k", "bigint"), Column("at", history.zone), Column("v"))
    table = Table("t", columns, key=("k",), order=history.order, disposition="history")
    stream = Stream(fresh_source(), "changes", (table,))
    loads = [lake.add(stream, Batch("t", arrow(rows, history.zone), source_ref="wal")) for rows in history.loads]
    done: list[int] = []
    for chosen in history.merges:
        result = warehouse.merge(stream, [loads[index] for index in chosen], lake)
        done += chosen
        versions, new = expected(history, done)
        found = warehouse.query(f"SELECT k, v, _valid_from, _valid_to, _is_current FROM {stream.source}.t").to_pylist()
        assert len(found) == len(versions)
        assert {tuple(row.values()) for row in found} == versions
        assert result.rows_in == sum(len(history.loads[index]) for index in chosen)
        assert result.rows_merged == sum(load in chosen for load, _ in new)
        assert result.rows_merged + result.rows_superseded == result.rows_in
    live = warehouse.checksum(f"{stream.source}.t")
    warehouse.merge(stream, loads, lake, replay=True)
    assert warehouse.checksum(f"{stream.source}.t") == live, "a replay gives another table"
    return warehouse.checksum(f"{stream.source}.t", exclude=("_load_id",))


def arrow(rows: Sequence[Seen], kind: str) -> pa.Table:
    return pa.table(
        {
            "k": pa.array([one.k for one in rows], pa.int64()),
            "at": pa.array([one.moment for one in rows], pa.timestamp("us", "UTC" if kind == "timestamptz" else None)),
            "v": pa.array([one.v for one in rows], pa.string()),
            "_op": pa.array([one.op for one in rows], pa.string()),
            "_seq": pa.array([one.seq for one in rows], pa.int64()),
        }
    )


@pytest.mark.slow
@examples(quick=20, many=10_000)
@given(history=sightings())
def test_versions_are_those_worked_out_by_hand(shared_duckdb, tmp_path_factory, history) -> None:
    check_history(shared_duckdb, folder(tmp_path_factory), history)


@pytest.mark.slow
@examples(quick=6, many=2_000)
@given(history=sightings())
def test_engines_agree_on_the_versions(shared_duckdb, shared_postgres, tmp_path_factory, history) -> None:
    on_duckdb = check_history(shared_duckdb, folder(tmp_path_factory), history)
    assert check_history(shared_postgres, folder(tmp_path_factory), history) == on_duckdb


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / f"history-{next(_folders)}"
