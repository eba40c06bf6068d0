"""Files as the world writes them: each record is in the table exactly, or in the rejects with its reason."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from handmade_loads import Loads
from hostile_loads import JSON_LINES, Loaded, page
from signalroom.errors import ConfigError, DataError
from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.warehouse.base import Warehouse
from warehouse_laws import fresh_source
from warehouses import duckdb_warehouse

AB = (Column("a"), Column("b"))

TEXTS: dict[str, tuple[bytes, list[tuple[str | None, str | None]], list[tuple[int, str]]]] = {
    "plain": (b"a,b\n1,x\n", [("1", "x")], []),
    "bom": (b"\xef\xbb\xbfa,b\n1,x\n", [("1", "x")], []),
    "bom and quoted header": (b'\xef\xbb\xbf"a","b"\n1,x\n', [("1", "x")], []),
    "utf-16 le": ("\ufeffa,b\n1,é\n".encode("utf-16-le"), [("1", "é")], []),
    "utf-16 be": ("\ufeffa,b\r\n1,\U0001f600\r\n".encode("utf-16-be"), [("1", "\U0001f600")], []),
    "cp1252": ("a,b\n1,caf\xe9\n2,\u20ac\n".encode("cp1252"), [("1", "café"), ("2", "€")], []),
    "mixed encodings": ("a,b\n1,é\n".encode() + b"2,caf\xe9\n3,z\n", [("1", "é"), ("3", "z")], [(2, "is not utf-8")]),
    "nul": (b"a,b\n1,x\0y\n2,z\n", [("2", "z")], [(1, "NUL")]),
    "embedded newline, quote, comma": (b'a,b\n1,"x\ny, ""z"""\n2,w\n', [("1", 'x\ny, "z"'), ("2", "w")], []),
    "embedded crlf": (b'a,b\r\n1,"x\r\ny"\r\n', [("1", "x\r\ny")], []),
    "cr line ends": (b"a,b\r1,x\r2,y\r", [("1", "x"), ("2", "y")], []),
    "mixed line ends": (b"a,b\r\n1,x\n2,y\r\n", [("1", "x"), ("2", "y")], []),
    "no newline at the end": (b"a,b\n1,x\n2,y", [("1", "x"), ("2", "y")], []),
    "too few fields": (b"a,b\n1\n2,y\n", [("2", "y")], [(1, "1 field where the header has 2")]),
    "too many fields": (b"a,b\n1,x,!\n2,y\n", [("2", "y")], [(1, "3 fields where the header has 2")]),
    "blank lines": (b"a,b\n\n1,x\n\n\n2,y\n\n", [("1", "x"), ("2", "y")], []),
    "stray quote": (b'a,b\n1,5" pipe\n2,y\n', [("1", '5" pipe'), ("2", "y")], []),
    "text after a quote": (b'a,b\n1,"x" y\n2,z\n', [("2", "z")], [(1, "after a closing quote")]),
    "unterminated quote": (b'a,b\n1,"x\n2,y\n', [("2", "y")], [(1, "quote never closed")]),
    "empty and null": (b'a,b\n1,\n2,""\n', [("1", None), ("2", None)], []),
    "blanks are kept": (b"a,b\n 1 , x \n", [(" 1 ", " x ")], []),
    "formula": (b"a,b\n=1+1,@SUM(A1)\n", [("=1+1", "@SUM(A1)")], []),
    "leading zeros": (b"a,b\n00501,+1555\n", [("00501", "+1555")], []),
    "copy's own marks": (b"a,b\n\\N,\\.\n\\,\\\\\n", [("\\N", "\\."), ("\\", "\\\\")], []),
    "unicode of every plane": ("a,b\n\u202eabc,\ufffd\u0301\n".encode(), [("\u202eabc", "\ufffd\u0301")], []),
    "unit separators": (b"a,b\n\x1f\x1e,\x01\x7f\n", [("\x1f\x1e", "\x01\x7f")], []),
    "header only": (b"a,b\n", [], []),
    "nothing": (b"", [], []),
    "one newline": (b"\n", [], []),
    "only a bom": (b"\xef\xbb\xbf", [], []),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_kept_exactly_or_rejected_with_its_reason(warehouse: Warehouse, tmp_path: Path, name: str) -> None:
    content, rows, rejects = TEXTS[name]
    loaded = Loaded(warehouse, tmp_path, page(content), columns=AB)
    assert loaded.rows("a", "b") == rows
    assert [row for row, *_ in loaded.rejects] == [row for row, _ in rejects]
    assert all(reason in found[3] for found, (_, reason) in zip(loaded.rejects, rejects, strict=True))


