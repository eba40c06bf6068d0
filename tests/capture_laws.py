"""The law of captured changes: whatever a source's table went through, the warehouse's ends up equal to it.

A :class:`Capture` is what a log would tell of a small table: inserts, updates that leave out large values they did not
touch, deletes, truncates and changed keys, each with its place in the stream. Its loads are cut anywhere, doubled and
merged in any order; the table is kept a second time in a dict.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from handmade_loads import Loads
from signalroom.load import Load
from signalroom.stream import Batch, Column, Stream, Table
from signalroom.warehouse.base import MergeResult, Warehouse
from warehouse_laws import fresh_source

_LARGE = ("w", "x")
Row = tuple[str | None, str | None, str | None]
"""The values of ``v``, which always arrives, and of ``w`` and ``x``, which an update may leave out."""


@dataclass(frozen=True)
class Step:
    """What somebody does to the source's table: ``new`` is the key a row moves to, ``sets`` the values it gets."""

    what: str
    k: int
    new: int
    sets: Row
    left_out: frozenset[str]


@dataclass(frozen=True)
class Capture:
    """A table's life, the loads its changes come in (each change in at least one) and the order of their merges.

    Attributes:
        steps: What happens to the source's table.
        cuts: Loads as indexes of changes; of a history in order, each load goes on where the one before it ended.
        merges: Loads merged together, as indexes of ``cuts``.
        in_order: Whether the loads are merged as they were cut.
    """

    steps: tuple[Step, ...]
    cuts: tuple[tuple[int, ...], ...]
    merges: tuple[tuple[int, ...], ...]
    in_order: bool


def changes_of(steps: Sequence[Step]) -> tuple[list[dict[str, Any]], list[dict[int, Row]]]:
    """Return the changes a log would tell, and the source's table after each of them."""
    table: dict[int, Row] = {}
    told: list[dict[str, Any]] = []
    after: list[dict[int, Row]] = []

    def tell(op: str, key: int | None, row: Row = (None, None, None), left_out: Collection[str] = ()) -> None:
        kept = {name: None if name in left_out else value for name, value in zip("vwx", row, strict=True)}
        told.append({"k": key, **kept, "_op": op, "_seq": 2 * len(told) + 1, "_unset": sorted(left_out) or None})
        if op == "truncate":
            table.clear()
        elif op == "delete":
            table.pop(key or 0)
        else:
            table[key or 0] = row
        after.append(dict(table))

    for step in steps:
        if step.what == "truncate":
            tell("truncate", None)
        elif step.k not in table:
            tell("upsert", step.k, step.sets)
        elif step.what == "delete":
            tell("delete", step.k)
        elif step.what == "move" and step.new not in table:  # the log tells a move whole where a key changes
            tell("delete", step.k)
            tell("upsert", step.new, step.sets)
        else:
            held = table[step.k]
            row = tuple(
                old if name in step.left_out else new for name, old, new in zip("vwx", held, step.sets, strict=True)
            )
            tell("upsert", step.k, (row[0], row[1], row[2]), step.left_out)
    return told, after


def check_capture(warehouse: Warehouse, folder: Path, capture: Capture) -> str:
    """Assert the law for one life of a table; return the table's checksum."""
    told, after = changes_of(capture.steps)
    lake = Loads(folder)
    columns = (Column("k", "bigint"), Column("v"), Column("w"), Column("x"))
    stream = Stream(fresh_source(), "wal", (Table("t", columns, ("k",), ("_seq",), "merge"),))
    loads = [lake.add(stream, Batch("t", _arrow([told[n] for n in cut]), source_ref="wal")) for cut in capture.cuts]
    for chosen in capture.merges:
        batch = [loads[index] for index in chosen]
        _assert_conserved(warehouse.merge(stream, batch, lake), batch)
        if capture.in_order:
            last = max((n for cut in capture.cuts[: max(chosen) + 1] for n in cut), default=-1)
            _assert_equal(warehouse, stream, after[last] if last >= 0 else {})
            assert _rejects(warehouse, stream) == 0
    if _rejects(warehouse, stream):
        warehouse.retry(stream, lake)
    _assert_equal(warehouse, stream, after[-1] if after else {})
    live = warehouse.checksum(f"{stream.source}.t")
    _assert_conserved(warehouse.merge(stream, loads, lake, replay=True), loads)
    assert warehouse.checksum(f"{stream.source}.t") == live, "a replay gives another table"
    assert _rejects(warehouse, stream) == 0
    return warehouse.checksum(f"{stream.source}.t", exclude=("_load_id",))


def _arrow(changes: Sequence[dict[str, Any]]) -> pa.Table:
    kinds = {"k": pa.int64(), **dict.fromkeys("vwx", pa.string()), "_op": pa.string(), "_seq": pa.int64()}
    kinds["_unset"] = pa.list_(pa.string())
    return pa.table({name: pa.array([one[name] for one in changes], kind) for name, kind in kinds.items()})


def _assert_equal(warehouse: Warehouse, stream: Stream, expected: dict[int, Row]) -> None:
    found = warehouse.query(f"SELECT k, v, w, x FROM {stream.source}.t").to_pylist()
    assert len(found) == len(expected)
    assert {row["k"]: (row["v"], row["w"], row["x"]) for row in found} == expected


def _assert_conserved(result: MergeResult, loads: Sequence[Load]) -> None:
    assert result.rows_in == sum(load.rows for load in loads)
    assert result.rows_in == result.rows_merged + result.rows_superseded + result.rows_rejected


def _rejects(warehouse: Warehouse, stream: Stream) -> int:
    counted = "SELECT count(*) AS n FROM signalroom.rejects WHERE source = :source"
    return int(warehouse.query(counted, {"source": stream.source}).to_pylist()[0]["n"])
