"""What Everflow lists row by row, page after page: conversions with their status, and the names behind its ids.

A list is taken whole or not at all: each page says how many rows there are, and a row that comes twice, one that is
missing or a total that changes between two pages means that the list moved while it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, cast
from zoneinfo import ZoneInfo

from signalroom.clients.http import Answer, HttpClient
from signalroom.errors import DataError, RetryableError
from signalroom.position import Json
from signalroom.sources.everflow_report import LocalDays, Part, Report
from signalroom.stream import Column, Table

Ask: TypeAlias = Callable[[Mapping[str, str]], Answer]
"""Asks for one page, given the parameters that name it."""

MOVED = "Nothing of it was taken; ask again later."
CHANGED = "Nothing was taken; its lists have changed, or base_url is another service's."
_PAGE_SIZE, _MAX_PAGES = 2_000, 1_000
_MONEY = "decimal(18,2)"


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list: the answer and how many rows it has."""

    answer: Answer
    rows: int


@dataclass(frozen=True, slots=True)
class RawList:
    """A list of conversions row by row: how it is asked for, and where its rows keep what they are checked by.

    Attributes:
        title: What errors call its rows.
        path: Where it is asked for.
        id_field: Field that tells its rows apart.
        asked: Fields of the request besides the days, the zone and the filter.
        inner: Field of a row that is the conversion; empty when the row is.
    """

    title: str
    path: str
    id_field: str
    asked: Mapping[str, Json]
    inner: str = ""


_CONVERSIONS = RawList(
    title="conversions",
    path="/v1/networks/reporting/conversions",
    id_field="conversion_id",
    asked={"show_conversions": True, "show_events": False},
)


def conversions_table(zone: str) -> Table:
    """Return the table of one row per base conversion, by its local day in ``zone``; money in the offer's currency.

    ``status`` is ``approved``, ``pending``, ``rejected`` or ``invalid``, as of the last look at its day: one that is
    rejected later stays and says so, one that the vendor withdraws leaves.
    """
    return Table(
        name="conversions",
        columns=(
            Column("date", "date", path="$.conversion_unix_timestamp", format=f"epoch@{zone}"),
            Column("converted_at", "timestamptz", path="$.conversion_unix_timestamp", format="epoch@UTC"),
            Column("conversion_id", "text", path="$.conversion_id"),
            Column("transaction_id", "text", path="$.transaction_id"),
            Column("status", "text", path="$.status"),
            Column("advertiser_id", "bigint", path="$.relationship.advertiser.network_advertiser_id"),
            Column("affiliate_id", "bigint", path="$.relationship.affiliate.network_affiliate_id"),
            Column("offer_id", "bigint", path="$.relationship.offer.network_offer_id"),
            Column("revenue", _MONEY, path="$.revenue"),
            Column("payout", _MONEY, path="$.payout"),
            Column("currency_id", "text", path="$.currency_id"),
        ),
        key=("date", "advertiser_id", "conversion_id"),
        disposition="replace_slice",
        contract="discard",
        slice_column="date",
    )


def entity_table(kind: str) -> Table:
    """Return the table of all ``affiliates``, ``advertisers`` or ``offers`` as the vendor lists them now."""
    noun = kind.removesuffix("s")
    more: tuple[Column, ...] = (
        Column("status", path="$.account_status"),
        Column("currency_id", path="$.default_currency_id"),
    )
    if kind == "offers":
        more = (
            Column("advertiser_id", "bigint", path="$.network_advertiser_id"),
            Column("status", path="$.offer_status"),
            Column("currency_id", path="$.currency_id"),
        )
    columns = (Column(f"{noun}_id", "bigint", path=f"$.network_{noun}_id"), Column("name", path="$.name"), *more)
    return Table(name=kind, columns=columns, key=(f"{noun}_id",), disposition="replace", contract="discard")


