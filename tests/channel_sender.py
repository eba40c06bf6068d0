"""A process that delivers one message to Slack and may be killed on the way; forked from one that is warm already."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

from signalroom import failpoints
from signalroom.channels.once import send_once
from signalroom.channels.slack import Slack
from signalroom.clock import SystemClock
from signalroom.errors import RetryableError
from signalroom.ledger.ledger import Ledger, LedgerSettings
from signalroom.message import Delivery, delivery_key
from signalroom.testing.channels import DUE, MESSAGE
from signalroom.workspace.settings import Secret

SENT, BUSY = 0, 3

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["channel_sender", "httpx", "sqlalchemy.dialects.sqlite", "alembic.command"])


def deliver(root: str, url: str, lease_s: float, log: str, kill_at: int) -> None:
    failpoints.arm(log=log, kill_at=kill_at)
    channel = Slack(token=Secret("env:T", "xoxb-simulated"), channel="C0REPORTS", base_url=f"{url}/api")
    settings = LedgerSettings(Path(root), SystemClock(), "ledger.sqlite", delivery_lease_s=lease_s)
    with Ledger.open(settings) as ledger:
        digest = ledger.archive.put(MESSAGE, DUE)
        key = delivery_key("daily_ccw", DUE, "team", "C0REPORTS")
        one = Delivery(key, "daily_ccw", DUE, "team", "C0REPORTS", "pending", digest=digest)
        ledger.deliveries.plan([one])
        try:
            send_once(ledger, channel, one)
        except RetryableError:
            sys.exit(BUSY)


def start(root: Path, url: str, *, lease_s: float = 600.0, log: str = "", kill_at: int = 0) -> multiprocessing.Process:
    """Start a sender; its exit code says whether the message is known to be sent."""
    process = _context.Process(target=deliver, args=(str(root), url, lease_s, log, kill_at))
    process.start()
    return process


def run(root: Path, url: str, **options: object) -> int | None:
    """Run a sender to its end and return its exit code."""
    process = start(root, url, **options)
    process.join(60)
    return process.exitcode
