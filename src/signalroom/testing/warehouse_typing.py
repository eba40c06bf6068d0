"""The contract of a warehouse, third part: what a value becomes, and what happens to one that does not fit."""

from __future__ import annotations

import dataclasses
from typing import Any

from signalroom.errors import ConfigError, DataError
from signalroom.stream import Batch, Column, Raw
from signalroom.testing.bench import Bench, csv, decoded, fails, jsonl, same

EVERY_TYPE = (
    Column("id", "bigint"),
    Column("whole", "bigint"),
    Column("money", "decimal(18,2)"),
    Column("big", "decimal(38,10)"),
    Column("share", "double"),
    Column("flag", "boolean"),
    Column("day", "date"),
    Column("at", "timestamp"),
    Column("moment", "timestamptz"),
    Column("doc", "json"),
    Column("words", "text"),
)
CELLS = (
    ("0", "0", "0", "0", "false", "0001-01-01", "0001-01-01 00:00:00", "0001-01-01T00:00:00Z", "null", "plain"),
    ("-1", "-0.01", "-1", "-1.5", "true", "9999-12-31", "9999-12-31 23:59:59.999999", "9999-12-31T23:59:59.999999Z",
     "[]", " spaces "),
    ("9223372036854775807", "9999999999999999.99", "1234567890123456789012345678.0123456789", "1e308", "YES",
     "2024-02-29", "2026-03-08 02:30:00.5", "2026-03-08T02:30:00.5-05:00", '{"a": [1, 2.50, "x"]}', "comma, quote \" '"),
    ("-9223372036854775808", "-9999999999999999.99", "-0.0000000001", "1e-308", "No", "1969-12-31",
     "1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999999+05:30", '{"é": "\U0001f600"}', "two\nlines\r\nand\ttabs"),
    ("007", "1.10", ".5", "0.1", "t", "1970-01-01", "1970-01-01", "1970-01-01 00:00+00", "1", "\U0001f600 é ß \\ \\N \\."),
    ("+5", "+5", "5.", "0.30000000000000004", "1", "2000-01-01", "2000-01-01T12:00", "2000-01-01T12:00:00+1400", '"s"',
     "=cmd|'/c calc'!A0"),
    ("12.0", "3.140", "1e", "-2.2250738585072014E-308", "0", "2026-11-20", "2026-11-20 10:20:30", "2026-11-20 10:20:30-12",
     "true", "NULL"),
    ("", "", "", "", "", "", "", "", "", ""),
)  # fmt: skip
"""Rows of every type; the big decimal of the seventh does not fit, so its row is rejected."""

CHECKSUM = "7:2e2fe71764736b77"
"""Of the rows that fit; whoever changes what a value is stored as, or how it is hashed, changes this."""


def _written(rows: tuple[tuple[str, ...], ...]) -> str:
    names = [column.name for column in EVERY_TYPE]
    lines = [names, *([str(n), *row] for n, row in enumerate(rows, 1))]
    return "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in line) + "\r\n" for line in lines)


def an_empty_text_that_a_database_wrote_stays_one(bench: Bench) -> None:
    """There a quoted empty field is an empty text and an unquoted one is null; in a file that people made both are."""
    bench.declare(Column("id", "bigint"), Column("word", "text"), Column("n", "bigint"), key=("id",),
                  disposition="merge")  # fmt: skip
    bench.take(_copied('id,word,n\n1,"",\n2,,3\n3,"a ""b""",""\n'))
    same(bench.rows("id", "word", "n"), [(1, "", None), (2, None, 3), (3, 'a "b"', None)], "the first load")
    bench.take(_copied('id,word,n\n1,,\n2,"",4\n'), csv('id,word,n\n4,"",\n5,"x",""\n'))
    same(bench.rows("id", "word"), [(1, None), (2, ""), (3, 'a "b"'), (4, None), (5, "x")], "the second")
    bench.take(_copied('id,word,n\n6,"",\n7,5" pipe,\n8,,\n9,"",""\n'))  # read record by record
    same(bench.rows("id", "word")[5:], [(6, ""), (7, '5" pipe'), (8, None), (9, "")], "records read one by one")
    bench.replays()