def conversions(report: Report, part: Part) -> tuple[datetime, list[Listed]]:
    """Return when a part's conversions were asked for, and all of their pages; raises as `raw_list` does."""
    return raw_list(report, part, _CONVERSIONS)


def raw_list(report: Report, part: Part, kind: RawList) -> tuple[datetime, list[Listed]]:
    """Return when a part's rows were asked for, and all of their pages.

    Raises:
        RetryableError: They moved between pages twice over, or lie outside the days or the advertiser asked for.
        DataError: The answers are none of a list.
    """
    observed_at = report.clock.now()
    filters: list[Json] = []
    if part.advertiser_id is not None:
        filters = [{"resource_type": "advertiser", "filter_id_value": str(part.advertiser_id)}]
    body: dict[str, Json] = {
        "from": part.window.first_day.isoformat(),
        "to": part.window.last_day.isoformat(),
        "timezone_id": report.timezone_id,
        **kind.asked,
        "query": {"filters": filters},
    }
    days = LocalDays(ZoneInfo(report.zone), part.window)

    def foreign(row: Mapping[str, Any]) -> str:
        one: Mapping[str, Any] = row[kind.inner] if kind.inner else row
        advertiser = str(one["relationship"]["advertiser"]["network_advertiser_id"])
        if part.advertiser_id is not None and advertiser != str(part.advertiser_id):
            return f"advertiser {advertiser}"
        return days.foreign(str(one["conversion_unix_timestamp"]))

    def ask(params: Mapping[str, str]) -> Answer:
        return report.client.post(kind.path, json=body, params=params)

    return observed_at, _whole("conversions", f"{kind.title} of {part.title}", kind.id_field, ask, foreign)


def entities(client: HttpClient, kind: str) -> list[Listed]:
    """Return all pages of the network's ``affiliates``, ``advertisers`` or ``offers``; raises as conversions do."""

    def ask(params: Mapping[str, str]) -> Answer:
        return client.get(f"/v1/networks/{kind}", params=params)

    return _whole(kind, kind, f"network_{kind.removesuffix('s')}_id", ask, lambda _row: "")


def _whole(kind: str, title: str, id_field: str, ask: Ask, foreign: Callable[[Mapping[str, Any]], str]) -> list[Listed]:
    """Return all pages of a list; what moved between two pages while they were read is read once more."""
    for _ in range(2):
        pages = _pages(kind, title, id_field, ask, foreign)
        if pages is not None:
            return pages
    raise RetryableError(f"Everflow's {title} moved between its pages while they were read, twice over.", mend=MOVED)


def _pages(
    kind: str, title: str, id_field: str, ask: Ask, foreign: Callable[[Mapping[str, Any]], str]
) -> list[Listed] | None:
    """Return the pages, or None when they repeat a row, lack one, or disagree on how many there are."""
    pages: list[Listed] = []
    ids: set[str] = set()
    totals: set[int] = set()
    for number in range(1, _MAX_PAGES + 1):
        answer = ask({"page": str(number), "page_size": str(_PAGE_SIZE)})
        document: Any = answer.document
        try:
            rows = cast("list[dict[str, Any]]", document[kind] or [])
            totals.add(int(document["paging"]["total_count"]))
            found = [str(row[id_field]) for row in rows]
            strangers = [stranger for row in rows if (stranger := foreign(row))]
        except (TypeError, KeyError, ValueError, AttributeError):
            raise DataError(
                f"Everflow answered with {title} in a form that is not its own.",
                mend=CHANGED,
            ) from None
        if strangers:
            raise RetryableError(f"Everflow answered with {title} of {strangers[0]}, unasked.", mend=MOVED)
        before = len(ids)
        ids.update(found)
        pages.append(Listed(answer, len(rows)))
        if len(ids) < before + len(rows) or len(totals) > 1 or len(ids) > max(totals):
            return None
        if len(ids) == max(totals):
            return pages
        if not rows:
            return None
    raise DataError(f"Everflow has more than {_MAX_PAGES} pages of {title}.", mend="Ask for fewer days at once.")