VALUES = [
    ("bigint", "12", 12),
    ("bigint", "12.0", 12),
    ("bigint", "12.7", None),
    ("bigint", "1e3", None),
    ("bigint", "9223372036854775808", None),
    ("bigint", "1,000", None),
    ("bigint", "0x10", None),
    ("bigint", "1_000", None),
    ("decimal(18,2)", "12.340", "12.34"),
    ("decimal(18,2)", "12.345", None),
    ("decimal(18,2)", "1e-9", None),
    ("decimal(18,2)", "99999999999999999", None),
    ("decimal(18,2)", "$5", None),
    ("decimal(18,2)", "NaN", None),
    ("double", "1e400", None),
    ("double", "inf", None),
    ("double", "1_0", None),
    ("double", "-1.5e3", -1500.0),
    ("boolean", "YES", True),
    ("boolean", "No", False),
    ("boolean", "maybe", None),
    ("date", "0000-00-00", None),
    ("date", "0000-01-01", None),
    ("date", "2026-02-30", None),
    ("date", "01/02/2026", None),
    ("date", "2026-01-01T00:00:00", "2026-01-01"),
    ("date", "2026-01-01 10:00", None),
    ("timestamp", "2026-01-01 24:00:00", None),
    ("timestamp", "2026-01-01 23:59:60", None),
    ("timestamp", "2026-01-01 10:00:00+02:00", None),
    ("timestamp", "2026-01-01T10:00:00Z", None),
    ("timestamp", "2026-01-01 10:00:00.1234567", None),
    ("timestamp", "2026-01-01 10:00:00.123456000", "2026-01-01 10:00:00.123456"),
    ("timestamptz", "2026-01-01 10:00:00", None),
    ("timestamptz", "2026-01-01 10:00:00+99:00", None),
    ("timestamptz", "0001-01-01 00:00:00+01", None),
    ("json", "{oops}", None),
    ("json", "[1,]", None),
    ("json", "NaN", None),
    ("json", '{"a": "NaN, ,]"}', '{"a": "NaN, ,]"}'),
]


def test_values_mean_what_they_say_or_are_rejected(warehouse: Warehouse, tmp_path: Path) -> None:
    columns = [Column("id", "bigint")]
    columns += [Column(f"c{n}", kind) for n, kind in enumerate(dict.fromkeys(kind for kind, *_ in VALUES))]
    of_kind = {column.type: column.name for column in columns[1:]}
    sink = io.StringIO()
    writer = csv.DictWriter(sink, [column.name for column in columns])
    writer.writeheader()
    writer.writerows({"id": n, of_kind[kind]: text} for n, (kind, text, _) in enumerate(VALUES))
    loaded = Loaded(warehouse, tmp_path, page(sink.getvalue()), columns=columns)
    kept = {row[0]: row for row in loaded.rows(*(column.name for column in columns))}
    names = [column.name for column in columns]
    for n, (kind, text, value) in enumerate(VALUES):
        if value is None:
            assert n not in kept, f"{text!r} was taken as {kind}"
        else:
            found = kept[n][names.index(of_kind[kind])]
            assert (str(found) if isinstance(value, str) else found) == value, f"{text!r} as {kind}"
    wanted = {(n + 1, of_kind[kind], text) for n, (kind, text, value) in enumerate(VALUES) if value is None}
    assert {(row, column, value) for row, column, value, _ in loaded.rejects} == wanted
    assert all(reason for *_, reason in loaded.rejects)


def test_mistake_6_flags_of_every_spelling_are_typed(warehouse: Warehouse, tmp_path: Path) -> None:
    """YES/NO flags compare as booleans; a predecessor compared them with '1' and counted no chargebacks."""
    columns = (Column("orders_id", "bigint"), Column("chargeback_flag", "boolean"), Column("is_test_cc", "boolean"))
    text = "orders_id,chargeback_flag,is_test_cc\n1,YES,NO\n2,NO,YES\n3,No,Yes\n4,N/A,NA\n5,1,0\n6,MAYBE,NO\n"
    loaded = Loaded(warehouse, tmp_path, page(text), columns=columns, nulls=("NA", "N/A", "None"))
    assert loaded.rows("orders_id", "chargeback_flag", "is_test_cc") == [
        (1, True, False), (2, False, True), (3, False, True), (4, None, None), (5, True, False)
    ]  # fmt: skip
    assert loaded.rejects == [(6, "chargeback_flag", "MAYBE", "is neither true nor false")]
    counted = f"SELECT count(*) FROM {loaded.stream.source}.t WHERE chargeback_flag AND NOT is_test_cc"
    assert loaded.query(counted) == [(2,)]


