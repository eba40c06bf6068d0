"""The affiliate network's API: aggregated reports, lists of rows, time zones and the entities behind them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from signalroom.simulators.chance import stream
from signalroom.simulators.days import epoch_s, local_day, midnight_s
from signalroom.simulators.everflow_conversions import adjustment_rows, conversion_rows, on_hold_rows
from signalroom.simulators.everflow_query import (
    ENTITY_COLUMNS,
    TIME_COLUMNS,
    ReportQuery,
    parse_adjustments,
    parse_conversions,
    parse_on_hold,
    parse_report,
    ratio,
)
from signalroom.simulators.limits import Clock, FixedWindow
from signalroom.simulators.upstream import Call, RefusedError, Reply, Upstream, error_reply, json_reply
from signalroom.simulators.world import World

REPORTING = "/v1/networks/reporting/"
ENTITIES = ("affiliates", "advertisers", "offers")

_ZONES = (
    "Pacific/Auckland", "Australia/Sydney", "Asia/Tokyo", "Asia/Singapore", "Asia/Kolkata", "Asia/Dubai",
    "Europe/Moscow", "Europe/Athens", "Europe/Berlin", "Europe/Paris", "Europe/London", "UTC",
    "Atlantic/Azores", "America/Sao_Paulo", "America/Halifax", "America/New_York", "America/Toronto",
    "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Anchorage",
    "Pacific/Honolulu",
)  # fmt: skip
# The ids people copy from one another: they exist here too, but mean other zones.
_FOLKLORE = {80: "Europe/Berlin", 67: "Asia/Tokyo"}
_NETWORK_ID = 1
_MAX_PAGE_SIZE = 2_000


@dataclass(frozen=True, slots=True)
class EverflowOptions:
    """How strict the network is.

    Attributes:
        api_key: The one network key that is let in.
        affiliate_keys: Keys of partners: known, but refused on network paths.
        row_cap: Rows in a table before it is cut short and says so.
        requests_per_window: Requests in a window of `window_s` seconds.
        retry_after: Whether a 429 says how long to wait.
        crowd: Requests that may be under way at once on reporting paths.
        timezone_ids: IANA name -> id; by default shuffled by the world's seed.
        clock: Seconds, for the rate limit.
    """

    api_key: str = "everflow-network-key"
    affiliate_keys: frozenset[str] = frozenset({"everflow-affiliate-key"})
    row_cap: int = 10_000
    requests_per_window: int = 600
    window_s: float = 30.0
    retry_after: bool = True
    crowd: int | None = 10
    timezone_ids: Mapping[str, int] | None = None
    clock: Clock = time.monotonic


@dataclass(slots=True)
class _Sums:
    """The measures of one row; money in cents."""

    clicks: int = 0
    approved: int = 0
    every: int = 0
    events: int = 0
    payout_cents: int = 0
    revenue_cents: int = 0

    def reporting(self) -> dict[str, Any]:
        """Return the `reporting` object of the answer; money as JSON numbers in dollars."""
        profit_cents = self.revenue_cents - self.payout_cents
        return {
            "imp": 0,
            "total_click": self.clicks,
            "cv": self.approved,
            "total_cv": self.every,
            "event": self.events,
            "payout": self.payout_cents / 100,
            "revenue": self.revenue_cents / 100,
            "profit": profit_cents / 100,
            "cvr": ratio(self.approved * 100, self.clicks),
            "epc": ratio(self.revenue_cents / 100, self.clicks),
        }


def everflow_app(world: World, options: EverflowOptions | None = None) -> Upstream:
    """Return the network's API over a world, as an ASGI app."""
    options = options or EverflowOptions()
    network = Network(world, options)
    return Upstream("everflow", network.answer, crowded=REPORTING, crowd=options.crowd)


