"""A small, seeded affiliates business that several strict upstreams report about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from signalroom.simulators.cast import affiliates_cast
from signalroom.simulators.days import ONE_DAY, epoch_s, local_day
from signalroom.simulators.orders import Kind, Order, OrderBook
from signalroom.simulators.settlements import Adjustment, Hold, Settlements
from signalroom.simulators.spend import SpendBook
from signalroom.simulators.traffic import Conversion, Traffic
from signalroom.simulators.truth import Truth


def utc_now() -> datetime:
    """Return the real time."""
    return datetime.now(UTC)


class World:
    """Everything that happened, and what upstreams say about it at a moment.

    What a date holds depends on the seed and the date alone. What upstream answers about it depends on the
    moment too: events that have not happened yet are missing, late conversions are pending, some are
    rejected later and ad costs settle over about three days.
    """

    def __init__(
        self,
        seed: int,
        today: date,
        zone: str = "America/New_York",
        now: Callable[[], datetime] = utc_now,
        days: int = 21,
        *,
        orders_per_day: int = 5_700,
        export_days: int = 18,
    ) -> None:
        """Set up `days` local dates that end with `today`.

        Args:
            seed: Equal seeds make equal worlds.
            today: The last local date with anything in it, and that of the newest export files.
            zone: IANA name of the business's time zone.
            now: The clock upstreams look at; it must return zoned moments.
            days: How many dates have clicks, conversions and spend.
            orders_per_day: About how many rows a file of the exports has.
            export_days: How many daily files there are of each export prefix.
        """
        self.seed = seed
        self.zone = ZoneInfo(zone)
        self.cast = affiliates_cast()
        first = today - timedelta(days=days - 1)
        self.traffic = Traffic(seed, self.cast, self.zone, first, today)
        self.spend = SpendBook(seed, self.cast, self.zone, first, today)
        files = (today - timedelta(days=export_days - 1), today)
        self.orders = OrderBook(seed, self.cast, self.zone, files, orders_per_day)
        self.settlements = Settlements()
        self._truth = Truth(self.cast, self.traffic, self.spend, self.orders, self.settlements)
        self._today = today
        self._now = now

    @property
    def first_day(self) -> date:
        """Return the first local date with anything in it."""
        return self.traffic.first

    @property
    def today(self) -> date:
        """Return the last local date with anything in it."""
        return self._today

    def now(self) -> datetime:
        """Return the moment upstreams believe it is."""
        return self._now()

    def set_now(self, moment: datetime | Callable[[], datetime]) -> None:
        """Stop the clock at a zoned moment, or look at another clock from here on."""
        if isinstance(moment, datetime):
            epoch_s(moment)
            self._now = lambda: moment
        else:
            self._now = moment

    def advance(self, days: int = 1) -> date:
        """Let the world have more dates and return the new last one; the past stays as it was."""
        self._today = self._today + days * ONE_DAY
        self.traffic.last = self.spend.last = self.orders.last_file = self._today
        return self._today

    def conversions(self, day: date) -> list[Conversion]:
        """Return all conversions of a local date, whatever their status."""
        return self.traffic.conversions(day)

    def add_conversion(
        self,
        at: datetime,
        *,
        affiliate_id: int,
        offer_id: int,
        revenue: Decimal,
        payout: Decimal,
        known_at: datetime | None = None,
    ) -> Conversion:
        """Add an approved conversion that happened `at`, of which upstream knows from `known_at` (now) on.

        Raises:
            KeyError: No offer has that id.
            ValueError: Its date is outside the world.
        """
        offers = {offer.id: offer for offer in self.cast.offers}
        at_s, known_at_s = int(epoch_s(at)), int(epoch_s(known_at or self.now()))
        day = local_day(at_s, self.zone)
        conversion = Conversion(
            id=f"added-{day.isoformat()}-{len(self.traffic.conversions(day))}",
            at_s=at_s,
            affiliate_id=affiliate_id,
            advertiser_id=offers[offer_id].advertiser_id,
            offer_id=offer_id,
            revenue_cents=_cents(revenue),
            payout_cents=_cents(payout),
            events=0,
            known_at_s=known_at_s,
            approved_at_s=known_at_s,
        )
        self.traffic.add(conversion)
        return conversion

    def reject_conversion(self, conversion_id: str, at: datetime | None = None) -> Conversion:
        """Reject a conversion from a moment (now) on.

        Raises:
            KeyError: No conversion has that id.
        """
        return self.traffic.reject(conversion_id, epoch_s(at or self.now()))

    def hold_conversion(
        self,
        at: datetime,
        *,
        affiliate_id: int,
        offer_id: int,
        revenue: Decimal,
        payout: Decimal,
        until: datetime,
    ) -> Hold:
        """Put a conversion that happened `at` on hold; `until` comes, it is approved and counts, unless it is rejected.

        Raises:
            KeyError: No offer has that id.
            ValueError: Its date is outside the world.
        """
        approved = self.add_conversion(
            at, affiliate_id=affiliate_id, offer_id=offer_id, revenue=revenue, payout=payout, known_at=until
        )
        hold = Hold(
            id=f"{len(self.settlements) + 1:032x}",
            conversion_id=approved.id,
            at_s=approved.at_s,
            affiliate_id=affiliate_id,
            advertiser_id=approved.advertiser_id,
            offer_id=offer_id,
            revenue_cents=approved.revenue_cents,
            payout_cents=approved.payout_cents,
            known_at_s=approved.at_s,
            until_s=approved.known_at_s,
        )
        self.settlements.put(hold)
        return hold

    def reject_hold(self, hold_id: str, at: datetime | None = None) -> None:
        """Reject a hold from a moment (now) on: it never becomes a conversion.

        Raises:
            KeyError: No hold has that id.
            ValueError: It is not on hold at that moment.
        """
        moment_s = epoch_s(at or self.now())
        hold = self.settlements.reject(hold_id, moment_s)
        self.traffic.withdraw(hold.conversion_id, moment_s)

    def erase_hold(self, hold_id: str, at: datetime | None = None) -> None:
        """Make a hold vanish from a moment (now) on, and what it became.

        Raises:
            KeyError: No hold has that id.
        """
        moment_s = epoch_s(at or self.now())
        hold = self.settlements.erase(hold_id, moment_s)
        self.traffic.withdraw(hold.conversion_id, moment_s)

    def adjust(
        self,
        day: date,
        *,
        affiliate_id: int,
        offer_id: int,
        conversions: int = 0,
        revenue: Decimal = Decimal(0),
        payout: Decimal = Decimal(0),
        at: datetime | None = None,
    ) -> Adjustment:
        """Adjust the reports of a date that is over, from a moment (now) on; amounts may be less than 0.

        Raises:
            KeyError: No offer has that id.
            ValueError: The date is not over at that moment.
        """
        offers = {offer.id: offer for offer in self.cast.offers}
        made_at_s = epoch_s(at or self.now())
        if day >= local_day(made_at_s, self.zone):
            raise ValueError(f"{day} is not over, and a day under way is not adjusted")
        adjustment = Adjustment(
            id=self.settlements.next_adjustment_id,
            day=day,
            affiliate_id=affiliate_id,
            advertiser_id=offers[offer_id].advertiser_id,
            offer_id=offer_id,
            conversions=conversions,
            revenue_cents=_cents(revenue),
            payout_cents=_cents(payout),
            notes=f"Adjusted by {payout} and {revenue}",
            made_at_s=made_at_s,
        )
        self.settlements.put_adjustment(adjustment)
        return adjustment

    def delete_adjustment(self, adjustment_id: int, at: datetime | None = None) -> None:
        """Take an adjustment back from a moment (now) on; it is still listed, as deleted.

        Raises:
            KeyError: No adjustment has that id.
        """
        self.settlements.delete(adjustment_id, epoch_s(at or self.now()))

    def erase_traffic(self, day: date, affiliate_id: int, at: datetime | None = None) -> int:
        """Make an affiliate's rows of a date vanish upstream from a moment (now) on; count the conversions."""
        return self.traffic.erase(day, affiliate_id, epoch_s(at or self.now()))

    def restate_cost(self, day: date, source_id: str, cost: Decimal, at: datetime | None = None) -> None:
        """Say that a source's cost of a date is exactly `cost` dollars from a moment (now) on.

        Raises:
            ValueError: The source has no spend on that date, or the cost has fractions of a cent.
        """
        self.spend.restate(day, source_id, _cents(cost), epoch_s(at or self.now()))

    def cost(self, day: date, source_id: str, as_of: datetime | None = None) -> Decimal:
        """Return a source's cost of a date in dollars as upstream would answer at a moment (now)."""
        return Decimal(self.spend.cost_cents(day, source_id, epoch_s(as_of or self.now()))) / 100

    def amend_order(self, order_id: int, kind: Kind, at: datetime | None = None) -> Order:
        """Change an order's state at a moment (now): it is in the update file of the next local date.

        Raises:
            KeyError: No order has that id.
            ValueError: The order is placed later than that.
        """
        changed = local_day(epoch_s(at or self.now()), self.zone)
        return self.orders.amend(order_id, kind, changed + ONE_DAY)

    def truth_daily(self, project: str, day: date, as_of: datetime | None = None) -> dict[str, Any]:
        """Return the right daily summary at a moment (now); the keys are those of `Truth.daily`.

        Raises:
            ValueError: There is no such project, or the moment has no time zone.
        """
        return self._truth.daily(project, day, epoch_s(as_of or self.now()))

    def truth_totals(self, day: date, as_of: datetime | None = None) -> dict[str, Any]:
        """Return a date's totals at a moment (now); the keys are those of `Truth.totals`."""
        return self._truth.totals(day, epoch_s(as_of or self.now()))


def _cents(amount: Decimal) -> int:
    cents = amount * 100
    if cents != cents.to_integral_value():
        raise ValueError(f"{amount} has fractions of a cent")
    return int(cents)
