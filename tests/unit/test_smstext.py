"""Text messages: folding, segments, length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalroom import smstext
from signalroom.errors import DataError


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("\u201cA\u201d \u2013 it\u2019s…", '"A" - it\'s...'),
        ("Niño Ç é", "Niño Ç é"),
        ("naïve café", "naive café"),
        ("Łódź", "Lodz"),
        ("win 🏆👍🏽 now", "win now"),
        ("two\nlines  here", "two lines here"),
        ("שלום", "שלום"),
        ("▲ 3%", "+ 3%"),
    ],
)
def test_fold(text, folded):
    assert smstext.fold(text) == folded


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("€" * 80, "GSM-7", 160, 1),
        ("a" * 152 + "€" + "a" * 20, "GSM-7", 174, 2),
        ("я" * 70, "UCS-2", 70, 1),
        ("я" * 71, "UCS-2", 71, 2),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 67, "UCS-2", 134, 3),
    ],
)
def test_segments(text, encoding, units, parts):
    assert smstext.segments(text) == smstext.Segments(encoding, units, parts)


def test_what_does_not_fit_is_refused_by_name():
    assert smstext.fit("a" * 1600, "x.sms.j2") == "a" * 1600
    with pytest.raises(DataError, match=r"x\.sms\.j2 renders to 1601 characters; an SMS holds 1600"):
        smstext.fit("a" * 1601, "x.sms.j2")
    with pytest.raises(DataError, match="nothing"):
        smstext.fit(" 🏆 ", "x.sms.j2")


@given(st.text())
def test_folding_twice_changes_nothing(text):
    once = smstext.fold(text)
    assert smstext.fold(once) == once
    assert "\n" not in once
    assert smstext.segments(once).parts >= 1
