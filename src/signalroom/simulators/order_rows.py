"""Rows of the CRM's exports as CSV text: 129 fields, spelled the way the CRM spells them.

Nulls are empty, `NA`, `N/A` or `None`; flags are `YES` and `NO` (`No` for cancelled_flag); money is whole
dollars as text; dates are MM/DD/YYYY except customer_creation_date. A row is one f-string over pieces
made beforehand, because the demo writes a few hundred thousand of them while somebody waits.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache, lru_cache
from typing import NamedTuple

from signalroom.simulators import people
from signalroom.simulators.days import ONE_DAY
from signalroom.simulators.order_columns import ORDER_COLUMNS
from signalroom.simulators.orders import STATUS, Delivery, Kind, Order
from signalroom.simulators.people import field
from signalroom.simulators.products import PRODUCTS, Product

_NULLS = ("", "NA", "N/A", "None")
_CREATED_BY = ("System", "API User", "Desk 4", "System")
# shipping_method .. signature_confirm, by the order's kind of shipping.
_SHIPPING = (
    "Digital,Instant delivery,NA,NA,0,0,NO,NO",
    'Standard,"Standard, 5-7 days",US,ST,0,1,NO,NO',
    'Standard,"Standard, 5-7 days",US,ST,5,1,YES,NO',
    'Express,"Express ""next day""",US,EX,9,1,YES,YES',
)
_CARDS = ("411111******1111", "400000******{}", "510000******{}", "340000*****{}")
# gateway_id .. customer_service_number.
_GATEWAYS = tuple(
    f"{number},Ledger Lane {number},2,{number % 3},0,25,LEDGER*{number},88855501{number:02d}"
    for number in (3, 7, 8, 12, 15, 21, 22, 30)
)
_DECLINES = (
    "Insufficient funds", "Do not honor", "Insufficient funds", "Pick up card", "Expired card",
    '"Issuer says ""call me"""', '"Suspected fraud, refer"', "Invalid number",
)  # fmt: skip
_NOTES = (
    '"Called, no answer"', '"Says ""never ordered"""', '"Left message\ncall back Monday"', "VIP",
    '"Address checked,\r\nlooks fine"', "gift",
)  # fmt: skip


@cache
def _minutes() -> tuple[str, ...]:
    """Return the 1,440 minutes of a day as `hh:mm AM`."""
    return tuple(
        f"{(minute // 60 - 1) % 12 + 1:02d}:{minute % 60:02d} {'AM' if minute < 720 else 'PM'}"
        for minute in range(1_440)
    )


@lru_cache(maxsize=512)
def _us(day: date) -> str:
    return f"{day:%m/%d/%Y}"


@lru_cache(maxsize=4_096)
def _created(day: date, step: int) -> str:
    """Return a customer's creation date: one in four is empty, the rest up to 18 months before."""
    return "" if step % 4 == 0 else (day - timedelta(days=step * 9)).isoformat()


@cache
def _product(product: Product, quantity: int) -> tuple[str, str]:
    """Return products_id .. product_sku and products_description .. order_confirmed as CSV text."""
    before = f"{product.id},{field(product.name)},NA,YES,{product.price},{product.sku}"
    return before, f"{field(product.description)},{quantity},{product.price},YES"


class _Changes(NamedTuple):
    """The fields that tell what became of an order, as CSV text."""

    tracking: str
    shipped_date: str
    chargeback: str
    rma_and_return: str
    retry_date: str
    retrying: str
    void_and_refund: str
    cancelled: str
    retries_left: str


@lru_cache(maxsize=8_192)
def _changes(kind: Kind, changed: date, shipped: date | None, amount: int, null: str) -> _Changes:
    """Return what changed, when (`changed`), and when it was shipped if it was."""
    on = _us(changed)
    retries = {"retried": 1, "retried twice": 2, "recovered": 1}.get(kind, 0)
    back = kind in {"refunded", "charged back"}
    void = f"YES,{amount},{on},Desk 2" if kind in {"void", "voided"} else f"NO,0,{null},{null}"
    refund = f"YES,{amount},{on},Desk 4" if kind == "refunded" else f"NO,0,{null},{null}"
    return _Changes(
        tracking="94001" if shipped else null,
        shipped_date=_us(shipped) if shipped else null,
        chargeback=f"YES,{on},Bank desk" if kind == "charged back" else f"NO,{null},{null}",
        rma_and_return=(
            f'YES,R{amount},"Sent back, unopened",{on},Desk 4,YES,"Customer: ""not mine"""'
            if back
            else f"NO,{null},{null},{null},{null},NO,{null}"
        ),
        retry_date=on if retries else null,
        retrying=f"{'YES' if kind == 'retried' else 'NO'},{retries}",
        void_and_refund=f"{void},{refund}",
        cancelled="Yes" if kind == "voided" else "No",
        retries_left=str(3 - retries),
    )


def _shipped_on(order: Order, delivery: Delivery) -> date | None:
    """Return when an order left the house: with its first update, if that shipped it."""
    if delivery.kind not in {"shipped", "refunded", "charged back"}:
        return None
    first = order.deliveries[1] if len(order.deliveries) > 1 else delivery
    return first.file_day - ONE_DAY


