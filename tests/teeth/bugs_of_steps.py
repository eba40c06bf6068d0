"""Bugs around the tables: deliveries, runs, days, the lake, what an upstream says, and what a report says."""

from __future__ import annotations

from functools import partial

from integration import test_everflow_whole as everflow
from ledger_laws import ArchiveLaws, DeliveryLaws, RunLaws
from teeth.planting import Bug
from unit import test_lake_compression as compression
from unit import test_reports_formats as formats
from unit import test_workspace_jobs as jobs
from warehouse_laws import FileHistory, Upload, check_files

_deliveries, _runs, _archive = DeliveryLaws(), RunLaws(), ArchiveLaws()


def a_fraction_is_no_whole_number(warehouse, tmp_path):
    """The law of files, for a file with a value that is nearly a whole number."""
    upload = Upload("a.csv", 1, (("1", "12.7", "a"), ("2", "3", "b")))
    check_files(warehouse, tmp_path, FileHistory(((upload,),), ((0,),), "merge", ("o",)))


def today_is_a_window():
    """``today`` begins and ends today."""
    jobs.test_windows("today", "2026-03-01", "2026-03-01")


def a_clock_change_moves_no_report():
    """07:00 in New York is another hour of UTC from one day to the next when the clocks change."""
    jobs.test_when_a_schedule_is_due("0 7 * * *", "2026-03-07T12:00:00+00:00", "2026-03-08T11:00:00+00:00")


def a_time_that_comes_twice_fires_once():
    """01:30 in New York comes twice in the night the clocks go back."""
    jobs.test_when_a_schedule_is_due("30 1 * * *", "2026-11-01T05:30:00+00:00", "2026-11-02T06:30:00+00:00")


def the_workers_date_is_not_the_reports():
    """An evening in New York is tomorrow in UTC."""
    jobs.test_today_is_the_date_on_the_wall("2026-01-02T04:59:00+00:00", "America/New_York", "2026-01-01")


def a_cut_table_is_split(served, world, clock):
    """What Everflow says is incomplete is asked for again in pieces."""
    everflow.test_mistake_3_what_is_cut_short_is_split_until_it_is_whole(served, world, clock, 5)


BUGS = (
    # --------------------------------------------------------------------------------------- deliveries and runs
    Bug(
        "what was sent may be sent again", "ledger.deliveries:Deliveries._claim",
        'row.state == "sent" or', "",
        _deliveries.test_claim_send_settle, "", "mistake 9: retries posted again; Metabase #69577",
    ),
    Bug(
        "two senders hold one delivery", "ledger.deliveries:Deliveries._claim",
        "row.lease_until >= now", "row.lease_until < now",
        _deliveries.test_claim_send_settle, "", "Metabase #47949, Superset #22664",
    ),
    Bug(
        "after a crash it is sent again without asking the channel", "ledger.deliveries:Deliveries._claim",
        'ambiguous = row.state in {"unknown", "inflight"}', 'ambiguous = row.state == "unknown"',
        _deliveries.test_a_crash_between_claim_and_settle, "", "research: send_naive",
    ),
    Bug(
        "a sender believed dead writes over its successor", "ledger.deliveries:Deliveries.settle",
        "row.fence == delivery.fence", "True",
        _deliveries.test_a_late_settler_is_fenced_but_a_receipt_counts, "",
    ),
    Bug(
        "a receipt that comes late is forgotten", "ledger.deliveries:Deliveries.settle",
        'elif ours or state == "sent":', "elif ours:",
        _deliveries.test_a_late_settler_is_fenced_but_a_receipt_counts, "",
    ),
    Bug(
        "a success is turned into an error later", "ledger.runs:Runs.finish",
        'and row.status != "success"', "",
        _runs.test_success_is_terminal, "",
    ),
    Bug(
        "a run that crashed stays running", "ledger.runs:Runs.sweep",
        'row, "lost", reason', 'row, "running", reason',
        _runs.test_a_silent_run_is_swept_and_cannot_come_back, "", "mistake 11: crashed runs stayed running",
    ),
    Bug(
        "a run that was taken over ends its successor", "ledger.runs:Runs.finish",
        "row.fence == run.fence", "True",
        _runs.test_a_run_that_was_taken_over_belongs_to_the_later, "",
    ),
    Bug(
        "a storm of equal errors is not told from one", "ledger.runs:Runs._end",
        "last.repeats + 1 if", "0 if",
        _runs.test_repeats_count_the_same_ending_in_a_row, "", "mistake 9: a storm of identical errors",
    ),
    Bug(
        "two messages that differ in their data are one in the archive", "ledger.archive:_digest",
        '"data": dict(message.data),', "",
        _archive.test_each_difference_is_another_message, "",
    ),
    # -------------------------------------------------------------------------------------------------- days
    Bug(
        "today ends yesterday", "workspace.jobs:parse_window",
        "return Window(today, today)", "return Window(today, today - timedelta(days=1))",
        today_is_a_window, "", "mistake 1: the hourly sync of today loaded nothing",
    ),
    Bug(
        "a schedule keeps its hour of UTC", "workspace.cron:Cron.due",
        "local = ZoneInfo(zone)", "local = UTC",
        a_clock_change_moves_no_report, "", "mistake 4: schedules in fixed UTC hours",
    ),
    Bug(
        "a schedule fires twice in the night the clocks go back", "workspace.cron:Cron.moments",
        "wall.astimezone(UTC) for wall in walls",
        "wall.replace(fold=fold).astimezone(UTC) for wall in walls for fold in (0, 1)",
        a_time_that_comes_twice_fires_once, "", "Temporal #8205: zero, one or two times",
    ),
    Bug(
        "the report is about the worker's date", "workspace.jobs:local_today",
        ".astimezone(ZoneInfo(zone))", "",
        the_workers_date_is_not_the_reports, "", "mistake 4: the default date was the worker's",
    ),
    # ------------------------------------------------------------------------------------ what arrives, what is said
    Bug(
        "a whole number with a fraction is rounded", "warehouse.casts:cast",
        r"[+-]?[0-9]+(\.0*)? *", r"[+-]?[0-9]+(\.[0-9]*)? *",
        a_fraction_is_no_whole_number, "", "DuckDB's own casts: 12.7 becomes 13",
    ),
    Bug(
        "a file cut off in transit is taken for the whole", "lake.compression:Unpacker.finish",
        "if self._frame is not None:", "if False:",
        partial(compression.test_bytes_cut_anywhere_are_never_taken_for_the_whole, "gzip"), "",
    ),
    Bug(
        "a table that was cut short is taken for the whole", "sources.everflow_report:Report._table",
        'document.get("incomplete_results")', "False",
        a_cut_table_is_split, "", "mistake 3: incomplete_results ignored",
    ),
    Bug(
        "a CPA of no conversions is $0.00", "reports.formats:cpa",
        "return NOT_AVAILABLE", "return usd2(0)",
        formats.test_cpa_without_conversions_is_never_zero_dollars, "", "mistake 7: CPA of 0 conversions",
    ),
    Bug(
        "a real 0 is taken for a missing number", "reports.formats:_money",
        "if value is None", "if not value",
        partial(formats.test_none_is_not_available_and_zero_is_zero, formats.formats.usd), "", "mistake 5: `a or b`",
    ),
    Bug(
        "a flag that is text is taken for true", "reports.formats:choose",
        "if value is None:\n        return unknown", "if value:\n        return yes",
        formats.test_a_flag_that_is_text_is_refused, "", "mistake 6: a flag compared with '1'",
    ),
)  # fmt: skip
