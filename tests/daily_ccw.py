"""The daily CCW summary with rows of a plausible day, for the tests that render it."""

import shutil
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import as_file, files
from pathlib import Path

from signalroom.reports.finding import find_reports

ABOUT = {
    "report_date": date(2026, 11, 19),
    "timezone": "America/New_York",
    "as_of": datetime(2026, 11, 19, 19, 20, tzinfo=UTC),
}
NOTHING = {"conversions": None, "revenue": None, "cost": None, "cpa": None}


def built_in(folder: Path, name: str):
    """Return a report of the affiliates template, from a workspace of its own under ``folder``."""
    with as_file(files("signalroom.workspace") / "templates/affiliates/reports") as reports:
        shutil.copytree(reports, folder / "reports", dirs_exist_ok=True)
    return find_reports(folder)[name]


def daily_ccw(folder: Path):
    """Return the daily CCW summary."""
    return built_in(folder, "daily_ccw")


def figures(conversions: int, cost: str, revenue: str = "0"):
    spent = Decimal(cost)
    return {
        "conversions": conversions,
        "revenue": Decimal(revenue),
        "cost": spent,
        "cpa": None if conversions == 0 else spent / conversions,
    }


def rows():
    """Return what the report's queries return: query -> records, or one record."""
    counts = (838, 742, 751, 902, 850, 851, 866, 884, 679, 741, 893, 899, 823, 905)
    days = [date(2026, 11, 6) + timedelta(days=n) for n in range(14)]
    names = [("FB Main", 301, True), ("North Media", 142, False), ("TikTok Prospecting", 122, True)]
    return {
        "overall": figures(905, "11774.55", "16683.10"),
        "internal": figures(512, "6984.13"),
        "external": figures(393, "4790.42"),
        "top": [
            {"label": name, "conversions": count, "cpa": Decimal("12.40"), "is_internal": own}
            for name, count, own in names
        ],
        "trend": [
            {"date": day, "conversions": n, "revenue": n * Decimal("18.42"), "cost": n * Decimal("12.91")}
            for day, n in zip(days, counts, strict=True)
        ],
        "orders": {
            "orders": 3121,
            "approved": 702,
            "declined": 2371,
            "voided": 48,
            "test_orders": 155,
            "revenue": Decimal("48211.40"),
            "chargebacks": 3,
        },
        "unmapped": {"spend": Decimal("312.40")},
        "previous": figures(823, "10712.93", "15158.66"),
        "freshness": [
            {"source": "everflow", "as_of": datetime(2026, 11, 19, 19, 16, tzinfo=UTC), "is_final": True, "note": None},
            {
                "source": "redtrack",
                "as_of": datetime(2026, 11, 19, 19, 15, tzinfo=UTC),
                "is_final": False,
                "note": "it restates for days",
            },
        ],
    }
