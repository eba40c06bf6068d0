"""The affiliate network's rows one by one: conversions and holds with the status of the moment, and adjustments."""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, Any

from signalroom.simulators.days import epoch_s
from signalroom.simulators.settlements import Adjustment, Hold
from signalroom.simulators.traffic import Conversion

if TYPE_CHECKING:
    from signalroom.simulators.everflow_query import ReportQuery
    from signalroom.simulators.world import World


def conversion_rows(world: World, query: ReportQuery) -> list[dict[str, Any]]:
    """Return what upstream lists now, the newest first; money as JSON numbers in dollars, whatever the status."""
    now_s = epoch_s(world.now())
    found: list[Conversion] = []
    for day in world.traffic.days_between(query.begin_s, query.end_s):
        for one in world.traffic.conversions(day):
            ids = {kind: str(number) for kind, number in _ids(one).items()}
            wanted = query.begin_s <= one.at_s < query.end_s and query.passes(ids)
            if wanted and one.status(now_s) != "absent":
                found.append(one)
    names = _names(world)
    found.sort(key=lambda one: (-one.at_s, one.id))
    return [_row(one, one.status(now_s), names) for one in found]


def on_hold_rows(world: World, query: ReportQuery, status: str) -> list[dict[str, Any]]:
    """Return the holds upstream lists now, the newest conversion first; ``status`` empty for any."""
    now_s = epoch_s(world.now())
    found = [
        one
        for one in world.settlements.holds(query.begin_s, query.end_s)
        if query.passes({kind: str(number) for kind, number in _ids(one).items()})
        and one.status(now_s) != "absent"
        and status in ("", one.status(now_s))
    ]
    names = _names(world)
    found.sort(key=lambda one: (-one.at_s, one.id))
    return [
        {
            "on_hold_conversion_id": one.id,
            "network_id": 1,
            "holding_period_end": one.until_s,
            "status": one.status(now_s),
            "note": "",
            "conversion": _money_row(one, names) | {"status": one.status(now_s)},
        }
        for one in found
    ]


def adjustment_rows(world: World, first: date, last: date) -> list[dict[str, Any]]:
    """Return the adjustments upstream lists now, the newest first; the deleted ones say so."""
    now_s = epoch_s(world.now())
    found = [one for one in world.settlements.adjustments(first, last) if one.made_at_s <= now_s]
    return [_adjustment(one, now_s) for one in sorted(found, key=lambda one: -one.id)]


def _adjustment(one: Adjustment, now_s: float) -> dict[str, Any]:
    deleted = not one.counts(now_s)
    saved_at_s = one.deleted_at_s if deleted and math.isfinite(one.deleted_at_s) else one.made_at_s
    return {
        "network_reporting_adjustment_id": one.id,
        "network_id": 1,
        "network_affiliate_id": one.affiliate_id,
        "network_offer_id": one.offer_id,
        "network_employee_id": 1,
        "total_clicks": 0,
        "unique_clicks": 0,
        "conversions": one.conversions,
        "payout": one.payout_cents / 100,
        "revenue": one.revenue_cents / 100,
        "date_adjustment": one.day.isoformat(),
        "notes": one.notes,
        "gross_sales": 0,
        "impressions": 0,
        "media_buying_cost": 0,
        "time_created": int(one.made_at_s),
        "time_saved": int(saved_at_s),
        "deleted": deleted,
    }


def _names(world: World) -> dict[str, dict[int, str]]:
    return {
        "affiliate": {one.id: one.label for one in world.cast.affiliates},
        "advertiser": {one.id: one.label for one in world.cast.advertisers},
        "offer": {one.id: one.label for one in world.cast.offers},
    }


def _ids(one: Conversion | Hold) -> dict[str, int]:
    return {"affiliate": one.affiliate_id, "advertiser": one.advertiser_id, "offer": one.offer_id}


def _row(one: Conversion, status: str, names: dict[str, dict[int, str]]) -> dict[str, Any]:
    return _money_row(one, names) | {"status": status}


def _money_row(one: Conversion | Hold, names: dict[str, dict[int, str]]) -> dict[str, Any]:
    name = one.conversion_id if isinstance(one, Hold) else one.id
    return {
        "conversion_id": name,
        "conversion_unix_timestamp": one.at_s,
        "transaction_id": name[::-1],
        "is_event": False,
        "event": "Base",
        "revenue_type": "rpa",
        "revenue": one.revenue_cents / 100,
        "payout_type": "cpa",
        "payout": one.payout_cents / 100,
        "currency_id": "USD",
        "sub1": "",
        "relationship": {
            kind: {f"network_{kind}_id": number, "name": names[kind][number]} for kind, number in _ids(one).items()
        },
    }
