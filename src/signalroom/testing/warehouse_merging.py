"""The contract of a warehouse, first part: how rows meet a table."""

from __future__ import annotations

import dataclasses

from signalroom.errors import ConfigError, DataError
from signalroom.stream import Column
from signalroom.testing.bench import Bench, StopError, csv, fails, same, stop

KV = (Column("k", "bigint"), Column("v"))
KOV = (Column("k", "bigint"), Column("o", "bigint"), Column("v"))


def appends_keep_every_row(bench: Bench) -> None:
    """Equal rows are kept: an append table counts what happened."""
    bench.declare(*KV)
    bench.take(csv("k,v\n1,a\n1,a\n"))
    bench.take(csv("k,v\n1,a\n"))
    same(bench.rows("k", "v"), [(1, "a")] * 3, "rows")
    bench.replays()


def the_latest_of_a_key_wins(bench: Bench) -> None:
    """By the declared order, whatever the order of arrival; a null order is least."""
    bench.declare(*KOV, key=("k",), order=("o",), disposition="merge")
    bench.take(csv("k,o,v\n1,2,first\n2,,null\n3,5,old\n"))
    late = bench.take(csv("k,o,v\n1,1,late\n2,1,some\n3,6,new\n"))
    same((late.rows_merged, late.rows_superseded), (2, 1), "merged and superseded")
    bench.take(csv("k,o,v\n1,,null\n3,,null\n"))
    same(bench.rows("k", "v"), [(1, "first"), (2, "some"), (3, "new")], "rows")
    bench.replays()


def ties_are_never_left_to_chance(bench: Bench) -> None:
    """Equal order: the greater file time, then the object, then the row."""
    bench.declare(*KOV, key=("k",), order=("o",), disposition="merge")
    bench.take(csv("k,o,v\n1,1,z\n", "z.csv", day=1), csv("k,o,v\n1,1,b\n1,1,c\n2,1,c\n", "c.csv", day=2))
    bench.take(csv("k,o,v\n1,1,older\n2,1,older\n", "y.csv", day=1))
    bench.take(csv("k,o,v\n1,1,same time, lesser name\n", "b.csv", day=2))
    same(bench.rows("k", "v"), [(1, "c"), (2, "c")], "rows")
    bench.take(csv("k,o,v\n1,1,same time and greater name\n", "d.csv", day=2))
    same(bench.rows("k", "v"), [(1, "same time and greater name"), (2, "c")], "rows")
    bench.replays()


def text_is_ordered_by_its_bytes(bench: Bench) -> None:
    """An order column of text compares alike on every engine, not by a server's collation."""
    bench.declare(Column("k", "bigint"), Column("o"), Column("v"), key=("k",), order=("o",), disposition="merge")
    bench.take(csv("k,o,v\n1,a,small\n2,B,capital\n3,é,accent\n4,z,z\n"))
    bench.take(csv("k,o,v\n1,B,capital\n2,a,small\n3,z,z\n4,é,accent\n"))
    same(bench.rows("k", "v"), [(1, "small"), (2, "small"), (3, "accent"), (4, "accent")], "rows")
    bench.replays()


def a_load_is_merged_once(bench: Bench) -> None:
    """Merging again changes nothing and says so, alone or beside a new load."""
    bench.declare(*KV)
    first = bench.load(csv("k,v\n1,a\n"))
    bench.merge(first)
    before = bench.checksum()
    again = bench.merge(first)
    same((again.load_ids, again.already, again.rows_in), ((), (first.load_id,), 0), "a second merge")
    same(bench.checksum(), before, "checksum")
    second = bench.load(csv("k,v\n2,b\n"))
    both = bench.merge(first, second)
    same((both.load_ids, both.already), ((second.load_id,), (first.load_id,)), "a merge of both")
    same(bench.rows("k"), [(1,), (2,)], "rows")
    same(bench.warehouse.merged(bench.source, "stream"), {first.load_id, second.load_id}, "merged")


def loads_may_come_in_any_order(bench: Bench) -> None:
    """A late load overwrites nothing newer: no row, no position, no column."""
    bench.declare(key=("k",), order=("o",), disposition="merge")
    oldest = bench.load(csv("k,o,v\n1,1,old\n", position={"p": 1}))
    late = bench.load(csv("k,o,v,extra\n1,2,late,x\n2,1,late,x\n", position={"p": 2, "q": 2}))
    newest = bench.load(csv("k,o,v\n1,3,new\n", position={"p": 3}))
    bench.merge(oldest)
    bench.merge(newest)
    bench.merge(late)
    same(bench.rows("k", "v", "extra"), [(1, "new", None), (2, "late", "x")], "rows")
    same(bench.warehouse.positions(bench.source, "stream").partitions, {"p": 3, "q": 2}, "positions")
    bench.replays()


