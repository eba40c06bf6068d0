"""What bodies and headers of answers mean."""

from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from signalroom.clients.answers import complaint, read_json, retry_after_s
from upstream_laws import NOW


def test_fractions_stay_exact():
    found = read_json(b'[0.10, 7, "0.1", 1e2]')
    assert [str(each) for each in found] == ["0.10", "7", "0.1", "1E+2"]
    assert isinstance(found[0], Decimal)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "an empty body"),
        (b"\xef\xbb\xbf <!DOCTYPE html><html>", "an HTML page instead of JSON"),
        (b"<html><body>Sign in", "an HTML page instead of JSON"),
        (b'[{"a": 1}, {"a', "14 bytes that are not JSON, or not all of it"),
        (b"[NaN]", "5 bytes that are not JSON, or not all of it"),
        (b"[-Infinity]", "not JSON"),
        (b"[1] [2]", "not JSON"),
        (b"[" * 200_000, "200,000 bytes that are not JSON"),
        (b"\xff\xfe\xff", "not JSON"),
        (b"[" + b"9" * 5000 + b"]", "not JSON"),
    ],
)
def test_what_is_no_json_is_told_without_quoting_it(body, told):
    with pytest.raises(ValueError, match=told):
        read_json(body)


@pytest.mark.parametrize("text", ["7", " 7 ", format_datetime(NOW + timedelta(seconds=7), usegmt=True)])
def test_retry_after_is_a_number_or_a_date(text):
    assert retry_after_s({"retry-after": text}, NOW) == 7


def test_a_date_that_is_over_is_now():
    assert retry_after_s({"retry-after": format_datetime(NOW - timedelta(days=300))}, NOW) == 0


def test_a_date_without_a_zone_is_utc():
    assert retry_after_s({"retry-after": "Fri, 20 Nov 2026 20:00:09 -0000"}, NOW) == 9


@pytest.mark.parametrize("text", ["soon", "-5", "9" * 40, "", "Fri, 99 Nov 2026", "1e3", "1.5"])
def test_what_nobody_understands_is_none(text):
    assert retry_after_s({"retry-after": text}, NOW) is None
    assert retry_after_s({}, NOW) is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", ""),
        (b"  <html><h1>no</h1>", ""),
        (b"too bad\n", "too bad"),
        (b'{"error":"as scripted"}', "as scripted"),
        (b'{"message":"per: at most 1000","code":5}', "per: at most 1000"),
        (b'{"error":{"code":5}}', '{"error":{"code":5}}'),
        (b"[1]", "[1]"),
        (b"\xff", "\ufffd"),
    ],
)
def test_complaints(body, told):
    assert complaint(body) == told
