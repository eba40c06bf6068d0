"""The affiliate network's raw conversions: one row each, with the status it has at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from signalroom.simulators.days import epoch_s
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
    names = {
        "affiliate": {one.id: one.label for one in world.cast.affiliates},
        "advertiser": {one.id: one.label for one in world.cast.advertisers},
        "offer": {one.id: one.label for one in world.cast.offers},
    }
    found.sort(key=lambda one: (-one.at_s, one.id))
    return [_row(one, one.status(now_s), names) for one in found]


def _ids(one: Conversion) -> dict[str, int]:
    return {"affiliate": one.affiliate_id, "advertiser": one.advertiser_id, "offer": one.offer_id}


def _row(one: Conversion, status: str, names: dict[str, dict[int, str]]) -> dict[str, Any]:
    return {
        "conversion_id": one.id,
        "conversion_unix_timestamp": one.at_s,
        "transaction_id": one.id[::-1],
        "status": status,
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
