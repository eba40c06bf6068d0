"""The right answers, added up in plain Python from the same events the upstreams answer from.

Money is in cents until it is printed; every number is handed over as the text of an exact decimal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from signalroom.simulators.cast import Cast
from signalroom.simulators.days import ONE_DAY
from signalroom.simulators.orders import STATUS, OrderBook
from signalroom.simulators.settlements import Adjustment, Settlements
from signalroom.simulators.spend import SpendBook
from signalroom.simulators.traffic import Conversion, Traffic

_TREND_DAYS = 14
_TOP = 5
_CENT = Decimal("0.01")


@dataclass(slots=True)
class _Tally:
    """Conversions and cents of one affiliate, one side or one day."""

    conversions: int = 0
    revenue_cents: int = 0
    cost_cents: int = 0

    def figures(self, *names: str) -> dict[str, str | None]:
        """Return the named figures as text."""
        every = {
            "conversions": str(self.conversions),
            "revenue": money(self.revenue_cents),
            "cost": money(self.cost_cents),
            "cpa": cpa(self.cost_cents, self.conversions),
        }
        return {name: every[name] for name in names}


@dataclass(slots=True)
class _ProjectDay:
    overall: _Tally = field(default_factory=_Tally)
    internal: _Tally = field(default_factory=_Tally)
    external: _Tally = field(default_factory=_Tally)
    by_affiliate: dict[int, _Tally] = field(default_factory=dict[int, _Tally])


@dataclass(frozen=True, slots=True)
class Truth:
    """Answers for any project, date and moment."""

    cast: Cast
    traffic: Traffic
    spend: SpendBook
    orders: OrderBook
    settlements: Settlements

    def daily(self, project: str, day: date, as_of_s: float) -> dict[str, Any]:
        """Return the daily summary of a project as the numbers stood at a moment.

        Keys: date, project, overall, internal, external, top (up to 5), trend (14 dates), orders and
        unmapped_spend. Numbers are text, money has 2 places, cpa is None without conversions.

        Raises:
            ValueError: There is no such project.
        """
        sums = self._sums(project, day, as_of_s)
        trend = [day - ONE_DAY * back for back in range(_TREND_DAYS - 1, -1, -1)]
        return {
            "date": day.isoformat(),
            "project": project,
            "overall": sums.overall.figures("conversions", "revenue", "cost", "cpa"),
            "internal": sums.internal.figures("conversions", "cost", "cpa"),
            "external": sums.external.figures("conversions", "cost", "cpa"),
            "top": self._top(project, sums),
            "trend": [
                {"date": at.isoformat()}
                | self._sums(project, at, as_of_s).overall.figures("conversions", "revenue", "cost")
                for at in trend
            ],
            "orders": self._orders(project, day, as_of_s),
            "unmapped_spend": money(self._unmapped_cents(day, as_of_s)),
        }

    def totals(self, day: date, as_of_s: float) -> dict[str, Any]:
        """Return a date's totals over everything.

        Keys: conversions, revenue, payout, spend, unmapped_spend (texts), spend_by_source (source id -> money)
        and by_affiliate (advertiser id, affiliate id -> conversions, revenue, payout).
        """
        revenue_cents = payout_cents = conversions = 0
        rows: dict[tuple[int, int], list[int]] = {}
        for earned, count in self._earned(day, as_of_s):
            conversions += count
            revenue_cents += earned.revenue_cents
            payout_cents += earned.payout_cents
            row = rows.setdefault((earned.advertiser_id, earned.affiliate_id), [0, 0, 0])
            row[0] += count
            row[1] += earned.revenue_cents
            row[2] += earned.payout_cents
        spent = self._spent(day, as_of_s)
        return {
            "conversions": str(conversions),
            "revenue": money(revenue_cents),
            "payout": money(payout_cents),
            "spend": money(sum(spent.values())),
            "unmapped_spend": money(self._unmapped_cents(day, as_of_s)),
            "spend_by_source": {source_id: money(cents) for source_id, cents in sorted(spent.items())},
            "by_affiliate": {key: (str(row[0]), money(row[1]), money(row[2])) for key, row in sorted(rows.items())},
        }

    def _earned(self, day: date, as_of_s: float) -> Iterator[tuple[Conversion | Adjustment, int]]:
        """Yield what counts for a date, and as how many conversions: those approved, and what people adjusted."""
        for conversion in self.traffic.conversions(day):
            if conversion.status(as_of_s) == "approved":
                yield conversion, 1
        for adjustment in self.settlements.adjustments(day, day):
            if adjustment.counts(as_of_s):
                yield adjustment, adjustment.conversions

    def _spent(self, day: date, as_of_s: float) -> dict[str, int]:
        spent: dict[str, int] = {}
        for cell in self.spend.observed(day, as_of_s):
            spent[cell.campaign.source_id] = spent.get(cell.campaign.source_id, 0) + cell.cents
        return spent

    def _unmapped_cents(self, day: date, as_of_s: float) -> int:
        mapped = self.cast.mapped_sources()
        spent = self._spent(day, as_of_s)
        return sum(cents for source_id, cents in spent.items() if source_id not in mapped)

    def _sums(self, project: str, day: date, as_of_s: float) -> _ProjectDay:
        """Add up one project's date: payout is an external affiliate's cost, spend an internal one's."""
        advertiser_id = self.cast.advertiser(project).id
        internal = self.cast.internal_labels(project)
        sums = _ProjectDay()
        for earned, count in self._earned(day, as_of_s):
            if earned.advertiser_id != advertiser_id:
                continue
            inside = earned.affiliate_id in internal
            mine = sums.by_affiliate.setdefault(earned.affiliate_id, _Tally())
            for tally in (sums.overall, sums.internal if inside else sums.external, mine):
                tally.conversions += count
                tally.revenue_cents += earned.revenue_cents
                tally.cost_cents += 0 if inside else earned.payout_cents
        spent = self._spent(day, as_of_s)
        for row in self.cast.mapping:
            if row.project == project and row.source_id in spent:
                mine = sums.by_affiliate.setdefault(row.affiliate_id, _Tally())
                for tally in (sums.overall, sums.internal, mine):
                    tally.cost_cents += spent[row.source_id]
        return sums

    def _top(self, project: str, sums: _ProjectDay) -> list[dict[str, Any]]:
        internal = self.cast.internal_labels(project)
        upstream = {affiliate.id: affiliate.label.strip() for affiliate in self.cast.affiliates}
        rows = [
            (-tally.conversions, internal.get(affiliate_id, upstream[affiliate_id]), affiliate_id, tally)
            for affiliate_id, tally in sums.by_affiliate.items()
            if tally.conversions
        ]
        rows.sort(key=lambda row: row[:3])
        return [
            {"label": label} | tally.figures("conversions", "cpa") | {"is_internal": affiliate_id in internal}
            for _, label, affiliate_id, tally in rows[:_TOP]
        ]

    def _orders(self, project: str, day: date, as_of_s: float) -> dict[str, str]:
        every = ("orders", "approved", "declined", "voided", "test_orders", "chargebacks")
        counts: dict[str, int] = dict.fromkeys(every, 0)
        names = {"NEW": "approved", "DECLINED": "declined", "VOID/REFUNDED": "voided"}
        dollars = 0
        for order in self.orders.placed_on(day):
            current = self.orders.visible(order, as_of_s)
            if order.category != project or current is None:
                continue
            if order.is_test:
                counts["test_orders"] += 1
                continue
            counts["orders"] += 1
            counts[names[STATUS[current.kind]]] += 1
            counts["chargebacks"] += current.kind == "charged back"
            dollars += order.amount if STATUS[current.kind] == "NEW" else 0
        return {name: str(count) for name, count in counts.items()} | {"revenue": money(dollars * 100)}


def money(cents: int) -> str:
    """Return cents as dollars with two places."""
    return f"{Decimal(cents) / 100:.2f}"


def cpa(cost_cents: int, conversions: int) -> str | None:
    """Return the cost of one conversion to the cent, half up; None without conversions."""
    if conversions == 0:
        return None
    return str((Decimal(cost_cents) / 100 / conversions).quantize(_CENT, ROUND_HALF_UP))
