"""What counts as a record, by example."""

import pytest

from signalroom.records import CsvScanner, LineScanner, Scan, careful, careful_header, careful_lines, recount
from signalroom.records.careful import LONGEST_RECORD
from signalroom.records.scan import LONGEST_JSON_LINE, LONGEST_LINE


def scan(data: bytes, delimiter: str = ",", encoding: str = "") -> Scan:
    scanner = CsvScanner(delimiter, encoding)
    scanner.feed(data)
    found = scanner.finish()
    return found if found.exact else recount(found, [data], delimiter=delimiter)


def read(data: bytes, **settings):
    return [(record.fields, record.problem) for record in careful([data], **settings)]


@pytest.mark.parametrize(
    ("data", "rows", "header"),
    [
        (b"", 0, ()),
        (b"a,b\n", 0, ("a", "b")),
        (b"a,b", 0, ("a", "b")),
        (b"a,b\n1,2", 1, ("a", "b")),
        (b"a,b\r\n1,2\r\n3,4\r\n", 2, ("a", "b")),
        (b"a,b\n\n1,2\n\n", 1, ("a", "b")),
        (b'"a ""x""","b\nc"\n1,2\n', 1, ('a "x"', "b\nc")),
        (b'a,b\n"1\n2","3"""\n', 1, ("a", "b")),
        (b'\xef\xbb\xbf"a",b\n1,2\n', 1, ("a", "b")),
        (b"\xef\xbb\xbf\xef\xbb\xbfa,b\n1,2\n", 1, ("\ufeffa", "b")),  # the second mark is text
        ("Größe,é\n1,2\n".encode(), 1, ("Größe", "é")),
        (b'a\n""\n1\n', 2, ("a",)),
        (b"a,b\n1\n1,2,3\n", 2, ("a", "b")),
        (b"a *,b\x02\n*,\x02\n", 1, ("a *", "b\x02")),
    ],
)  # fmt: skip
def test_regular_files(data, rows, header):
    found = scan(data)
    assert (found.rows, found.header, found.irregular) == (rows, header, False)


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b\n1,x\0y\n", 1),
        (b'a,b\n1,5" pipe\n2,3\n', 2),
        (b'a,b\n1,"x"y\n', 1),
        (b'a,b\n1,"never\n2,3\n4,5\n', 3),
        (b"a,b\n1,\xe9\n", 1),
        (b"a,b\r1,2\r3,4", 2),
        (b"a\n1\n\n2\n", 2),
        (b"\n\na,b\n1,2\n", 1),
        (b"a,b\r\n1,2\n3,4\r\n", 2),
        (b"a,b\n1," + b"x" * (LONGEST_LINE + 1) + b"\n", 1),
        ("a,b\n1,2\n".encode("utf-16"), 1),
        ("a,b\n1,2\n".encode("utf-16-le"), 1),
        ("a,b\n1,2\n".encode("utf-32"), 1),
    ],
)
def test_irregular_files_are_counted_by_the_careful_reader(data, rows):
    encoding = "utf-16-le" if data.startswith(b"a\0") else ""
    found = scan(data, encoding=encoding)
    assert (found.rows, found.irregular) == (rows, True)
    assert len(read(data, encoding=found.encoding)) == rows


@pytest.mark.parametrize(
    ("data", "declared", "encoding"),
    [
        (b"a\n\xc3\xa9\n", "", "utf-8"),
        (b"\xef\xbb\xbfa\n1\n", "", "utf-8-sig"),
        (b"a\ncaf\xe9\n", "", "cp1252"),
        (b"a\ncaf\xe9 \xc3\xa9\n", "", "utf-8"),
        (b"a\ncaf\xc3", "", "cp1252"),
        ("a\né\n".encode("utf-16"), "", "utf-16"),
        (b"a\n1\n", "cp1252", "utf-8"),
        (b"a\n\xe9\n", "latin-1", "iso8859-1"),
        (b"\xef\xbb\xbfa\n\xc3\xa9\n", "cp1252", "utf-8-sig"),
    ],
)
def test_encodings(data, declared, encoding):
    assert scan(data, encoding=declared).encoding == encoding


