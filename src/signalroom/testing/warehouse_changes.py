"""The contract of a warehouse, sixth part: changes captured from a database, each with its place in the stream."""

from __future__ import annotations

import dataclasses

from signalroom.errors import ConfigError, DataError
from signalroom.stream import Column
from signalroom.testing.bench import Bench, decoded, fails, same

_KV = (Column("k", "bigint"), Column("v"))


def a_delete_keeps_older_rows_out(bench: Bench) -> None:
    """A deleted key stays deleted for what is older, and comes back with what is newer."""
    bench.declare(key=("k",), order=("_seq",), disposition="merge")
    first = bench.take(decoded(k=[1, 2, 3], v=["a", "b", "c"], op=["upsert"] * 3, seq=[1, 2, 3]))
    same(first.rows_merged, 3, "merged")
    gone = bench.take(decoded(k=[1, 2], v=[None, None], op=["delete"] * 2, seq=[10, 1]))
    same((gone.rows_merged, gone.rows_superseded), (1, 1), "a delete, and one that is older than its row")
    late = bench.take(decoded(k=[1, 4], v=["late", "d"], op=["upsert"] * 2, seq=[9, 4]))
    same((late.rows_merged, late.rows_superseded), (1, 1), "a late row and a new one")
    same(bench.rows("k", "v"), [(2, "b"), (3, "c"), (4, "d")], "rows")
    bench.replays()
    bench.take(decoded(k=[1], v=["back"], op=["upsert"], seq=[11]))
    bench.take(decoded(k=[1], v=["too late"], op=["delete"], seq=[11]))  # a tie: the later load wins
    same(bench.rows("k", "v"), [(2, "b"), (3, "c"), (4, "d")], "rows")
    bench.replays()


def tombstones_outlive_new_columns(bench: Bench) -> None:
    """A column that arrives after the first delete, together with the next one."""
    bench.declare(key=("k",), order=("_seq",), disposition="merge")
    bench.take(decoded(k=[1, 2], v=["a", "b"], op=["upsert", "delete"], seq=[1, 2]))
    bench.take(decoded(k=[1, 3], v=["a", "c"], extra=["x", "y"], op=["delete", "upsert"], seq=[3, 4]))
    bench.take(decoded(k=[1, 2], v=["late", "late"], op=["upsert", "upsert"], seq=[2, 1]))
    same(bench.rows("k", "v", "extra"), [(3, "c", "y")], "rows")
    bench.replays()


def a_truncate_removes_what_lies_before_it(bench: Bench) -> None:
    """In the table, in the same load, and what arrives later; what lies after it stays."""
    _declare(bench)
    bench.take(decoded(k=[1, 2, 9], v=["a", "b", "x"], op=["upsert"] * 3, seq=[1, 2, 9]))
    done = bench.take(decoded(k=[3, None, 4], v=["c", None, "d"], op=["upsert", "truncate", "upsert"], seq=[3, 5, 6]))
    same((done.rows_merged, done.rows_superseded), (2, 1), "a truncate between two rows")
    same(bench.rows("k", "v"), [(4, "d"), (9, "x")], "rows")
    late = bench.take(decoded(k=[1, 2], v=["late", "same"], op=["upsert"] * 2, seq=[4, 5]))
    same((late.rows_merged, late.rows_superseded), (1, 1), "a row before the truncate and one in its place")
    same(bench.rows("k", "v"), [(2, "same"), (4, "d"), (9, "x")], "rows after late ones")
    older = bench.take(decoded(k=[None, None], v=[None] * 2, op=["truncate"] * 2, seq=[2, 5]))
    same((older.rows_merged, older.rows_superseded), (0, 2), "truncates that say nothing new")
    bench.replays()


def a_truncate_outlives_deletes(bench: Bench) -> None:
    """Tombstones leave with it, and older rows of their keys stay out all the same."""
    _declare(bench)
    bench.take(decoded(k=[1, 2], v=["a", "b"], op=["upsert", "upsert"], seq=[1, 2]))
    bench.take(decoded(k=[1, 2], v=[None] * 2, op=["delete", "delete"], seq=[3, 8]))
    bench.take(decoded(k=[None], v=[None], op=["truncate"], seq=[5]))
    late = bench.take(decoded(k=[1, 2, 1], v=["old", "old", "new"], op=["upsert"] * 3, seq=[4, 7, 6]))
    same((late.rows_merged, late.rows_superseded), (1, 2), "late rows")
    same(bench.rows("k", "v"), [(1, "new")], "rows")
    bench.replays()


def a_truncate_empties_a_table_without_a_key(bench: Bench) -> None:
    """Where every row is kept, it removes those with a lesser place."""
    bench.declare(Column("v"), order=("_seq",), disposition="append")
    bench.take(decoded(v=["a", "a", "z"], op=["upsert"] * 3, seq=[1, 2, 7]))
    bench.take(decoded(v=[None, "b"], op=["truncate", "upsert"], seq=[4, 5]))
    late = bench.take(decoded(v=["late"], op=["upsert"], seq=[3]))
    same((late.rows_merged, late.rows_superseded), (0, 1), "a late row")
    same(bench.rows("v"), [("b",), ("z",)], "rows")
    bench.replays()


