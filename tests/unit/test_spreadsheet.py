"""CSV for spreadsheets: what is read back is what was there, and no cell is a formula."""

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_workspace import call, make_shop
from signalroom.records.spreadsheet import write_csv


def rows_of(table):
    written = io.BytesIO()
    write_csv(table, written)
    return list(csv.reader(io.StringIO(written.getvalue().decode(), newline="")))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "\uff1d1+1",
        "\ufeff=1",
        "-",
        "+1;=2",
    ],
)
def test_a_text_that_would_be_a_formula_is_shown_instead(text):
    assert rows_of(pa.table({"a": [text]}))[1] == ["'" + text]


@pytest.mark.parametrize("text", ["Harbor & Sons", "a=b", "-5", "-1,204.50", "+44 20 7946 0000", "(555) 010-0100", ""])
def test_other_texts_are_left_alone(text):
    assert rows_of(pa.table({"a": [text, "x"]}))[1] == [text]


@given(st.lists(st.tuples(st.text(), st.integers(-9, 9)), max_size=20))
def test_every_text_is_read_back_and_none_begins_like_a_formula(rows):
    texts = [text for text, _ in rows]
    found = rows_of(pa.table({"t": pa.array(texts, pa.string()), "n": pa.array([n for _, n in rows], pa.int64())}))[1:]
    assert [text if text in texts else text.removeprefix("'") for text, _ in found] == texts
    assert [int(number) for _, number in found] == [number for _, number in rows]
    for text, _ in found:
        bare = text.lstrip()
        assert text[:1] not in ("\t", "\r", "\n")
        assert bare[:1] not in ("=", "@")
        assert bare[:1] not in ("+", "-") or set(bare[1:]) <= set("0123456789 ().,/-")


def test_numbers_stay_numbers_and_nulls_are_empty():
    table = pa.table(
        {
            "money": [Decimal("-1.10"), None],
            "day": [date(2026, 11, 19), None],
            "at": [datetime(2026, 11, 19, 7, tzinfo=UTC), None],
            "list": [[1, 2], None],
            "bytes": [b"\x01\xff", None],
        }
    )
    header, first, second = rows_of(table)
    assert header == ["money", "day", "at", "list", "bytes"]
    assert first == ["-1.10", "2026-11-19", "2026-11-19 07:00:00.000000Z", "[1, 2]", "01ff"]
    assert second == [""] * 5


def test_two_columns_of_one_name_and_a_hostile_name():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array(["x"])], names=["a", "a", '=b"c'])
    assert rows_of(table) == [["a", "a", "'=b\"c"], ["1", "2", "x"]]


def test_query_prints_csv(tmp_path):
    make_shop(tmp_path)
    sql = "select i as n, case when i = 1 then '=1+1' else 'plain' end as t from range(300) r(i) order by i"
    lines = call(tmp_path, "query", "--csv", sql).stdout.splitlines()
    assert lines[:3] == ['"n","t"', '0,"plain"', '1,"\'=1+1"']
    assert len(lines) == 301
