"""What the affiliate network's numbers still wait for, and what people changed of them: holds and adjustments."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

HoldStatus = Literal["absent", "on_hold", "approved", "rejected"]


@dataclass(frozen=True, slots=True)
class Hold:
    """One conversion on hold; moments in epoch seconds, money in cents.

    It is absent before `known_at_s` and from `erased_at_s` on, rejected from `rejected_at_s` on, else approved from
    `until_s` on: then the conversion of that id exists.
    """

    id: str
    conversion_id: str
    at_s: int
    affiliate_id: int
    advertiser_id: int
    offer_id: int
    revenue_cents: int
    payout_cents: int
    known_at_s: int
    until_s: int
    rejected_at_s: float = math.inf
    erased_at_s: float = math.inf

    def status(self, as_of_s: float) -> HoldStatus:
        """Return what upstream would say about it at that moment."""
        if not self.known_at_s <= as_of_s < self.erased_at_s:
            return "absent"
        if as_of_s >= self.rejected_at_s:
            return "rejected"
        return "approved" if as_of_s >= self.until_s else "on_hold"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a person added to the reports of one local date, affiliate and offer; money in cents, any sign.

    It counts from `made_at_s` on, and from `deleted_at_s` on no more; it is still listed then, as deleted.
    """

    id: int
    day: date
    affiliate_id: int
    advertiser_id: int
    offer_id: int
    conversions: int
    revenue_cents: int
    payout_cents: int
    notes: str
    made_at_s: float
    deleted_at_s: float = math.inf

    def counts(self, as_of_s: float) -> bool:
        """Tell whether reports include it at that moment."""
        return self.made_at_s <= as_of_s < self.deleted_at_s


@dataclass(slots=True)
class Settlements:
    """All holds and adjustments of a world; there are none until somebody adds them."""

    _holds: dict[str, Hold] = field(default_factory=dict[str, Hold])
    _adjustments: dict[int, Adjustment] = field(default_factory=dict[int, Adjustment])

    def __len__(self) -> int:
        """Return how many holds there are."""
        return len(self._holds)

    @property
    def next_adjustment_id(self) -> int:
        """Return the number the next adjustment gets."""
        return len(self._adjustments) + 1

    def put(self, hold: Hold) -> None:
        """Add a hold."""
        self._holds[hold.id] = hold

    def put_adjustment(self, adjustment: Adjustment) -> None:
        """Add an adjustment."""
        self._adjustments[adjustment.id] = adjustment

    def holds(self, begin_s: float, end_s: float) -> Iterator[Hold]:
        """Yield the holds whose conversion happened in [begin_s, end_s), whatever their status."""
        return (one for one in list(self._holds.values()) if begin_s <= one.at_s < end_s)

    def adjustments(self, first: date, last: date) -> Iterator[Adjustment]:
        """Yield the adjustments of local dates, both included, those not made yet and the deleted ones too."""
        return (one for one in list(self._adjustments.values()) if first <= one.day <= last)

    def reject(self, hold_id: str, at_s: float) -> Hold:
        """Reject a hold from that moment on and return it.

        Raises:
            KeyError: No hold has that id.
            ValueError: It is not on hold at that moment.
        """
        status = self._holds[hold_id].status(at_s)
        if status != "on_hold":
            raise ValueError(f"hold {hold_id!r} is {status}, not on hold")
        self._holds[hold_id] = rejected = replace(self._holds[hold_id], rejected_at_s=at_s)
        return rejected

    def erase(self, hold_id: str, at_s: float) -> Hold:
        """Make a hold vanish from that moment on and return it; raises KeyError for an id nobody has."""
        self._holds[hold_id] = gone = replace(self._holds[hold_id], erased_at_s=at_s)
        return gone

    def delete(self, adjustment_id: int, at_s: float) -> None:
        """Take an adjustment back from that moment on; raises KeyError for an id nobody has."""
        self._adjustments[adjustment_id] = replace(self._adjustments[adjustment_id], deleted_at_s=at_s)
