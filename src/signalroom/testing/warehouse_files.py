"""The contract of a warehouse, second part: files that come again, and days that are seen again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime

from signalroom.errors import ConfigError
from signalroom.stream import Column
from signalroom.testing.bench import FIRST_DAY, Bench, csv, fails, observed, same

KV = (Column("k", "bigint"), Column("v"))
SPEND = (Column("day", "date"), Column("adv", "bigint"), Column("cost", "decimal(18,2)"))


def a_corrected_file_replaces_its_earlier_version(bench: Bench) -> None:
    """More rows, fewer rows, other rows: nothing of the earlier version stays, its rejects included."""
    bench.declare(*KV)
    bench.take(csv("k,v\n1,a\n2,b\nx,c\n", "a.csv"), csv("k,v\n9,z\n", "b.csv"))
    same(bench.rejects("part", "value"), [("a.csv", "x")], "rejects of the first version")
    bench.take(csv("k,v\n1,A\n3,c\n", "a.csv"))
    same(bench.rows("k", "v"), [(1, "A"), (3, "c"), (9, "z")], "rows after the correction")
    same(bench.rejects("part"), [], "rejects after the correction")
    bench.take(csv("k,v\n", "a.csv"))
    same(bench.rows("k", "v"), [(9, "z")], "rows after an empty version")
    bench.replays()


def a_key_that_vanishes_is_found_in_older_files(bench: Bench) -> None:
    """A correction without a key: the row it had displaced comes back from the lake."""
    bench.declare(*KV, key=("k",), order=("_file_time", "_row"), disposition="merge")
    bench.take(csv("k,v\n1,first\n2,first\n", "a.csv", day=0))
    bench.take(csv("k,v\n1,second\n2,second\n3,second\n", "b.csv", day=1))
    result = bench.take(csv("k,v\n2,corrected\n", "b.csv", day=1))
    same(result.rows_restored, 1, "rows restored")
    same(bench.rows("k", "v", "_source_ref"), [(1, "first", "a.csv#1"), (2, "corrected", "b.csv#1")], "rows")
    bench.replays()


def late_files_are_loaded(bench: Bench) -> None:
    """A file older than all others fills what they left open and overwrites nothing."""
    bench.declare(*KV, key=("k",), order=("_file_time", "_row"), disposition="merge")
    bench.take(csv("k,v\n1,new\n", "b.csv", day=5))
    result = bench.take(csv("k,v\n1,old\n2,old\n", "a.csv", day=1))
    same((result.rows_merged, result.rows_superseded), (1, 1), "merged and superseded")
    same(bench.rows("k", "v"), [(1, "new"), (2, "old")], "rows")
    bench.replays()


def a_copy_is_skipped_until_its_original_is_corrected(bench: Bench) -> None:
    """The same bytes under another name count once; when the original changes, the copy comes into its own."""
    bench.declare(*KV)
    bench.take(csv("k,v\n1,a\nx,b\n", "a.csv", day=0))
    copy = bench.take(csv("k,v\n1,a\nx,b\n", "b.csv", day=1))
    same((copy.skipped_objects, copy.rows_superseded), (("b.csv",), 2), "a copy")
    same(bench.rows("k", "_source_ref"), [(1, "a.csv#1")], "rows with a copy")
    bench.take(csv("k,v\n2,corrected\n", "a.csv", day=0))
    same(bench.rows("k", "_source_ref"), [(1, "b.csv#1"), (2, "a.csv#1")], "rows once the original changed")
    same(bench.rejects("part", "row_number"), [("b.csv", 2)], "rejects once the original changed")
    positions = bench.warehouse.positions(bench.source, "stream")
    state = positions.get("b.csv")
    same(isinstance(state, Mapping) and state.get("loaded"), True, "the copy's position")
    bench.replays()


def an_older_version_never_returns(bench: Bench) -> None:
    """Two versions of a file, merged in the wrong order: the newer load's version stays."""
    bench.declare(*KV)
    older, newer = bench.load(csv("k,v\n1,old\n2,old\n", "a.csv")), bench.load(csv("k,v\n1,new\n", "a.csv"))
    bench.merge(newer)
    result = bench.merge(older)
    same((result.rows_merged, result.rows_superseded), (0, 2), "the older version")
    same(bench.rows("k", "v"), [(1, "new")], "rows")
    bench.take(csv("k,v\n3,newest\n", "a.csv"))
    same(bench.rows("k", "v"), [(3, "newest")], "rows after one more version")
    bench.replays()