def test_an_unknown_encoding_is_named():
    with pytest.raises(ValueError, match="'klingon' is not known"):
        CsvScanner(",", "klingon")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b,c\n1,2,3\n", [(["1", "2", "3"], "")]),
        (b"a,b,c\n1,2\n", [(None, "2 fields where the header has 3")]),
        (b"a,b\n1\n", [(None, "1 field where the header has 2")]),
        (b"a,x y\n1,2\0\n", [(None, "NUL in column 'x y'")]),
        (b'a,b\n1,"2\n3,4\n', [(None, "quote never closed"), (["3", "4"], "")]),
        (b'a,b\n1,"2"x\n3,4\n', [(None, "text after a closing quote"), (["3", "4"], "")]),
        (b'a,b\n1,5" pipe\n', [(["1", '5" pipe'], "")]),
        (b'a,b\n1,"2\n3,4"\n5,6\n', [(["1", "2\n3,4"], ""), (["5", "6"], "")]),
        (b"a,b\n1,x\ry\n", [(None, "carriage return in an unquoted field")]),
        (b"a,b\r1,2\r3,4\r", [(["1", "2"], ""), (["3", "4"], "")]),
        (b'a,b\r"1\r2",3\r', [(["1\r2", "3"], "")]),
    ],
)
def test_problems_are_sentences_and_cost_one_record(data, expected):
    assert read(data) == expected


def test_bytes_that_are_not_text():
    assert read(b"a,b\n1,\x81\n2,\xe9\n", encoding="cp1252") == [(None, "byte 0x81 is not cp1252"), (["2", "é"], "")]
    (record,) = careful([b"a,b\n1,\xe9\0\n"], encoding="utf-8")
    assert (record.problem, record.raw) == ("byte 0xe9 is not utf-8", "1,\\xe9\\x00")


def test_a_torn_utf_16_file_has_a_last_problem():
    data = "a,b\n1,2\n3,4\n".encode("utf-16")[:-3]
    assert read(data, encoding="utf-16") == [(["1", "2"], ""), (None, "byte 0xff is not utf-8")]


def test_a_stray_quote_costs_its_line_and_not_the_file():
    lines = [b'%d,"open' % number if number % 100 == 50 else b"%d,x" % number for number in range(10_000)]
    found = list(careful([b"a,b\n" + b"\n".join(lines) + b"\n"]))
    assert len(found) == 10_000
    assert {record.problem for record in found if record.row % 100 == 51} == {"quote never closed"}
    assert sum(1 for record in found if record.problem) == 100


def test_a_field_of_ten_megabytes():
    big = ("x" * 99 + "\n") * 100_000
    data = f'a,b\n1,"{big}"\n2,y\n'.encode()
    found = scan(data)
    assert (found.rows, found.irregular) == (2, True)
    chunks = (data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20))
    assert [record.fields for record in careful(chunks)] == [["1", big], ["2", "y"]]


def test_a_quote_open_for_longer_than_any_record_is_cut():
    line = b"y" * (1 << 20) + b"\n"
    chunks = [b'a\n"', *[line] * (LONGEST_RECORD // len(line) + 2), b'"\n']
    found = list(careful(chunks))
    assert found[0].problem == "quote never closed"
    assert len(found) == LONGEST_RECORD // len(line) + 3


def test_other_delimiters():
    assert scan(b'a;b\n1;"x;y"\n', ";").rows == 1
    assert read(b'a\tb\n1\t"x\ty"\n', delimiter="\t") == [(["1", "x\ty"], "")]
    assert careful_header([b"a|b\n"], delimiter="|") == ("a", "b")


def test_json_lines():
    scanner = LineScanner()
    for chunk in (b'{"a": 1}\n \n{"b"', b": 2}\r\n\r\n", b'  {"c": 3}', b""):
        scanner.feed(chunk)
    assert scanner.finish() == Scan(3, (), "utf-8", irregular=False)
    found = list(careful_lines([b'{"a": 1}\n\n{"b": "\xe9"}\n{\0}']))
    assert [record.problem for record in found] == ["", "byte 0xe9 is not utf-8", "NUL in the line"]


def test_long_json_lines_are_irregular():
    scanner = LineScanner()
    scanner.feed(b"{" + b" " * LONGEST_JSON_LINE + b"}\n{}")
    assert scanner.finish() == Scan(2, (), "utf-8", irregular=True)


def test_json_lines_in_utf_16():
    data = '{"a": 1}\n{}\n'.encode("utf-16")
    scanner = LineScanner()
    scanner.feed(data)
    found = recount(scanner.finish(), [data], delimiter=None)
    assert (found.rows, found.irregular, found.encoding) == (2, True, "utf-16")


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b'"",', ["", None]),
        (b',""', [None, ""]),
        (b'"a",""', ["a", ""]),
        (b"a,b", ["a", "b"]),
        (b",", [None, None]),
        (b'"""",x', ['"', "x"]),
        (b'5" pipe,', ['5" pipe', None]),
    ],
)
def test_a_database_quotes_an_empty_text_and_never_a_null(line, fields):
    assert read(b"a,b\n" + line + b"\n", empty_texts=True) == [(fields, "")]
    assert read(b"a,b\n" + line + b"\n") == [([field or "" for field in fields], "")]
