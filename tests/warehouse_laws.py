"""Laws of the warehouse, each written a second time in plain Python: what a table must hold after any history.

``check_files`` is the law of files: whatever was uploaded, in whatever order it was merged, the table equals a clean
load of each object's newest version. ``check_changes`` is the merge of decoded rows: late, doubled, deleted, tied.
``check_slices`` is the law of windows: a day holds what its newest observation saw. Each returns the table's checksum,
which is equal on every engine, or raises AssertionError; the property tests feed them histories, the teeth feed them
bugs.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from handmade_loads import Loads
from signalroom.load import Load
from signalroom.position import Slice
from signalroom.stream import Batch, Column, Disposition, Raw, Stream, Table
from signalroom.warehouse.base import MergeResult, Warehouse

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_names = itertools.count(1)


def fresh_source() -> str:
    """Return a source name, so a schema, that no other example of this process used."""
    return f"s{next(_names)}"


# ------------------------------------------------------------------------------------------------ the law of files


@dataclass(frozen=True)
class Upload:
    """One version of one object: its key, its day and its rows as text (``k``, ``o``, ``v``)."""

    key: str
    day: int
    rows: tuple[tuple[str, str, str], ...]
    blank: bool = False  # not even a header

    @property
    def content(self) -> bytes:
        if self.blank:
            return b""
        return "".join(",".join(row) + "\n" for row in [("k", "o", "v"), *self.rows]).encode()

    @property
    def moment(self) -> datetime:
        return FIRST_DAY + timedelta(days=self.day)


@dataclass(frozen=True)
class FileHistory:
    """Loads of uploads, and the order in which they are merged: indexes of loads, several at once or one by one."""

    loads: tuple[tuple[Upload, ...], ...]
    merges: tuple[tuple[int, ...], ...]
    disposition: Disposition
    order: tuple[str, ...]


def check_files(warehouse: Warehouse, folder: Path, history: FileHistory) -> str:
    """Assert the law of files for one history; return the table's checksum."""
    lake = Loads(folder)
    stream = _files_stream(fresh_source(), history)
    loads = [lake.add(stream, *(file_batch(upload) for upload in uploads)) for uploads in history.loads]
    merged: list[Load] = []
    for chosen in history.merges:
        batch = [loads[index] for index in chosen]
        result = warehouse.merge(stream, batch, lake)
        merged += batch
        _assert_conserved(result, batch)
        so_far = [uploads for load, uploads in zip(loads, history.loads, strict=True) if load in merged]
        _assert_files(warehouse, stream, history, so_far)
    assert {load.load_id for load in merged} == {load.load_id for load in loads}
    title = f"{stream.source}.t"
    live = warehouse.checksum(title)
    replayed = warehouse.merge(stream, loads, lake, replay=True)
    _assert_conserved(replayed, loads)
    assert warehouse.checksum(title) == live, "a replay gives another table"
    clean = _files_stream(fresh_source(), history)
    newest = sorted(_newest(history.loads).values(), key=lambda upload: upload.key)
    warehouse.merge(clean, [lake.add(clean, *(file_batch(upload) for upload in newest))], lake)
    where = ("_load_id", "_loaded_at")
    assert warehouse.checksum(f"{clean.source}.t", exclude=where) == warehouse.checksum(title, exclude=where)
    return warehouse.checksum(title, exclude=("_load_id",))


def _files_stream(source: str, history: FileHistory) -> Stream:
    columns = (Column("k", "bigint"), Column("o", "bigint"), Column("v"))
    table = Table("t", columns, key=("k",), order=history.order, disposition=history.disposition)
    return Stream(source, "files", (table,), client="713")


def file_batch(upload: Upload) -> Batch:
    """Return what a source would yield for an upload."""
    content = upload.content
    state = {upload.key: {"etag": hashlib.md5(content).hexdigest(), "size": len(content)}}
    return Batch(
        "t",
        Raw([content], "csv"),
        position=state,
        object_key=upload.key,
        file_time=upload.moment,
        source_ref=upload.key,
    )


def _newest(loads: Sequence[Sequence[Upload]]) -> dict[str, Upload]:
    return {upload.key: upload for uploads in loads for upload in uploads}


def _counted(history: FileHistory, loads: Sequence[Sequence[Upload]]) -> list[Upload]:
    """Return the objects whose rows the table holds: each one's newest version, equal bytes once."""
    newest = sorted(_newest(loads).values(), key=lambda upload: (upload.moment, upload.key))
    if history.disposition == "replace":
        return newest[-1:]
    seen: dict[bytes, Upload] = {}
    for upload in newest:
        seen.setdefault(upload.content, upload)
    return list(seen.values())


