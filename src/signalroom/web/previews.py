"""The API's preview: what a changed query would do to a view, before agencies see it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from signalroom.errors import RetryableError, SignalRoomError
from signalroom.view import Preview
from signalroom.web.endpoint import Answer, Call, Endpoint, Refusal, Told, read_object
from signalroom.web.seeder import visible_job
from signalroom.web.shapes import Field, Shape, plain

_TRIED = Shape(
    "Tried", "What to try.", (Field("query", "string", "One SELECT; the manifest's own when left out.", optional=True),)
)
_COLUMN = Shape(
    "PreviewColumn",
    "A column, now and then.",
    (
        Field("name", "string", "Its name."),
        Field("before", "string", "Its type now; null where it would be new.", null=True),
        Field("after", "string", "Its type then; null where it would be gone.", null=True),
    ),
)
_ROW = Shape(
    "PreviewRow",
    "A row that differs.",
    (
        Field("change", "string", "Whether it would come or go.", choices=("appears", "vanishes")),
        Field("row", "any", "Column -> value; exact decimals and moments are texts."),
    ),
)
PREVIEW = Shape(
    "Preview",
    "What a refresh would make of the view; nothing was written.",
    (
        Field("tableName", "string", "The view."),
        Field("problem", "string", "Why the query would fail, and what to do; the rest is then empty.", null=True),
        Field("columns", _COLUMN, "Every column, those it will have first.", many=True),
        Field("rowsBefore", "integer", "Rows it holds now."),
        Field("rowsAfter", "integer", "Rows it would hold."),
        Field("rowsAppearing", "integer", "How many of these are not there now."),
        Field("rowsVanishing", "integer", "How many of today's would be gone."),
        Field("sample", _ROW, "Some of the rows that differ, ten of each kind at most.", many=True),
        Field("seconds", "number", "How long the query took."),
    ),
)
_BUSY = threading.Lock()  # a preview costs as much as a refresh: one at a time in a process


def _preview(call: Call) -> Answer:
    job = visible_job(call)
    query: str | None = read_object(call.body, {"query": str}).get("query")
    refresher = call.site.room.refresher
    view = next((one for one in refresher.proposed() if one.name == job["table_name"]), None)
    if view is None:
        raise Refusal(409, "gone", "The workspace's files have no manifest of this view any more.")
    if not _BUSY.acquire(blocking=False):
        raise Refusal(429, "too_many_requests", "Another preview is running: ask again.", {"Retry-After": "5"})
    try:
        made = refresher.preview(view if query is None else replace(view, query=query))
    except RetryableError:
        raise
    except SignalRoomError as problem:
        # The sentence is about the SQL that this caller wrote.
        return Answer(_empty(view.name) | {"problem": str(problem)})
    finally:
        _BUSY.release()
    return Answer(_told(made))


def _empty(name: str) -> dict[str, Any]:
    counts = dict.fromkeys(("rowsBefore", "rowsAfter", "rowsAppearing", "rowsVanishing"), 0)
    return {"tableName": name, "problem": None, "columns": [], **counts, "sample": [], "seconds": 0.0}


def _told(made: Preview) -> dict[str, Any]:
    differing = (("appears", made.sample_appearing), ("vanishes", made.sample_vanishing))
    return {
        "tableName": made.view.name,
        "problem": None,
        "columns": [{"name": name, "before": now, "after": then} for name, now, then in made.columns],
        "rowsBefore": made.rows_before,
        "rowsAfter": made.rows_after,
        "rowsAppearing": made.appearing,
        "rowsVanishing": made.vanishing,
        "sample": [
            {"change": change, "row": {name: _value(value) for name, value in row.items()}}
            for change, rows in differing
            for row in rows
        ],
        "seconds": round(made.seconds, 3),
    }


def _value(value: Any) -> Any:
    """Return a value as JSON carries it; what it cannot carry exactly is text."""
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, datetime):
        return plain(value) if value.tzinfo else value.isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)


ENDPOINTS = (
    Endpoint(
        "POST", "/api/seeder/jobs/{tableName}/preview", "previewView",
        "Show what a changed query would do to a view. It runs as in a refresh, seeing the agency's rows only, within "
        "the same limits; nothing is written.",
        "operate", _preview,
        {
            200: Told("What it would do, or why the query would fail.", PREVIEW),
            409: Told("The workspace's files have no manifest of this view any more."),
        },
        body=_TRIED,
    ),
)  # fmt: skip