def a_snapshot_may_return_to_earlier_bytes(bench: Bench) -> None:
    """Under ``replace`` the newest file is the table, even where its bytes were seen before."""
    bench.declare(*KV, disposition="replace")
    for day, text in enumerate(("k,v\n1,a\n", "k,v\n2,b\n", "k,v\n1,a\n")):
        bench.take(csv(text, f"{day}.csv", day=day))
    same(bench.rows("k", "_source_ref"), [(1, "2.csv#1")], "rows")
    bench.take(csv("k,v\n9,late\n", "late.csv", day=1))
    same(bench.rows("k"), [(1,)], "rows after a late snapshot")
    bench.replays()


def a_file_needs_no_time(bench: Bench) -> None:
    """A file whose source knows no time for it is older than all that have one, and is replaced like them."""
    bench.declare(*KV, key=("k",), order=("_file_time", "_row"), disposition="merge")
    timeless = dataclasses.replace(
        csv("k,v\n1,timeless\n2,timeless\n", "a.csv"), file_time=None, source_ref="elsewhere"
    )
    bench.take(csv("k,v\n1,timed\n", "b.csv"))
    bench.take(timeless)
    same(bench.rows("k", "v"), [(1, "timed"), (2, "timeless")], "rows")
    bench.take(dataclasses.replace(csv("k,v\n3,corrected\n", "a.csv"), file_time=None, source_ref="elsewhere"))
    same(bench.rows("k", "v"), [(1, "timed"), (3, "corrected")], "rows after the correction")
    bench.replays()


def lineage_is_exact(bench: Bench) -> None:
    """Every row says which load, when, whose, which file and row."""
    bench.declare(*KV)
    load = bench.load(csv('k,v\n1,"two\nlines"\nx,y\n3,c\n', "a.csv", day=2), csv("k,v\n4,d\n"))
    bench.merge(load)
    where = ("k", "_load_id", "_loaded_at", "_client_id", "_source_ref", "_file_time", "_row")
    found = [tuple(v.astimezone(UTC) if isinstance(v, datetime) else v for v in row) for row in bench.rows(*where)]
    day = FIRST_DAY.replace(day=3)
    moment = load.committed_at.astimezone(UTC)
    same(
        found,
        [
            (1, load.load_id, moment, "713", "a.csv#1", day, 1),
            (3, load.load_id, moment, "713", "a.csv#3", day, 3),
            (4, load.load_id, moment, "713", "page#1", None, 1),
        ],
        "lineage",
    )
    bench.client = ""
    bench.take(csv("k,v\n5,e\n"))
    same(bench.rows("k", "_client_id")[-1], (5, None), "a row without a client")


def a_slice_replaces_what_was_seen_before(bench: Bench) -> None:
    """A row that vanished upstream vanishes here; a slice is legal with no rows; other days are left alone."""
    bench.declare(*SPEND, key=("day", "adv"), disposition="replace_slice", slice_column="day")
    text = "day,adv,cost\n2026-01-01,1,1.00\n2026-01-01,2,2.00\n2026-01-02,1,3.00\n"
    bench.take(observed(1, "2026-01-01", text, last="2026-01-03"))
    bench.take(observed(2, "2026-01-01", "day,adv,cost\n2026-01-01,2,2.50\n"))
    same([(str(d), a, str(c)) for d, a, c in bench.rows("day", "adv", "cost")],
         [("2026-01-01", 2, "2.50"), ("2026-01-02", 1, "3.00")], "rows")  # fmt: skip
    bench.take(observed(3, "2026-01-02", "day,adv,cost\n"))
    same(bench.rows("adv"), [(2,)], "rows after an empty slice")
    bench.replays()


