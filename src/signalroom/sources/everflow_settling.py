"""Everflow's money that is not settled yet: conversions on hold, and what people adjusted in its reports.

Facts, by the page of the vendor's public documentation:

* "Raw On Hold Conversions Report": ``POST /v1/networks/reporting/onhold`` with ``from``, ``to``, ``timezone_id``,
  ``show_conversions``, ``show_events`` and ``on_hold_status_filter`` (``on_hold``, ``approved``, ``rejected``, or empty
  for all), each of them required. ``page`` and ``page_size`` are query parameters ("Paging": 2,000 at most). An
  interval is a year at most and begins within the prior 365 days; money is in the offer's currency, never converted.
* "Get On-Hold Conversion by ID": a row is ``on_hold_conversion_id``, ``holding_period_end`` (epoch seconds),
  ``status``, ``note`` and the ``conversion`` as raw conversions have it.
* "On Hold Conversions" of the help centre: at the end of its period a held conversion is approved by itself, unless
  somebody approved or rejected it before; only then is it a conversion, and in the reports.
* "Get Reporting Adjustments": ``GET /v1/networks/reportingadjustments`` with ``from`` and ``to`` (dates) and, if one
  likes, ``timezone_id``; the answer is ``{"adjustments": [...]}``, without pages, sums or a filter, and rows that were
  deleted say so. No limit of its size is documented, so one that names a total it does not reach is refused.
* "Performance Data Adjustments" of the help centre: adjustments change the aggregated reports alone, not clicks or
  conversions, and never the day under way.

The documents do not say which moment the interval of holds is about. It is taken to be the conversion's, as in raw
conversions; were it another, its rows would lie outside the days asked for, and a sync says so and takes none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, cast

from signalroom.errors import DataError, RetryableError
from signalroom.sources.everflow_lists import CHANGED, MOVED, Listed, RawList, raw_list
from signalroom.sources.everflow_report import Part, Report
from signalroom.stream import Column, Table, Window

_ADJUSTMENTS = "/v1/networks/reportingadjustments"
_ON_HOLD = RawList(
    title="conversions on hold",
    path="/v1/networks/reporting/onhold",
    id_field="on_hold_conversion_id",
    asked={"show_conversions": True, "show_events": True, "on_hold_status_filter": ""},
    inner="conversion",
)
_MONEY = "decimal(18,2)"


def on_hold_table(zone: str) -> Table:
    """Return the table of one row per conversion or event that was ever held, by its local day in ``zone``.

    ``status`` is ``on_hold``, ``approved`` or ``rejected`` as of the last look at its day; ``held_until`` is when it
    is approved if nobody decides before. Money is in the offer's currency.
    """
    of = "$.conversion."
    return Table(
        name="on_hold",
        columns=(
            Column("date", "date", path=f"{of}conversion_unix_timestamp", format=f"epoch@{zone}"),
            Column("converted_at", "timestamptz", path=f"{of}conversion_unix_timestamp", format="epoch@UTC"),
            Column("on_hold_id", "text", path="$.on_hold_conversion_id"),
            Column("status", "text", path="$.status"),
            Column("held_until", "timestamptz", path="$.holding_period_end", format="epoch@UTC"),
            Column("note", "text", path="$.note"),
            Column("conversion_id", "text", path=f"{of}conversion_id"),
            Column("transaction_id", "text", path=f"{of}transaction_id"),
            Column("is_event", "boolean", path=f"{of}is_event"),
            Column("event", "text", path=f"{of}event"),
            Column("advertiser_id", "bigint", path=f"{of}relationship.advertiser.network_advertiser_id"),
            Column("affiliate_id", "bigint", path=f"{of}relationship.affiliate.network_affiliate_id"),
            Column("offer_id", "bigint", path=f"{of}relationship.offer.network_offer_id"),
            Column("revenue", _MONEY, path=f"{of}revenue"),
            Column("payout", _MONEY, path=f"{of}payout"),
            Column("currency_id", "text", path=f"{of}currency_id"),
        ),
        key=("date", "advertiser_id", "on_hold_id"),
        disposition="replace_slice",
        contract="discard",
        slice_column="date",
    )


def adjustments_table() -> Table:
    """Return the table of one row per adjustment, by the day it is about; what it adds may be less than 0.

    One that was deleted stays, with ``is_deleted``: reports no longer include it. The vendor says neither the
    advertiser nor the currency; its offer knows both.
    """
    return Table(
        name="adjustments",
        columns=(
            Column("date", "date", path="$.date_adjustment"),
            Column("adjustment_id", "bigint", path="$.network_reporting_adjustment_id"),
            Column("affiliate_id", "bigint", path="$.network_affiliate_id"),
            Column("offer_id", "bigint", path="$.network_offer_id"),
            Column("employee_id", "bigint", path="$.network_employee_id"),
            Column("total_clicks", "bigint", path="$.total_clicks"),
            Column("unique_clicks", "bigint", path="$.unique_clicks"),
            Column("impressions", "bigint", path="$.impressions"),
            Column("conversions", "bigint", path="$.conversions"),
            Column("revenue", _MONEY, path="$.revenue"),
            Column("payout", _MONEY, path="$.payout"),
            Column("gross_sales", _MONEY, path="$.gross_sales"),
            Column("media_buying_cost", _MONEY, path="$.media_buying_cost"),
            Column("notes", "text", path="$.notes"),
            Column("is_deleted", "boolean", path="$.deleted"),
            Column("made_at", "timestamptz", path="$.time_created", format="epoch@UTC"),
            Column("saved_at", "timestamptz", path="$.time_saved", format="epoch@UTC"),
        ),
        key=("date", "adjustment_id"),
        disposition="replace_slice",
        contract="discard",
        slice_column="date",
    )


def on_hold(report: Report, part: Part) -> tuple[datetime, list[Listed]]:
    """Return when a part's holds were asked for, and all of their pages; raises as conversions do."""
    return raw_list(report, part, _ON_HOLD)