def _copied(text: str) -> Batch:
    return Batch("t", Raw([text.encode()], "csv", empty_texts=True), source_ref="query")


def every_type_has_one_checksum(bench: Bench) -> None:
    """The same rows give the same checksum on every engine: values are equal to the bit."""
    bench.declare(*EVERY_TYPE)
    result = bench.take(csv(_written(CELLS)))
    same((result.rows_merged, result.rows_rejected), (7, 1), "merged and rejected")
    where = ("_load_id", "_loaded_at")
    same(bench.checksum(*where), CHECKSUM, "checksum")
    same(bench.rows("id", "whole", "words")[3], (4, -(2**63), "two\nlines\r\nand\ttabs"), "a row")
    same(bench.rows("id", "doc")[2], (3, '{"a": [1, 2.50, "x"]}'), "a document")
    twin = Bench(bench.warehouse, bench.folder)
    twin.declare(*EVERY_TYPE)
    rows = [*CELLS[:6], CELLS[7]]
    twin.take(csv(_written(tuple(rows))), csv(_written(())))
    same(
        twin.checksum(*where, "_row", "_source_ref", "id"), bench.checksum(*where, "_row", "_source_ref", "id"), "twin"
    )


def a_checksum_sees_every_change(bench: Bench) -> None:
    """Any cell, any row, any null; but not the order of rows, nor an excluded column."""
    seen: set[str] = set()
    texts = (
        "1,a\n2,b\n",
        "1,a\n2,c\n",
        "1,a\n",
        "1,a\n2,\n",
        "1,b\n2,a\n",
        "1,a\n2,b\n2,b\n",
        "1,a\n1,a\n",
        "2,a\n2,a\n",
        "1,1a\n",
        "11,a\n",
    )
    for text in texts:
        one = Bench(bench.warehouse, bench.folder)
        one.declare(Column("k", "bigint"), Column("v"))
        one.take(csv("k,v\n" + text))
        seen.add(one.checksum("_load_id", "_loaded_at", "_source_ref", "_row"))
    same(len(seen), len(texts), "different checksums")
    other = Bench(bench.warehouse, bench.folder)
    other.declare(Column("k", "bigint"), Column("v"))
    other.take(csv("v,k\nb,2\na,1\n"))
    same(other.checksum("_load_id", "_loaded_at", "_source_ref", "_row") in seen, True, "rows in another order")


def rejects_say_what_did_not_fit(bench: Bench) -> None:
    """Load, row, column, value, reason and the whole row; the other rows are loaded."""
    bench.declare(Column("k", "bigint"), Column("amount", "decimal(18,2)", path="Amount $"), Column("v"), key=("k",),
                  order=("_row",), disposition="merge")  # fmt: skip
    load = bench.load(csv("k,Amount $,v\n1,1.00,a\nx,12.345,b\n,2,c\n4,4,d\n"))
    result = bench.merge(load)
    same((result.rows_merged, result.rows_rejected), (2, 2), "merged and rejected")
    found = bench.rejects("row_number", "column_name", "value", "reason", "load_id", "part")
    rounds, whole = "does not fit decimal(18,2) without rounding", "is not a whole number of 64 bits"
    same(
        found,
        [
            (2, "amount", "12.345", rounds, load.load_id, "page"),
            (2, "k", "x", whole, load.load_id, "page"),
            (3, "k", None, "is null, and it is the key", load.load_id, "page"),
        ],
        "rejects",
    )
    raws = {raw.replace(" ", "") for (raw,) in bench.rejects("raw")}
    same(raws, {'{"k":"x","Amount$":"12.345","v":"b"}', '{"k":null,"Amount$":"2","v":"c"}'}, "raw rows")
    bench.replays()
    same(len(bench.rejects("reason")), 3, "rejects after a replay")


