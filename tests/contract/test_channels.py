"""Every channel keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

import channel_benches as benches
from signalroom.ledger.ledger import Ledger
from signalroom.testing.channels import CHECKS, ChannelBench, Check, HandClock, Trial, name_of

CHANNELS = {
    "slack": benches.slack,
    "email smtp": benches.smtp,
    "slack webhook": benches.slack_webhook,
    "email resend": benches.resend,
    "sms": benches.sms,
    "sms without tag": benches.sms_without_tag,
    "webhook": benches.webhook,
    "webhook that knows keys": benches.webhook_that_knows_keys,
}
QUICK = ("slack", "email smtp")  # one that can be asked what arrived, and one that cannot


def keeps(check: Check, bench: ChannelBench, clock: HandClock, root: Path) -> None:
    with Ledger.open(str(root / "ledger.sqlite"), clock=clock) as ledger:
        check(Trial(bench, ledger, clock))


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize(
    "channel", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CHANNELS]
)
def test_a_channel_keeps_the_contract(channel: str, check: Check, tmp_path: Path) -> None:
    clock = HandClock()
    with CHANNELS[channel](clock) as bench:
        keeps(check, bench, clock, tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_the_outbox_keeps_the_contract(check: Check, tmp_path: Path) -> None:
    clock = HandClock()
    with benches.file(clock, tmp_path) as bench:
        keeps(check, bench, clock, tmp_path)
