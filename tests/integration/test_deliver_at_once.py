"""Two schedulers and a person send one report at the same moment: one message leaves, and everybody is told so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import channel_benches as benches
from shop_workspace import ask, call, make_shop
from signalroom.simulators.faults import late
from signalroom.testing.channels import HandClock

DAY = "2026-11-19"
WORDS = (
    ("run", "team"),
    ("run", "team"),
    ("report", "pulse", "--date", DAY, "--send", "--channel", "team"),
)
SETTINGS = f"""
[warehouse]
kind = "postgres"
url = "env:SHOP_URL"
[ledger]
url = "env:SHOP_URL"
[jobs.team]
steps = ["report pulse --date {DAY} --channel team"]
[channels.team]
kind = "slack"
token = "env:SLACK_TOKEN"
"""


def begin(shop, words):
    signalroom = Path(sys.executable).with_name("signalroom")
    return subprocess.Popen(
        [signalroom, "--workspace", shop, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_two_schedulers_and_a_person_at_once_send_one_message(tmp_path, postgres, monkeypatch):
    with benches.slack(HandClock()) as bench:
        one = bench.channel
        monkeypatch.setenv("SHOP_URL", postgres())
        monkeypatch.setenv("SLACK_TOKEN", one.token.reveal())
        shop = make_shop(tmp_path, f'{SETTINGS}channel = "{one.channel}"\nbase_url = "{one.base_url}"\n')
        call(shop, "sync", "shop")
        # Slack takes the first one at once and answers late: whoever comes meanwhile finds it on its way.
        bench.world.app.faults.push(late(3.0), path="chat.postMessage")
        senders = [begin(shop, words) for words in WORDS]
        said = [sender.communicate(timeout=120) for sender in senders]
        assert len(bench.world.messages()) == 1, said
        codes = [sender.returncode for sender in senders]
        assert set(codes) <= {0, 3}, said  # it left, or another one is still at it
        assert 0 in codes
        (kept,) = ask(shop, "deliveries")["deliveries"]
        assert kept["state"] == "sent"
        call(shop, *WORDS[0])
        call(shop, *WORDS[2])
        assert len(bench.world.messages()) == 1
