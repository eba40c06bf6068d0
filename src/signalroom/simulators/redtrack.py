"""The ad tracker's API: one report endpoint that pages, restates and spells numbers as it likes."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from signalroom.simulators.days import ONE_DAY, epoch_s, local_day, midnight_s
from signalroom.simulators.limits import Clock, SlidingWindow
from signalroom.simulators.spend import SpendCell
from signalroom.simulators.upstream import Call, RefusedError, Reply, Upstream, error_reply, json_reply
from signalroom.simulators.world import World

GROUPS = ("date", "source", "campaign", "offer")
MAX_PER = 1_000

_MEASURES = ("clicks", "conversions", "total_conversions", "cost")
_FILTERS = ("source_id", "campaign_id", "offer_id")
_PARAMETERS = frozenset(
    {
        "api_key", "group", "date_from", "date_to", "timezone", "time_interval", "page", "per", "total",
        "sortby", "direction", "tracks_view", "network_id", *_FILTERS, *(f"sub{number}" for number in range(1, 21)),
    }
)  # fmt: skip
# Legal, but this account has nothing by them: said aloud rather than ignored.
_EMPTY = re.compile(r"network_id|sub\d+|rt_\w+|time_interval")
_FLAGS = frozenset({"true", "false"})
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MAX_SORTS = 3


@dataclass(frozen=True, slots=True)
class RedtrackOptions:
    """How strict the tracker is.

    Attributes:
        api_key: The one key that is let in.
        requests_per_minute: Requests to /report in any 60 seconds.
        retry_after: Whether a 429 says how long to wait.
        texts: Whether some numbers are spelled as strings.
        clock: Seconds, for the rate limit.
    """

    api_key: str = "redtrack-key"
    requests_per_minute: int = 20
    retry_after: bool = True
    texts: bool = True
    clock: Clock = time.monotonic


@dataclass(frozen=True, slots=True)
class _Report:
    """A report request; epoch seconds [begin, end), paging from 1."""

    groups: tuple[str, ...]
    begin_s: float
    end_s: float
    zone: ZoneInfo
    filters: Mapping[str, str]
    sortby: tuple[str, ...]
    descending: bool
    page: int
    per: int


@dataclass(slots=True)
class _Sums:
    """One row of the report; money in cents."""

    names: dict[str, str]
    clicks: int = 0
    conversions: int = 0
    total_conversions: int = 0
    cents: int = 0

    def sort_key(self, names: tuple[str, ...]) -> tuple[Any, ...]:
        """Return what rows are ordered by."""
        measures = {name: getattr(self, "cents" if name == "cost" else name) for name in _MEASURES}
        return tuple((measures | self.names)[name] for name in names)


def redtrack_app(world: World, options: RedtrackOptions | None = None) -> Upstream:
    """Return the tracker's API over a world, as an ASGI app."""
    return Upstream("redtrack", Tracker(world, options or RedtrackOptions()).answer)