def a_nul_is_rejected(bench: Bench) -> None:
    """No store of text can hold it everywhere, so it is set aside everywhere."""
    bench.declare(Column("k", "bigint"), Column("v"))
    bench.take(csv(b"k,v\n1,a\n2,b\0c\n3,d\n"))
    bench.take(jsonl('{"k": 4, "v": "e"}\n{"k": 5, "v": "f\\u0000g"}\n'))
    bench.take(decoded(k=[6, 7], v=["h", "i\0j"]))
    same(bench.rows("k", "v"), [(1, "a"), (3, "d"), (4, "e"), (6, "h")], "rows")
    same([row for (row,) in bench.rejects("row_number")], [2, 2, 2], "rejects")
    same(any("\0" in str(cell) for cell in bench.rejects("value", "raw")), False, "a NUL in the rejects")


def new_columns_follow_the_contract(bench: Bench) -> None:
    """Evolve adds them as text, freeze refuses the load, discard leaves them in the lake."""
    columns = (Column("k", "bigint"), Column("v"))
    bench.declare(*columns)
    bench.take(csv("k,v\n1,a\n"))
    noted = bench.take(csv("k,v,New Name,New Name\n2,b,007,8\n"))
    same(any("new_name" in note for note in noted.notes), True, "a note about the new column")
    bench.take(csv("New Name,k\nx,3\n"))
    same(bench.rows("k", "v", "new_name", "new_name_2"),
         [(1, "a", None, None), (2, "b", "007", "8"), (3, None, "x", None)], "rows")  # fmt: skip
    bench.replays()
    frozen = Bench(bench.warehouse, bench.folder)
    frozen.declare(*columns, contract="freeze")
    load = frozen.load(csv("k,v,new\n1,a,x\n"))
    fails(DataError, lambda: frozen.merge(load), "a new column under freeze")
    same(frozen.warehouse.merged(frozen.source, "stream"), set[str](), "merged under freeze")
    frozen.declare(*columns, contract="discard")
    frozen.merge(load)
    same(frozen.rows("k", "v"), [(1, "a")], "rows under discard")
    same("new" in frozen.warehouse.query(f"SELECT * FROM {frozen.title}").column_names, False, "a discarded column")


def a_new_pin_asks_for_a_replay(bench: Bench) -> None:
    """Types in force change only by typing all rows again."""
    bench.declare(Column("k", "bigint"), Column("v"))
    bench.take(csv("k,v\n1,1.50\n2,x\n"))
    before = bench.everything()
    bench.declare(Column("k", "bigint"), Column("v", "decimal(18,2)"))
    load = bench.load(csv("k,v\n3,2.25\n"))
    fails(ConfigError, lambda: bench.merge(load), "a retyped column")
    same(bench.everything(), before, "the warehouse after a refusal")
    first = bench.lake.loads(bench.source, "stream")[0]
    result = bench.merge(first, load, replay=True)
    same((result.rows_merged, result.rows_rejected), (2, 1), "merged and rejected by the replay")
    same([str(v) for _, v in bench.rows("k", "v")], ["1.50", "2.25"], "values")
    same(bench.rejects("value"), [("x",)], "rejects")
    bench.take(csv("k,v\n4,3\n"))
    same(len(bench.rows("k")), 3, "rows")


def names_are_taken_as_they_are(bench: Bench) -> None:
    """Reserved words, blanks, repeats, look-alikes and other scripts: every field has a column of its own."""
    header = 'select,Order By,order_by,"a ""b""",,,x,x,\u0438\u043c\u044f,9lives,user'
    names = (
        "select",
        "order_by",
        "order_by_2",
        "a_b",
        "column_5",
        "column_6",
        "x",
        "x_2",
        "column",
        "c_9lives",
        "user",
    )
    bench.declare()
    bench.take(csv(f"{header}\n" + ",".join(f"v{n}" for n in range(11)) + "\n"))
    same(bench.rows(*names), [tuple(f"v{n}" for n in range(11))], "rows")
    bench.take(csv("user,order_by,Order By\nu,second,first\n"))
    same(bench.rows("user", "order_by", "order_by_2"), [("u", "first", "second"), ("v10", "v1", "v2")], "rows")
    bench.replays()


