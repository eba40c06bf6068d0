"""What is usual, measured on simulated weeks: trend, weekdays, noise, outages; false alarms and detections."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_series import FIRST, measured, series, times
from signalroom.alerts.series import drift, longest_usual, missing_days, usual


def share(rate):
    return f"{100 * rate:.2f} %"


def test_false_alarms_and_detections_over_two_hundred_weeks(record_property):
    told = {}
    for name, factor in (("zero", 0), ("drop of 50 %", 0.5), ("drop of 30 %", 0.7)):
        alarms, found = measured(times(factor))
        told[name] = (alarms, found)
        record_property(name, f"false alarms {share(alarms)}, found {share(found)}")
    assert told["zero"][1] == 1.0
    assert told["drop of 50 %"][1] > 0.85, told
    assert told["drop of 30 %"][1] > 0.35, told
    assert all(alarms < 0.002 for alarms, _ in told.values()), told


def test_noisier_and_shrinking_series_raise_few_false_alarms():
    noisy, _ = measured(lambda value: value, noise=0.15)
    shrinking, _ = measured(lambda value: value, growth=-0.01)
    assert noisy < 0.02
    assert shrinking < 0.005


def test_an_outage_of_days_is_found_each_day_and_not_after_it():
    found, after = 0, 0
    for seed in range(20):
        values = series(seed)
        days = list(values)
        for gap in range(3):
            values[days[700 + gap]] = Decimal(0)
        found += sum(drift(values, days[700 + gap]) is not None for gap in range(3))
        after += sum(drift(values, days[703 + n]) is not None for n in range(45))
    assert found == 60
    assert after <= 5, "one bad day does not become what is usual"


def test_growth_is_no_alarm_downwards_and_a_jump_is_one_on_both_sides():
    values = series(1)
    day = max(values)
    jumped = values | {day: values[day] * 3}
    assert drift(jumped, day) is None
    assert drift(jumped, day, "both").value == values[day] * 3


@given(st.lists(st.integers(0, 10**6), max_size=60), st.integers(0, 10**6))
def test_any_history_has_an_answer(history, today):
    day = FIRST + timedelta(days=len(history))
    values = {FIRST + timedelta(days=n): Decimal(value) for n, value in enumerate(history)}
    found = drift(values | {day: Decimal(today)}, day, "both")
    if len(history) < 28:
        assert found is None
        assert usual(values, day) is None
    if found:
        assert found.value != found.usual


@given(st.integers(1, 10**6))
def test_a_steady_figure_never_drifts_and_its_lack_always_does(value):
    day = FIRST + timedelta(days=70)
    values = {FIRST + timedelta(days=n): Decimal(value) for n in range(70)}
    assert drift(values | {day: Decimal(value)}, day, "both") is None
    assert drift(values, day).value == 0


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "allowed"),
    [
        ([1] * 12, 2),  # hourly: at least two hours
        (([1] * 16 + [8]) * 14, 12),  # nights come again
        ([24, 24, 24, 24, 72, 24, 24, 24, 24, 72], 108),  # so do weekends
        ([24] * 9 + [200], 36),  # an outage does not
    ],
)
def test_how_long_one_may_wait_is_learnt_from_the_gaps(hours, allowed):
    moments = [NOON]
    for gap in hours:
        moments.append(moments[-1] + timedelta(hours=gap))
    assert longest_usual(moments) == timedelta(hours=allowed)
    assert longest_usual(moments[:8]) is None


@given(st.sets(st.integers(0, 20), min_size=1))
def test_missing_days_are_those_between_the_first_and_the_last(held):
    last = FIRST + timedelta(days=20)
    days = [FIRST + timedelta(days=n) for n in held]
    lack = missing_days(days, last)
    assert all(day not in days and max(min(days), last - timedelta(days=13)) <= day <= last for day in lack)
    inside = [last - timedelta(days=n) for n in range(14) if last - timedelta(days=n) >= min(days)]
    assert {*lack, *days} >= set(inside)
    assert missing_days([], last) == []