class Tracker:
    """Answers requests from what the world's ad spend looks like at that moment."""

    def __init__(self, world: World, options: RedtrackOptions) -> None:
        """Begin with an unused rate limit."""
        self._world = world
        self._options = options
        self._sources = {source.id: source for source in world.cast.sources}
        self._limit = SlidingWindow(options.requests_per_minute, 60.0, options.clock)

    def answer(self, call: Call) -> Reply:
        """Answer one request; everything but GET /report is not found."""
        if (call.method, call.path) != ("GET", "/report"):
            return error_reply(404, "not found")
        allowance = self._limit.take()
        if not allowance.allowed:
            wait = {"Retry-After": str(allowance.retry_after_s)} if self._options.retry_after else {}
            return error_reply(429, "too many requests", wait)
        try:
            report = _parse(call.query, self._options.api_key)
        except RefusedError as error:
            return error_reply(error.status, str(error))
        rows = self._rows(report)
        shown = rows[(report.page - 1) * report.per : report.page * report.per]
        return json_reply([self._spelled(row) for row in shown])

    def _rows(self, report: _Report) -> list[_Sums]:
        now_s = epoch_s(self._world.now())
        rows: dict[tuple[str, ...], _Sums] = {}
        for day in self._world.spend.days_between(report.begin_s, report.end_s):
            for cell in self._world.spend.observed(day, now_s):
                if not report.begin_s <= cell.at_s < report.end_s:
                    continue
                names = self._names(cell, report)
                if any(names[name] != wanted for name, wanted in report.filters.items()):
                    continue
                key = tuple(names["date" if group == "date" else f"{group}_id"] for group in report.groups)
                shown = {name: names[name] for group in report.groups for name in _fields(group)}
                row = rows.setdefault(key, _Sums(shown))
                row.clicks += cell.clicks
                row.conversions += cell.conversions
                row.total_conversions += cell.total_conversions
                row.cents += cell.cents
        ordered = [rows[key] for key in sorted(rows)]
        if report.sortby:
            ordered.sort(key=lambda row: row.sort_key(report.sortby), reverse=report.descending)
        return ordered

    def _names(self, cell: SpendCell, report: _Report) -> dict[str, str]:
        source = self._sources[cell.campaign.source_id]
        return {
            "date": local_day(cell.at_s, report.zone).isoformat(),
            "source": source.label,
            "source_id": source.id,
            "source_alias": source.alias,
            "campaign": cell.campaign.label,
            "campaign_id": cell.campaign.id,
            "offer": cell.campaign.offer_label,
            "offer_id": cell.campaign.offer_id,
        }

    def _spelled(self, row: _Sums) -> dict[str, Any]:
        """Return a row as the tracker spells it: some of its numbers, always the same ones, as strings."""
        values: dict[str, int | float | str] = {
            "clicks": row.clicks,
            "conversions": row.conversions,
            "total_conversions": row.total_conversions,
            "cost": row.cents / 100,
        }
        for name, value in values.items():
            chosen = zlib.crc32("/".join((*row.names.values(), name)).encode()) % 4 == 0
            if chosen and self._options.texts:
                values[name] = f"{value:.2f}" if name == "cost" else str(value)
        return row.names | values


def _fields(group: str) -> tuple[str, ...]:
    if group == "date":
        return ("date",)
    return (group, f"{group}_id", "source_alias") if group == "source" else (group, f"{group}_id")


def _parse(query: tuple[tuple[str, str], ...], api_key: str) -> _Report:
    """Read the parameters of a report.

    Raises:
        RefusedError: The key is wrong, or a parameter is unknown, missing, repeated or has an impossible
            value.
    """
    if dict(query).get("api_key") != api_key:
        raise RefusedError("api_key is missing or wrong", 401)
    given: dict[str, str] = {}
    for name, value in query:
        if name not in _PARAMETERS and not name.startswith("rt_"):
            raise RefusedError(f"unknown parameter {name!r}")
        if _EMPTY.fullmatch(name):
            raise RefusedError(f"{name}: this account has no data by it")
        if name in given:
            raise RefusedError(f"{name} is given twice")
        given[name] = value
    for name in ("group", "date_from", "date_to"):
        if not given.get(name):
            raise RefusedError(f"{name} is required")
    for name in ("total", "tracks_view"):
        if given.get(name, "true") not in _FLAGS:
            raise RefusedError(f"{name} must be true or false")
    groups = tuple(given["group"].split(","))
    for group in groups:
        if group not in GROUPS:
            raise RefusedError(f"group: {group!r} is not available")
    sortby = tuple(given["sortby"].split(",")) if given.get("sortby") else ()
    if len(sortby) > _MAX_SORTS:
        raise RefusedError(f"sortby: at most {_MAX_SORTS}")
    for name in sortby:
        if name not in {*_MEASURES, *(field for group in groups for field in _fields(group))}:
            raise RefusedError(f"sortby: {name!r} is not in the report")
    if given.get("direction", "asc") not in {"asc", "desc"}:
        raise RefusedError("direction must be asc or desc")
    zone = _zone(given.get("timezone", "UTC"))
    begin, end = _day(given["date_from"], "date_from"), _day(given["date_to"], "date_to")
    if end < begin:
        raise RefusedError("date_to is before date_from")
    per = _positive(given.get("per", "100"), "per")
    if per > MAX_PER:
        raise RefusedError(f"per: at most {MAX_PER}")
    return _Report(
        groups=groups,
        begin_s=midnight_s(begin, zone),
        end_s=midnight_s(end + ONE_DAY, zone),
        zone=zone,
        filters={name: given[name] for name in _FILTERS if name in given},
        sortby=sortby,
        descending=given.get("direction") == "desc",
        page=_positive(given.get("page", "1"), "page"),
        per=per,
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RefusedError(f"timezone: no {name!r}") from error


def _day(text: str, name: str) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise RefusedError(f"{name} must be YYYY-MM-DD")


def _positive(text: str, name: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise RefusedError(f"{name} must be a positive integer")
    return int(text)