class Network:
    """Answers requests from what the world's conversions and clicks are at that moment."""

    def __init__(self, world: World, options: EverflowOptions) -> None:
        """Begin with an unused rate limit."""
        self._world = world
        self._options = options
        self._limit = FixedWindow(options.requests_per_window, options.window_s, options.clock)
        self.timezone_ids = dict(options.timezone_ids or _shuffled_ids(world.seed))
        self._zones = {number: ZoneInfo(name) for name, number in self.timezone_ids.items()}

    def answer(self, call: Call) -> Reply:
        """Answer one request: rate limit first, then the key, then the contract."""
        allowance = self._limit.take()
        headers = {
            "X-RateLimit-Limit": str(allowance.limit),
            "X-RateLimit-Remaining": str(allowance.remaining),
        }
        if not allowance.allowed:
            if self._options.retry_after:
                headers["Retry-After"] = str(allowance.retry_after_s)
            return error_reply(429, "Too Many Requests", headers)
        try:
            self._authenticate(call)
            return json_reply(self._route(call), headers=headers)
        except RefusedError as error:
            return error_reply(error.status, str(error), headers)

    def _authenticate(self, call: Call) -> None:
        key = call.headers.get("x-eflow-api-key")
        if not key:
            raise RefusedError("No Authentication Method Found", 401)
        if key in self._options.affiliate_keys and call.path.startswith("/v1/networks"):
            raise RefusedError("Out Of Realm", 403)
        if key != self._options.api_key and key not in self._options.affiliate_keys:
            raise RefusedError("Unauthorized", 401)

    def _route(self, call: Call) -> object:
        asked = (call.method, call.path)
        if asked == ("POST", f"{REPORTING}entity/table"):
            return self._table(self._report(call, needs_columns=True))
        if asked == ("POST", f"{REPORTING}entity/summary"):
            return self._summary(self._report(call, needs_columns=False))
        if asked == ("POST", f"{REPORTING}conversions"):
            return self._conversions(call)
        if asked == ("POST", f"{REPORTING}onhold"):
            return self._on_hold(call)
        if asked == ("GET", "/v1/networks/reportingadjustments"):
            first, last = parse_adjustments(dict(call.query), self._zones)
            return {"adjustments": adjustment_rows(self._world, first, last)}
        if asked == ("GET", "/v1/meta/timezones"):
            return {"timezones": self._timezones()}
        for name in ENTITIES:
            if asked == ("GET", f"/v1/networks/{name}"):
                return self._page(name, dict(call.query))
        raise RefusedError("Not Found", 404)

    def _report(self, call: Call, *, needs_columns: bool) -> ReportQuery:
        _require_json(call)
        return parse_report(call.body, self._zones, needs_columns=needs_columns)

    def _conversions(self, call: Call) -> dict[str, Any]:
        _require_json(call)
        query = parse_conversions(call.body, self._zones, epoch_s(self._world.now()))
        return _paged("conversions", conversion_rows(self._world, query), dict(call.query))

    def _on_hold(self, call: Call) -> dict[str, Any]:
        _require_json(call)
        query, status = parse_on_hold(call.body, self._zones, epoch_s(self._world.now()))
        return _paged("conversions", on_hold_rows(self._world, query, status), dict(call.query))

    def _table(self, query: ReportQuery) -> dict[str, Any]:
        labels = self._labels()
        times = [name for name in query.columns if name in TIME_COLUMNS]
        groups = self._groups(query)
        # Busiest first: a table that is cut short is not simply missing its last days.
        keys = sorted(groups, key=lambda key: (-groups[key].clicks, key))
        rows = [
            {
                "columns": [
                    {"column_type": name, "id": part, "label": "" if name in times else labels[name][part]}
                    for name, part in zip(query.columns, key, strict=True)
                ],
                "reporting": groups[key].reporting(),
            }
            for key in keys[: self._options.row_cap]
        ]
        return {"table": rows, "incomplete_results": len(keys) > self._options.row_cap}

    def _summary(self, query: ReportQuery) -> dict[str, Any]:
        whole = ReportQuery(query.begin_s, query.end_s, query.zone, (), query.filters, query.exclusions)
        return self._groups(whole).get((), _Sums()).reporting()

    def _groups(self, query: ReportQuery) -> dict[tuple[str, ...], _Sums]:
        """Add up everything upstream knows now, by the ids of the columns asked for."""
        now_s = epoch_s(self._world.now())
        buckets = {name: query.bucket(name) for name in query.columns if name in TIME_COLUMNS}
        groups: dict[tuple[str, ...], _Sums] = {}

        def sums(at_s: int, affiliate_id: int, advertiser_id: int, offer_id: int) -> _Sums | None:
            ids: dict[str, str] = dict(
                zip(ENTITY_COLUMNS, map(str, (affiliate_id, advertiser_id, offer_id)), strict=True)
            )
            if not query.begin_s <= at_s < query.end_s or not query.passes(ids):
                return None
            key = tuple(str(buckets[name](at_s)) if name in buckets else ids[name] for name in query.columns)
            return groups.setdefault(key, _Sums())

        for day in self._world.traffic.days_between(query.begin_s, query.end_s):
            for burst in self._world.traffic.clicks(day):
                if burst.visible(now_s):
                    row = sums(burst.at_s, burst.affiliate_id, burst.advertiser_id, burst.offer_id)
                    if row is not None:
                        row.clicks += burst.clicks
            for conversion in self._world.traffic.conversions(day):
                status = conversion.status(now_s)
                if status == "absent":
                    continue
                row = sums(conversion.at_s, conversion.affiliate_id, conversion.advertiser_id, conversion.offer_id)
                if row is not None:
                    row.every += 1
                    if status == "approved":
                        row.approved += 1
                        row.events += conversion.events
                        row.payout_cents += conversion.payout_cents
                        row.revenue_cents += conversion.revenue_cents
        zone = self._world.zone
        for one in self._world.settlements.adjustments(local_day(query.begin_s, zone), local_day(query.end_s, zone)):
            at_s = midnight_s(one.day, zone)
            row = sums(at_s, one.affiliate_id, one.advertiser_id, one.offer_id) if one.counts(now_s) else None
            if row is not None:
                row.approved += one.conversions
                row.every += one.conversions
                row.payout_cents += one.payout_cents
                row.revenue_cents += one.revenue_cents
        return groups

    def _labels(self) -> dict[str, dict[str, str]]:
        cast = self._world.cast
        return {
            "affiliate": {str(one.id): one.label for one in cast.affiliates},
            "advertiser": {str(one.id): one.label for one in cast.advertisers},
            "offer": {str(one.id): one.label for one in cast.offers},
        }

    def _timezones(self) -> list[dict[str, Any]]:
        now = self._world.now()
        rows: list[dict[str, Any]] = []
        for number in sorted(self._zones):
            zone = self._zones[number]
            offset = f"{now.astimezone(zone):%z}"
            rows.append(
                {
                    "timezone_id": number,
                    "timezone_name": f"{now.astimezone(zone):%Z} ({zone.key})",
                    "timezone": zone.key,
                    "utc_offset": f"{offset[:3]}:{offset[3:]}",
                }
            )
        return rows

    def _page(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        rows = self._entities(name)
        if "filter" in query:
            key, _, wanted = query["filter"].partition("=")
            if not rows or key not in rows[0]:
                raise RefusedError(f"filter: no field {key!r}")
            rows = [row for row in rows if str(row[key]) == wanted]
        return _paged(name, rows, {key: value for key, value in query.items() if key != "filter"})

    def _entities(self, name: str) -> list[dict[str, Any]]:
        cast = self._world.cast
        if name == "offers":
            return [
                {
                    "network_offer_id": offer.id,
                    "network_id": _NETWORK_ID,
                    "network_advertiser_id": offer.advertiser_id,
                    "name": offer.label,
                    "offer_status": "active",
                    "currency_id": "USD",
                }
                for offer in cast.offers
            ]
        people = cast.affiliates if name == "affiliates" else cast.advertisers
        return [
            {
                f"network_{name[:-1]}_id": one.id,
                "network_id": _NETWORK_ID,
                "name": one.label,
                "account_status": "active",
                "default_currency_id": "USD",
            }
            for one in people
        ]


def _require_json(call: Call) -> None:
    if not call.headers.get("content-type", "").startswith("application/json"):
        raise RefusedError("Content-Type must be application/json")


def _paged(name: str, rows: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the page of `rows` that the parameters ask for."""
    unknown = sorted(query.keys() - {"page", "page_size"})
    if unknown:
        raise RefusedError(f"unknown parameter {unknown[0]!r}")
    page = _positive(query.get("page", "1"), "page")
    page_size = _positive(query.get("page_size", "50"), "page_size")
    if page_size > _MAX_PAGE_SIZE:
        raise RefusedError(f"page_size: at most {_MAX_PAGE_SIZE}")
    shown = rows[(page - 1) * page_size : page * page_size]
    return {name: shown, "paging": {"page": page, "page_size": page_size, "total_count": len(rows)}}


def _positive(text: str, name: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise RefusedError(f"{name} must be a positive integer")
    return int(text)


def _shuffled_ids(seed: int) -> dict[str, int]:
    """Give every zone an id of its own; only a look at /v1/meta/timezones tells which."""
    ids = {name: number for number, name in _FOLKLORE.items()}
    free = [number for number in range(1, 100) if number not in _FOLKLORE]
    drawn = stream(seed, "timezone ids").sample(free, len(_ZONES))
    for name, number in zip(_ZONES, drawn, strict=True):
        ids.setdefault(name, number)
    return ids
