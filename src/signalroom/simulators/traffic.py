"""Clicks and conversions as the affiliate network knows them, with statuses that change later."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from random import Random
from typing import Literal
from zoneinfo import ZoneInfo

from signalroom.simulators.cast import Cast, Offer, Placement
from signalroom.simulators.chance import stream
from signalroom.simulators.days import day_span_s, each_day, local_day

Status = Literal["absent", "pending", "approved", "rejected"]

_HOUR_S = 3600
_REJECTED_SHARE = 0.04
_LATE_SHARE = 0.03
_EVENT_SHARE = 0.10
_WEEKDAY_FACTOR = (1.0, 1.04, 1.02, 0.98, 0.94, 0.82, 0.79)


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion; moments in epoch seconds, money in cents.

    It is absent before `known_at_s` and from `erased_at_s` on, pending until `approved_at_s`, rejected from
    `rejected_at_s` on. `events` counts what the buyer did afterwards (upsells), which is not a conversion.
    """

    id: str
    at_s: int
    affiliate_id: int
    advertiser_id: int
    offer_id: int
    revenue_cents: int
    payout_cents: int
    events: int
    known_at_s: int
    approved_at_s: int
    rejected_at_s: float = math.inf
    erased_at_s: float = math.inf

    def status(self, as_of_s: float) -> Status:
        """Return what upstream would say about it at that moment."""
        if as_of_s < self.known_at_s or as_of_s >= self.erased_at_s:
            return "absent"
        if as_of_s >= self.rejected_at_s:
            return "rejected"
        return "approved" if as_of_s >= self.approved_at_s else "pending"


@dataclass(frozen=True, slots=True)
class Clicks:
    """A burst of clicks at one instant (epoch seconds) of one affiliate on one offer."""

    at_s: int
    affiliate_id: int
    advertiser_id: int
    offer_id: int
    clicks: int
    erased_at_s: float = math.inf

    def visible(self, as_of_s: float) -> bool:
        """Tell whether upstream counts it at that moment."""
        return self.at_s <= as_of_s < self.erased_at_s


