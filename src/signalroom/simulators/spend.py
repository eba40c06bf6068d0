"""Ad spend as the tracker knows it: hour by hour, and not final until about three days later."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from random import Random
from zoneinfo import ZoneInfo

from signalroom.simulators.cast import AdCampaign, Cast
from signalroom.simulators.chance import stream
from signalroom.simulators.days import day_span_s, each_day, local_day

_HOUR_S = 3600
# How long after a day's end its cost moves again, and which part of what was still missing is then in.
_SETTLING = ((6 * _HOUR_S, 0.60), (30 * _HOUR_S, 0.85), (54 * _HOUR_S, 1.0))
_WHOLE = 1_000
_WEEKEND_FACTOR = 0.86


@dataclass(frozen=True, slots=True)
class SpendCell:
    """What one campaign spent and earned in one hour (`at_s`, epoch seconds) of a local date; cents.

    `conversions` excludes typed events, `total_conversions` includes them.
    """

    at_s: int
    day: date
    campaign: AdCampaign
    cents: int
    clicks: int
    conversions: int
    total_conversions: int


class SpendBook:
    """All spend from `first` to `last` (local dates), made day by day on demand."""

    def __init__(self, seed: int, cast: Cast, zone: ZoneInfo, first: date, last: date) -> None:
        """Make nothing yet; `last` may be moved later."""
        self.first = first
        self.last = last
        self._seed = seed
        self._cast = cast
        self._zone = zone
        self._final: dict[date, list[SpendCell]] = {}
        self._at_first: dict[tuple[date, str], int] = {}
        self._restated: dict[tuple[date, str], list[tuple[float, int]]] = {}

    def final(self, day: date) -> list[SpendCell]:
        """Return the cells of one local date as they will be once settled, deliberate changes left out."""
        if not self.first <= day <= self.last:
            return []
        if day not in self._final:
            cells: list[SpendCell] = []
            for campaign in self._cast.campaigns:
                if day.toordinal() % campaign.runs_every == 0:
                    cells += self._make(day, campaign)
            self._final.setdefault(day, cells)
        return self._final[day]

    def observed(self, day: date, as_of_s: float) -> list[SpendCell]:
        """Return the cells of one local date as upstream would answer at that moment.

        Hours that are not over yet are missing; costs are short of (or above) their final value until the
        day has settled, or exactly what `restate` said.
        """
        _, end_s = day_span_s(day, self._zone)
        cells: list[SpendCell] = []
        for cell in self.final(day):
            if cell.at_s + _HOUR_S <= as_of_s:
                cents = cell.cents * self._settled(cell.campaign, day, end_s, as_of_s) // _WHOLE
                cells.append(_with_cents(cell, cents))
        for (restated_day, source_id), steps in self._restated.items():
            known = [cents for at_s, cents in steps if at_s <= as_of_s]
            if restated_day == day and known:
                cells = _spread(cells, source_id, known[-1])
        return cells

    def days_between(self, begin_s: float, end_s: float) -> Iterator[date]:
        """Yield the local dates that hold something in [begin_s, end_s)."""
        first = max(local_day(begin_s, self._zone), self.first)
        return each_day(first, min(local_day(end_s - 1, self._zone), self.last))

    def cost_cents(self, day: date, source_id: str, as_of_s: float) -> int:
        """Return a source's cost of one local date in cents as upstream would answer at that moment."""
        return sum(cell.cents for cell in self.observed(day, as_of_s) if cell.campaign.source_id == source_id)

    def restate(self, day: date, source_id: str, cents: int, at_s: float) -> None:
        """Say that a source's cost of a date is exactly `cents` from that moment on.

        Raises:
            ValueError: The source has no hour on that date which the cost could belong to.
        """
        if all(cell.campaign.source_id != source_id for cell in self.final(day)):
            raise ValueError(f"source {source_id!r} has no spend on {day} to restate")
        steps = self._restated.setdefault((day, source_id), [])
        steps.insert(bisect_right([step[0] for step in steps], at_s), (at_s, cents))

    def _settled(self, campaign: AdCampaign, day: date, end_s: int, as_of_s: float) -> int:
        """Return the thousandths of the final cost that are in by then."""
        at_first = self._at_first.get((day, campaign.id))
        if at_first is None:
            at_first = stream(self._seed, "settling", day, campaign.id).randrange(940, 1_012)
            self._at_first[day, campaign.id] = at_first
        share = 0.0
        for delay_s, then in _SETTLING:
            if as_of_s >= end_s + delay_s:
                share = then
        return at_first + round((_WHOLE - at_first) * share)

    def _make(self, day: date, campaign: AdCampaign) -> Iterator[SpendCell]:
        chance = stream(self._seed, "spend", day, campaign.id)
        begin_s, end_s = day_span_s(day, self._zone)
        hours = (end_s - begin_s) // _HOUR_S
        factor = chance.uniform(0.8, 1.2) * (_WEEKEND_FACTOR if day.weekday() >= 5 else 1.0)
        for hour in range(hours):
            cents = int(campaign.cents_per_day * factor * chance.uniform(0.6, 1.4) / hours)
            clicks = cents // chance.randrange(380, 640)
            conversions = _thinned(chance, clicks, 0.03)
            yield SpendCell(
                at_s=begin_s + hour * _HOUR_S,
                day=day,
                campaign=campaign,
                cents=cents,
                clicks=clicks,
                conversions=conversions,
                total_conversions=conversions + _thinned(chance, clicks, 0.01),
            )


def _thinned(chance: Random, count: int, share: float) -> int:
    return sum(chance.random() < share for _ in range(count))


def _with_cents(cell: SpendCell, cents: int) -> SpendCell:
    return SpendCell(cell.at_s, cell.day, cell.campaign, cents, cell.clicks, cell.conversions, cell.total_conversions)


def _spread(cells: list[SpendCell], source_id: str, cents: int) -> list[SpendCell]:
    """Share `cents` out over a source's hours in proportion; the source's last hour takes the remainder."""
    mine = [place for place, cell in enumerate(cells) if cell.campaign.source_id == source_id]
    whole = sum(cells[place].cents for place in mine)
    left = cents
    changed = list(cells)
    for place in mine:
        part = cells[place].cents * cents // whole if whole and place != mine[-1] else 0
        part = left if place == mine[-1] else part
        left -= part
        changed[place] = _with_cents(cells[place], part)
    return changed
