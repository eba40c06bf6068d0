"""The API of report views, in the words of the front end that shows them: jobs, history, refresh now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from signalroom.web.endpoint import Answer, Call, Endpoint, Param, Refusal, Told, missing
from signalroom.web.shapes import Field, Shape

if TYPE_CHECKING:
    from signalroom.ledger.ledger import Ledger

STATUSES = ("pending", "running", "success", "error")
_TYPES = ("custom", "canned")

JOB = Shape(
    "Job",
    "A report view of one agency with its last refresh.",
    (
        Field("id", "integer", "Its manifest; custom and canned reports are numbered apart.", "manifest_id"),
        Field("reportName", "string", "What people call it.", "report_name"),
        Field("tableName", "string", "The view's public name: unique, and its name in addresses.", "table_name"),
        Field("reportType", "string", "Written for one agency, or shared by several.", "report_type", choices=_TYPES),
        Field("status", "string", "What its last refresh came to; `pending` before the first, and while one waits.",
              "status", choices=STATUSES),
        Field("durationSeconds", "integer", "Whole seconds the last refresh computed; waiting is not counted.",
              "duration_seconds"),
        Field("startTime", "moment", "When it began, UTC; null before the first.", "start_time", null=True),
        Field("consecutiveFailures", "integer", "Refreshes in a row that failed, up to now.", "consecutive_failures"),
        Field("agencyId", "integer", "Whose it is.", "agency_id"),
        Field("agencyName", "string", "What people call the agency.", "agency_name"),
        Field("agencySlug", "string", "The agency's short name.", "agency_slug"),
    ),
)  # fmt: skip
RUN = Shape(
    "Run",
    "One refresh of a view. What was not measured is null.",
    (
        Field("runId", "string", "The run; refreshes that ran together share one.", "run_id"),
        Field("status", "string", "`pending` while it waits, then `running`, then how it ended.", "status",
              choices=STATUSES),
        Field("startTime", "moment", "When it began, UTC; while it waits, when it was asked for.", "start_time"),
        Field("finishTime", "moment", "When it ended, UTC.", "finish_time", null=True),
        Field("durationSeconds", "integer", "Whole seconds it computed; waiting is not counted.",
              "duration_seconds", null=True),
        Field("recordsProcessed", "integer", "Rows the view held afterwards.", "records_processed"),
        Field("bytesProcessed", "integer", "Bytes of these rows.", "bytes_processed"),
        Field("memoryUsageMb", "integer", "The most memory its process held, in MB.", "memory_usage_mb", null=True),
        Field("cpuPercentage", "integer", "Processor time by wall time.", "cpu_percentage", null=True),
        Field("errors", "string", "Why it failed, and what to do.", "errors", null=True),
    ),
)  # fmt: skip
ASKED = Shape(
    "Asked",
    "A refresh that waits for its turn.",
    (
        Field("runId", "string", "The run, as the history shows it from now on."),
        Field("tableName", "string", "The view."),
        Field("status", "string", "It waits.", choices=("pending",)),
    ),
)
_CURSOR = re.compile(r"(\d{1,18})\.(\d{1,18})")
_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)


def _jobs(call: Call) -> Answer:
    ledger, limit = call.site.room.ledger, call.query["limit"]
    if ledger.monitor.unregistered():
        ledger.manifests.register(ledger.manifests.all().views())
    after = call.query["after"] or ""
    rows = ledger.monitor.jobs(call.agency_id, limit=limit + 1, after=after)
    if _swept(ledger, call, rows):
        rows = ledger.monitor.jobs(call.agency_id, limit=limit + 1, after=after)
    shown = rows[:limit]
    more = {"limit": limit, "after": shown[-1]["table_name"]} if len(rows) > limit else None
    return Answer([_job(row) for row in shown], headers=_next("/api/seeder/jobs", more))


def _history(call: Call) -> Answer:
    ledger, limit = call.site.room.ledger, call.query["limit"]
    before = _cursor(call.query["before"])
    job = visible_job(call)
    _swept(ledger, call, [job])
    rows = ledger.monitor.history(job["table_name"], call.agency_id, limit=limit + 1, before=before)
    shown = rows[:limit]
    path = f"/api/seeder/jobs/{job['table_name']}/history"
    more = None
    if len(rows) > limit:
        place = (shown[-1]["start_time"] - _EPOCH) // _MICROSECOND
        more = {"limit": limit, "before": f"{place}.{shown[-1]['id']}"}
    return Answer([RUN.row(row) for row in shown], headers=_next(path, more))


def _refresh(call: Call) -> Answer:
    ledger = call.site.room.ledger
    if ledger.monitor.unregistered():
        ledger.manifests.register(ledger.manifests.all().views())
    job = visible_job(call)
    if not job["enabled"]:
        raise Refusal(409, "disabled", "This view's manifest is disabled: enable it, then ask again.")
    run_id, _ = ledger.requests.ask(job)
    call.site.wake()
    told = {"runId": run_id, "tableName": job["table_name"], "status": "pending"}
    return Answer(told, 202, headers={"Location": f"/api/seeder/jobs/{job['table_name']}/history"})


def visible_job(call: Call) -> Mapping[str, Any]:
    """Return the view that the path names; raises the same Refusal where there is none and where it is another's."""
    job = call.site.room.ledger.monitor.job(call.path["tableName"], call.agency_id)
    if job is None:
        raise missing()
    return job