class Traffic:
    """All clicks and conversions from `first` to `last` (local dates), made day by day on demand."""

    def __init__(self, seed: int, cast: Cast, zone: ZoneInfo, first: date, last: date) -> None:
        """Make nothing yet; `last` may be moved later."""
        self.first = first
        self.last = last
        self._seed = seed
        self._cast = cast
        self._zone = zone
        self._days: dict[date, tuple[list[Conversion], list[Clicks]]] = {}

    def conversions(self, day: date) -> list[Conversion]:
        """Return the conversions of one local date, statuses ignored; changing the list changes nothing."""
        return list(self._made(day)[0])

    def clicks(self, day: date) -> list[Clicks]:
        """Return the clicks of one local date."""
        return list(self._made(day)[1])

    def days_between(self, begin_s: float, end_s: float) -> Iterator[date]:
        """Yield the local dates that hold something in [begin_s, end_s)."""
        first = max(local_day(begin_s, self._zone), self.first)
        return each_day(first, min(local_day(end_s - 1, self._zone), self.last))

    def reject(self, conversion_id: str, at_s: float) -> Conversion:
        """Reject a conversion from that moment on and return it.

        Raises:
            KeyError: No conversion has that id.
        """
        day, place = self._find(conversion_id)
        conversions, _ = self._made(day)
        rejected = conversions[place] = replace(conversions[place], rejected_at_s=at_s)
        return rejected

    def withdraw(self, conversion_id: str, at_s: float) -> Conversion:
        """Make one conversion vanish from that moment on and return it; raises KeyError for an id nobody has."""
        day, place = self._find(conversion_id)
        conversions, _ = self._made(day)
        gone = conversions[place] = replace(conversions[place], erased_at_s=at_s)
        return gone

    def add(self, conversion: Conversion) -> None:
        """Add a conversion; it belongs to the local date of its own `at_s`.

        Raises:
            ValueError: That date is outside the world.
        """
        day = local_day(conversion.at_s, self._zone)
        if not self.first <= day <= self.last:
            raise ValueError(f"{day} is outside {self.first} to {self.last}")
        self._made(day)[0].append(conversion)

    def erase(self, day: date, affiliate_id: int, at_s: float) -> int:
        """Make an affiliate's whole day vanish from that moment on; return how many conversions went."""
        conversions, clicks = self._made(day)
        gone = 0
        for place, conversion in enumerate(conversions):
            if conversion.affiliate_id == affiliate_id:
                conversions[place] = replace(conversion, erased_at_s=at_s)
                gone += 1
        for place, burst in enumerate(clicks):
            if burst.affiliate_id == affiliate_id:
                clicks[place] = replace(burst, erased_at_s=at_s)
        return gone

    def _find(self, conversion_id: str) -> tuple[date, int]:
        for day in each_day(self.first, self.last):
            for place, conversion in enumerate(self.conversions(day)):
                if conversion.id == conversion_id:
                    return day, place
        raise KeyError(f"no conversion {conversion_id!r} from {self.first} to {self.last}")

    def _made(self, day: date) -> tuple[list[Conversion], list[Clicks]]:
        """Return the lists of a date, made on first use; a date outside the world has none."""
        if not self.first <= day <= self.last:
            return [], []
        if day in self._days:
            return self._days[day]
        conversions: list[Conversion] = []
        clicks: list[Clicks] = []
        offers = {offer.id: offer for offer in self._cast.offers}
        internal = {row.affiliate_id for row in self._cast.mapping}
        for number, place in enumerate(self._cast.placements):
            if place.quiet_every and day.toordinal() % place.quiet_every == 0:
                continue
            chance = stream(self._seed, "traffic", day, number)
            offer = offers[place.offer_id]
            payout_cents = 0 if place.affiliate_id in internal else offer.payout_cents
            conversions += self._day_conversions(chance, day, place, offer, payout_cents)
            clicks += self._day_clicks(chance, day, place, offer)
        # Two requests may race to make the same date; both make the same, and the first to finish stays.
        return self._days.setdefault(day, (conversions, clicks))

    def _day_conversions(
        self, chance: Random, day: date, place: Placement, offer: Offer, payout_cents: int
    ) -> Iterator[Conversion]:
        begin_s, end_s = day_span_s(day, self._zone)
        mean = place.conversions_per_day * _WEEKDAY_FACTOR[day.weekday()]
        for _ in range(_count(chance, mean)):
            at_s = begin_s + int(chance.triangular(0, end_s - begin_s, 0.6 * (end_s - begin_s)))
            late = chance.random() < _LATE_SHARE
            approved_at_s = at_s + int(chance.uniform(1, 40) * _HOUR_S) if late else at_s
            rejected = chance.random() < _REJECTED_SHARE
            rejected_at_s = approved_at_s + chance.uniform(2, 200) * _HOUR_S if rejected else math.inf
            yield Conversion(
                id=f"{chance.getrandbits(128):032x}",
                at_s=at_s,
                affiliate_id=place.affiliate_id,
                advertiser_id=offer.advertiser_id,
                offer_id=offer.id,
                revenue_cents=offer.revenue_cents + chance.choice((0, 0, 0, 495, -1_005)),
                payout_cents=payout_cents,
                events=1 if chance.random() < _EVENT_SHARE else 0,
                known_at_s=at_s,
                approved_at_s=approved_at_s,
                rejected_at_s=rejected_at_s,
            )

    def _day_clicks(self, chance: Random, day: date, place: Placement, offer: Offer) -> Iterator[Clicks]:
        begin_s, end_s = day_span_s(day, self._zone)
        hours = (end_s - begin_s) // _HOUR_S
        per_hour = place.conversions_per_day * place.clicks_per_conversion / hours
        for hour in range(hours):
            count = _count(chance, per_hour)
            if count:
                yield Clicks(
                    at_s=begin_s + hour * _HOUR_S + chance.randrange(_HOUR_S),
                    affiliate_id=place.affiliate_id,
                    advertiser_id=offer.advertiser_id,
                    offer_id=offer.id,
                    clicks=count,
                )


def _count(chance: Random, mean: float) -> int:
    """Draw a Poisson count; the bell curve stands in for it where counting would take long."""
    if mean > 12:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    count, product, floor = 0, chance.random(), math.exp(-mean)
    while product > floor:
        count += 1
        product *= chance.random()
    return count
