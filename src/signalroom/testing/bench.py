"""A warehouse with a lake beside it, and short words for the loads a contract merges into it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from signalroom.errors import SignalRoomError
from signalroom.lake.lake import Lake, LakeSettings
from signalroom.load import Load
from signalroom.position import Json, Slice
from signalroom.run import Progress
from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.warehouse.base import MergeResult, Warehouse

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""The day that ``day=0`` means: the file time of the first file, the time of the first observation."""

_sources = itertools.count(1)


@dataclass(slots=True)
class Bench:
    """One stream of one table, its loads and the warehouse that merges them.

    Every bench has a source, so a schema, of its own: many of them may share one warehouse.

    Attributes:
        warehouse: The warehouse under test.
        folder: Where the loads are kept.
        table: The stream's table; ``with_table`` declares another one.
        client: Tag of the rows.
        source: Name of the source.
    """

    warehouse: Warehouse
    folder: Path
    table: Table = field(default_factory=lambda: Table("t"))
    client: str = "713"
    source: str = field(default_factory=lambda: f"contract_{next(_sources)}")

    @property
    def stream(self) -> Stream:
        """The stream as it is declared now."""
        return Stream(self.source, "stream", (self.table,), client=self.client)

    @property
    def title(self) -> str:
        """``source.table``."""
        return f"{self.source}.{self.table.name}"

    @property
    def lake(self) -> Lake:
        """The lake beside the warehouse."""
        return Lake.open(LakeSettings(url=str(self.folder)))

    def declare(self, *columns: Column, **settings: Any) -> None:
        """Declare the table's columns and settings anew; what is not named goes back to its default."""
        self.table = Table(self.table.name, columns, **settings)

    def load(self, *batches: Batch) -> Load:
        """Commit one load of ``batches`` to the lake."""
        with self.lake.begin(self.stream) as writer:
            for batch in batches:
                writer.append(batch)
            load = writer.commit()
        if load is None:
            raise AssertionError("a load of nothing was made")
        return load

    def merge(self, *loads: Load, replay: bool = False) -> MergeResult:
        """Merge loads and check that their rows are accounted for."""
        result = self.warehouse.merge(self.stream, loads, self.lake, replay=replay)
        merged = [load for load in loads if load.load_id in result.load_ids]
        same(result.rows_in, sum(load.rows for load in merged), "rows in, by the lake's count")
        out = result.rows_merged + result.rows_superseded + result.rows_rejected
        same(out, result.rows_in, "rows merged, superseded and rejected")
        return result

    def retry(self, load_id: str = "") -> MergeResult:
        """Retry the rows that are set aside and check that they are accounted for."""
        aside = set(self.rejects("load_id", "part_name", "row_number"))
        result = self.warehouse.retry(self.stream, self.lake, load_id=load_id)
        if result.rows_merged or result.rows_superseded or not load_id:
            same(result.rows_in, len(aside), "rows in, by the rejects")
        out = result.rows_merged + result.rows_superseded + result.rows_rejected
        same(out, result.rows_in, "rows merged, superseded and rejected")
        return result

    def take(self, *batches: Batch) -> MergeResult:
        """Commit and merge one load."""
        return self.merge(self.load(*batches))

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return the table's rows, sorted as text."""
        named = ", ".join(f'"{column}"' for column in columns)
        found = self.warehouse.query(f"SELECT {named} FROM {self.title}")
        return sorted((tuple(row.values()) for row in found.to_pylist()), key=str)

    def rejects(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return the rejects of this source, sorted as text."""
        named = ", ".join(columns)
        found = self.warehouse.query(
            f"SELECT {named} FROM signalroom.rejects WHERE source = :source", {"source": self.source}
        )
        return sorted((tuple(row.values()) for row in found.to_pylist()), key=str)

    def checksum(self, *exclude: str) -> str:
        """Return the table's checksum."""
        return self.warehouse.checksum(self.title, exclude=exclude)

    def everything(self) -> tuple[object, ...]:
        """Return all that a merge of this stream may change."""
        there = "SELECT 1 FROM information_schema.tables WHERE table_schema = :s AND table_name = :t"
        known = self.warehouse.query(there,
                                     {"s": self.source, "t": self.table.name}).num_rows  # fmt: skip
        return (
            self.checksum() if known else "no table",
            self.warehouse.merged(self.source, "stream"),
            self.warehouse.positions(self.source, "stream"),
            self.rejects("load_id", "row_number", "column_name"),
        )

    def replays(self) -> None:
        """Check that typing every merged load again gives the same table to the bit."""
        before = self.checksum()
        merged = self.warehouse.merged(self.source, "stream")
        self.merge(*self.lake.loads(self.source, "stream", merged), replay=True)
        same(self.checksum(), before, "checksum after a replay")


def csv(text: str | bytes, key: str = "", *, day: int = 0, position: Json = None) -> Batch:
    """Return a batch of csv bytes: a page, or the object ``key`` whose file time is ``day``."""
    content = text if isinstance(text, bytes) else text.encode()
    positions: dict[str, Json] = {key: {"size": len(content)}} if key else {}
    if isinstance(position, dict):
        positions.update(position)
    return Batch(
        table="t",
        content=Raw([content], "csv"),
        position=positions,
        object_key=key,
        file_time=FIRST_DAY + timedelta(days=day) if key else None,
        source_ref=key or "page",
    )


def jsonl(text: str) -> Batch:
    """Return a batch of JSON Lines."""
    return Batch("t", Raw([text.encode()], "jsonl"), source_ref="page")


def decoded(**columns: Sequence[Any]) -> Batch:
    """Return a batch of decoded rows; ``op`` and ``seq`` are the control columns."""
    import pyarrow as pa

    control = {"op": "_op", "seq": "_seq"}
    return Batch("t", pa.table({control.get(name, name): list(values) for name, values in columns.items()}),
                 source_ref="wal")  # fmt: skip


def observed(hour: int, day: str, text: str, *, last: str = "", **filters: str | int) -> Batch:
    """Return a batch that replaces the days from ``day`` to ``last`` as they were seen at ``hour``."""
    first = datetime.fromisoformat(day).date()
    piece = Slice(
        observed_at=FIRST_DAY + timedelta(hours=hour),
        first_day=first,
        last_day=datetime.fromisoformat(last).date() if last else first,
        filters=tuple(filters.items()),
    )
    return Batch("t", Raw([text.encode()], "csv"), replaces=(piece,), source_ref="request")


def same(found: object, wanted: object, what: str) -> None:
    """Fail unless ``found`` equals ``wanted``."""
    if found != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, found {found!r}")


def fails(kind: type[SignalRoomError], call: Any, what: str) -> str:
    """Fail unless ``call`` raises ``kind`` with a mend; return its message."""
    try:
        call()
    except kind as problem:
        if not problem.mend:
            raise AssertionError(f"{what}: {kind.__name__} without a mend") from problem
        return str(problem)
    raise AssertionError(f"{what}: no {kind.__name__} was raised")


class StopError(SignalRoomError):
    """What a progress callback raises to cancel a merge."""


def stop(progress: Progress, /) -> None:
    """Cancel whatever reports."""
    raise StopError(progress.phase, mend="Go on.")