def _job(row: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: row[name] or 0 for name in ("duration_seconds", "consecutive_failures")}
    return JOB.row({**row, **numbers, "agency_name": row["agency_name"] or row["agency_slug"]})


def _swept(ledger: Ledger, call: Call, rows: list[Mapping[str, Any]]) -> bool:
    """Call runs whose process is gone errors, where rows show one; a dead run is never shown as running."""
    from signalroom.ledger.view_reads import lost

    now = call.site.room.clock.now()
    return any(lost(row, now) for row in rows) and ledger.views.sweep() > 0


def _cursor(text: str | None) -> tuple[datetime, int] | None:
    if text is None:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise Refusal(400, "bad_parameter", "before: take it from the Link header of the page before.")
    try:
        return _EPOCH + int(found[1]) * _MICROSECOND, int(found[2])
    except OverflowError:
        raise Refusal(400, "bad_parameter", "before: take it from the Link header of the page before.") from None


def _next(path: str, query: Mapping[str, Any] | None) -> dict[str, str]:
    return {} if query is None else {"Link": f'<{path}?{urlencode(query)}>; rel="next"'}


_ONE = "/api/seeder/jobs/{tableName}"
_PAGES = "Where there are more, the header Link names the next page."

ENDPOINTS = (
    Endpoint(
        "GET", "/api/seeder/jobs", "listJobs",
        f"List report views by name, each with its last refresh. An agency's key sees that agency's. {_PAGES}",
        "read", _jobs, {200: Told("The views.", JOB, many=True)},
        (
            Param("limit", "At most so many.", 5000, 1, 1000),
            Param("after", "Only views whose name is behind this one.", 255),
        ),
    ),
    Endpoint(
        "GET", f"{_ONE}/history", "listRuns", f"List the refreshes of one view, the newest first. {_PAGES}", "read",
        _history, {200: Told("The refreshes.", RUN, many=True)},
        (
            Param("limit", "At most so many.", 500, 1, 50),
            Param("before", "From the Link header of the page before: only what is older.", 40),
        ),
    ),
    Endpoint(
        "POST", f"{_ONE}/refresh", "refreshNow",
        "Ask for a refresh, whether or not anything changed. A view has at most one that waits: asking again names "
        "the same.",
        "refresh", _refresh,
        {
            202: Told("It waits; the history shows what becomes of it.", ASKED),
            409: Told("The view's manifest is disabled."),
        },
    ),
)  # fmt: skip