def test_mistake_8_an_order_has_one_current_state(warehouse: Warehouse, tmp_path: Path) -> None:
    """Late files load, a corrected re-upload counts once, and an order is a row of its key, not of its file."""
    lake = Loads(tmp_path)
    columns = (Column("orders_id", "bigint"), Column("order_status"), Column("total", "decimal(18,2)"))
    table = Table("orders", columns, key=("orders_id",), order=("_file_time", "_row"), disposition="merge")
    stream = Stream(fresh_source(), "orders", (table,), client="713")

    def upload(day: int, *rows: str) -> None:
        key = f"orders/report_2026-01-0{day}.csv"
        data = "\r\n".join(["orders_id,order_status,total", *rows, ""]).encode()
        moment = datetime(2026, 1, day, tzinfo=UTC)
        batch = Batch("orders", Raw([data], "csv"), {key: {"size": len(data)}}, object_key=key, file_time=moment)
        warehouse.merge(stream, [lake.add(stream, batch)], lake)

    upload(3, "1,NEW,10.00", "2,NEW,20.00")
    upload(1, "1,DECLINED,10.00", "9,NEW,90.00")  # late: its own order is new, order 1 keeps its newer state
    upload(3, "1,NEW,10.00", "2,VOID/REFUNDED,20.00", "3,NEW,30.00")  # corrected
    upload(3, "1,NEW,11.00", "2,VOID/REFUNDED,20.00", "3,NEW,30.00")  # and again
    found = warehouse.query(f"SELECT orders_id, order_status, total FROM {stream.source}.orders ORDER BY 1").to_pylist()
    assert [(row["orders_id"], row["order_status"], str(row["total"])) for row in found] == [
        (1, "NEW", "11.00"), (2, "VOID/REFUNDED", "20.00"), (3, "NEW", "30.00"), (9, "NEW", "90.00")
    ]  # fmt: skip


@pytest.mark.parametrize("careful_reader", [False, True], ids=["regular", "irregular"])
def test_json_lines_are_kept_or_rejected(warehouse: Warehouse, tmp_path: Path, careful_reader: bool) -> None:
    lines = [*JSON_LINES, *([('{"a": "z\0"}', None, "NUL")] if careful_reader else [])]
    text = "\n\n".join(line for line, *_ in lines)
    loaded = Loaded(warehouse, tmp_path, page(text, format="jsonl"), columns=AB)
    assert loaded.rows("a", "b") == [row for _, row, _ in lines if row is not None]
    wanted = [(number, reason) for number, (_, _, reason) in enumerate(lines, 1) if reason]
    assert [row for row, *_ in loaded.rejects] == [number for number, _ in wanted]
    assert all(reason in found[3] for found, (_, reason) in zip(loaded.rejects, wanted, strict=True))


def test_keys_of_json_are_found_however_they_are_spelt(warehouse: Warehouse, tmp_path: Path) -> None:
    keys = [
        "Offer ID",
        'quo"ted',
        "a.b",
        "a/b",
        "a~b",
        "back\\slash",
        "",
        " ",
        "*",
        "$",
        "$amount",
        "x[0]",
        "Имя",
        "_op",
    ]
    text = "\n".join(json.dumps({key: f"{n}-{place}" for place, key in enumerate(keys)}) for n in range(3))
    loaded = Loaded(warehouse, tmp_path, page(text, format="jsonl"))
    found = loaded.query(f"SELECT * FROM {loaded.stream.source}.t ORDER BY _row")
    for n, row in enumerate(found):
        assert {f"{n}-{place}" for place in range(len(keys))} <= set(map(str, row))


def test_json_documents_are_shredded(warehouse: Warehouse, tmp_path: Path) -> None:
    records = [{"a": 1, "b": "x"}, {"a": 2}, "no object", {"b": "LONG"}, None]
    text = json.dumps({"table": records, "more": False}).replace('"LONG"', "12345678901234567.25")
    loaded = Loaded(warehouse, tmp_path, page(text, format="json", records="$.table", rows=5), columns=AB)
    assert loaded.rows("a", "b") == [("1", "x"), ("2", None), (None, "12345678901234567.25")]
    assert [row for row, *_ in loaded.rejects] == [3, 5]


