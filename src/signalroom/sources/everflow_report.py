"""How Everflow is asked: tables that end early, split until they are whole and held against the vendor's own sums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from math import isqrt
from typing import Any, cast
from zoneinfo import ZoneInfo

from signalroom.clients.http import Answer, HttpClient
from signalroom.clock import Clock
from signalroom.errors import ConfigError, DataError, RetryableError, nearest
from signalroom.position import Json
from signalroom.sources.days import span
from signalroom.stream import Window

COLUMNS = ("date", "affiliate", "advertiser")

_TABLE, _SUMMARY = "/v1/networks/reporting/entity/table", "/v1/networks/reporting/entity/summary"
_COUNTS, _MONEY = ("total_click", "cv", "total_cv"), ("revenue", "payout")
_PAGE_SIZE, _MAX_PAGES = 500, 1_000
_GROUP = 500
_MAX_TABLES = 1_000
_LATER = "Nothing of it was taken; ask again later."
_CHANGED = "Nothing was taken; its reports have changed, or base_url is another service's."


@dataclass(frozen=True, slots=True)
class Part:
    """What one table is asked for: local days, and the one advertiser it is about (None: all of them)."""

    window: Window
    advertiser_id: int | None

    @property
    def title(self) -> str:
        """The part as errors name it."""
        about = "" if self.advertiser_id is None else f", advertiser {self.advertiser_id}"
        return span(self.window) + about

    @property
    def one_day(self) -> bool:
        """Whether no fewer days can be asked for."""
        return self.window.first_day == self.window.last_day


@dataclass(frozen=True, slots=True)
class Page:
    """A whole table: the answer, its number of rows, and its sums by measure."""

    answer: Answer
    rows: int
    sums: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Pull:
    """The whole tables of a part, asked for after ``observed_at``, and the summary asked for after them."""

    part: Part
    observed_at: datetime
    pages: tuple[Page, ...]
    summary: Mapping[str, Decimal]


@dataclass(slots=True, eq=False)
class Report:
    """The network's reports over one connection.

    Attributes:
        client: The open client.
        zone: IANA zone of the days.
        timezone_id: The vendor's number of that zone.
        currency_id: Currency of the money.
        clock: Where moments come from.
    """

    client: HttpClient
    zone: str
    timezone_id: int
    currency_id: str
    clock: Clock
    _seen: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False)

    def pull(self, part: Part) -> Pull | None:
        """Return a part's tables once they add up, or None when the vendor gives fewer days at once.

        Numbers of a day under way move between a table and its summary. So what does not add up is asked for once
        more, and then it may lie between the summary taken before it and the one taken after it.

        Raises:
            RetryableError: It does not add up the second time either.
            DataError: One affiliate's day is still cut short.
        """
        first = self._observe(part)
        if first is None or not _off(first.pages, first.summary, first.summary):
            return first
        again = self._observe(part)
        off = again and _off(again.pages, first.summary, again.summary)
        if off:
            raise RetryableError(f"Everflow's rows of {part.title} do not add up to its summary: {off}.", mend=_LATER)
        return again

    def _observe(self, part: Part) -> Pull | None:
        observed_at = self.clock.now()
        pages = self._whole(part)
        return None if pages is None else Pull(part, observed_at, tuple(pages), self._summary(part))

    def _whole(self, part: Part) -> list[Page] | None:
        page = self._table(part, ())
        if page is not None:
            return [page]
        return self._by_affiliate(part) if part.one_day else None

    def _by_affiliate(self, part: Part) -> list[Page]:
        """Return the tables of one day, asked for by as many affiliates at once as the vendor gives whole."""
        ids = list(names_of(self.client, "affiliates"))
        groups = [ids[at : at + _GROUP] for at in range(0, len(ids), _GROUP)][::-1]
        pages: list[Page] = []
        for _ in range(_MAX_TABLES):
            if not groups:
                return [page for page in pages if page.rows] or pages[:1]
            group = groups.pop()
            page = self._table(part, group)
            if page is not None:
                pages.append(page)
            elif len(group) == 1:
                raise DataError(
                    f"Everflow cuts the table of {part.title} short even for affiliate {group[0]} alone.",
                    mend="Nothing of this day was taken; ask the vendor for its export of that day.",
                )
            else:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
        raise DataError(
            f"Everflow cuts the table of {part.title} short, and {_MAX_TABLES:,} requests by affiliate did not do.",
            mend="Nothing of this day was taken; ask the vendor for its export of that day.",
        )

    def _table(self, part: Part, affiliates: Sequence[str]) -> Page | None:
        """Return a table, or None when the vendor cut it short."""
        body = self._body(part, affiliates)
        body["columns"] = [{"column": name} for name in COLUMNS]
        answer = self.client.post(_TABLE, json=body)
        document: Any = answer.document
        table = document.get("table", ...) if isinstance(document, dict) else ...
        if table is not None and not isinstance(table, list):
            raise RetryableError(f"Everflow answered without a table for {part.title}.", mend=_LATER)
        if document.get("incomplete_results"):
            return None
        rows = cast("list[Any]", table or [])  # null is how some servers write an empty list
        if rows:
            self._never_twice(answer, part)
        return Page(answer, len(rows), self._sums(rows, part, frozenset(affiliates)))

    def _never_twice(self, answer: Answer, part: Part) -> None:
        """Refuse a table that another request was answered with already."""
        digest = hashlib.sha256(answer.body).hexdigest()
        if self._seen.setdefault(digest, answer.fingerprint) != answer.fingerprint:
            raise RetryableError(
                f"Everflow answered the request for {part.title} with the table of another request.", mend=_LATER
            )

    def _sums(self, rows: Iterable[Any], part: Part, affiliates: frozenset[str]) -> dict[str, Decimal]:
        """Add a table up, and refuse rows that nobody asked for or that come twice."""
        days = LocalDays(ZoneInfo(self.zone), part.window)
        advertisers = frozenset() if part.advertiser_id is None else frozenset([str(part.advertiser_id)])
        sums = dict.fromkeys((*_COUNTS, *_MONEY), Decimal(0))
        keys: set[tuple[str, ...]] = set()
        for row in rows:
            key, reporting = _row(row, part)
            foreign = days.foreign(key[0])
            if (affiliates and key[1] not in affiliates) or (advertisers and key[2] not in advertisers):
                foreign = f"affiliate {key[1]} and advertiser {key[2]}"
            if foreign:
                raise RetryableError(
                    f"Everflow answered with rows of {foreign} when asked for {part.title}.", mend=_LATER
                )
            if key in keys:
                raise RetryableError(f"Everflow answered with the same row of {part.title} twice.", mend=_LATER)
            keys.add(key)
            for name in sums:
                sums[name] += _number(reporting, name, part)
        return sums

    def _summary(self, part: Part) -> dict[str, Decimal]:
        document: Any = self.client.post(_SUMMARY, json=self._body(part, ())).document
        if not isinstance(document, dict):
            raise RetryableError(f"Everflow answered without a summary of {part.title}.", mend=_LATER)
        found = cast("dict[str, Any]", document)
        return {name: _number(found, name, part) for name in (*_COUNTS, *_MONEY)}

    def _body(self, part: Part, affiliates: Sequence[str]) -> dict[str, Json]:
        """Return the body of a report request; ids of filters are strings, several of one kind mean any of them."""
        wanted = [("affiliate", each) for each in affiliates]
        if part.advertiser_id is not None:
            wanted.insert(0, ("advertiser", str(part.advertiser_id)))
        filters = [{"resource_type": kind, "filter_id_value": each} for kind, each in wanted]
        return {
            "from": part.window.first_day.isoformat(),
            "to": part.window.last_day.isoformat(),
            "timezone_id": self.timezone_id,
            "currency_id": self.currency_id,
            "query": {"filters": filters},
        }


class LocalDays:
    """Which local days an epoch second, as text, may lie in."""

    def __init__(self, zone: ZoneInfo, window: Window) -> None:
        """Take the days asked for."""
        self._zone = zone
        self._window = window
        self._known: dict[str, str] = {}

    def foreign(self, text: str) -> str:
        """Return the day a moment is of when it was not asked for, else an empty string."""
        if text not in self._known:
            self._known[text] = self._foreign(text)
        return self._known[text]

    def _foreign(self, text: str) -> str:
        try:
            day: date = datetime.fromtimestamp(int(text), UTC).astimezone(self._zone).date()
        except (ValueError, OverflowError, OSError):
            return f"the date {text[:40]!r}"
        return "" if self._window.first_day <= day <= self._window.last_day else day.isoformat()


def timezone_id(client: HttpClient, zone: str) -> int:
    """Return the vendor's number of a zone; the numbers people copy from one another mean other zones.

    Raises:
        ConfigError: The vendor has no zone of that name.
    """
    document: Any = client.get("/v1/meta/timezones").document
    rows = document.get("timezones") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        raise RetryableError("Everflow answered without its time zones.", mend="Ask again later.")
    known: dict[str, Any] = {}
    for row in cast("list[Any]", rows):
        if isinstance(row, dict):
            found = cast("dict[str, Any]", row)
            known[str(found.get("timezone"))] = found.get("timezone_id")
    number = known.get(zone)
    if not isinstance(number, int):
        near = nearest(zone, known) or f"It has {', '.join(sorted(known))[:300]}."
        raise ConfigError(f"Everflow has no time zone {zone!r}.", mend=f"Set account_timezone to one it has. {near}")
    return number


def names_of(client: HttpClient, kind: str) -> dict[str, str]:
    """Return id -> name of all ``affiliates`` or ``advertisers`` of the network, in the vendor's order.

    Raises:
        RetryableError: The pages repeat, or hold fewer than the vendor says there are.
    """
    id_field = f"network_{kind.removesuffix('s')}_id"
    names: dict[str, str] = {}
    for number in range(1, _MAX_PAGES + 1):
        params = {"page": str(number), "page_size": str(_PAGE_SIZE)}
        document: Any = client.get(f"/v1/networks/{kind}", params=params).document
        before = len(names)
        try:
            rows: list[dict[str, Any]] = document[kind]
            names.update((str(row[id_field]), str(row.get("name"))) for row in rows)
            total = int(document["paging"]["total_count"])
        except (TypeError, KeyError, ValueError, AttributeError):
            raise DataError(f"Everflow answered with {kind} in a form that is not its own.", mend=_CHANGED) from None
        if len(names) >= total:
            return names
        if len(names) == before:
            raise RetryableError(
                f"Everflow gave {len(names)} of {total} {kind}, and page {number} brought no other.", mend=_LATER
            )
    raise DataError(f"Everflow has more than {_MAX_PAGES} pages of {kind}.", mend="Name the advertisers to read.")


def _row(row: Any, part: Part) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Return a row's ids, in the order of the columns asked for, and its measures."""
    try:
        columns: list[dict[str, Any]] = row["columns"]
        kinds = tuple(column["column_type"] for column in columns)
        ids = tuple(str(column["id"]) for column in columns)
        reporting: Any = row["reporting"]
    except (TypeError, KeyError):
        kinds, ids, reporting = (), (), None
    if kinds != COLUMNS or not isinstance(reporting, dict):
        raise _changed(part, f"a row whose columns are not {', '.join(COLUMNS)} in that order")
    return ids, cast("dict[str, Any]", reporting)


def _number(found: Mapping[str, Any], name: str, part: Part) -> Decimal:
    """Return a measure; one that is missing is no zero."""
    value = found.get(name)
    if isinstance(value, (int, Decimal, str)) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite():
            return number
    raise _changed(part, f"no number for {name!r}")


def _changed(part: Part, what: str) -> DataError:
    return DataError(f"Everflow answered for {part.title} with {what}.", mend=_CHANGED)


def _off(pages: Sequence[Page], before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> str:
    """Return which measure does not add up, with both figures; empty when all do.

    Counts are exact. Money may differ by what rounding each row to the cent can do: half a cent a row at most, and
    hardly more than two cents times the root of their number.
    """
    rows = sum(page.rows for page in pages)
    slack = min(Decimal(rows) / 200, Decimal(2 * isqrt(rows)) / 100)
    for name in (*_COUNTS, *_MONEY):
        total = sum((page.sums[name] for page in pages), Decimal(0))
        low, high = sorted((before[name], after[name]))
        room = slack if name in _MONEY else Decimal(0)
        if not low - room <= total <= high + room:
            return f"{name} {total} against {after[name]}"
    return ""
