"""The how-to's channels are read as they stand, and its table names each of them."""

from __future__ import annotations

import re
from pathlib import Path

from signalroom.room import Room
from signalroom.workspace.plugins import available

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "send-to-slack-email-sms.md"
VALUES = {
    "SLACK_CHANNEL_ID": "C0REPORTS",
    "CLIENT_EMAILS": "ann@example.com, bob@example.com",
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_FROM_NUMBER": "+15005550006",
    "OWNER_PHONE": "+15005550101",
}


def test_the_channels_of_the_how_to_open(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    settings = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert settings
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in VALUES.items()))
    (tmp_path / "reports" / "daily_ccw").mkdir(parents=True)
    (tmp_path / "signalroom.toml").write_text(f'name = "how"\ntimezone = "UTC"\n{settings[1]}')
    with Room.open(tmp_path) as room:
        assert room.channel("clients").recipients() == ("ann@example.com", "bob@example.com")
        assert [tuple(room.channel(name).recipients()) for name in ("team", "phone", "hook")] == [
            ("C0REPORTS",),
            ("+15005550101",),
            ("hook",),
        ]
    table = text[text.index("| channel |") :]
    assert [kind for kind in available("channel") if f"`{kind}`" not in table] == []
