"""Casts: a text means exactly what it says, or it does not fit; judged against a second reading in plain Python."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from property_profiles import examples
from signalroom.errors import ConfigError
from signalroom.stream import Column
from signalroom.warehouse.casts import cast, decimal_of, duckdb_type


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET GLOBAL TimeZone = 'UTC'; SET GLOBAL threads = 1")
        yield opened


def typed(
    connection: duckdb.DuckDBPyConnection, column: Column, texts: Sequence[str | None]
) -> list[tuple[str | None, bool]]:
    """Return (value as text, misfit) of each text."""
    one = cast(column, "t")
    return connection.execute(
        f"SELECT CAST({one.value} AS VARCHAR), {one.misfit} FROM (SELECT unnest(CAST(? AS VARCHAR[])) AS t)",
        [list(texts)],
    ).fetchall()


# A second reading of each type: the value's canonical text, or None where the text does not fit.


def bigint(text: str) -> str | None:
    found = re.fullmatch(r"([+-]?[0-9]+)(\.0*)?", text.strip(" "))
    return str(int(found[1])) if found and -(2**63) <= int(found[1]) < 2**63 else None


def decimal(precision: int, scale: int) -> Callable[[str], str | None]:
    def read(text: str) -> str | None:
        plain = text.strip(" ")
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", plain):
            return None
        with localcontext(prec=200):
            value = Decimal(plain)
            exact = value == round(value, scale)
            return (
                f"{value:.{scale}f}".replace("-0.00", "-0.00")
                if exact and abs(value) < 10 ** (precision - scale)
                else None
            )

    return read


def double(text: str) -> str | None:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text.strip(" ")):
        return None
    value = float(text)
    return repr(value) if math.isfinite(value) else None


def boolean(text: str) -> str | None:
    if text.lower() in {"true", "t", "yes", "y", "1"}:
        return "true"
    return "false" if text.lower() in {"false", "f", "no", "n", "0"} else None


def day(text: str) -> str | None:
    found = re.fullmatch(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([ T]00:00(:00(\.0+)?)?Z?)?", text)
    try:
        return date.fromisoformat(found[1]).isoformat() if found else None
    except ValueError:
        return None


def moment(text: str) -> datetime | None:
    pattern = r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(\.[0-9]{1,6})?0*)?"
    found = re.fullmatch(pattern, text)
    if not found or (found[4] and not found[3]):
        return None
    try:
        whole = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}{found[3] or ':00'}")
    except ValueError:
        return None
    return whole + timedelta(microseconds=int((found[4] or ".0")[1:].ljust(6, "0")))


def timestamp(text: str) -> str | None:
    value = moment(text)
    return str(value) if value else None


def timestamptz(text: str) -> str | None:
    found = re.fullmatch(r"(.*:.*?)(Z|([+-])([01][0-9])(:?([0-5][0-9]))?)", text)
    if not found or ("." in text and not re.search(r":[0-9]{2}\.[0-9]", text)):
        return None
    value = moment(found[1])
    if value is None or int(found[4] or 0) > 15:
        return None
    shift = timedelta(hours=int(found[4] or 0), minutes=int(found[6] or 0)) * (-1 if found[3] == "-" else 1)
    try:
        return str(value - shift)
    except OverflowError:
        return None


READINGS: dict[str, Callable[[str], str | None]] = {
    "bigint": bigint,
    "decimal(18,2)": decimal(18, 2),
    "decimal(38,10)": decimal(38, 10),
    "decimal(5,0)": decimal(5, 0),
    "double": double,
    "boolean": boolean,
    "date": day,
    "timestamp": timestamp,
    "timestamptz": timestamptz,
}

digits = st.text("0123456789", max_size=22)
numbers = st.builds(
    "{}{}{}{}{}{}{}".format,
    st.sampled_from(["", "", "", " ", "$"]), st.sampled_from(["", "", "-", "+", "--"]), digits,
    st.sampled_from(["", ".", ".", ","]), digits, st.sampled_from(["", "", "", "e5", "E-9", "e400", "_0", "f"]),
    st.sampled_from(["", "", "", " ", "\t", "%"]),
)  # fmt: skip
edges = st.sampled_from(
    ["0", "-0", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "9999999999999999.99", "99999.0",
     "99999.5", "100000", "-99999", "1e308", "1e309", "nan", "NaN", "inf", "-Infinity", "0x1F", "1_000", "٣", "½", "1e", ".",
     "+", "", " ", "12.7", "12.345", "12.3400", "1e-9", "YES", "no", "True", "t", "F", "y", "on", "2", "null"]
)  # fmt: skip
two = st.integers(0, 61).map("{:02d}".format)
days = st.builds(
    "{}-{}-{}".format,
    st.sampled_from(["2026", "2024", "0001", "0000", "9999", "1969", "26", "10000"]),
    st.sampled_from(["01", "02", "12", "13", "00", "1"]), st.sampled_from(["01", "28", "29", "30", "31", "32", "00"]),
)  # fmt: skip
clocks = st.builds(
    "{}{}:{}{}{}".format,
    st.sampled_from(["T", " ", "  ", "t"]), st.one_of(two, st.sampled_from(["24", "00"])), st.one_of(two, st.just("00")),
    st.one_of(st.just(""), two.map(":{}".format), st.just(":00")),
    st.sampled_from(["", "", ".5", ".123456", ".1234567", ".123456000", ".", ".000"]),
)  # fmt: skip
zones = st.sampled_from(
    ["Z", "+00", "-05:00", "+0530", "+15:59", "+14:00", "-12", "+16:00", "+99:99", " Z", "z", "+5", "UTC"]
)
times = st.builds("{}{}{}".format, days, st.one_of(st.just(""), clocks), st.one_of(st.just(""), zones))
texts = st.one_of(numbers, numbers, edges, times, times, st.text(max_size=6))


@pytest.mark.parametrize("kind", READINGS)
@examples(quick=15, many=3_000)
@given(batch=st.lists(texts, min_size=40, max_size=120))
def test_a_text_fits_exactly_when_python_reads_the_same_value(connection, kind: str, batch: list[str]) -> None:
    for text, (value, misfit) in zip(batch, typed(connection, Column("c", kind), batch), strict=True):
        wanted = READINGS[kind](text)
        if wanted is None:
            assert misfit, f"{text!r} was taken as {kind} {value}"
        else:
            assert not misfit, f"{text!r} is a {kind}, and was refused"
            assert same(kind, value, wanted), f"{text!r} became {value}, not {wanted}"


def same(kind: str, value: str | None, wanted: str) -> bool:
    if kind == "double":
        return value is not None and float(value) == float(wanted)
    if kind.startswith("decimal"):
        return value is not None and Decimal(value) == Decimal(wanted)
    return value is not None and re.sub(r"(\.[0-9]*?)0+$", r"\1", value.removesuffix("+00")).rstrip(".") == re.sub(
        r"(\.[0-9]*?)0+$", r"\1", wanted
    ).rstrip(".")


@pytest.mark.parametrize("kind", [*READINGS, "text", "json"])
def test_null_fits_every_type(connection, kind: str) -> None:
    assert typed(connection, Column("c", kind), [None]) == [(None, False)]


@pytest.mark.parametrize(
    ("kind", "pattern", "text", "wanted"),
    [
        ("date", "%m/%d/%Y", "01/31/2026", "2026-01-31"),
        ("date", "%m/%d/%Y", "1/3/2026", "2026-01-03"),
        ("date", "%m/%d/%Y", "31/01/2026", None),
        ("date", "%m/%d/%Y", "02/30/2026", None),
        ("date", "%m/%d/%Y", "01/31/26", None),
        ("date", "%m/%d/%Y", "01/01/0000", None),
        ("date", "%m/%d/%Y", "01/31/2026 10:00", None),
        ("date", "%m/%d/%y", "01/31/26", "2026-01-31"),
        ("date", "%Y%m%d", "20260131", "2026-01-31"),
        ("timestamp", "%m/%d/%Y %I:%M %p", "01/31/2026 12:05 AM", "2026-01-31 00:05:00"),
        ("timestamp", "%m/%d/%Y %I:%M %p", "01/31/2026 13:05 PM", None),
        ("timestamptz", "%Y-%m-%d %H:%M %z", "2026-01-31 10:00 +02:00", "2026-01-31 08:00:00+00"),
        ("date", "epoch@America/New_York", "1764565200", "2025-12-01"),
        ("date", "epoch@UTC", "1764565200", "2025-12-01"),
        ("date", "epoch@America/New_York", "1764565199", "2025-11-30"),
        ("timestamp", "epoch@America/New_York", "1764565200", "2025-12-01 00:00:00"),
        ("timestamptz", "epoch@America/New_York", "0", "1970-01-01 00:00:00+00"),
        ("date", "epoch@UTC", "999999999999", None),
        ("date", "epoch@UTC", "-99999999999", None),
        ("date", "epoch@UTC", "1764565200.5", None),
        ("date", "epoch@UTC", "today", None),
    ],
)
def test_formats(connection, kind: str, pattern: str, text: str, wanted: str | None) -> None:
    value, misfit = typed(connection, Column("c", kind, format=pattern), [text])[0]
    assert misfit is (wanted is None)
    assert wanted is None or value == wanted


@pytest.mark.parametrize(
    ("text", "fits"),
    [('{"a": 1}', True), ("[]", True), ("null", True), ("1.5", True), ('"x"', True), ('{"a": "NaN, ,]\\" ,}"}', True),
     ("{a: 1}", False), ("[1,]", False), ('{"a": 1,}', False), ("NaN", False), ("[-Infinity]", False), ("", False),
     ("{'a': 1}", False), ('{"a": 1} x', False)],
)  # fmt: skip
def test_json_is_strict(connection, text: str, fits: bool) -> None:
    assert typed(connection, Column("c", "json"), [text])[0][1] is not fits


@pytest.mark.parametrize("kind", ["money", "decimal", "decimal(18)", "int", "DATE", ""])
def test_an_unknown_type_is_named_with_those_that_exist(kind: str) -> None:
    with pytest.raises(ConfigError, match="decimal"):
        duckdb_type(kind)


def test_decimals_know_their_precision() -> None:
    assert decimal_of("decimal(18, 2)") == (18, 2)
    assert decimal_of("bigint") is None
