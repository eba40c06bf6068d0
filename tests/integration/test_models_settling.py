"""What moves a day that is over, as the affiliates models tell it: holds and adjustments, on DuckDB and on Postgres."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from affiliates_tables import DAY, LIBRARY, NOON, db, on_duckdb, on_postgres

__all__ = ["db", "on_duckdb", "on_postgres"]  # fixtures

pytestmark = pytest.mark.slow


def asked(db, name):
    """Return the rows of a query of the library, money as text and moments in UTC."""
    (query,) = (one for one in LIBRARY if one.name == name)
    rows = [tuple(row.values()) for row in db.select(query.sql)]
    return [tuple(str(v) if isinstance(v, Decimal) else utc(v) for v in row) for row in rows]


def utc(value):
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def test_what_is_on_hold_is_what_no_report_counts_yet(db):
    later = NOON + timedelta(days=9)
    db.everflow(DAY, 1, (101, " North ", 3, 300, 5))
    db.on_hold(
        ("a", 101, "on_hold", later, Decimal("10.10")),
        ("b", 101, "on_hold", NOON, Decimal("0.05")),
        ("c", 102, "on_hold", later, 7),
        ("d", 101, "approved", NOON, 99),
        ("e", 102, "rejected", NOON, 99),
    )
    db.build()
    assert asked(db, "what_is_on_hold") == [
        ("CCW", "North", "USD", 2, "80.00", "10.15", NOON, later),
        ("CCW", "Affiliate 102", "USD", 1, "40.00", "7.00", later, later),
    ]
    assert [row[4] for row in db.performance()] == [3]
    db.on_hold(("a", 101, "pending", later, 1))
    assert sorted(db.build().notes) == [
        "Test a_hold_has_one_row (staging/staging.yml) warns: 1 row.",
        "Test holds_have_a_known_status (staging/staging.yml) warns: 1 row.",
    ]


def test_what_was_adjusted_after_the_report_is_told_apart_from_what_it_showed(db):
    sent = datetime(2026, 11, 20, 12, tzinfo=UTC)  # 07:00 in New York
    before, after, last = sent - timedelta(minutes=1), sent + timedelta(hours=1), sent + timedelta(days=30)
    db.everflow(DAY, 1, (101, "North", 3, 300, 5))
    db.adjustments(
        (1, Decimal("-3.20"), before, before, False, "the report had it"),
        (2, Decimal("-12.34"), after, after, False, " refunds "),
        (3, Decimal("4.00"), before, last, True, "taken back"),
        (4, Decimal("5.00"), after, last, True, "never shown"),
    )
    db.build()
    found = [
        (DAY, None, "North", "taken back", 0, "0.00", "-4.00", last, "taken back"),
        (DAY, None, "North", "adjusted", 0, "0.00", "-12.34", after, "refunds"),
    ]
    assert asked(db, "what_was_adjusted_after_the_report") == found
    db.load("everflow.offers", [{"offer_id": 501, "advertiser_id": 1}, {"offer_id": 502, "advertiser_id": 2}])
    assert asked(db, "what_was_adjusted_after_the_report") == [(row[0], "CCW", *row[2:]) for row in found]
    assert db.build().notes == ()
