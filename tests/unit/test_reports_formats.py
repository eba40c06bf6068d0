"""How numbers are written: 0 is 0, None is n/a, money never a float."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalroom.errors import DataError
from signalroom.reports import formats


@pytest.mark.parametrize(
    "write", [formats.usd, formats.usd2, formats.usd_short, formats.count, formats.pct, formats.cpa]
)
def test_none_is_not_available_and_zero_is_zero(write):
    assert write(None) == "n/a"
    assert "0" in write(0)
    assert write(Decimal("0.00")) == write(0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Decimal("1234.5"), "$1,235"),
        (Decimal("0.5"), "$1"),
        (Decimal("-0.4"), "$0"),
        (Decimal("-3.2"), "-$3"),
        (Decimal("1e30"), "$1.00e30"),
        (Decimal("9e999999"), "$9.00e999999"),
        (Decimal("0e999"), "$0"),
    ],
)
def test_whole_dollars(value, said):
    assert formats.usd(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(999, "$999"), (999_949, "$999.9k"), (999_950, "$1M"), (12_345, "$12.3k"), (-5_000, "-$5k"), (10**15, "$1.0e15")],
)
def test_short_dollars(value, said):
    assert formats.usd_short(value) == said


@pytest.mark.parametrize(
    ("value", "cents", "whole", "number"),
    [
        (Decimal("-1234.5"), "-$1,234.50", "-$1,235", "-1,235"),
        (Decimal("123456.78"), "$123,456.78", "$123,457", "123,457"),
        (Decimal("1234567.89"), "$1,234,568", "$1,234,568", "1,234,568"),
        (987654321098, "$987.7B", "$987.7B", "987.7B"),
        (0, "$0.00", "$0", "0"),
        (None, "n/a", "n/a", "n/a"),
    ],
)
def test_what_would_push_its_neighbours_out_is_written_shorter(value, cents, whole, number):
    assert (formats.usd_fit(value), formats.usd_fit(value, 12, 0), formats.count_fit(value)) == (cents, whole, number)
    assert formats.cpa(value, 1, 12) == cents


@pytest.mark.parametrize("value", [1.5, True, "12", Decimal("NaN"), Decimal("Infinity")])
def test_what_is_no_exact_number_is_refused(value):
    with pytest.raises(DataError):
        formats.usd(value)


def test_cpa_without_conversions_is_never_zero_dollars():
    assert formats.cpa(None) == "n/a"
    assert formats.cpa(Decimal(0), 0) == "n/a"
    assert formats.cpa(Decimal(100), 0) == "n/a"
    assert formats.cpa(Decimal(100), None) == "n/a"
    assert formats.cpa(Decimal(0), 5) == "$0.00"


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [
        (110, 100, "▲ 10.0%"),
        (96, 100, "▼ 4.0%"),
        (0, 100, "▼ 100.0%"),
        (0, 0, "no change"),
        (5, 0, "n/a"),
        (None, 5, "n/a"),
        (5, None, "n/a"),
        (-50, -100, "▲ 50.0%"),
        (10_001, 10_000, "no change"),
        (1099, 100, "▲ 999.0%"),
        (60_000, Decimal("0.01"), "▲ over 999%"),
    ],
)
def test_delta(now, before, said):
    assert formats.delta(now, before) == said


def test_mood_knows_that_a_lower_cpa_is_good():
    assert formats.mood(9, 10, "down") == "good"
    assert formats.mood(9, 10) == "bad"
    assert formats.mood(9, 10, "none") == formats.mood(None, 10) == "flat"


def test_days_and_clocks():
    moment = datetime(2026, 11, 19, 19, 15, tzinfo=UTC)
    assert formats.short_date(date(2026, 1, 2)) == "01/02"
    assert formats.long_date(date(2026, 11, 9)) == "Monday, November 9, 2026"
    assert formats.local_time(moment, "America/New_York") == "14:15 ET"
    assert formats.local_time(moment, "America/New_York", date(2026, 11, 20)) == "11/19 14:15 ET"
    assert formats.local_time(datetime(2026, 7, 1, 18, 15, tzinfo=UTC), "America/New_York") == "14:15 ET"
    assert formats.local_time(moment, "Europe/Berlin") == "20:15 CET"
    assert formats.local_time(None, "UTC") == "n/a"
    with pytest.raises(DataError, match="no time zone"):
        formats.local_time(datetime(2026, 11, 19), "UTC")


def test_labels_are_one_short_line():
    assert formats.label("a\nb\t c") == "a b c"
    assert formats.label("x" * 10_000, 10) == "x" * 9 + "…"
    assert formats.label("\u202eevil") == "evil"
    assert formats.label("\u05e9\u05dc") == "\u2068\u05e9\u05dc\u2069"
    assert formats.label("  ") == formats.label(None) == "n/a"


def test_a_flag_that_is_text_is_refused():
    assert formats.choose(value=True, yes="in", no="out") == "in"
    assert formats.choose(None, "in", "out") == "n/a"
    with pytest.raises(DataError, match="no boolean"):
        formats.choose("NO", "in", "out")


def test_ratio_of_nothing_is_unknown():
    assert formats.ratio(5, 0) is None
    assert formats.ratio(None, 5) is None
    assert formats.ratio(0, 5) == 0


def test_sparkline_keeps_gaps():
    assert formats.sparkline([0, None, 7]) == "▁ █"
    assert formats.sparkline([3, 3]) == "▁▁"
    assert formats.sparkline([None]) == ""


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.integers())
def test_every_exact_number_can_be_written(value):
    for write in (
        formats.usd,
        formats.usd2,
        formats.usd_short,
        formats.count,
        formats.count_short,
        formats.usd_fit,
        formats.count_fit,
    ):
        said = write(value)
        assert 0 < len(said) < 40
        assert "-" not in said or value < 0 or "e-" in said


@given(st.integers(-(10**12), 10**12))
def test_whole_numbers_are_written_exactly(value):
    assert int(formats.count(value).replace(",", "")) == value
