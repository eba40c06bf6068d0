"""The contract of a warehouse, fifth part: every version of a key, with the time it held."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from signalroom.errors import ConfigError
from signalroom.stream import Column
from signalroom.testing.bench import Bench, csv, decoded, fails, same

COLUMNS = (Column("k", "bigint"), Column("at", "timestamptz"), Column("v"))


def a_change_makes_a_version(bench: Bench) -> None:
    """What changes begins a version and ends the one before; what does not change makes none."""
    _declare(bench)
    first = bench.take(csv("k,at,v\n1,2026-01-01T00:00Z,a\n2,2026-01-01T00:00Z,x\n"))
    same((first.rows_merged, first.rows_superseded), (2, 0), "the first load")
    second = bench.take(csv("k,at,v\n1,2026-01-02T00:00Z,b\n2,2026-01-02T00:00Z,x\n3,2026-01-02T00:00Z,\n"))
    same((second.rows_merged, second.rows_superseded), (2, 1), "a change, no change and a new key")
    same(_versions(bench), [(1, "a", 1, 2, False), (1, "b", 2, None, True), (2, "x", 1, None, True),
                            (3, None, 2, None, True)], "versions")  # fmt: skip
    bench.replays()


def a_late_version_is_put_in_its_place(bench: Bench) -> None:
    """It ends what came before it, and a row that said nothing new may become a version after all."""
    _declare(bench)
    bench.take(csv("k,at,v\n1,2026-01-01T00:00Z,a\n1,2026-01-05T00:00Z,a\n"))
    same(_versions(bench), [(1, "a", 1, None, True)], "versions before")
    late = bench.take(csv("k,at,v\n1,2026-01-03T00:00Z,b\n"))
    same((late.rows_merged, late.rows_superseded), (1, 0), "a late version")
    same(_versions(bench), [(1, "a", 1, 3, False), (1, "a", 5, None, True), (1, "b", 3, 5, False)], "versions")
    earlier = bench.take(csv("k,at,v\n1,2025-12-31T00:00Z,a\n"))
    same((earlier.rows_merged, earlier.rows_superseded), (1, 0), "the same, earlier")
    same(len(_versions(bench)), 3, "how many versions")
    bench.replays()


def a_delete_closes_a_version(bench: Bench) -> None:
    """The key is then current nowhere, until it comes back."""
    bench.declare(*COLUMNS, key=("k",), order=("at", "_seq"), disposition="history")
    bench.take(decoded(k=[1, 2], at=[_day(1), _day(1)], v=["a", "x"], op=["upsert"] * 2, seq=[1, 2]))
    gone = bench.take(decoded(k=[1, 1, 3], at=[_day(3), _day(4), _day(3)], v=[None] * 3, op=["delete"] * 3,
                              seq=[3, 4, 5]))  # fmt: skip
    same((gone.rows_merged, gone.rows_superseded), (2, 1), "deletes, one of what is gone")
    same(_versions(bench), [(1, "a", 1, 3, False), (2, "x", 1, None, True)], "versions")
    bench.take(decoded(k=[1, 1], at=[_day(5), _day(2)], v=["a", "b"], op=["upsert"] * 2, seq=[6, 2]))
    same(_versions(bench), [(1, "a", 1, 2, False), (1, "a", 5, None, True), (1, "b", 2, 3, False),
                            (2, "x", 1, None, True)], "versions")  # fmt: skip
    bench.replays()


def one_moment_has_one_version(bench: Bench) -> None:
    """Of several rows about one moment the winner of the order speaks; no version lasts no time."""
    bench.declare(*COLUMNS, key=("k",), order=("at",), disposition="history")
    tied = bench.take(
        csv("k,at,v\n1,2026-01-01T00:00Z,a\n1,2026-01-01T00:00Z,b\n"), csv("k,at,v\n1,2026-01-01T00:00Z,c\n")
    )
    same((tied.rows_merged, tied.rows_superseded), (1, 2), "three rows about one moment")
    same(_versions(bench), [(1, "c", 1, None, True)], "versions")
    bench.take(csv("k,at,v\n1,,old\n"))
    same(_versions(bench), [(1, "c", 1, None, True), (1, "old", None, 1, False)], "versions, one since ever")
    bench.replays()


def a_corrected_file_corrects_the_history(bench: Bench) -> None:
    """What an earlier upload said is unsaid; by the file's time a version holds."""
    bench.declare(Column("k", "bigint"), Column("v"), key=("k",), order=("_file_time", "_row"), disposition="history")
    bench.take(csv("k,v\n1,a\n", "1.csv", day=0), csv("k,v\n1,b\n", "2.csv", day=1), csv("k,v\n1,b\n", "3.csv", day=2))
    same(_versions(bench), [(1, "a", 1, 2, False), (1, "b", 2, None, True)], "versions")
    bench.take(csv("k,v\n1,a\n2,z\n", "2.csv", day=1))
    same(_versions(bench), [(1, "a", 1, 3, False), (1, "b", 3, None, True), (2, "z", 2, None, True)], "versions")
    bench.take(csv("k,v,extra\n1,b,new\n", "4.csv", day=3))
    same(len(_versions(bench)), 4, "versions: a new column is a change")
    bench.replays()


