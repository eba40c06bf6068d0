"""Which observations of which days a ``replace_slice`` table takes, decided on the loads' slices alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from signalroom.load import Load
from signalroom.position import Json, Slice


@dataclass(frozen=True, slots=True)
class DaySlice:
    """One local day of a slice, as one load observed it.

    Attributes:
        load_id: The load.
        day: The local day.
        filters: Column -> value that its rows have.
        live: Whether it replaces the day; False where a newer observation is known.
    """

    load_id: str
    day: date
    filters: tuple[tuple[str, str | int], ...]
    live: bool


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """The days a merge replaces, and the positions that remember when they were observed."""

    days: tuple[DaySlice, ...]
    positions: Mapping[str, Json]

    @property
    def live(self) -> tuple[DaySlice, ...]:
        """The days whose rows are replaced."""
        return tuple(day for day in self.days if day.live)


def plan_slices(stored: Mapping[str, Json], loads: Sequence[Load]) -> SlicePlan:
    """Take for each day and filter the newest observation; an older one never replaces a newer."""
    newest: dict[str, tuple[datetime, str]] = {}
    seen: list[tuple[str, str, date, Slice]] = []
    for load in loads:
        for piece in load.slices:
            for day in piece.days():
                partition = piece.partition(day)
                seen.append((partition, load.load_id, day, piece))
                candidate = (piece.observed_at, load.load_id)
                newest[partition] = max(newest.get(partition, candidate), candidate)
    live = {
        partition: best for partition, best in newest.items() if best[0] >= _observed(stored.get(partition), best[0])
    }
    days = tuple(
        DaySlice(load_id, day, piece.filters, live.get(partition) == (piece.observed_at, load_id))
        for partition, load_id, day, piece in seen
    )
    positions: dict[str, Json] = {name: {"observed_at": best[0].isoformat()} for name, best in live.items()}
    return SlicePlan(days, positions)


def _observed(value: Json, otherwise: datetime) -> datetime:
    if isinstance(value, Mapping) and "observed_at" in value:
        return datetime.fromisoformat(str(value["observed_at"]))
    return otherwise
