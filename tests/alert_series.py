"""Simulated weeks of a business, and how often a day of them is taken for wrong; ``python tests/alert_series.py``.

Every day of twice 200 weeks is looked at as it is, and once more with one thing done to it.
"""

import random
from datetime import date, timedelta
from decimal import Decimal

from signalroom.alerts.series import drift

FIRST = date(2022, 1, 3)
WEEKDAYS = (1.0, 1.05, 1.1, 1.05, 1.0, 0.6, 0.5)
WEEKS = 200
SHAPES = {
    "7 % noise, growing": {},
    "15 % noise, growing": {"noise": 0.15},
    "7 % noise, shrinking 1 % a week": {"growth": -0.01},
    "small: 20 a day": {"size": 20.0},
}
FAULTS = {"gone": 0.0, "half": 0.5, "less 30 %": 0.7}


def series(seed, *, noise=0.07, growth=0.004, size=900.0):
    """Return 200 weeks of a business day by day: it grows, weekends are slow, every day is a little different."""
    chance = random.Random(seed)
    return {
        FIRST + timedelta(days=n): Decimal(
            round(size * WEEKDAYS[n % 7] * (1 + growth) ** (n / 7) * max(0.0, chance.gauss(1, noise)))
        )
        for n in range(WEEKS * 7)
    }


def measured(fault, *, seeds=5, **shape):
    """Return the share of days found wrong: as they are, and with ``fault`` done to one day at a time."""
    alarms = found = days = 0
    for seed in range(seeds):
        values = series(seed, **shape)
        for day in list(values)[49:]:
            days += 1
            alarms += drift(values, day) is not None
            found += drift(values | {day: fault(values[day])}, day) is not None
    return alarms / days, found / days


def times(factor):
    """Return what makes a day's figure that many times itself."""
    return lambda value: Decimal(round(float(value) * factor))


def main():
    print("| series | false alarms | " + " | ".join(f"found: {name}" for name in FAULTS) + " |")  # noqa: T201 - figures
    print("|---|" + "---|" * (len(FAULTS) + 1))  # noqa: T201 - likewise
    for name, shape in SHAPES.items():
        rates = [measured(times(factor), seeds=2, **shape) for factor in FAULTS.values()]
        cells = [f"{rates[0][0]:.2%}", *(f"{found:.1%}" for _, found in rates)]
        print(f"| {name} | {' | '.join(cells)} |")  # noqa: T201 - likewise


if __name__ == "__main__":
    main()
