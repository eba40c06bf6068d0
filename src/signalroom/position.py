"""Where a stream stopped, and what a batch is authoritative for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that JSON can carry."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stopped: partition name -> JSON value.

    A partition is whatever the source can resume by: an object key (value: ``etag``, ``size``, ``sha256``), a
    local day and filter (``observed_at``), a topic partition (next offset), a slot (LSN). One row each in the
    warehouse's ``signalroom.positions``.
    """

    partitions: Mapping[str, Json] = field(default_factory=dict[str, "Json"])

    def get(self, partition: str) -> Json:
        """Return the value of ``partition``, or None when the stream never reached it."""
        return self.partitions.get(partition)

    def overlay(self, *later: Mapping[str, Json]) -> Position:
        """Return this position with the partitions that later loads changed."""
        merged = dict(self.partitions)
        for delta in later:
            merged.update(delta)
        return Position(merged)


@dataclass(frozen=True, slots=True)
class Slice:
    """What a batch is authoritative for: a day range under equality filters, or one object.

    The rows of a slice replace whatever the table held for it, so a row that vanished upstream vanishes here.
    A slice is legal with no rows. Days are local to the source's zone and inclusive at both ends.

    Attributes:
        observed_at: When the upstream was asked (UTC); an older observation never replaces a newer one.
        first_day: First local day, or None for an object.
        last_day: Last local day, inclusive.
        filters: Column -> value that every row of the slice has.
        object_key: The object whose earlier version these rows replace.
    """

    observed_at: datetime
    first_day: date | None = None
    last_day: date | None = None
    filters: tuple[tuple[str, str | int], ...] = ()
    object_key: str | None = None

    def days(self) -> list[date]:
        """Return each local day of the slice, in order; empty for an object."""
        if self.first_day is None or self.last_day is None:
            return []
        return [self.first_day + timedelta(days=n) for n in range((self.last_day - self.first_day).days + 1)]

    def partition(self, day: date) -> str:
        """Return the name of the position that records when ``day`` was last observed under these filters."""
        return "|".join([day.isoformat(), *(f"{name}={value}" for name, value in self.filters)])
