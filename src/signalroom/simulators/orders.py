"""Orders and what happens to them: the facts behind the CRM's exports, without their text.

An order placed on day D is delivered in the orders-create file of D + 1. Everything that happens to it
later is delivered, as a whole new row, in the orders-update file of the day after it happened.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from signalroom.simulators.cast import Cast
from signalroom.simulators.chance import stream
from signalroom.simulators.days import ONE_DAY, each_day
from signalroom.simulators.products import PRODUCTS, SHIPPING_PRICES, Product

Prefix = Literal["orders-create", "orders-update", "prospects-create"]
Kind = Literal[
    "declined", "retried", "retried twice", "recovered",
    "new", "shipped", "refunded", "charged back", "void", "voided",
]  # fmt: skip

PREFIXES: tuple[Prefix, ...] = ("orders-create", "orders-update", "prospects-create")
STATUS: dict[Kind, str] = {
    "declined": "DECLINED",
    "retried": "DECLINED",
    "retried twice": "DECLINED",
    "recovered": "NEW",
    "new": "NEW",
    "shipped": "NEW",
    "refunded": "VOID/REFUNDED",
    "charged back": "NEW",
    "void": "VOID/REFUNDED",
    "voided": "VOID/REFUNDED",
}

# The last an order can be heard of: placed, changed five and seven days on, delivered, delivered again.
_LONGEST_LIFE = timedelta(days=15)
_FIRST_LAG_DAYS = (0, 0, 0, 1, 1, 2, 3, 5)
_SECOND_LAG_DAYS = (1, 1, 2, 2, 3, 4, 5, 7)
_MINUTE = {"prospects-create": 4, "orders-create": 11, "orders-update": 17}
# Ids leave room for this many orders a day, counted from a day before any world.
_IDS_A_DAY = 100_000
_DAY_ZERO = date(2020, 1, 1).toordinal()
_KEPT_DAYS = 18


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of one file: the order as it was at the end of the day before `file_day`."""

    kind: Kind
    file_day: date


@dataclass(frozen=True, slots=True)
class Order:
    """One order; `amount` is in whole dollars, `look` is the seed of everything that does not matter.

    `deliveries` are its rows in the order they are delivered, the first in an orders-create file.
    """

    id: int
    day: date
    category: str
    is_test: bool
    product: Product
    quantity: int
    shipping: int
    affiliate_id: int
    look: int
    deliveries: tuple[Delivery, ...]

    @property
    def amount(self) -> int:
        """Return total_amount in whole dollars."""
        return self.product.price * self.quantity + SHIPPING_PRICES[self.shipping]


@dataclass(frozen=True, slots=True)
class DayOfOrders:
    """The orders placed on one day, and their later rows by the update file that delivers them."""

    orders: tuple[Order, ...]
    updates: dict[date, list[tuple[Order, Delivery]]]