def expected_files(
    history: FileHistory, loads: Sequence[Sequence[Upload]]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the rows the table must hold and the rejects there must be."""
    rows: list[tuple[Any, ...]] = []
    rejects: list[tuple[Any, ...]] = []
    for upload in _counted(history, loads):
        for number, (k, o, v) in enumerate(upload.rows, 1):
            misfits = [("k", k)] if not _whole(k) else []
            misfits += [("o", o)] if o and not _whole(o) else []
            rejects += [(upload.key, number, column, value or None) for column, value in misfits]
            if not misfits:
                rows.append((int(k), int(o) if o else None, v or None, upload.moment, upload.key, number))
    if history.disposition == "merge":
        best: dict[int, tuple[Any, ...]] = {}
        for row in rows:
            held = best.get(row[0])
            if held is None or _rank(history, row) > _rank(history, held):
                best[row[0]] = row
        rows = list(best.values())
    return sorted(rows, key=str), sorted(rejects, key=str)


def _rank(history: FileHistory, row: tuple[Any, ...]) -> tuple[Any, ...]:
    _, o, _, moment, key, number = row
    ordered = {"o": (o is not None, o or 0), "_file_time": moment, "_row": number}
    return (*(ordered[name] for name in history.order), moment, key, number)


def _whole(text: str) -> bool:
    return text.removeprefix("-").isdigit()


def _assert_files(
    warehouse: Warehouse, stream: Stream, history: FileHistory, loads: Sequence[Sequence[Upload]]
) -> None:
    rows, rejects = expected_files(history, loads)
    found = warehouse.query(f"SELECT k, o, v, _file_time, _source_ref, _row, _client_id FROM {stream.source}.t")
    got = []
    for row in found.to_pylist():
        key, number = row["_source_ref"].rsplit("#", 1)
        assert number == str(row["_row"])
        assert row["_client_id"] == "713"
        got.append((row["k"], row["o"], row["v"], row["_file_time"], key, row["_row"]))
    assert sorted(got, key=_text) == sorted(rows, key=_text)
    kept = warehouse.query(
        "SELECT part, row_number, column_name, value FROM signalroom.rejects WHERE source = :source",
        {"source": stream.source},
    )
    assert sorted((tuple(row.values()) for row in kept.to_pylist()), key=str) == rejects


def _text(row: tuple[Any, ...]) -> str:
    return str([*row[:3], row[3].timestamp(), *row[4:]])


def _assert_conserved(result: MergeResult, loads: Sequence[Load]) -> None:
    assert result.rows_in == sum(load.rows for load in loads)
    assert result.rows_in == result.rows_merged + result.rows_superseded + result.rows_rejected


# --------------------------------------------------------------------------------------------- the merge of changes


@dataclass(frozen=True)
class Change:
    """One decoded row: its key, its order values, its place in the stream, what it does and what it says.

    A truncate is one row too; the values it is drawn with do not arrive.
    """

    k: int
    o: int | None
    p: str | None
    seq: int
    op: str
    v: str | None


@dataclass(frozen=True)
class ChangeHistory:
    """Loads of changes, and the order in which they are merged (a load may be merged again)."""

    loads: tuple[tuple[Change, ...], ...]
    merges: tuple[tuple[int, ...], ...]
    order: tuple[str, ...]


def check_changes(warehouse: Warehouse, folder: Path, history: ChangeHistory) -> str:
    """Assert that the table equals a dict of winners after every merge; return its checksum."""
    lake = Loads(folder)
    columns = (Column("k", "bigint"), Column("o", "bigint"), Column("p"), Column("v"))
    table = Table("t", columns, key=("k",), order=history.order, disposition="merge")
    stream = Stream(fresh_source(), "changes", (table,))
    loads = [lake.add(stream, Batch("t", _arrow(changes), source_ref="wal")) for changes in history.loads]
    done: set[int] = set()
    for chosen in history.merges:
        result = warehouse.merge(stream, [loads[index] for index in chosen], lake)
        new = set(chosen) - done
        assert set(result.load_ids) == {loads[index].load_id for index in new}
        assert set(result.already) == {loads[index].load_id for index in set(chosen) - new}
        _assert_conserved(result, [loads[index] for index in new])
        done |= new
        _assert_winners(warehouse, stream, _winners(history, done))
    live = warehouse.checksum(f"{stream.source}.t")
    ordered = [loads[index] for index in sorted(done)]
    warehouse.merge(stream, ordered, lake, replay=True)
    assert warehouse.checksum(f"{stream.source}.t") == live, "a replay gives another table"
    return warehouse.checksum(f"{stream.source}.t", exclude=("_load_id",))


def _winners(history: ChangeHistory, done: Collection[int]) -> dict[int, Change]:
    """Return the winner of each key among the loads that are done, but for those before the newest truncate."""
    seen = [(index, row, one) for index in done for row, one in enumerate(history.loads[index], 1)]
    cut = max((one.seq for _, _, one in seen if one.op == "truncate"), default=-1)
    winners: dict[int, tuple[tuple[Any, ...], Change]] = {}
    for index, row, change in seen:
        rank = _change_rank(history, change, index, row)
        if change.op != "truncate" and change.seq >= cut and (change.k not in winners or rank > winners[change.k][0]):
            winners[change.k] = (rank, change)
    return {k: change for k, (_, change) in winners.items()}


def _arrow(changes: Sequence[Change]) -> pa.Table:
    def sent(name: str) -> list[Any]:
        return [None if change.op == "truncate" else getattr(change, name) for change in changes]

    return pa.table(
        {
            "k": pa.array(sent("k"), pa.int64()),
            "o": pa.array(sent("o"), pa.int64()),
            "p": pa.array(sent("p"), pa.string()),
            "v": pa.array(sent("v"), pa.string()),
            "_op": pa.array([change.op for change in changes], pa.string()),
            "_seq": pa.array([change.seq for change in changes], pa.int64()),
        }
    )


def _change_rank(history: ChangeHistory, change: Change, load: int, row: int) -> tuple[Any, ...]:
    values: dict[str, int | str | None] = {"o": change.o, "p": change.p, "_seq": change.seq}
    ordered = [(value is not None, _comparable(value)) for value in (values[name] for name in history.order)]
    return (*ordered, load, row)


def _comparable(value: int | str | None) -> int | bytes:
    return value.encode() if isinstance(value, str) else value or 0


def _assert_winners(warehouse: Warehouse, stream: Stream, winners: dict[int, Change]) -> None:
    expected = {k: (c.o, c.p, c.v) for k, c in winners.items() if c.op != "delete"}
    rows = warehouse.query(f"SELECT k, o, p, v FROM {stream.source}.t").to_pylist()
    assert len(rows) == len(expected)
    assert {row["k"]: (row["o"], row["p"], row["v"]) for row in rows} == expected


# --------------------------------------------------------------------------------------------- the law of windows


@dataclass(frozen=True)
class Observed:
    """What an upstream answered at ``hour`` for some days, of all advertisers or of one."""

    hour: int
    first_day: int
    days: int
    adv: int | None
    rows: tuple[tuple[int, int, str], ...]  # day, advertiser, cost

    def covers(self, day: int, adv: int) -> bool:
        return self.first_day <= day < self.first_day + self.days and self.adv in (None, adv)


@dataclass(frozen=True)
class SliceHistory:
    """Loads of one observation each, and the order in which they are merged."""

    loads: tuple[Observed, ...]
    merges: tuple[tuple[int, ...], ...]


def check_slices(warehouse: Warehouse, folder: Path, history: SliceHistory) -> str:
    """Assert that every day holds what its newest observation saw; return the table's checksum."""
    lake = Loads(folder)
    columns = (Column("day", "date"), Column("adv", "bigint"), Column("cost", "decimal(18,2)"))
    table = Table("t", columns, key=("day", "adv"), disposition="replace_slice", slice_column="day")
    stream = Stream(fresh_source(), "windows", (table,))
    loads = [lake.add(stream, _observation(one)) for one in history.loads]
    done: set[int] = set()
    for chosen in history.merges:
        batch = [loads[index] for index in chosen]
        _assert_conserved(warehouse.merge(stream, batch, lake), batch)
        done |= set(chosen)
        _assert_slices(warehouse, stream, {index: history.loads[index] for index in done})
    live = warehouse.checksum(f"{stream.source}.t")
    warehouse.merge(stream, loads, lake, replay=True)
    assert warehouse.checksum(f"{stream.source}.t") == live, "a replay gives another table"
    return warehouse.checksum(f"{stream.source}.t", exclude=("_load_id",))


def _observation(one: Observed) -> Batch:
    lines = ["day,adv,cost", *(f"{_day(day)},{adv},{cost}" for day, adv, cost in one.rows)]
    piece = Slice(
        observed_at=FIRST_DAY + timedelta(hours=one.hour),
        first_day=_day(one.first_day),
        last_day=_day(one.first_day + one.days - 1),
        filters=() if one.adv is None else (("adv", one.adv),),
    )
    return Batch("t", Raw(["\n".join(lines).encode()], "csv"), replaces=(piece,), source_ref="request")


def _day(number: int) -> date:
    return (FIRST_DAY + timedelta(days=number)).date()


def _assert_slices(warehouse: Warehouse, stream: Stream, seen: dict[int, Observed]) -> None:
    cells = {(day, adv) for one in seen.values() for day, adv, _ in one.rows}
    expected: set[tuple[str, int, str]] = set()
    for day, adv in cells:
        authorities = [((one.hour, index), one) for index, one in seen.items() if one.covers(day, adv)]
        if authorities:
            newest = max(authorities, key=lambda found: found[0])[1]
            costs = [cost for row_day, row_adv, cost in newest.rows if (row_day, row_adv) == (day, adv)]
            expected |= {(str(_day(day)), adv, f"{float(costs[-1]):.2f}")} if costs else set()
    found = warehouse.query(f"SELECT day, adv, cost FROM {stream.source}.t").to_pylist()
    assert len(found) == len(expected)
    assert {(str(row["day"]), row["adv"], str(row["cost"])) for row in found} == expected
    outside = sum(not one.covers(day, adv) for one in seen.values() for day, adv, _ in one.rows)
    kept = warehouse.query(
        "SELECT count(*) AS n FROM signalroom.rejects WHERE source = :source", {"source": stream.source}
    )
    assert kept.to_pylist()[0]["n"] == outside