def adjustments(report: Report, part: Part) -> tuple[datetime, list[Listed]]:
    """Return when a part's adjustments were asked for, and the one answer that lists them.

    Raises:
        RetryableError: One came twice, or is about a day nobody asked for.
        DataError: The answer is none of a list, or says that it is not whole.
    """
    title = f"adjustments of {part.title}"
    observed_at = report.clock.now()
    params = {
        "from": part.window.first_day.isoformat(),
        "to": part.window.last_day.isoformat(),
        "timezone_id": str(report.timezone_id),
    }
    answer = report.client.get(_ADJUSTMENTS, params=params)
    document: Any = answer.document
    try:
        rows = cast("list[dict[str, Any]]", document["adjustments"] or [])
        ids = [str(row["network_reporting_adjustment_id"]) for row in rows]
        foreign = [day for row in rows if (day := _foreign(row, part.window))]
        total = int((document.get("paging") or {}).get("total_count", len(rows)))
    except (TypeError, KeyError, ValueError, AttributeError):
        raise DataError(f"Everflow answered with {title} in a form that is not its own.", mend=CHANGED) from None
    if document.get("incomplete_results") or total != len(rows):
        raise DataError(
            f"Everflow's answer with {title} is not whole: {len(rows)} rows of {max(total, len(rows))}.",
            mend="Nothing of it was taken. Ask for fewer days with --window, or the vendor for an export.",
        )
    if foreign:
        raise RetryableError(f"Everflow answered with {title} of {foreign[0]}, unasked.", mend=MOVED)
    if len(set(ids)) < len(ids):
        raise RetryableError(f"Everflow answered with one of the {title} twice.", mend=MOVED)
    return observed_at, [Listed(answer, len(rows))]


def _foreign(row: Mapping[str, Any], window: Window) -> str:
    day = date.fromisoformat(row["date_adjustment"])
    return "" if window.first_day <= day <= window.last_day else day.isoformat()
