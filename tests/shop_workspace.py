"""A small workspace for tests of the command line: one folder of CSV, one report, two outboxes, two jobs."""

import json
import logging

from click.testing import CliRunner

from signalroom.cli.app import app

TOML = """
name = "shop"
timezone = "UTC"

[sources.shop]
kind = "files"
url = "exports"
[sources.shop.streams.orders]
path = "orders/*.csv"
key = ["id"]
write = "merge"
order = ["_file_time", "_row"]

[channels.outbox]
kind = "file"
[channels.spare]
kind = "file"
path = ".signalroom/spare"

[jobs.morning]
steps = ["sync shop", "report pulse --date 2026-11-19"]
[jobs.broken]
steps = ["sync shop", "report sick --date 2026-11-19"]

[reports.pulse]
channels = ["outbox"]
[reports.sick]
channels = ["outbox"]
"""
SQL = """
-- name: overall one
select count(*) as orders, cast(sum(amount) as decimal(18, 2)) as amount from shop.orders;
"""
SLACK = """
{{ header("Pulse of " ~ report_date|long_date) }}
*{{ overall.orders }}* orders, {{ overall.amount|usd2 }}
"""
ROWS = "id,day,amount,code\n1,2026-11-18,10.50,007\n2,2026-11-19,2.25,008\n3,2026-11-19,7.00,009\n"


def make_shop(root, more=""):
    """Make the workspace at ``root`` and return it."""
    for name, text in {
        "signalroom.toml": TOML + more,
        "exports/orders/a.csv": ROWS,
        "reports/pulse/pulse.sql": SQL,
        "reports/pulse/pulse.slack.j2": SLACK,
        "reports/sick/sick.sql": "-- name: overall one\nselect * from shop.nowhere;\n",
        "reports/sick/sick.slack.j2": "sick",
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def call(root, *args, code=0, stdin=None):
    """Run a command in the workspace at ``root``; its exit code must be ``code``."""
    # A fixture of a module calls this before any test's own fixtures put logging back.
    log, package = logging.getLogger(), logging.getLogger("signalroom")
    before = (list(log.handlers), log.level, package.level)
    try:
        found = CliRunner().invoke(app, ["--workspace", str(root), *args], input=stdin)
    finally:
        log.handlers[:] = before[0]
        log.setLevel(before[1])
        package.setLevel(before[2])
    assert found.exit_code == code, f"{args}\n{found.output}"
    assert "Traceback" not in found.output
    return found


def ask(root, *args, code=0):
    """Run a command with ``--json`` and return the one document it prints."""
    return json.loads(call(root, *args, "--json", code=code).stdout)