@pytest.mark.parametrize("text", ["{broken", '{"table": 1}', ""])
def test_documents_that_cannot_be_read_stop_the_load(duckdb: Warehouse, tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        Loaded(duckdb, tmp_path, page(text, format="json", records="$.table", rows=1), columns=AB)


def test_parquet_with_nested_types_is_kept(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = pa.table({
        "id": pa.array([1, 2], pa.int32()),
        "list": pa.array([["it's", None], []], pa.list_(pa.string())),
        "struct": pa.array([{"x": 1, "y": 'say "z"'}, None]),
        "map": pa.array([[("k", 1.5)], []], pa.map_(pa.string(), pa.float64())),
        "bytes": pa.array([b"\x00\xff", b"a"]),
        "day": pa.array([datetime(2026, 1, 2, tzinfo=UTC).date(), None], pa.date32()),
        "moment": pa.array([datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "money": pa.array(["12.30", None]).cast(pa.decimal128(18, 2)),
        "_part": pa.array(["p", "q"]), "_row": pa.array([7, 8]), "a": pa.array(["1", "2"]), "A": pa.array(["3", "4"]),
    })  # fmt: skip
    sink = io.BytesIO()
    pq.write_table(rows, sink)
    columns = [
        Column("id", "bigint"), Column("list", "json"), Column("struct", "json"), Column("map", "json"), Column("bytes"),
        Column("day", "date"), Column("moment", "timestamptz"), Column("money", "decimal(18,2)"),
    ]  # fmt: skip
    loaded = Loaded(warehouse, tmp_path, page(sink.getvalue(), format="parquet"), columns=columns)
    found = loaded.rows("id", "list", "struct", "map", "bytes", "day", "money")
    assert [json.loads(cell) if cell else None for cell in found[0][1:4]] == [
        ["it's", None], {"x": 1, "y": 'say "z"'}, {"k": 1.5}
    ]  # fmt: skip
    assert (found[0][4], str(found[0][5]), str(found[0][6])) == ("\\x00\\xFF", "2026-01-02", "12.30")
    assert loaded.rows("part", "row", "_row") == [("p", "7", 1), ("q", "8", 2)]
    stored = loaded.query(f"SELECT * FROM {loaded.stream.source}.t ORDER BY id")
    assert {"1", "3"} <= set(map(str, stored[0]))


def test_long_fields_lines_and_many_columns(warehouse: Warehouse, tmp_path: Path) -> None:
    big = "x" * (10 << 20)
    loaded = Loaded(warehouse, tmp_path, page(f"a,b\n1,{big}\n2,y\n"), columns=AB)
    assert loaded.query(f"SELECT length(b) FROM {loaded.stream.source}.t ORDER BY a") == [(len(big),), (1,)]
    line = json.dumps({"a": "1", "b": big + big})
    long = Loaded(warehouse, tmp_path / "2", page(line + '\n{"a": "2"}\n', format="jsonl"), columns=AB)
    assert long.query(f"SELECT length(b) FROM {long.stream.source}.t ORDER BY a") == [(2 * len(big),), (None,)]


def test_a_thousand_columns(duckdb: Warehouse, tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(1_200)]
    columns = [Column(name, "bigint") for name in names]
    text = "\n".join([",".join(names), ",".join(map(str, range(1_200))), ",".join(["x", *map(str, range(1, 1_200))])])
    loaded = Loaded(duckdb, tmp_path, page(text), columns=columns)
    assert loaded.rows("c0", "c1199") == [(0, 1199)]
    assert loaded.rejects == [(2, "c0", "x", "is not a whole number of 64 bits")]
    assert loaded.warehouse.checksum(f"{loaded.stream.source}.t").startswith("1:")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_packed_files_are_read_whole_or_not_at_all(duckdb: Warehouse, tmp_path: Path, pack: str, form: str) -> None:
    lines = (
        [f"{n},x{n}" for n in range(5_000)] if form == "csv" else [f'{{"a": {n}, "b": "x{n}"}}' for n in range(5_000)]
    )
    text = "\n".join((["a,b"] if form == "csv" else []) + lines).encode()
    whole = gzip.compress(text) if pack == "gzip" else zstandard.compress(text)
    two = (gzip.compress(text[:9_000]) + gzip.compress(text[9_000:]) if pack == "gzip"
           else zstandard.compress(text[:9_000]) + zstandard.compress(text[9_000:]))  # fmt: skip
    for number, packed in enumerate((whole, two)):
        loaded = Loaded(duckdb, tmp_path / str(number), page(packed, format=form, compression=pack), columns=AB)
        assert loaded.result.rows_merged == 5_000
    lake = Loads(tmp_path / "cut")
    stream = Stream(fresh_source(), "hostile", (Table("t", AB),))
    for cut in (len(whole) // 2, len(whole) - 5):
        load = lake.add(stream, page(whole, format=form, compression=pack))
        lake.local(load, load.parts[0]).write_bytes(whole[:cut])
        with pytest.raises(DataError):
            duckdb.merge(stream, [load], lake)
    assert duckdb.merged(stream.source, stream.name) == set()


def test_misfits_are_found_at_their_row_in_large_files(duckdb: Warehouse, tmp_path: Path) -> None:
    """Several large files in one read: the number of a rejected row is its place in its own file."""
    columns = (Column("a", "bigint"), Column("b"))
    wrong = {0: {1, 70_000}, 1: {35_000}, 2: {69_999}}
    batches = [
        Batch("t", Raw(["a,b\n" + "".join(
            f"{'x' if row in wrong[number] else row},{number}\n" for row in range(1, 70_001)
        )], "csv"), source_ref=f"{number}.csv")
        for number in range(3)
    ]  # fmt: skip
    batches = [
        Batch("t", Raw([str(next(iter(b.content.chunks))).encode()], "csv"), source_ref=b.source_ref) for b in batches
    ]
    batches.append(Batch("t", Raw([b'a,b\nz,5" pipe\nz,w\n1,v\n'], "csv"), source_ref="careful.csv"))
    with duckdb_warehouse(tmp_path) as warehouse:
        warehouse.connect().execute("SET GLOBAL threads = 4")
        loaded = Loaded(warehouse, tmp_path / "lake", *batches, columns=columns)
        found = loaded.query(f"SELECT part, row_number FROM signalroom.rejects WHERE source = '{loaded.stream.source}'")
    expected = [(f"{number}.csv", row) for number, rows in wrong.items() for row in rows]
    assert sorted(found) == sorted([*expected, ("careful.csv", 1), ("careful.csv", 2)])


@pytest.mark.parametrize("column", [Column("a", "date", format="%Q"), Column("a", "date", format="epoch@Mars/Base"),
                                    Column("a", "timestamptz", format="%Y-%m-%d"), Column("a", "bigint", format="%d"),
                                    Column("a", "timestamp", format="%Y-%m-%d %z"), Column("a", "money")])  # fmt: skip
def test_a_type_that_cannot_be_is_the_persons_to_mend(duckdb: Warehouse, tmp_path: Path, column: Column) -> None:
    with pytest.raises(ConfigError):
        Loaded(duckdb, tmp_path, page("a\n1\n"), columns=(column,))


def test_years_of_two_digits_are_not_the_first_century(warehouse: Warehouse, tmp_path: Path) -> None:
    columns = (Column("a", "date", format="%m/%d/%Y"),)
    loaded = Loaded(warehouse, tmp_path, page("a\n01/13/26\n01/13/2026\n1/3/2026\n"), columns=columns)
    assert [str(day) for (day,) in loaded.rows("a")] == ["2026-01-13", "2026-01-03"]
    assert [row for row, *_ in loaded.rejects] == [1]


INFERRED = [
    ("02134", "text"), ("+15551234567", "text"), ("007", "text"), ("1.50", "decimal(18,2)"), ("12", "bigint"),
    ("1e5", "double"), ("true", "boolean"), ("YES", "text"), ("2026-01-02", "date"), ("2026-02-30", "text"),
    ("2026-01-02 03:04", "timestamp"), ("2026-01-02T03:04:05Z", "timestamptz"), ("", "text"), ("1.2.3.4", "text"),
    ("12345678901234567890", "text"), ("1234567890123456.5", "text"), ("0.1234567890123", "double"), ("-0.005", "decimal(18,3)"),
]  # fmt: skip


def test_types_are_inferred_only_where_nothing_is_lost(duckdb: Warehouse, tmp_path: Path) -> None:
    header = ",".join(f"c{n}" for n in range(len(INFERRED)))
    loaded = Loaded(duckdb, tmp_path, page(f"{header}\n" + ",".join(value for value, _ in INFERRED) + "\n"))
    text = loaded.query(f"SELECT columns FROM signalroom.schemas WHERE source = '{loaded.stream.source}'")[0][0]
    found = {column["name"]: column["type"] for column in json.loads(text)}
    assert found == {f"c{n}": kind for n, (_, kind) in enumerate(INFERRED)}


# ------------------------------------------------------------------------------------------------------------- fuzz
