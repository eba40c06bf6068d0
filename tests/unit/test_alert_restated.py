"""Which figures moved after a report went out: by how much, of which day, and what is no movement."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalroom.alerts.restated import Sent, restated

DAY = date(2026, 11, 18)
AT = datetime(2026, 11, 19, 12, tzinfo=UTC)
FIVE = Decimal("0.05")


def sent(then, now, report="daily_ccw", day=DAY):
    return Sent(report, day, AT, {"overall": then, "_report": {"report_date": str(day)}}, {"overall": now})


def found(*reports, share=FIVE):
    return list(restated(reports, share))


def test_it_says_which_report_which_day_what_it_said_and_what_it_would_say():
    (one,) = found(
        sent({"conversions": 905, "revenue": "16683.10"}, {"conversions": 959, "revenue": Decimal("16700.00")})
    )
    assert (one.kind, one.cause, one.level, one.since) == ("restatement", "restated.2026-11-18", "warning", AT)
    assert one.title == "2026-11-18 was restated after daily_ccw went out"
    assert one.details == "daily_ccw as of 2026-11-19 12:00 UTC: overall conversions 905 -> 959 (+6.0%)."
    assert "signalroom report daily_ccw --date 2026-11-18" in one.mend


def test_a_day_is_one_finding_whatever_reports_show_it():
    days = [DAY, date(2026, 11, 17)]
    reports = [sent({"n": 10}, {"n": 20}, name, day) for name in ("daily_ccw", "daily_exp") for day in days]
    assert [one.cause for one in found(*reports)] == ["restated.2026-11-17", "restated.2026-11-18"]
    assert all(len(one.details.splitlines()) == 2 for one in found(*reports))


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ({"n": 100}, {"n": 105}),  # exactly as far as is allowed
        ({"cpa": None}, {"cpa": Decimal(12)}),
        ({"cpa": "12.00"}, {"cpa": None}),
        ({"ok": True}, {"ok": False}),
        ({"label": "7 Media"}, {"label": "8 Media"}),
        ({"day": "2026-11-18"}, {"day": DAY}),
        ({}, {"new_column": 5}),
        (None, {"n": 5}),
        ([{"n": 1}], [{"n": 9}]),
    ],
)
def test_what_is_no_movement(then, now):
    assert found(sent(then, now)) == []


def test_nothing_that_became_something_has_moved():
    (one,) = found(sent({"n": 0}, {"n": 1}))
    assert "n 0 -> 1." in one.details


def test_many_figures_are_counted_not_listed():
    (one,) = found(sent({f"n{at}": 1 for at in range(20)}, {f"n{at}": 2 for at in range(20)}))
    assert one.details.endswith("; and 14 more.")


@given(st.decimals(-(10**12), 10**12, places=2), st.decimals(-(10**12), 10**12, places=2), st.decimals(0, 3, places=4))
def test_it_is_found_exactly_when_it_moved_further(old, new, share):
    moved = found(sent({"n": str(old)}, {"n": new}), share=share)
    assert bool(moved) == (abs(new - old) > share * abs(old))