def a_load_may_begin_with_a_truncate(bench: Bench) -> None:
    """Also the first load of a table nobody declared."""
    bench.declare(key=("k",), order=("_seq",), disposition="merge")
    bench.take(decoded(k=[None], v=[None], op=["truncate"], seq=[5]))
    bench.take(decoded(k=["1", "2"], v=["a", "b"], op=["upsert"] * 2, seq=[4, 6]))
    same(bench.rows("k", "v"), [("2", "b")], "rows")
    bench.replays()


def values_left_out_are_never_nulls(bench: Bench) -> None:
    """A value that did not arrive is the last one known: of the same load, else of the table."""
    _declare_wide(bench)
    bench.take(decoded(k=[1, 2], v=["a", "b"], w=["x", None], op=["upsert"] * 2, seq=[1, 2]))
    bench.take(
        decoded(k=[1, 2, 1], v=["c", None, None], w=[None, "y", None], op=["upsert"] * 3, seq=[3, 4, 5],
                _unset=[["w"], ["v"], ["v", "w"]])
    )  # fmt: skip
    same(bench.rows("k", "v", "w", "_seq"), [(1, "c", "x", 5), (2, "b", "y", 4)], "rows")
    whole = bench.take(
        decoded(k=[1, 2], v=[None, "d"], w=["z", None], op=["upsert"] * 2, seq=[6, 7], _unset=[None, []])
    )
    same((whole.rows_merged, whole.rows_rejected), (2, 0), "rows that came whole, in a load that could leave out")
    same(bench.rows("k", "v", "w"), [(1, None, "z"), (2, "d", None)], "nulls that did arrive")
    same(bench.rejects("column_name"), [], "rejects")
    bench.replays()


def a_late_row_hands_its_values_on(bench: Bench) -> None:
    """To the newer row that left them out, and to none that brought its own."""
    _declare_wide(bench)
    bench.take(decoded(k=[1], v=["a"], w=["x"], op=["upsert"], seq=[1]))
    bench.take(decoded(k=[1], v=["new"], w=[None], op=["upsert"], seq=[9], _unset=[["w"]]))
    late = bench.take(decoded(k=[1], v=["b"], w=["y"], op=["upsert"], seq=[5]))
    same((late.rows_merged, late.rows_superseded), (0, 1), "a late row")
    same(bench.rows("k", "v", "w", "_seq"), [(1, "new", "y", 9)], "rows")
    bench.take(decoded(k=[1], v=["c"], w=["older"], op=["upsert"], seq=[3]))
    same(bench.rows("w"), [("y",)], "an older value than the one known")
    bench.take(
        decoded(k=[1, 1], v=["d", "last"], w=["old", None], op=["upsert"] * 2, seq=[4, 10], _unset=[None, ["w"]])
    )
    same(bench.rows("v", "w"), [("last", "y")], "a row whose nearest base is the table's, not its load's")
    bench.replays()


def what_nobody_knows_is_set_aside(bench: Bench) -> None:
    """With a reason that says what heals it: the row before, once it is merged, or the key's next whole row."""
    _declare_wide(bench)
    bench.take(decoded(k=[1, 2, 3], v=["a"] * 3, w=["x"] * 3, op=["upsert"] * 3, seq=[1, 2, 3]))
    first = bench.load(decoded(k=[4, 5], v=["d", "e"], w=["y", "z"], op=["upsert"] * 2, seq=[4, 5]))
    lost = bench.take(
        decoded(k=[1, 1, 2, 4, 5], v=[None, "b", "b", "new", "new"], w=[None] * 5, seq=[6, 7, 8, 9, 10],
                op=["delete", *["upsert"] * 4], _unset=[None, *[["w"]] * 4])
    )  # fmt: skip
    same((lost.rows_merged, lost.rows_superseded, lost.rows_rejected), (2, 0, 3), "after a delete, and of unknown keys")
    same(bench.rows("k", "v", "w"), [(2, "b", "x"), (3, "a", "x")], "rows")
    same(
        bench.rejects("row_number", "column_name", "value"), [(2, "w", None), (4, "w", None), (5, "w", None)], "rejects"
    )
    reasons = {reason for (reason,) in bench.rejects("reason")}
    same(["rejects retry" in reason for reason in reasons], [True], "reasons")
    bench.replays()
    bench.take(decoded(k=[5], v=["whole"], w=["w"], op=["upsert"], seq=[11]))
    bench.merge(first)
    healed = bench.retry()
    same((healed.rows_merged, healed.rows_superseded, healed.rows_rejected), (1, 1, 1), "the retry")
    same(bench.rows("k", "v", "w"), [(2, "b", "x"), (3, "a", "x"), (4, "new", "y"), (5, "whole", "w")], "rows healed")
    bench.replays()


