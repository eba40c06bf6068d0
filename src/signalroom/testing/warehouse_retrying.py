"""The contract of a warehouse, fourth part: rows that were set aside and are typed again."""

from __future__ import annotations

import dataclasses

from signalroom.stream import Column
from signalroom.testing.bench import Bench, csv, observed, same

KOV = (Column("k", "bigint"), Column("o", "bigint"), Column("v"))
MERGED = {"key": ("k",), "order": ("o",), "disposition": "merge"}


def rows_that_fit_now_are_merged(bench: Bench) -> None:
    """Under a changed pin the rows that fit leave the rejects and enter once; the others keep their reasons."""
    bench.declare(Column("k", "bigint"), Column("amount", "bigint"))
    bench.take(csv("k,amount\n1,10\n2,2.50\n3,many\n"), csv("k,amount\n4,5\n5,7.25\n"))
    loads = bench.warehouse.merged(bench.source, "stream")
    bench.declare(Column("k", "bigint"), Column("amount", "decimal(18,2)"))
    done = bench.retry()
    same((done.rows_in, done.rows_merged, done.rows_superseded, done.rows_rejected), (3, 2, 0, 1), "the retry")
    same([(k, str(v)) for k, v in bench.rows("k", "amount")],
         [(1, "10.00"), (2, "2.50"), (4, "5.00"), (5, "7.25")], "rows")  # fmt: skip
    same(bench.rejects("row_number", "column_name", "value"), [(3, "amount", "many")], "rejects")
    same(bench.warehouse.merged(bench.source, "stream"), loads, "loads: a retry is none")
    again = bench.retry()
    same((again.rows_in, again.rows_merged, again.rows_rejected), (1, 0, 1), "a second retry")
    same(len(bench.rows("k")), 4, "rows after it")
    bench.replays()


def a_retry_is_told_from_a_sync(bench: Bench) -> None:
    """The warehouse records what a retry did, in the transaction that did it; one without effect leaves nothing."""
    bench.declare(*KOV)
    load = bench.load(csv("k,o,v\n1,x,a\n2,2,b\n"))
    bench.merge(load)
    before = bench.everything()
    bench.retry()
    same(bench.everything(), before, "the warehouse after a retry of what does not fit")
    same(_retries(bench), [], "retries")
    bench.table = dataclasses.replace(bench.table, nulls=("x",))
    bench.retry()
    same(_retries(bench), [(f'["{load.load_id}"]', 1, 1, 0, 0)], "retries")
    same(bench.rejects("row_number"), [], "rejects")


def an_older_row_that_fits_now_overwrites_nothing(bench: Bench) -> None:
    """The order holds for rows that come late because they did not fit."""
    bench.declare(*KOV, **MERGED, nulls=("-",))
    first = bench.load(csv("k,o,v\n1,1,a\n2,n/a,old\n3,9,c\nx,1,key\n"))
    bench.merge(first)
    bench.take(csv("k,o,v\n2,1,new\n3,10,late\n4,n/a,d\n"))
    bench.table = dataclasses.replace(bench.table, nulls=("n/a",))
    done = bench.retry(first.load_id)
    same((done.rows_merged, done.rows_superseded, done.rows_rejected), (1, 1, 1), "the retry of all that is set aside")
    same(bench.rows("k", "o", "v"), [(1, 1, "a"), (2, 1, "new"), (3, 10, "late"), (4, None, "d")], "rows")
    same(bench.rejects("load_id", "row_number", "column_name"), [(first.load_id, 4, "k")], "rejects")
    bench.replays()


def a_load_without_rows_that_fit_changes_nothing(bench: Bench) -> None:
    """With one load named, the others' rows do not start a retry; nor does a load nobody knows."""
    bench.declare(*KOV)
    hopeless = bench.load(csv("k,o,v\n1,x,a\n"))
    bench.merge(hopeless)
    bench.take(csv("k,o,v\n2,y,b\n"))
    bench.table = dataclasses.replace(bench.table, nulls=("y",))
    before = bench.everything()
    same(bench.retry(hopeless.load_id).rows_rejected, 1, "rejected")
    same(bench.retry("nobody").rows_in, 0, "rows of a load nobody knows")
    same(bench.everything(), before, "the warehouse")
    same(bench.retry().rows_merged, 1, "merged")


def a_day_that_was_replaced_does_not_come_back(bench: Bench) -> None:
    """A row of an observation that a newer one replaced is superseded, though it fits now."""
    columns = (Column("day", "date"), Column("k", "bigint"), Column("n", "bigint"))
    bench.declare(*columns, key=("day", "k"), disposition="replace_slice", slice_column="day")
    bench.take(observed(1, "2026-01-01", "day,k,n\n2026-01-01,1,?\n2026-01-02,2,?\n", last="2026-01-02"))
    bench.take(observed(2, "2026-01-01", "day,k,n\n2026-01-01,3,3\n2026-01-05,9,9\n"))
    bench.table = dataclasses.replace(bench.table, nulls=("?",))
    done = bench.retry()
    same((done.rows_in, done.rows_merged, done.rows_superseded, done.rows_rejected), (3, 1, 1, 1), "the retry")
    same(bench.rows("k", "n"), [(2, None), (3, 3)], "rows")
    bench.replays()


def a_retry_leaves_pending_loads_alone(bench: Bench) -> None:
    """Loads that no sync merged yet stay pending, with their positions."""
    bench.declare(*KOV)
    bench.take(csv("k,o,v\n1,x,a\n", position={"p": 1}))
    pending = bench.load(csv("k,o,v\n2,2,b\n", position={"p": 2}))
    bench.table = dataclasses.replace(bench.table, nulls=("x",))
    bench.retry()
    same(bench.rows("k"), [(1,)], "rows")
    same(bench.warehouse.positions(bench.source, "stream").partitions, {"p": 1}, "positions")
    bench.merge(pending)
    same(bench.rows("k"), [(1,), (2,)], "rows after the pending load")
    bench.replays()


def _retries(bench: Bench) -> list[tuple[object, ...]]:
    found = bench.warehouse.query(
        """SELECT load_ids, rows_in, rows_merged, rows_superseded, rows_rejected FROM signalroom.retries
            WHERE source = :source ORDER BY retried_at""",
        {"source": bench.source},
    )
    return [tuple(row.values()) for row in found.to_pylist()]


CHECKS = (
    rows_that_fit_now_are_merged,
    a_retry_is_told_from_a_sync,
    an_older_row_that_fits_now_overwrites_nothing,
    a_load_without_rows_that_fit_changes_nothing,
    a_day_that_was_replaced_does_not_come_back,
    a_retry_leaves_pending_loads_alone,
)
