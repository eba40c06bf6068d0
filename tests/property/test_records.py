"""The scanners count what the careful readers yield, and on regular bytes what any reader yields."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalroom.records import CsvScanner, LineScanner, Scan, careful, careful_header, careful_lines, recount

pytestmark = pytest.mark.filterwarnings("error")

HOSTILE = [
    b'"', b'""', b'",', b',"', b'"\n', b'\n"', b"\n", b"\r\n", b"\r", b",", b"a", b"bc", b" ", b"*", b"\x02", b"\0",
    b"\xe9", b"\xc3\xa9", b"\x81", b"\xef\xbb\xbf", b"\xff\xfe", b"\n\n", b"1,2\n", b'"x\ny",2\r\n', b"a,b\n",
]  # fmt: skip
hostile_csv = st.lists(st.sampled_from(HOSTILE), max_size=25).map(b"".join)
cuts = st.lists(st.integers(1, 9), min_size=1, max_size=6)
values = st.text(st.sampled_from('ab,"\n\r é漢'), max_size=6)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    found, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return found


def scanned(data: bytes, sizes: list[int], encoding: str = "") -> Scan:
    scanner = CsvScanner(",", encoding)
    for piece in pieces(data, sizes):
        scanner.feed(piece)
    scan = scanner.finish()
    return scan if scan.exact else recount(scan, pieces(data, sizes), delimiter=",")


@given(hostile_csv, cuts)
def test_scanner_and_careful_reader_agree_on_any_bytes(data, sizes):
    scan = scanned(data, sizes)
    records = list(careful(pieces(data, sizes), encoding=scan.encoding))
    assert [record.row for record in records] == list(range(1, scan.rows + 1))
    assert scan.header == careful_header([data], encoding=scan.encoding)


@given(hostile_csv, cuts)
def test_where_the_bytes_are_cut_changes_nothing(data, sizes):
    assert scanned(data, sizes) == scanned(data, [len(data) or 1])
    encoding = scanned(data, sizes).encoding
    assert list(careful(pieces(data, sizes), encoding=encoding)) == list(careful([data], encoding=encoding))


@given(hostile_csv, cuts)
def test_regular_bytes_are_what_the_csv_module_reads(data, sizes):
    scan = scanned(data, sizes)
    if scan.irregular:
        return
    text = data.decode(scan.encoding)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    assert scan.rows == max(len(rows) - 1, 0)
    assert list(scan.header) == (rows[0] if rows else [])
    for record, row in zip(careful([data], encoding=scan.encoding), rows[1:], strict=True):
        assert record.fields == (row if len(row) == len(scan.header) else None)


@given(hostile_csv)
def test_every_record_is_whole_or_has_a_problem(data):
    encoding = scanned(data, [3]).encoding
    width = len(careful_header([data], encoding=encoding))
    for record in careful([data], encoding=encoding):
        assert (record.fields is None) == bool(record.problem)
        assert record.fields is None or len(record.fields) == width
        record.raw.encode()
        assert "\0" not in record.raw


@given(
    st.lists(st.lists(values, min_size=2, max_size=2), max_size=8),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    cuts,
)
def test_what_a_writer_quotes_comes_back(rows, encoding, end, sizes):
    sink = io.StringIO(newline="")
    csv.writer(sink, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    data = sink.getvalue().encode(encoding)
    scan = scanned(data, sizes)
    assert (scan.rows, scan.header, scan.encoding) == (len(rows), ("a", "b"), encoding)
    records = list(careful(pieces(data, sizes), encoding=scan.encoding))
    assert [record.fields for record in records] == rows


@given(st.lists(st.sampled_from([b"{}", b'{"a": "\\n"}', b"\n", b"\r\n", b" ", b"\t", b"\n\n", b"\0", b"\xe9"])), cuts)
def test_json_lines_are_the_lines_that_are_not_blank(tokens, sizes):
    data = b"".join(tokens)
    scanner = LineScanner()
    for piece in pieces(data, sizes):
        scanner.feed(piece)
    scan = scanner.finish()
    if not scan.exact:
        scan = recount(scan, [data], delimiter=None)
    assert scan.rows == sum(1 for line in data.split(b"\n") if line.strip(b" \t\r"))
    assert scan.rows == len(list(careful_lines(pieces(data, sizes), encoding=scan.encoding)))


@given(st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3)), st.booleans(), cuts)
def test_json_lines_that_json_writes_are_regular(rows, ascii_only, sizes):
    data = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode("utf-8", "replace")
    scanner = LineScanner()
    for piece in pieces(data, sizes):
        scanner.feed(piece)
    assert scanner.finish() == Scan(len(rows), (), "utf-8", irregular=False)