def a_truncate_takes_what_could_be_known(bench: Bench) -> None:
    """A row behind it cannot take a value from before it."""
    _declare_wide(bench)
    bench.take(decoded(k=[1, 2], v=["a"] * 2, w=["x"] * 2, op=["upsert"] * 2, seq=[1, 2]))
    lost = bench.take(decoded(k=[None, 1], v=[None, "b"], w=[None] * 2, op=["truncate", "upsert"], seq=[3, 4],
                              _unset=[None, ["w"]]))  # fmt: skip
    same((lost.rows_merged, lost.rows_rejected, bench.rows("k")), (1, 1, []), "a row behind a truncate")
    bench.replays()


def an_empty_text_is_no_null(bench: Bench) -> None:
    """Decoded rows know both: the text stays empty where a file's empty cell means null, also as a key."""
    for disposition, order in (("merge", "_seq"), ("history", "_loaded_at"), ("append", "_seq"), ("", "")):
        bench.source += "_"
        if disposition:
            bench.declare(Column("k"), Column("v"), key=("k",), order=(order,), disposition=disposition)
        else:  # nobody declared it: an empty text fits text alone
            bench.declare(key=("k",), order=("_seq",), disposition="merge")
        bench.take(decoded(k=["", "2", "3"], v=["1", "", None], op=["upsert"] * 3, seq=[1, 2, 3]))
        same(bench.rows("k", "v"), [("", "1"), ("2", ""), ("3", None)], f"rows under {disposition!r}")
        bench.take(decoded(k=["4", "5"], v=["", None], op=["upsert"] * 2, seq=[4, 5]))
        found = [("", "1"), ("2", ""), ("3", None), ("4", ""), ("5", None)]
        same(bench.rows("k", "v"), found, f"more rows under {disposition!r}")
        bench.replays()
    bench.source += "_"
    bench.declare(*_KV, key=("k",), order=("_seq",), disposition="merge", nulls=("",))
    bench.take(decoded(k=[1], v=[""], op=["upsert"], seq=[1]))
    same(bench.rows("k", "v"), [(1, None)], "an empty text that is declared to mean null")
    bench.source += "_"
    bench.declare(Column("k"), Column("n", "bigint"), key=("k",), order=("_seq",), disposition="merge")
    bench.take(decoded(k=["1"], n=[""], op=["upsert"], seq=[1]))
    same(bench.rejects("column_name", "value"), [("n", "")], "an empty text is no number")


def changes_without_a_meaning_are_refused(bench: Bench) -> None:
    """Whatever the settings of the table give no meaning stops the load: it must not pass for a row."""
    _declare(bench)
    bench.take(decoded(k=[1], v=["a"], op=["upsert"], seq=[1]))
    before = bench.everything()
    truncate = decoded(k=[None], v=[None], op=["truncate"], seq=[2])
    unset = decoded(k=[1], v=[None], op=["upsert"], seq=[2], _unset=[["v"]])
    for kind, batch, settings in (
        (DataError, decoded(k=[2], v=[None], op=["erase"], seq=[2]), {}),
        (DataError, decoded(k=[None], v=[None], op=["truncate"], seq=[None]), {}),
        (DataError, dataclasses.replace(truncate, object_key="a.parquet"), {}),
        (ConfigError, truncate, {"order": ("v",)}),
        (ConfigError, truncate, {"disposition": "history", "order": ("_loaded_at",)}),
        (ConfigError, decoded(k=[2], v=[None], op=["delete"], seq=[2]), {"disposition": "replace"}),
        (ConfigError, unset, {"disposition": "append"}),
        (ConfigError, unset, {"order": ("v",)}),
        (DataError, dataclasses.replace(unset, object_key="a.parquet"), {}),
    ):
        bench.table = dataclasses.replace(bench.table, **settings)
        load = bench.load(batch)
        fails(kind, lambda load=load: bench.merge(load), f"{batch.content} under {settings}")
        _declare(bench)
        same(bench.everything(), before, "the warehouse after refusals")


def _declare(bench: Bench) -> None:
    bench.declare(*_KV, key=("k",), order=("_seq",), disposition="merge")


def _declare_wide(bench: Bench) -> None:
    bench.declare(*_KV, Column("w"), key=("k",), order=("_seq",), disposition="merge")


CHECKS = (
    a_delete_keeps_older_rows_out,
    tombstones_outlive_new_columns,
    a_truncate_removes_what_lies_before_it,
    a_truncate_outlives_deletes,
    a_truncate_empties_a_table_without_a_key,
    a_load_may_begin_with_a_truncate,
    values_left_out_are_never_nulls,
    a_late_row_hands_its_values_on,
    what_nobody_knows_is_set_aside,
    a_truncate_takes_what_could_be_known,
    an_empty_text_is_no_null,
    changes_without_a_meaning_are_refused,
)