def order_row(order: Order, delivery: Delivery) -> str:
    """Return one order as one delivered row, without a line end."""
    look, day, kind = order.look, order.day, delivery.kind
    null, nil = _NULLS[look & 3], _NULLS[(look >> 2) & 3]
    look >>= 4
    first, last = people.first_names()[look & 63], people.last_names()[(look >> 6) & 127]
    email = f"{people.mail_names()[(look >> 6) & 127]}{order.id % 99_991}"
    look >>= 13
    address, phone = people.addresses()[look & 511], people.phones()[(look >> 9) & 2_047]
    email = f"{email}@{people.mail_domains()[(look >> 20) & 63]}"
    look >>= 26
    there = address if look & 7 else people.addresses()[(look >> 3) & 511]
    created_by = _CREATED_BY[(look >> 12) & 3]
    at = _minutes()[(((look >> 14) & 2_047) * 1_440) >> 11]
    since = _created(day, (look >> 25) & 63)
    look >>= 31
    customer, prospect = 2_000_000 + (look & 0xFFFFF), 7_000_000 + ((look >> 20) & 0xFFFFF)
    look >>= 40
    four = f"{((look >> 2) & 8_191) % 10_000:04d}"
    card = "144444******4440" if order.is_test else _CARDS[look & 3].format(four)
    expires = f"{((look >> 15) & 63) % 12 + 1:02d}{27 + ((look >> 18) & 7)}"
    gateway, ip = _GATEWAYS[(look >> 21) & 7], people.ip_addresses()[(look >> 24) & 1_023]
    look >>= 34
    status = STATUS[kind]
    reason = _DECLINES[look & 7] if status == "DECLINED" else null
    cascade = "YES,7,Soft decline" if (look >> 3) & 15 == 0 else f"NO,{nil},{null}"
    fraud = f"YES,{_us(day)}" if (look >> 7) & 63 == 0 else f"NO,{nil}"
    recurring = f"YES,{_us(day + timedelta(days=30))}" if (look >> 13) & 15 == 0 else f"NO,{nil}"
    transaction, auth = (look >> 17) & 0xFFFFFFFFFF, (look >> 57) & 0x1FFFF
    look >>= 74
    c1, c2, sid, click = look & 255, (look >> 8) & 255, (look >> 16) & 63, (look >> 22) & 0xFFFFFFFFFFFFFFFF
    note = (look >> 86) & 63
    notes = _NOTES[note] if note < len(_NOTES) else null
    amount = order.amount
    ch = _changes(kind, delivery.file_day - ONE_DAY, _shipped_on(order, delivery), amount, null)
    tracking = f"{ch.tracking}{transaction:015d}" if ch.tracking == "94001" else ch.tracking
    before, after = _product(order.product, order.quantity)
    us, who = _us(day), f"{first},{last}"
    return (
        f"{order.id},{created_by},{who},{address},{phone},{email},{who},{there},{phone},{email},"
        f"{_SHIPPING[order.shipping]},{amount},0,0,0,{amount},{us},{at},{tracking},{order.product.offer_id % 100},"
        f"{customer},{since},{prospect},{card},{expires},{gateway},{ip},{status},{reason},{cascade},"
        f"{ch.shipped_date},{fraud},{ch.chargeback},{ch.rma_and_return},{recurring},{ch.retry_date},0,"
        f"{transaction},{auth:06d},{ch.retrying},{nil},{ch.void_and_refund},{order.affiliate_id},s{sid},{nil},"
        f"c{c1},{c2:03d},{null},{nil},{c1 * 7},{null},0,0,{nil},{before},{order.category},{after},{us},{nil},{null},"
        f"{us} {at},NO,{order.id},0,0,{'YES' if order.is_test else 'NO'},{ch.cancelled},{notes},2,{nil},"
        f"{click:016x},{ch.retries_left},{null},{order.product.offer_id},{c2 % 9}"
    )


# A prospect's first 12 fields are made like an order's; these follow, the flags NO, everything else null.
_REST = ORDER_COLUMNS[12:]
_REST_FILLED = tuple(
    _REST.index(name)
    for name in (
        "order_date", "order_time", "customer_creation_date", "prospects_id", "ip_address", "afid", "sid",
        "product_category", "acquisition_date", "Offer ID",
    )
)  # fmt: skip


@cache
def _blank_rest(spelling: int) -> tuple[str, ...]:
    """Return the fields after the first 12 of somebody who ordered nothing, nulls in two spellings."""
    flags = {name for name in _REST if name.endswith("_flag") or name in {"is_recurring", "is_test_cc"}}
    nulls = (_NULLS[spelling & 3], _NULLS[spelling >> 2])
    blanks = ("NO" if name in flags else nulls[place % 2] for place, name in enumerate(_REST))
    return tuple("No" if name == "cancelled_flag" else blank for name, blank in zip(_REST, blanks, strict=True))


def prospect_row(prospect_id: int, day: date, affiliate_id: int, look: int) -> str:
    """Return somebody who left an address and did not order, as a row under the same header."""
    rest = list(_blank_rest(look & 15))
    look >>= 4
    name = (look >> 6) & 127
    who = f"{people.first_names()[look & 63]},{people.last_names()[name]}"
    look >>= 13
    address, phone = people.addresses()[look & 511], people.phones()[(look >> 9) & 2_047]
    email = f"{people.mail_names()[name]}{prospect_id % 99_991}@{people.mail_domains()[(look >> 20) & 63]}"
    look >>= 26
    at, us = _minutes()[((look & 2_047) * 1_440) >> 11], _us(day)
    category = "CCW" if (look >> 27) & 3 else "EXP"
    filled = (
        us, at, day.isoformat(), str(prospect_id), people.ip_addresses()[(look >> 11) & 1_023],
        str(affiliate_id), f"s{(look >> 21) & 63}", category, f"{us} {at}",
        str(PRODUCTS[category][0].offer_id),
    )  # fmt: skip
    for place, value in zip(_REST_FILLED, filled, strict=True):
        rest[place] = value
    return f"{_NULLS[(look >> 30) & 3]},System,{who},{address},{phone},{email},{','.join(rest)}"
