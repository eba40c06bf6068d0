"""Bugs of merges, files, slices, records and casts; the contract of a warehouse must notice each."""

from __future__ import annotations

from signalroom.testing import warehouse_changes as changes
from signalroom.testing import warehouse_files as files
from signalroom.testing import warehouse_merging as merging
from signalroom.testing import warehouse_typing as typing
from teeth.planting import Bug

BUGS = (
    # ------------------------------------------------------------------------------------------------- merges
    Bug(
        "a late row overwrites a newer one", "warehouse.duckdb_apply:_displace",
        "NOT {beats(table, 'n', 't')}", "false",
        merging.the_latest_of_a_key_wins, "merged and superseded", "research: last write wins",
    ),
    Bug(
        "an equal order is settled by arrival, not by file time", "warehouse.merge:beats",
        '"_file_time", "", "_row"', '"", "_row"',
        merging.ties_are_never_left_to_chance, "rows", "peers' upserts: ties arbitrary",
    ),
    Bug(
        "a row without an order beats one with an order", "warehouse.merge:_rank",
        "DESC NULLS LAST", "DESC NULLS FIRST",
        merging.the_latest_of_a_key_wins, "a replay",
    ),
    Bug(
        "a deleted key comes back with an older row", "warehouse.duckdb_apply:_displace",
        "for held_in in (target, *tombstones))\n        same", "for held_in in (target,))\n        same",
        changes.a_delete_keeps_older_rows_out, "a late row", "research: ignore_delete",
    ),
    Bug(
        "a row from before a truncate comes back late", "warehouse.changes:cut_table",
        "if known is not None:", "if False:",
        changes.a_truncate_removes_what_lies_before_it, "a row before",
    ),
    Bug(
        "a truncate takes the rows behind it along", "warehouse.changes:cut_stage",
        "coalesce(s._seq < {seq}, true)", "s.rowid <> {rowid}",
        changes.a_truncate_removes_what_lies_before_it, "a truncate between",
    ),
    Bug(
        "a value that was left out becomes null", "warehouse.unset:unset_columns",
        "if column.name in found and", "if not found and",
        changes.values_left_out_are_never_nulls, "rows", "PeerDB #3790: unchanged TOAST values incomplete",
    ),
    Bug(
        "a late row keeps its values from the row that left them out", "warehouse.unset:Filling.hand_on",
        "for column in self.known:", "for column in ():",
        changes.a_late_row_hands_its_values_on, "rows",
    ),
    Bug(
        "a row takes a value from before the delete", "warehouse.unset:fold",
        "WHERE b._op = 'delete'", "WHERE false",
        changes.what_nobody_knows_is_set_aside, "after a delete",
    ),
    Bug(
        "an older snapshot that comes late becomes the table", "warehouse.plan:plan_table",
        "load.load_id == newest and newest > state.newest_load", "load.load_id == newest",
        merging.a_snapshot_replaces_the_table, "a late snapshot",
    ),
    Bug(
        "a late load takes the position back", "warehouse.plan:_advanced",
        'if load.load_id >= owners.get(name, state.owners.get(name, "")):', "if True:",
        merging.loads_may_come_in_any_order, "positions", "Airbyte #16991: state goes back",
    ),
    Bug(
        "a load that is merged already is merged again", "warehouse.bookkeeping:merged",
        "return {str(row[0]) for row in rows}", "return set()",
        merging.a_load_is_merged_once, "merged meanwhile", "dlt #4052: loads doubled without their state",
    ),
    Bug(
        "a row is lost in the last statement", "warehouse.duckdb_apply:_insert",
        "WHERE {wanted} AND _op = 'upsert'", "WHERE {wanted} AND _op = 'upsert' AND _r > 0",
        merging.appends_keep_every_row, "rows came in", "Airbyte #14932: succeeded with rows missing",
    ),
    Bug(
        "a row is read twice", "warehouse.merge:Prepared.survivors",
        "USING (_part)", "USING (_part), (VALUES (1), (2))",
        merging.appends_keep_every_row, "rows came in", "dlt #2837: duplicates after a reconnect",
    ),
    Bug(
        "what failed half-way is committed", "warehouse.duckdb:DuckDBWarehouse._commit",
        "connection.rollback()", "connection.commit()",
        typing.a_new_pin_asks_for_a_replay, "after a refusal", "research: no_rollback",
    ),
    Bug(
        "a replay without all loads empties the table", "warehouse.plan:assert_complete",
        "if missing:", "if False:",
        merging.a_replay_needs_every_load, "",
    ),
    Bug(
        "rows of a table that nobody names are passed over", "warehouse.plan:_refuse_unknown",
        "if part.table not in named:", "if False:",
        merging.rows_of_no_table_are_not_passed_over, "",
    ),
    # -------------------------------------------------------------------------------------------------- files
    Bug(
        "a file older than the newest is never loaded", "warehouse.objects:plan_objects",
        "if k not in before or not", "if (k not in before and v.rank >= max((b.rank for b in before.values()), default=v.rank)) or k in before and not",
        files.late_files_are_loaded, "merged and superseded", "mistake 8: file state was the newest date",
    ),
    Bug(
        "a corrected upload is counted beside its first version", "warehouse.objects:plan_objects",
        "withdraw=tuple(withdraw)", "withdraw=()",
        files.a_corrected_file_replaces_its_earlier_version, "after the correction", "mistake 8: re-uploads counted twice",
    ),
    Bug(
        "a version that was replaced returns when it comes late", "warehouse.objects:plan_objects",
        "(earlier.load_id, earlier.part) <= (version.load_id, version.part)", "True",
        files.an_older_version_never_returns, "the older version",
    ),
    Bug(
        "the same bytes under another name are counted twice", "warehouse.objects:plan_objects",
        "counted[version.sha256] = version", "counted[version.key] = version",
        files.a_copy_is_skipped_until_its_original_is_corrected, "a copy", "mistake 8: the newest day loaded twice",
    ),
    Bug(
        "an order that a correction leaves out is gone for good", "warehouse.plan:stay_parts",
        "plan.objects.stay", "()",
        files.a_key_that_vanishes_is_found_in_older_files, "rows restored",
    ),
    Bug(
        "a row names another place than the one it came from", "warehouse.staging:Stage.rows_of",
        "p.first_rowid + 1", "p.first_rowid",
        files.lineage_is_exact, "by the lake's count",
    ),
    # ------------------------------------------------------------------------------------------------- slices
    Bug(
        "an older observation replaces a newer one", "warehouse.slices:plan_slices",
        "(one.observed_at, one.load_id) >= (held.observed_at, held.load_id)", "True",
        files.an_older_observation_never_replaces_a_newer_one, "an older observation",
    ),
    Bug(
        "a day that became empty upstream keeps its rows", "warehouse.duckdb_apply:apply",
        "if plan.slices.live:", "if plan.slices.live and any(part.part.rows for part in plan.parts):",
        files.a_slice_replaces_what_was_seen_before, "rows after an empty slice", "vendors restate: rows that vanished stayed",
    ),
    Bug(
        "pulling one advertiser again deletes the others", "warehouse.merge:_in_slice",
        "{filters}", "",
        files.slices_keep_to_their_filters, "rows", "dbt #11417: microbatch deletes other rows",
    ),
    Bug(
        "rows outside the days that were asked for are kept", "warehouse.merge:_drop_foreign",
        "name, parts = ", "return\n    name, parts = ",
        files.rows_outside_their_slice_are_rejected, "merged and rejected",
    ),
    # ---------------------------------------------------------------------------------------- records and casts
    Bug(
        "a line break within quotes ends a record", "records.scan:CsvScanner._block",
        "outside = ends[((quotes.searchsorted(ends) + inside) & 1) == 0]", "outside = ends",
        files.lineage_is_exact, "by the lake's count", "orders with line breaks in their notes",
    ),
    Bug(
        "money is rounded to the cent", "warehouse.casts:cast",
        r"{{0,{decimal[1]}}}0*", r"*",
        typing.rejects_say_what_did_not_fit, "without rounding", "DuckDB's own casts",
    ),
    Bug(
        "a value that does not fit becomes null without a word", "warehouse.casts:_matching",
        'misfit = f"(NOT coalesce(regexp_full_match({text}, {literal(pattern)}), true) OR {_missing(value, text)})"',
        'misfit = "false"',
        typing.rejects_say_what_did_not_fit, "merged and rejected", "dlt, sling: silent nulls",
    ),
    Bug(
        "rows without a key are merged into one", "warehouse.staging:_casts",
        "if column.name in staged.table.key:", "if False:",
        typing.rejects_say_what_did_not_fit, "merged and rejected",
    ),
    Bug(
        "a long number of JSON goes through a float", "warehouse.textual:_exact",
        "THEN {quoted} ELSE {doc} END", "THEN {doc} ELSE {doc} END",
        typing.records_of_every_format_are_typed_alike, "three formats",
    ),
    Bug(
        "a NUL in JSON reaches the table", "warehouse.staging:_casts",
        "contains({text}, chr(0))", "false",
        typing.a_nul_is_rejected, "rows",
    ),
    Bug(
        "a new pin turns old values to null", "warehouse.duckdb_apply:_shape",
        "if schema.retyped:", "if False:",
        typing.a_new_pin_asks_for_a_replay, "",
    ),
    Bug(
        "a new column is dropped under evolve", "warehouse.schema:resolve",
        'table.contract == "discard"', 'table.contract != "freeze"',
        typing.new_columns_follow_the_contract, "a note", "Airbyte #80920: new columns lost",
    ),
    Bug(
        "a checksum takes no notice of where a cell ends", "warehouse.checksum:row_text",
        "chr(31)", "''",
        typing.a_checksum_sees_every_change, "",
    ),
)  # fmt: skip