def a_history_needs_a_key_and_a_time(bench: Bench) -> None:
    """Without them nothing says what a version is of, or when it began."""
    load = bench.load(csv("k,at,v\n1,2026-01-01T00:00Z,a\n"))
    for settings in ({"order": ("at",)}, {"key": ("k",)}, {"key": ("k",), "order": ("v",)}):
        bench.declare(*COLUMNS, disposition="history", **settings)
        fails(ConfigError, lambda: bench.merge(load), f"a history with {settings}")


def a_table_becomes_a_history_by_a_replay(bench: Bench) -> None:
    """And ceases to be one likewise: rows of both kinds never share a table."""
    merge = Bench(bench.warehouse, bench.folder, source=bench.source)
    merge.declare(*COLUMNS, key=("k",), order=("at",), disposition="merge")
    first = merge.take(csv("k,at,v\n1,2026-01-01T00:00Z,a\n1,2026-01-02T00:00Z,b\n"))
    plain = merge.checksum()
    bench.table = dataclasses.replace(merge.table, disposition="history")
    load = bench.load(csv("k,at,v\n1,2026-01-03T00:00Z,c\n"))
    fails(ConfigError, lambda: bench.merge(load), "a merged table as a history")
    held = bench.lake.loads(bench.source, "stream", first.load_ids)
    bench.merge(*held, replay=True)
    same(_versions(bench), [(1, "a", 1, 2, False), (1, "b", 2, None, True)], "versions")
    fails(ConfigError, lambda: merge.merge(load), "a history as a merged table")
    merge.merge(*held, replay=True)
    same(merge.checksum(), plain, "checksum once it is merged again")


def _declare(bench: Bench) -> None:
    bench.declare(*COLUMNS, key=("k",), order=("at",), disposition="history")


def _day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def _versions(bench: Bench) -> list[tuple[object, ...]]:
    """Return key, value, the days of January at which it begins and ends, and whether it is current."""
    rows = bench.rows("k", "v", "_valid_from", "_valid_to", "_is_current")
    found = [(k, v, *(day and day.astimezone(UTC).day for day in days), now) for k, v, *days, now in rows]
    return sorted(found, key=lambda row: (str(row[0]), str(row[1]), str(row[2])))


CHECKS = (
    a_change_makes_a_version,
    a_late_version_is_put_in_its_place,
    a_delete_closes_a_version,
    one_moment_has_one_version,
    a_corrected_file_corrects_the_history,
    a_history_needs_a_key_and_a_time,
    a_table_becomes_a_history_by_a_replay,
)
