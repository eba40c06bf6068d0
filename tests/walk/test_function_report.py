"""A report that is a function: its schedule is a job, its channels are its own until the workspace says otherwise."""

import json

import pytest

from shop_workspace import ask, call, make_shop

pytestmark = pytest.mark.slow

FUNCTION = """
from signalroom.reports.report import report


@report(name="late_orders", schedule="30 6 * * 1-5", channels=["outbox"])
def late_orders(ask, report_date):
    rows = ask("select id, amount from shop.orders where day = cast(:day as date) order by id", {"day": report_date})
    return {"orders": rows, "count": {"orders": len(rows)}}
"""
OVERRIDE = '\n[reports.late_orders]\nchannels = ["spare"]\n'


@pytest.fixture
def shop(tmp_path):
    root = make_shop(tmp_path)
    (root / "reports/late_orders").mkdir()
    (root / "reports/late.py").write_text(FUNCTION)
    template = "{{ count.orders }} orders{% for one in orders %}, {{ one.amount|usd2 }}{% endfor %}\n"
    (root / "reports/late_orders/late_orders.slack.j2").write_text(template)
    call(root, "sync", "shop")
    return root


def test_its_schedule_is_a_job_that_can_be_run_as_any_other(shop):
    (job,) = [one for one in ask(shop, "jobs")["jobs"] if one["job"] == "report_late_orders"]
    assert (job["schedule"], job["steps"]) == ("30 6 * * 1-5", ["report late_orders"])
    call(shop, "run", "report_late_orders")
    (sent,) = ask(shop, "deliveries")["deliveries"]
    assert (sent["report"], sent["channel"], sent["state"]) == ("late_orders", "outbox", "sent")


def test_it_is_sent_with_the_rows_it_returned_and_the_workspace_has_the_last_word(shop):
    with (shop / "signalroom.toml").open("a") as toml:
        toml.write(OVERRIDE)
    call(shop, "report", "late_orders", "--date", "2026-11-19", "--send")
    (message,) = (shop / ".signalroom/spare").glob("late_orders/*/*/message.json")
    (slack,) = (shop / ".signalroom/spare").glob("late_orders/*/*/slack.json")
    assert "2 orders, $2.25, $7.00" in slack.read_text()
    assert json.loads(message.read_text())["data"]["count"] == {"orders": 2}
    assert not (shop / ".signalroom/outbox/late_orders").exists()