class OrderBook:
    """Orders of every day, and which files exist: one of each prefix from `first_file` to `last_file`."""

    def __init__(self, seed: int, cast: Cast, zone: ZoneInfo, files: tuple[date, date], orders_per_day: int) -> None:
        """Make nothing yet; `last_file` may be moved later."""
        self.seed = seed
        self.zone = zone
        self.first_file, self.last_file = files
        self.orders_per_day = orders_per_day
        self._affiliates = {label: cast.affiliates_of(label) for label in ("CCW", "EXP")}
        self._days: OrderedDict[date, DayOfOrders] = OrderedDict()
        self._deliveries: dict[tuple[Kind, date], Delivery] = {}
        self._amended: dict[int, list[Delivery]] = {}

    def file_time(self, prefix: Prefix, file_day: date) -> datetime:
        """Return the local moment (to the minute) at which a file is written; it is in the file's name."""
        jitter = self._digest(prefix, file_day)[0] % 5
        return datetime(file_day.year, file_day.month, file_day.day, 0, _MINUTE[prefix] + jitter, tzinfo=self.zone)

    def file_path(self, prefix: Prefix, file_day: date) -> str:
        """Return a file's path below the export folder."""
        name = f"report_{self.file_time(prefix, file_day):%Y-%m-%dT%H%M}"
        return f"{prefix}/{name}_{self._digest(prefix, file_day)[1:5].hex()}.csv"

    def is_written(self, prefix: Prefix, file_day: date, as_of_s: float) -> bool:
        """Tell whether the file exists at that moment."""
        inside = self.first_file <= file_day <= self.last_file
        return inside and self.file_time(prefix, file_day).timestamp() <= as_of_s

    def placed_on(self, day: date) -> tuple[Order, ...]:
        """Return the orders placed on a date."""
        return self._day(day).orders

    def updates_in(self, file_day: date) -> list[tuple[Order, Delivery]]:
        """Return the rows of one update file: shuffled, deliberate amendments last."""
        rows: list[tuple[Order, Delivery]] = []
        days = set(each_day(file_day - _LONGEST_LIFE, file_day - ONE_DAY))
        days.update(_day_placed(order_id) for order_id in self._amended)
        for day in sorted(days):
            rows += self._day(day).updates.get(file_day, ())
        amended = [row for row in rows if row[1] in self._amended.get(row[0].id, ())]
        natural = [row for row in rows if row[1] not in self._amended.get(row[0].id, ())]
        stream(self.seed, "update file", file_day).shuffle(natural)
        return natural + amended

    def visible(self, order: Order, as_of_s: float) -> Delivery | None:
        """Return the row that is an order's current state at that moment, or None if no file has it."""
        current = None
        for number, delivery in enumerate(order.deliveries):
            prefix: Prefix = "orders-create" if number == 0 else "orders-update"
            if self.is_written(prefix, delivery.file_day, as_of_s):
                current = delivery
        return current

    def amend(self, order_id: int, kind: Kind, file_day: date) -> Order:
        """Deliver an order once more, in the update file of `file_day`, and nothing about it afterwards.

        Raises:
            KeyError: No order has that id.
            ValueError: The order is not placed before the file is written.
        """
        day = _day_placed(order_id)
        if not any(order.id == order_id for order in self.placed_on(day)):
            raise KeyError(f"no order {order_id}")
        if file_day <= day:
            raise ValueError(f"order {order_id} was placed on {day}; its rows come in files after that")
        insort(self._amended.setdefault(order_id, []), Delivery(kind, file_day), key=lambda row: row.file_day)
        self._days.pop(day, None)
        return next(order for order in self.placed_on(day) if order.id == order_id)

    def _digest(self, prefix: Prefix, file_day: date) -> bytes:
        return hashlib.blake2b(f"{self.seed}/{prefix}/{file_day}".encode(), digest_size=8).digest()

    def _day(self, day: date) -> DayOfOrders:
        made = self._days.get(day)
        if made is None:
            made = self._make(day)
            self._days[day] = made
            while len(self._days) > _KEPT_DAYS:
                self._days.popitem(last=False)
        return made

    def _make(self, day: date) -> DayOfOrders:
        chance = stream(self.seed, "orders", day)
        first_id = (day.toordinal() - _DAY_ZERO) * _IDS_A_DAY
        count = round(self.orders_per_day * chance.uniform(0.97, 1.05))
        orders: list[Order] = []
        updates: dict[date, list[tuple[Order, Delivery]]] = {}
        for order_id in range(first_id + 1, first_id + count + 1):
            order = self._order(order_id, day, chance.getrandbits(96), chance.getrandbits(320))
            orders.append(order)
            for delivery in order.deliveries[1:]:
                updates.setdefault(delivery.file_day, []).append((order, delivery))
        return DayOfOrders(tuple(orders), updates)

    def _order(self, order_id: int, day: date, facts: int, look: int) -> Order:
        """Read the facts of an order off 96 random bits, a few bits a fact."""
        category = "CCW" if facts & 0xFF < 154 else "EXP"
        facts >>= 8
        is_test = facts & 0x3FF < 51
        facts >>= 10
        affiliates = self._affiliates[category]
        products = PRODUCTS[category]
        product = products[(facts & 0xF) % len(products)]
        affiliate_id = affiliates[((facts >> 4) & 0xFF) % len(affiliates)]
        quantity = 2 if (facts >> 12) & 0x7 == 0 else 1
        shipping = (facts >> 15) & 0x3
        deliveries = self._life(day, facts >> 17)
        if order_id in self._amended:
            amended = self._amended[order_id]
            kept = tuple(row for row in deliveries if row.file_day <= amended[0].file_day)
            deliveries = (*kept, *amended)
        return Order(order_id, day, category, is_test, product, quantity, shipping, affiliate_id, look, deliveries)

    def _life(self, day: date, facts: int) -> tuple[Delivery, ...]:
        """Decide what happens to an order: about 1.1 update rows, one in eighty of them delivered again."""
        later = _later_kinds(facts & 0x3FF, (facts >> 10) & 0x3FF)
        deliveries = [self._delivery(later[0], day + ONE_DAY)]
        facts >>= 20
        changed = day + timedelta(days=_FIRST_LAG_DAYS[facts & 0x7])
        for kind in later[1:]:
            deliveries.append(self._delivery(kind, changed + ONE_DAY))
            changed += timedelta(days=_SECOND_LAG_DAYS[(facts >> 3) & 0x7])
        facts >>= 6
        if len(later) > 1:
            last = deliveries[-1]
            if facts & 0x7F == 0:
                deliveries.append(self._delivery(last.kind, last.file_day + ONE_DAY))
            elif facts & 0xFF == 1:
                deliveries.append(last)
        return tuple(deliveries)

    def _delivery(self, kind: Kind, file_day: date) -> Delivery:
        """Return one shared object for equal rows: a busy day has thousands."""
        found = self._deliveries.get((kind, file_day))
        if found is None:
            found = self._deliveries[kind, file_day] = Delivery(kind, file_day)
        return found


def _day_placed(order_id: int) -> date:
    return date.fromordinal(order_id // _IDS_A_DAY + _DAY_ZERO)


def _later_kinds(status: int, fate: int) -> tuple[Kind, ...]:
    """Return the states an order goes through, from two draws of 0 to 1,023."""
    if status < 768:
        if fate < 190:
            return ("declined",)
        if fate < 720:
            return ("declined", "retried")
        return ("declined", "retried", "retried twice") if fate < 1_000 else ("declined", "recovered")
    if status < 1_003:
        if fate < 90:
            return ("new",)
        if fate < 800:
            return ("new", "shipped")
        return ("new", "shipped", "refunded" if fate < 940 else "charged back")
    return ("void",) if fate < 512 else ("void", "voided")