def records_of_every_format_are_typed_alike(bench: Bench) -> None:
    """CSV, JSON Lines and decoded rows: the same values give the same table."""
    columns = (Column("k", "bigint"), Column("amount", "decimal(38,18)"), Column("v"), Column("inner", path="$.o.i"))
    found: list[Any] = []
    long = "12345678901234567.123456789012345678"
    for batch in (
        csv(f"k,amount,v,$.o.i\n1,{long},a,x\n2,0.1,,\n"),
        jsonl(f'{{"k": 1, "amount": {long}, "v": "a", "o": {{"i": "x"}}}}\n\n{{"k": 2, "amount": 0.1, "v": null}}\n'),
        decoded(**{"k": [1, 2], "amount": [long, "0.1"], "v": ["a", None], "$.o.i": ["x", None]}),
    ):
        one = Bench(bench.warehouse, bench.folder)
        one.declare(*columns, contract="discard")
        one.take(batch)
        found.append(one.checksum("_load_id", "_loaded_at", "_source_ref"))
    same(found[1:], found[:1] * 2, "checksums of three formats")


def the_warehouse_answers_questions(bench: Bench) -> None:
    """Queries bind their parameters, fail with a mend, and share one moment within a snapshot."""
    bench.declare(Column("k", "bigint"), Column("v"))
    bench.take(csv("k,v\n1,it's\n2,b\n"))
    found = bench.warehouse.query(
        f"SELECT k FROM {bench.title} WHERE v = :v AND ':v' = ':v'", {"v": "it's", "unused": 1}
    )
    same(found.to_pylist(), [{"k": 1}], "a query with a parameter")
    fails(DataError, lambda: bench.warehouse.query("SELECT nothing FROM nowhere"), "a query that fails")
    bench.warehouse.run(f"CREATE TABLE {bench.source}.made AS SELECT 1 AS one")
    same(bench.warehouse.query(f"SELECT one FROM {bench.source}.made").to_pylist(), [{"one": 1}], "a table of our own")
    with bench.warehouse.snapshot() as ask:
        before = ask(f"SELECT count(*) AS n FROM {bench.title}", {}).to_pylist()
        bench.take(csv("k,v\n3,c\n"))
        same(ask(f"SELECT count(*) AS n FROM {bench.title}", {}).to_pylist(), before, "a count within a snapshot")
    same(len(bench.rows("k")), 3, "rows after it")
    same(bench.warehouse.newest_loads()[f"{bench.source}.stream"], bench.rows("_load_id")[-1][0], "the newest load")
    same([one for one in bench.warehouse.check() if "fsync" not in one], [], "problems")  # test servers skip it
    same(bench.warehouse.dbt_profile()["type"], bench.warehouse.dialect, "the dbt profile")


def two_tables_of_a_stream_move_together(bench: Bench) -> None:
    """One load feeds two tables: both or neither."""
    second = dataclasses.replace(bench.table, name="u", columns=(Column("k", "bigint"),), contract="freeze")
    first = dataclasses.replace(bench.table, columns=(Column("k", "bigint"),))
    stream = dataclasses.replace(bench.stream, tables=(first, second))
    bench.table = first
    load = bench.load(csv("k\n1\n"), dataclasses.replace(csv("k\n2\n3\n"), table="u"))
    result = bench.warehouse.merge(stream, [load], bench.lake)
    same((result.rows_in, result.rows_merged), (3, 3), "rows of both tables")
    bad = bench.load(csv("k\n4\n"), dataclasses.replace(csv("k,new\n5,6\n"), table="u"))
    fails(DataError, lambda: bench.warehouse.merge(stream, [bad], bench.lake), "one table that refuses")
    same(bench.rows("k"), [(1,)], "the other table")


CHECKS = (
    an_empty_text_that_a_database_wrote_stays_one,
    every_type_has_one_checksum,
    a_checksum_sees_every_change,
    rejects_say_what_did_not_fit,
    a_nul_is_rejected,
    new_columns_follow_the_contract,
    a_new_pin_asks_for_a_replay,
    names_are_taken_as_they_are,
    records_of_every_format_are_typed_alike,
    the_warehouse_answers_questions,
    two_tables_of_a_stream_move_together,
)