def a_snapshot_replaces_the_table(bench: Bench) -> None:
    """The newest snapshot is the table; an older one that comes late is counted and passed over."""
    bench.declare(*KV, disposition="replace")
    first, second, third = (bench.load(csv(f"k,v\n{text}")) for text in ("1,a\n2,b\n", "3,c\n", ""))
    bench.merge(first)
    bench.merge(second)
    same(bench.rows("k"), [(3,)], "rows after the second")
    bench.replays()
    bench.merge(third)
    same(bench.rows("k"), [], "rows after an empty one")
    late = bench.load(csv("k,v\n4,d\n"))
    newest = bench.load(csv("k,v\n5,e\n"))
    bench.merge(newest)
    passed = bench.merge(late)
    same((passed.rows_merged, passed.rows_superseded), (0, 1), "a late snapshot")
    same(bench.rows("k"), [(5,)], "rows")
    bench.replays()


def empty_loads_are_legal(bench: Bench) -> None:
    """Nothing, a header, no byte at all: also as the first load of a table nobody declared."""
    bench.declare(key=("k",), order=("_file_time", "_row"), disposition="merge")
    bench.take(csv("", "a.csv"), csv("k,v\n", "b.csv"))
    same(bench.checksum(), "0:0", "checksum of an empty table")
    bench.take(csv("k,v\n1,a\n", "c.csv", day=1))
    bench.take(csv("", "d.csv", day=2))
    same(bench.rows("k", "v"), [(1, "a")], "rows")
    bench.replays()


def a_wrong_count_commits_nothing(bench: Bench) -> None:
    """Conservation: a load that does not hold what it says leaves no trace, and can be merged once mended."""
    bench.declare(*KV, key=("k",), order=("_row",), disposition="merge")
    bench.take(csv("k,v\n1,a\n", "a.csv", position={"p": 1}))
    before = bench.everything()
    good = bench.load(csv("k,v\n2,b\nx,c\n", "b.csv", position={"p": 2}))
    for rows in (1, 3):
        bad = dataclasses.replace(good, parts=(dataclasses.replace(good.parts[0], rows=rows),))
        fails(DataError, lambda bad=bad: bench.merge(bad), f"a part of 2 rows that says {rows}")
        same(bench.everything(), before, "the warehouse after a wrong count")
    bench.merge(good)
    same(bench.rows("k", "v"), [(1, "a"), (2, "b")], "rows")


def a_cancelled_merge_commits_nothing(bench: Bench) -> None:
    """Progress may raise; the merge is as if it had not begun."""
    bench.declare(*KV)
    bench.take(csv("k,v\n1,a\n"))
    before = bench.everything()
    load = bench.load(csv("k,v\n2,b\n"))
    fails(
        StopError, lambda: bench.warehouse.merge(bench.stream, [load], bench.lake, progress=stop), "a cancelled merge"
    )
    same(bench.everything(), before, "the warehouse after a cancelled merge")
    bench.merge(load)
    same(bench.rows("k"), [(1,), (2,)], "rows")


def rows_of_no_table_are_not_passed_over(bench: Bench) -> None:
    """A load that feeds a table the stream no longer names is not called merged."""
    bench.declare(*KV)
    load = bench.load(csv("k,v\n1,a\n"))
    bench.table = dataclasses.replace(bench.table, name="renamed")
    fails(ConfigError, lambda: bench.merge(load), "a load of another table")
    same(bench.warehouse.merged(bench.source, "stream"), set[str](), "merged")


def a_replay_needs_no_table(bench: Bench) -> None:
    """A warehouse that is new, or was lost, is filled from the lake."""
    for disposition in ("merge", "history"):
        lost = Bench(bench.warehouse, bench.folder / disposition)
        lost.declare(*KV, key=("k",), order=("_loaded_at",), disposition=disposition)
        lost.merge(lost.load(csv("k,v\n1,a\n")), lost.load(csv("k,v\n2,b\n")), replay=True)
        same(lost.rows("k", "v"), [(1, "a"), (2, "b")], f"rows of {disposition}")
        lost.replays()


def a_replay_needs_every_load(bench: Bench) -> None:
    """Replaying some loads only would drop the rows of the others."""
    bench.declare(*KV)
    first, second = bench.load(csv("k,v\n1,a\n")), bench.load(csv("k,v\n2,b\n"))
    bench.merge(first, second)
    before = bench.everything()
    fails(DataError, lambda: bench.merge(second, replay=True), "a replay of one of two loads")
    same(bench.everything(), before, "the warehouse after it")


CHECKS = (
    appends_keep_every_row,
    the_latest_of_a_key_wins,
    ties_are_never_left_to_chance,
    text_is_ordered_by_its_bytes,
    a_load_is_merged_once,
    loads_may_come_in_any_order,
    a_snapshot_replaces_the_table,
    empty_loads_are_legal,
    a_wrong_count_commits_nothing,
    a_cancelled_merge_commits_nothing,
    rows_of_no_table_are_not_passed_over,
    a_replay_needs_no_table,
    a_replay_needs_every_load,
)