def an_older_observation_never_replaces_a_newer_one(bench: Bench) -> None:
    """By the time it was observed, not by the time it arrived; ties go to the greater load."""
    bench.declare(*SPEND, key=("day", "adv"), disposition="replace_slice", slice_column="day")
    bench.take(observed(5, "2026-01-01", "day,adv,cost\n2026-01-01,1,5.00\n"))
    text = "day,adv,cost\n2026-01-01,1,4.00\n2026-01-01,2,4.00\n2026-01-02,1,4.00\n"
    late = bench.take(observed(4, "2026-01-01", text, last="2026-01-02"))
    same((late.rows_merged, late.rows_superseded), (1, 2), "an older observation of two days")
    same([(str(d), str(c)) for d, c in bench.rows("day", "cost")],
         [("2026-01-01", "5.00"), ("2026-01-02", "4.00")], "rows")  # fmt: skip
    lesser = bench.load(observed(6, "2026-01-01", "day,adv,cost\n2026-01-01,1,6.00\n"))
    greater = bench.load(observed(6, "2026-01-01", "day,adv,cost\n2026-01-01,1,7.00\n"))
    bench.merge(greater)
    bench.merge(lesser)
    same(str(bench.rows("day", "cost")[0][1]), "7.00", "cost after a tie")
    bench.replays()


def slices_keep_to_their_filters(bench: Bench) -> None:
    """A slice of one advertiser leaves the others alone; of two that overlap the newer has the row."""
    bench.declare(*SPEND, key=("day", "adv"), disposition="replace_slice", slice_column="day")
    one, two = ("day,adv,cost\n2026-01-01,1,1\n", "day,adv,cost\n2026-01-01,2,2\n")
    bench.take(observed(1, "2026-01-01", one, adv=1), observed(1, "2026-01-01", two, adv=2))
    bench.take(observed(2, "2026-01-01", "day,adv,cost\n", adv=1))
    same(bench.rows("adv"), [(2,)], "rows")
    both = "day,adv,cost\n2026-01-01,1,3\n2026-01-01,2,3\n2026-01-01,3,3\n"
    late, newer = (bench.load(observed(3, "2026-01-01", both)), bench.load(observed(4, "2026-01-01", two, adv=2)))
    gone = bench.load(observed(5, "2026-01-01", "day,adv,cost\n", adv=3))
    bench.merge(newer, gone)
    bench.merge(late)
    wanted = [(1, "3.00"), (2, "2.00")]
    same([(a, str(c)) for a, c in bench.rows("adv", "cost")], wanted, "rows where slices overlap")
    bench.replays()
    same([(a, str(c)) for a, c in bench.rows("adv", "cost")], wanted, "rows of one merge of all")


def rows_outside_their_slice_are_rejected(bench: Bench) -> None:
    """A row that the load is not authoritative for would escape the next replacement."""
    bench.declare(*SPEND, key=("day", "adv"), disposition="replace_slice", slice_column="day")
    text = "day,adv,cost\n2026-01-01,1,1\n2026-01-02,1,2\n2026-01-01,2,3\n,1,4\n"
    result = bench.take(observed(1, "2026-01-01", text, adv=1))
    same((result.rows_merged, result.rows_rejected), (1, 3), "merged and rejected")
    found = bench.rejects("row_number", "column_name", "value")
    same(found, [(2, "day", "2026-01-02"), (3, "day", "2026-01-01"), (4, "day", None)], "rejects")
    bench.replays()


def a_slice_must_be_in_the_key(bench: Bench) -> None:
    """Otherwise two slices could claim one row."""
    bench.declare(*SPEND, key=("adv",), disposition="replace_slice", slice_column="day")
    load = bench.load(observed(1, "2026-01-01", "day,adv,cost\n2026-01-01,1,1\n"))
    fails(ConfigError, lambda: bench.merge(load), "a slice column outside the key")


CHECKS = (
    a_corrected_file_replaces_its_earlier_version,
    a_key_that_vanishes_is_found_in_older_files,
    late_files_are_loaded,
    a_copy_is_skipped_until_its_original_is_corrected,
    an_older_version_never_returns,
    a_snapshot_may_return_to_earlier_bytes,
    a_file_needs_no_time,
    lineage_is_exact,
    a_slice_replaces_what_was_seen_before,
    an_older_observation_never_replaces_a_newer_one,
    slices_keep_to_their_filters,
    rows_outside_their_slice_are_rejected,
    a_slice_must_be_in_the_key,
)
