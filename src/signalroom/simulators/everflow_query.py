"""Report requests of the affiliate network, read as strictly as its documentation allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import orjson

from signalroom.simulators.days import ONE_DAY, midnight_s
from signalroom.simulators.upstream import RefusedError

TIME_COLUMNS = ("date", "hour", "week", "month")
ENTITY_COLUMNS = ("affiliate", "advertiser", "offer")
MAX_COLUMNS = 10
MAX_DAYS = 365

_FIELDS = frozenset({"from", "to", "timezone_id", "currency_id", "columns", "query"})
_CONVERSION_FIELDS = frozenset(
    {"from", "to", "timezone_id", "show_conversions", "show_events", "show_only_vt", "show_only_ct", "query"}
)
_ON_HOLD_FIELDS = frozenset(
    {"from", "to", "timezone_id", "show_conversions", "show_events", "on_hold_status_filter", "query"}
)
_ON_HOLD_STATUSES = ("", "on_hold", "approved", "rejected")
_ADJUSTMENT_PARAMETERS = frozenset({"from", "to", "timezone_id"})
_QUERY_FIELDS = frozenset({"filters", "exclusions", "metric_filters", "user_metrics", "settings"})
_FILTER_FIELDS = frozenset({"resource_type", "filter_id_value"})
_SETTINGS = frozenset({"campaign_data_only", "ignore_fail_traffic", "only_include_fail_traffic"})


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """A report request: epoch seconds [begin, end), the zone of its dates, columns in the order asked.

    A row passes if, for each resource type in `filters`, its id is among the values, and for none in
    `exclusions`.
    """

    begin_s: float
    end_s: float
    zone: ZoneInfo
    columns: tuple[str, ...]
    filters: Mapping[str, frozenset[str]]
    exclusions: Mapping[str, frozenset[str]]

    def passes(self, ids: Mapping[str, str]) -> bool:
        """Tell whether a row with these ids (by resource type) is wanted."""
        return all(ids[kind] in wanted for kind, wanted in self.filters.items()) and not any(
            ids[kind] in unwanted for kind, unwanted in self.exclusions.items()
        )

    def bucket(self, column: str) -> Callable[[int], int]:
        """Return how a time column turns an epoch second into the epoch second its bucket begins."""
        floor = {"date": _day, "hour": _hour, "week": _week, "month": _month}[column]
        zone = self.zone
        return lambda at_s: floor(datetime.fromtimestamp(at_s, zone), at_s, zone)


def parse_report(body: bytes, zones: Mapping[int, ZoneInfo], *, needs_columns: bool) -> ReportQuery:
    """Read the body of a table or summary request.

    Raises:
        RefusedError: The request does not keep to the contract; the text says how, except where the real
            service is silent too.
    """
    request = _object(_json(body), "the body", _FIELDS)
    if "timezone_id" not in request:
        raise RefusedError("Bad Request")  # the real service does not say either
    for name in ("from", "to", "currency_id", *(("columns",) if needs_columns else ())):
        if name not in request:
            raise RefusedError(f"{name} is required")
    zone = _zone(request["timezone_id"], zones)
    if request["currency_id"] != "USD":
        raise RefusedError("currency_id: only USD is supported")
    begin_s, end_s = _interval(request["from"], request["to"], zone)
    columns = _columns(request.get("columns", []))
    if needs_columns and not columns:
        raise RefusedError("columns: at least one column is needed")
    query = _object(request.get("query", {}), "query", _QUERY_FIELDS)
    for name in ("metric_filters", "user_metrics"):
        if query.get(name, []) != []:
            raise RefusedError(f"query.{name}: not available on this network")
    for name, value in _object(query.get("settings", {}), "query.settings", _SETTINGS).items():
        if not isinstance(value, bool):
            raise RefusedError(f"query.settings.{name} must be a boolean")
    return ReportQuery(
        begin_s, end_s, zone, columns,
        _filters(query.get("filters", []), "filters"), _filters(query.get("exclusions", []), "exclusions"),
    )  # fmt: skip


def parse_conversions(body: bytes, zones: Mapping[int, ZoneInfo], now_s: float) -> ReportQuery:
    """Read the body of a request for raw conversions, which reach back 365 days and know no currency.

    Raises:
        RefusedError: The request does not keep to the contract.
    """
    request = _object(_json(body), "the body", _CONVERSION_FIELDS)
    _require(request, ("from", "to", "show_conversions", "show_events"))
    if request["show_events"] is True:
        raise RefusedError("this network lists base conversions only")
    return _listing(request, "conversions", zones, now_s)


def parse_on_hold(body: bytes, zones: Mapping[int, ZoneInfo], now_s: float) -> tuple[ReportQuery, str]:
    """Read the body of a request for conversions on hold; the text is the status wanted, empty for any.

    Raises:
        RefusedError: The request does not keep to the contract.
    """
    request = _object(_json(body), "the body", _ON_HOLD_FIELDS)
    _require(request, ("from", "to", "show_conversions", "show_events", "on_hold_status_filter"))
    status = request["on_hold_status_filter"]
    if status not in _ON_HOLD_STATUSES:
        raise RefusedError("on_hold_status_filter must be on_hold, approved, rejected or empty")
    return _listing(request, "conversions on hold", zones, now_s), status


def parse_adjustments(query: Mapping[str, str], zones: Mapping[int, ZoneInfo]) -> tuple[date, date]:
    """Read the parameters of a request for adjustments and return its dates, both included.

    Raises:
        RefusedError: The request does not keep to the contract.
    """
    unknown = sorted(query.keys() - _ADJUSTMENT_PARAMETERS)
    if unknown:
        raise RefusedError(f"unknown parameter {unknown[0]!r}")
    for name in ("from", "to"):
        if len(query.get(name, "")) != 10:
            raise RefusedError(f"{name} must be YYYY-MM-DD")
    number = query.get("timezone_id", "")
    if number and not number.isdecimal():
        raise RefusedError("timezone_id must be an integer")
    zone = _zone(int(number), zones) if number else ZoneInfo("UTC")
    _interval(query["from"], query["to"], zone)
    return date.fromisoformat(query["from"]), date.fromisoformat(query["to"])


def _require(request: Mapping[str, Any], names: tuple[str, ...]) -> None:
    if "timezone_id" not in request:
        raise RefusedError("Bad Request")
    for name in names:
        if name not in request:
            raise RefusedError(f"{name} is required")


def _listing(request: dict[str, Any], what: str, zones: Mapping[int, ZoneInfo], now_s: float) -> ReportQuery:
    for name in ("show_conversions", "show_events", "show_only_vt", "show_only_ct"):
        if not isinstance(request.get(name, False), bool):
            raise RefusedError(f"{name} must be a boolean")
    if request["show_conversions"] is not True:
        raise RefusedError("this network has base conversions only: show them")
    zone = _zone(request["timezone_id"], zones)
    begin_s, end_s = _interval(request["from"], request["to"], zone)
    if begin_s < now_s - (MAX_DAYS + 1) * 86_400:
        raise RefusedError(f"{what} are limited to the prior 365 days")
    query = _object(request.get("query", {}), "query", frozenset({"filters", "exclusions", "search_terms"}))
    if query.get("search_terms", []) != []:
        raise RefusedError("query.search_terms: not available on this network")
    return ReportQuery(
        begin_s, end_s, zone, (),
        _filters(query.get("filters", []), "filters"), _filters(query.get("exclusions", []), "exclusions"),
    )  # fmt: skip


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError("the body is not JSON") from error


def _object(value: Any, where: str, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(f"{where} must be an object")
    found = cast("dict[str, Any]", value)
    unknown = sorted(found.keys() - known)
    if unknown:
        raise RefusedError(f"{where}: unknown field {unknown[0]!r}")
    return found


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RefusedError(f"{where} must be an array")
    return cast("list[Any]", value)


def _zone(timezone_id: Any, zones: Mapping[int, ZoneInfo]) -> ZoneInfo:
    if isinstance(timezone_id, bool) or not isinstance(timezone_id, int):
        raise RefusedError("timezone_id must be an integer")
    if timezone_id not in zones:
        raise RefusedError(f"timezone_id: no timezone {timezone_id}")
    return zones[timezone_id]


def _interval(begin: Any, end: Any, zone: ZoneInfo) -> tuple[float, float]:
    """Return epoch seconds [begin, end); a bare date means the whole of it, `to` included."""
    first, begin_s, _ = _moment(begin, "from", zone)
    last, _, end_s = _moment(end, "to", zone)
    if end_s <= begin_s:
        raise RefusedError("to is before from")
    if last - first > timedelta(days=MAX_DAYS):
        raise RefusedError("the interval is longer than one year")
    return begin_s, end_s


def _moment(value: Any, name: str, zone: ZoneInfo) -> tuple[date, float, float]:
    if isinstance(value, str):
        for form, length in (("%Y-%m-%d", 10), ("%Y-%m-%d %H:%M:%S", 19)):
            try:
                read = datetime.strptime(value, form).replace(tzinfo=zone)
            except ValueError:
                continue
            if len(value) != length:
                break
            if length == 10:
                day = read.date()
                return day, midnight_s(day, zone), midnight_s(day + ONE_DAY, zone)
            return read.date(), read.timestamp(), read.timestamp() + 1
    raise RefusedError(f"{name} must be YYYY-MM-DD or YYYY-MM-DD HH:mm:SS")


def _columns(value: Any) -> tuple[str, ...]:
    names: list[str] = []
    for item in _list(value, "columns"):
        name = _object(item, "columns", frozenset({"column"})).get("column")
        if name not in TIME_COLUMNS and name not in ENTITY_COLUMNS:
            raise RefusedError(f"columns: {name!r} is not available on this network")
        names.append(name)
    if len(names) > MAX_COLUMNS:
        raise RefusedError(f"columns: at most {MAX_COLUMNS}")
    if len(set(names)) < len(names):
        raise RefusedError("columns: the same column twice")
    if sum(name in TIME_COLUMNS for name in names) > 1:
        raise RefusedError("columns: only one time-related column at a time")
    return tuple(names)


def _filters(value: Any, where: str) -> dict[str, frozenset[str]]:
    wanted: dict[str, frozenset[str]] = {}
    for item in _list(value, f"query.{where}"):
        found = _object(item, f"query.{where}", _FILTER_FIELDS)
        if found.keys() != _FILTER_FIELDS:
            raise RefusedError(f"query.{where}: resource_type and filter_id_value are both required")
        kind, id_value = found["resource_type"], found["filter_id_value"]
        if kind not in ENTITY_COLUMNS:
            raise RefusedError(f"query.{where}: resource_type {kind!r} is not available on this network")
        if not isinstance(id_value, str):
            raise RefusedError(f"query.{where}: filter_id_value must be a string")
        wanted[kind] = wanted.get(kind, frozenset()) | {id_value}
    return wanted


def _day(local: datetime, _at_s: int, zone: ZoneInfo) -> int:
    return midnight_s(local.date(), zone)


def _hour(local: datetime, at_s: int, _zone: ZoneInfo) -> int:
    # Subtracting keeps the two 1 o'clocks of an autumn night apart; rebuilding the local time would not.
    return at_s - local.minute * 60 - local.second


def _week(local: datetime, _at_s: int, zone: ZoneInfo) -> int:
    return midnight_s(local.date() - timedelta(days=local.weekday()), zone)


def _month(local: datetime, _at_s: int, zone: ZoneInfo) -> int:
    return midnight_s(local.date().replace(day=1), zone)


def ratio(part: float, whole: float) -> float:
    """Return part / whole to two places, 0.0 of nothing."""
    return math.floor(part / whole * 100 + 0.5) / 100 if whole else 0.0
