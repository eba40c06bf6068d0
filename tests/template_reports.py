"""The affiliates template's reports with rows of a plausible week, for the tests that render them."""

from datetime import timedelta
from decimal import Decimal

from daily_ccw import ABOUT, figures
from daily_ccw import rows as daily_rows

DAY = ABOUT["report_date"]
REPORTS = ("daily_ccw", "daily_exp", "weekly_rollup", "affiliate_leaderboard", "state_heatmap")
STATES = ("CA", "TX", "NY", "FL", "PA", "OH", "GA", "NC", "None given")


def rows(report: str):
    """Return what the queries of ``report`` return."""
    shared = {"freshness": daily_rows()["freshness"]}
    match report:
        case "weekly_rollup":
            names = ("revenue", "revenue_before", "cost", "cost_before")
            money = dict(zip(names, map(Decimal, ("60000.10", "58000", "41000", "39000")), strict=True))
            days = [DAY - timedelta(days=back) for back in range(6, -1, -1)]
            return shared | {
                "week": figures(5900, "75110.20", "111000.50"),
                "week_before": figures(5700, "74010.20", "109000.50"),
                "projects": [{"project": name, "conversions": 4000, "cpa": Decimal("10.25"), **money} for name in ("CCW", "EXP")]
                + [{"project": "Not mapped", "conversions": 0, "cpa": None, **dict.fromkeys(names, None)}],
                "days": [{"date": day, "revenue": Decimal(16000), "revenue_before": Decimal(15500), "conversions": 850} for day in days],
                "movers": [{"label": "North Media", "is_internal": False, "revenue": Decimal(9000), "revenue_before": Decimal(4000), "moved": Decimal(5000)}],
                "orders": {"approved": 4900, "approved_before": 4700, "revenue": Decimal(320000), "revenue_before": Decimal(310000)},
            }  # fmt: skip
        case "affiliate_leaderboard":
            board = {
                "conversions": 300,
                "revenue": Decimal("5500.25"),
                "cost": Decimal(4000),
                "margin": Decimal("1500.25"),
                "cpa": Decimal("13.33"),
            }
            return shared | {
                "totals": {"revenue": Decimal("111000.50"), "revenue_before": Decimal(109000), "conversions": 5900, "cost": Decimal(75110), "affiliates": 38},
                "board": [{"place": n + 1, "label": f"Affiliate {n}", "is_internal": n % 2 == 0, **board, "revenue_before": None if n == 3 else Decimal(5000)} for n in range(15)],
            }  # fmt: skip
        case "state_heatmap":
            exports = {
                "source": "s3_exports",
                "as_of": ABOUT["as_of"],
                "is_final": False,
                "note": "the night's files are not in",
            }
            return {"freshness": [*shared["freshness"], exports]} | {
                "totals": {"orders": 21000, "approved": 4900, "revenue": Decimal("320000.50"), "states": 51},
                "states": [{"state": state, "orders": 900 - n, "approved": 200, "revenue": Decimal(20000 - n * 900)} for n, state in enumerate(STATES)],
                "mapped": [{"state": state, "revenue": Decimal(20000 - n * 900)} for n, state in enumerate(STATES[:-1])],
            }  # fmt: skip
        case _:
            return daily_rows()


def changed(value, names, put):
    """Return rows with ``put(value)`` in place of what stands in columns ``names`` (all numbers for none)."""
    if isinstance(value, dict):
        return {
            key: put(inner) if key in names or (not names and isinstance(inner, int | Decimal) and not isinstance(inner, bool))
            else changed(inner, names, put)
            for key, inner in value.items()
        }  # fmt: skip
    return [changed(inner, names, put) for inner in value] if isinstance(value, list) else value


def an_alert(what="open", **changes):
    """Return what an alert's message shows."""
    at = ABOUT["as_of"]
    seen = {
        "key": "source.everflow", "kind": "failure", "level": "critical", "title": "sync everflow fails", "details": "",
        "mend": "Run it again: `signalroom run hourly`.", "since": at, "state": "open", "episode": 1, "opened_at": at,
        "seen_at": at, "channel": "", "snoozed_until": None, "resolved_at": at if what == "resolved" else None, "note": "",
        "what": what,
    }  # fmt: skip
    return {"alert": seen | changes, "lines": [{"text": "Everflow answered 503. Attempts in a row: 5."}]}


def a_digest():
    """Return what a digest of a plausible day shows."""
    return {
        "streams": [
            {"stream": "everflow.daily_stats", "rows": 2210},
            {"stream": "s3_exports.orders_create", "rows": 5720},
        ],
        "figures": [{"title": "Revenue, dollars", "value": Decimal("16683.10"), "usual": Decimal(15900)}],
        "runs": {"succeeded": 71, "failed": 1},
        "failures": [{"step": "sync everflow", "at": ABOUT["as_of"], "error": "Everflow answered 503."}],
        "alerts": [an_alert()["alert"]],
    }
