"""Which observations of which days a ``replace_slice`` table takes, decided on the loads' slices alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime
from itertools import combinations
from typing import TypeAlias

from signalroom.load import Load
from signalroom.position import Json

Filters: TypeAlias = tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class DaySlice:
    """One local day of a slice, as one load observed it.

    Attributes:
        load_id: The load; empty for an observation that an earlier merge took.
        day: The local day.
        filters: Column -> value that its rows have.
        live: Whether it replaces the day; False where a newer observation of the same day and filters is known.
        rank: Its place among all observations that hold, the newest last; -1 where it does not hold.
    """

    load_id: str
    day: date
    filters: Filters
    live: bool
    rank: int


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """The days a merge replaces, and the positions that remember when they were observed.

    Attributes:
        days: The pending loads' days.
        known: Earlier observations of those days under other filters; empty unless ``overlapping``.
        overlapping: Whether a row may lie in two observations (all advertisers, and one of them): the newest has it.
        positions: Partition values to write.
        owners: Partition -> the load that observed it.
    """

    days: tuple[DaySlice, ...]
    known: tuple[DaySlice, ...]
    overlapping: bool
    positions: Mapping[str, Json]
    owners: Mapping[str, str]

    @property
    def live(self) -> tuple[DaySlice, ...]:
        """The days whose rows are replaced."""
        return tuple(day for day in self.days if day.live)


@dataclass(frozen=True, slots=True, order=True)
class _Observation:
    """When and by which load a day was observed; the greatest one holds."""

    observed_at: datetime
    load_id: str
    partition: str
    day: date
    filters: Filters


def plan_slices(stored: Mapping[str, Json], loads: Sequence[Load]) -> SlicePlan:
    """Take for each day and filter the newest observation; an older one never replaces a newer."""
    seen = [
        _Observation(piece.observed_at, load.load_id, piece.partition(day), day, piece.filters)
        for load in loads
        for piece in load.slices
        for day in piece.days()
    ]
    holds = {found.partition: found for found in _stored(stored, {one.day for one in seen})}
    earlier = dict(holds)
    for one in seen:
        held = holds.get(one.partition)
        if held is None or (one.observed_at, one.load_id) >= (held.observed_at, held.load_id):
            holds[one.partition] = one
    ranks = {one: rank for rank, one in enumerate(sorted(holds.values()))}
    overlapping = _overlap(holds.values())
    days = [DaySlice(one.load_id, one.day, one.filters, one in ranks, ranks.get(one, -1)) for one in seen]
    known = [DaySlice("", one.day, one.filters, False, ranks[one]) for one in earlier.values() if one in ranks]
    live = [one for name, one in holds.items() if earlier.get(name) is not one]
    return SlicePlan(
        days=tuple(dict.fromkeys(days)),
        known=tuple(known) if overlapping else (),
        overlapping=overlapping,
        positions={one.partition: _value(one) for one in live},
        owners={one.partition: one.load_id for one in live},
    )


def _value(one: _Observation) -> dict[str, Json]:
    return {"observed_at": one.observed_at.isoformat(), "load_id": one.load_id, "filters": dict(one.filters)}


def _stored(positions: Mapping[str, Json], days: AbstractSet[date]) -> list[_Observation]:
    """Return the observations of ``days`` that earlier merges took."""
    found: list[_Observation] = []
    wanted = {day.isoformat(): day for day in days}
    for name, value in positions.items():
        day = wanted.get(name[:10])
        if day is None or not isinstance(value, Mapping) or "observed_at" not in value:
            continue
        moment = datetime.fromisoformat(str(value["observed_at"]))
        filters = value.get("filters")
        pairs = filters.items() if isinstance(filters, Mapping) else ()
        typed = tuple((str(column), one if isinstance(one, int) else str(one)) for column, one in pairs)
        found.append(_Observation(moment, str(value.get("load_id", "")), name, day, typed))
    return found


def _overlap(observations: Iterable[_Observation]) -> bool:
    """Whether two observations of one day may hold the same row: neither equal nor told apart by a column."""
    by_day: dict[date, list[dict[str, str | int]]] = {}
    for one in observations:
        by_day.setdefault(one.day, []).append(dict(one.filters))
    for filters in by_day.values():
        distinct = {frozenset(one.items()) for one in filters}
        if len(distinct) == len(filters) and len({frozenset(one) for one in filters}) == 1:
            continue  # the same columns everywhere, no values twice: all are apart
        for a, b in combinations(filters, 2):
            if all(a[column] == b[column] for column in a.keys() & b.keys()):
                return True
    return False
