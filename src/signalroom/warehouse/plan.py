"""What a merge does to a table, decided on names, hashes and times before any row is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from signalroom.errors import ConfigError, DataError, nearest
from signalroom.load import Load, Part
from signalroom.position import Json
from signalroom.stream import Column, Stream, Table
from signalroom.warehouse.base import LakeReader
from signalroom.warehouse.objects import ObjectPlan, Version, arrived_versions, plan_objects, stored_versions
from signalroom.warehouse.parts import BEGINNING, StagedPart, file_time
from signalroom.warehouse.schema import LINEAGE
from signalroom.warehouse.slices import SlicePlan, plan_slices


@dataclass(frozen=True, slots=True)
class TableState:
    """What the warehouse knows of a table before a merge.

    Attributes:
        columns: The columns in force; empty before the first load.
        positions: The stream's positions; empty under replay.
        newest_load: Greatest load id merged so far; empty before the first load and under replay.
        owners: Partition -> the load that its position comes from; empty under replay.
    """

    columns: tuple[Column, ...]
    positions: Mapping[str, Json]
    newest_load: str = ""
    owners: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What a merge does to one table, before any row is read.

    Attributes:
        table: The table.
        title: ``source.table``.
        parts: Pending parts whose rows are staged, in rank order.
        objects: The plan for objects, when the stream reads objects.
        slices: The plan for day slices, under ``replace_slice``.
        clear: Whether the table's rows all leave first (``replace`` with a newer snapshot).
        superseded: Records of pending parts that are not read at all: copies, replaced or older snapshots.
        positions: Partition values to write.
        owners: Partition -> the load its value comes from.
    """

    table: Table
    title: str
    parts: tuple[StagedPart, ...]
    objects: ObjectPlan
    slices: SlicePlan
    clear: bool
    superseded: int
    positions: Mapping[str, Json]
    owners: Mapping[str, str]


def lineage_of(table: Table) -> tuple[Column, ...]:
    """Return the lineage columns a table stores; ``_seq`` is one of them where it is the order."""
    return (*LINEAGE, Column("_seq", "bigint")) if "_seq" in table.order else LINEAGE


def kept_columns(table: Table) -> list[str]:
    """Return what a tombstone keeps: the key, what orders it, and where it came from."""
    return list(dict.fromkeys([*table.key, *table.order, *(column.name for column in lineage_of(table))]))


def plan_table(stream: Stream, table: Table, loads: Sequence[Load], state: TableState, lake: LakeReader) -> TablePlan:
    """Decide what the pending ``loads`` (oldest first) do to ``table``; reads no row."""
    _refuse_unknown(stream, loads)
    arrived = arrived_versions(loads, table.name)
    newest_only = table.disposition == "replace"
    written, owners = _advanced(loads, state)
    recorded = {**state.positions, **written}
    stored = stored_versions(state.positions, table.name)
    objects = plan_objects(stored, arrived, recorded, newest_only=newest_only, table=table.name)
    slices = plan_slices(state.positions, loads if table.disposition == "replace_slice" else ())
    entering = {(version.load_id, version.part) for version in objects.enter}
    pending = [(load, part) for load in loads for part in load.parts if part.table == table.name]
    chosen = [(load, part) for load, part in pending if not part.object_key or (load.load_id, part.name) in entering]
    if newest_only and not arrived:
        newest = max((load.load_id for load, _ in chosen), default="")
        chosen = [(load, part) for load, part in chosen if load.load_id == newest and newest > state.newest_load]
    read = {(load.load_id, part.name) for load, part in chosen}
    older = _fetch(stream, [v for v in objects.enter if (v.load_id, v.part) not in read], lake)
    parts = ranked([(load, part, False) for load, part in chosen] + [(load, part, True) for load, part in older], lake)
    clear = newest_only and (bool(objects.enter) if arrived or objects.stay else bool(chosen))
    settled = {part.object_key for load in loads for part in load.parts} | {
        one.partition(day) for load in loads for one in load.slices for day in one.days()
    }  # what objects and slices decide for themselves
    return TablePlan(
        table=table,
        title=f"{stream.source}.{table.name}",
        parts=parts,
        objects=objects,
        slices=slices,
        clear=clear,
        superseded=sum(part.rows for load, part in pending if (load.load_id, part.name) not in read),
        positions={
            **{name: value for name, value in written.items() if name not in settled},
            **objects.positions,
            **slices.positions,
        },
        owners={**owners, **{v.key: v.load_id for v in (*stored.values(), *arrived)}, **slices.owners},
    )


def _refuse_unknown(stream: Stream, loads: Sequence[Load]) -> None:
    """Stop before a load's rows would be passed over because nobody names their table."""
    named = {table.name for table in stream.tables}
    for load in loads:
        for part in load.parts:
            if part.table not in named:
                raise ConfigError(
                    f"Load {load.load_id} holds rows of {part.table!r}, a table that {stream.title} does not name.",
                    mend=nearest(part.table, named) or "Put the table back into the stream until the load is merged.",
                )


def _advanced(loads: Sequence[Load], state: TableState) -> tuple[dict[str, Json], dict[str, str]]:
    """Return the partition values that loads bring and whose they are; a late load takes none back."""
    values: dict[str, Json] = {}
    owners: dict[str, str] = {}
    for load in loads:
        for name, value in load.positions.items():
            if load.load_id >= owners.get(name, state.owners.get(name, "")):
                values[name], owners[name] = value, load.load_id
    return values, owners


def assert_complete(stream: Stream, loads: Sequence[Load], merged: AbstractSet[str]) -> None:
    """Fail a replay that would leave out loads the tables hold: their rows would be gone."""
    missing = sorted(merged - {load.load_id for load in loads})
    if missing:
        raise DataError(
            f"A replay of {stream.title} must read all of its merged loads, and {len(missing)} are missing: "
            f"{', '.join(missing[:3])}.",
            mend="Nothing was changed; restore them in the lake, then replay the whole stream.",
        )


def stay_parts(stream: Stream, plan: TablePlan, lake: LakeReader) -> list[tuple[Load, Part]]:
    """Return the parts whose rows stay in the table: where displaced keys find their next best row."""
    return _fetch(stream, plan.objects.stay, lake)


def _fetch(stream: Stream, versions: Sequence[Version], lake: LakeReader) -> list[tuple[Load, Part]]:
    """Return (load, part) of object versions that older loads hold."""
    wanted = {(version.load_id, version.part) for version in versions}
    if not wanted:
        return []
    loads = lake.loads(stream.source, stream.name, sorted({load_id for load_id, _ in wanted}))
    return [(load, part) for load in loads for part in load.parts if (load.load_id, part.name) in wanted]


def ranked(found: Sequence[tuple[Load, Part, bool]], lake: LakeReader) -> tuple[StagedPart, ...]:
    """Number parts by file time, then object (or load, where there is none): the order in which ties are broken."""

    def rank(item: tuple[Load, Part, bool]) -> tuple[bool, datetime, str, str]:
        load, part, _ = item
        moment = file_time(part)
        tie = part.object_key or part.source_ref if moment else load.load_id
        return (moment is not None, moment or BEGINNING, tie, part.name)

    return tuple(
        StagedPart(number, load, part, lake.local(load, part), restored)
        for number, (load, part, restored) in enumerate(sorted(found, key=rank))
    )
