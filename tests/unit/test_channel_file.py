"""The file channel: whole folders, once per key, whatever happens in between."""

import email
import email.policy
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signalroom.channels.base import Channel
from signalroom.channels.file import FileChannel
from signalroom.errors import DataError, RetryableError
from signalroom.message import Image, Message

KEY = "0123456789abcdef0123456789abcdef"
MESSAGE = Message(
    report="daily_ccw",
    subject="CCW 11/19: 905 \u2013\nconversions",
    text="Plain ü\n",
    html='<html><body><img src="cid:chart.png" alt="x"></body></html>',
    blocks=({"type": "divider"}, {"type": "section", "text": {"type": "mrkdwn", "text": "*hi*"}}),
    sms="CCW",
    images=(Image("chart.png", b"\x89PNG...", "A chart"),),
    data={"overall": {"cost": "1.10"}, "_report": {"report_date": "2026-11-19"}},
    load_ids=("l1",),
)


@dataclass
class HandClock:
    at: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)

    def now(self):
        return self.at

    def monotonic(self):
        return 0.0

    def sleep(self, seconds):
        raise AssertionError


@pytest.fixture
def channel(tmp_path):
    return FileChannel(root=tmp_path, clock=HandClock())


def send(channel, message=MESSAGE, key=KEY):
    return Path(channel.send(message, channel.recipients()[0], key))


def test_a_delivery_is_a_folder_with_every_form(channel, tmp_path):
    assert isinstance(channel, Channel)
    folder = send(channel)
    assert folder == tmp_path / ".signalroom/outbox/daily_ccw/2026-11-19" / KEY
    assert sorted(path.name for path in folder.iterdir()) == [
        "chart.png",
        "email.eml",
        "email.html",
        "email.txt",
        "message.json",
        "slack.json",
        "slack.txt",
        "sms.txt",
    ]
    assert json.loads((folder / "slack.json").read_text())["blocks"][0] == {"type": "divider"}
    assert (folder / "slack.txt").read_text() == "─" * 48 + "\n\nhi\n"
    assert 'src="chart.png"' in (folder / "email.html").read_text()
    assert json.loads((folder / "message.json").read_text())["load_ids"] == ["l1"]


def test_the_mail_is_alternative_then_related(channel):
    raw = (send(channel) / "email.eml").read_bytes()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["Message-ID"] == f"<{KEY}@localhost>"
    assert mail["Subject"] == "CCW 11/19: 905 \u2013 conversions"
    kinds = [part.get_content_type() for part in mail.walk()]
    assert kinds == ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]
    picture = list(mail.walk())[-1]
    assert picture["Content-ID"] == "<chart.png>"
    assert picture.get_content() == b"\x89PNG..."
    assert "cid:chart.png" in list(mail.walk())[3].get_content()


def test_the_same_key_is_the_same_delivery(channel):
    assert channel.find(KEY, "", channel.clock.now()) is None
    first = send(channel)
    before = (first / "email.eml").read_bytes()
    channel.clock.at += timedelta(days=3)
    assert send(channel, Message("daily_ccw", "other", "other")) == first
    assert channel.find(KEY, "", channel.clock.now()) == str(first)
    assert (first / "email.eml").read_bytes() == before
    assert not list(channel.folder.joinpath(".writing").iterdir())


def test_a_resend_is_byte_identical(tmp_path):
    one, other = (send(FileChannel(root=tmp_path / name, clock=HandClock())) for name in "ab")
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in other.iterdir()
    }


def test_a_message_with_one_form_writes_that_form(channel):
    folder = send(channel, Message("pulse", "s", "t", sms="x"))
    assert sorted(path.name for path in folder.iterdir()) == ["message.json", "sms.txt"]
    assert folder.parent.name == "2026-11-20"


@pytest.mark.parametrize(
    "change", [{"report": "../up"}, {"images": (Image("../x.png", b"", ""),)}, {"report": ".hidden"}]
)
def test_names_cannot_leave_the_folder(channel, change):
    fields = {"report": "r", "subject": "s", "text": "t", **change}
    with pytest.raises(DataError, match="no file name"):
        send(channel, Message(**fields))
    with pytest.raises(DataError, match="no delivery key"):
        send(channel, key="../../x")


def test_two_writers_of_one_key_leave_one_folder(channel, monkeypatch):
    kept = send(channel)
    monkeypatch.setattr(FileChannel, "_written", lambda *_: None)
    assert send(channel, Message("daily_ccw", "late", "late", data=MESSAGE.data)) == kept
    assert (kept / "slack.json").exists()


def test_a_full_disk_is_tried_again(channel, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RetryableError, match="No space left"):
        send(channel)
    monkeypatch.undo()
    assert channel.find(KEY, "", channel.clock.now()) is None
    assert send(channel).is_dir()


def test_leftovers_are_swept_after_a_day(channel):
    left = channel.folder / ".writing" / "old.1"
    left.mkdir(parents=True)
    moment = channel.clock.now().timestamp()
    os.utime(left, (moment, moment))
    send(channel, key="k1")
    assert left.exists()
    channel.clock.at += timedelta(days=2)
    send(channel, key="k2")
    assert not left.exists()


def test_what_another_writer_takes_away_meanwhile_is_nobodys_failure(channel, monkeypatch):
    other = channel.folder / ".writing" / "other.1"
    other.mkdir(parents=True)
    os.utime(other, (0, 0))
    looked_at = Path.stat

    def renamed_once_seen(path, **more):
        seen = looked_at(path, **more)
        if path == other:
            other.rmdir()
        return seen

    monkeypatch.setattr(Path, "stat", renamed_once_seen)
    assert send(channel).is_dir()


def test_a_writer_swept_while_it_slept_starts_again_and_leaves_no_half_folder(channel, monkeypatch):
    later = FileChannel(root=channel.root, clock=HandClock(datetime.now(UTC) + timedelta(days=2)))
    synced = FileChannel.__module__ + "._write_synced"
    writes = []

    def slept(path, body):
        writes.append(path)
        path.write_bytes(body)
        if len(writes) == 3:
            send(later, key="k2")

    monkeypatch.setattr(synced, slept)
    with pytest.raises(RetryableError, match="No such file"):
        send(channel)
    assert channel.find(KEY, "", channel.clock.now()) is None
    assert "message.json" in {path.name for path in send(channel).iterdir()}


def test_a_key_is_found_without_a_look_at_the_other_days(channel, monkeypatch):
    folders = [send(channel, key=f"k{number}") for number in range(3)]
    monkeypatch.setattr(Path, "iterdir", lambda folder: pytest.fail(f"{folder} was listed"))
    monkeypatch.setattr(os, "scandir", lambda folder: pytest.fail(f"{folder} was listed"))
    assert [channel.find(f"k{number}", "", channel.clock.now()) for number in range(3)] == [str(one) for one in folders]
    assert channel.find("k3", "", channel.clock.now()) is None


CROWD = """
import json, random, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signalroom.channels.file import FileChannel
from signalroom.message import Message
root, day, keys = Path(sys.argv[1]), sys.argv[2], [f"key{number}" for number in range(40)]
random.Random(day).shuffle(keys)
channel = FileChannel(root=root)
message = Message("r", "s", day, html="<p>h</p>", sms="x", data={"_report": {"report_date": day}})
with ThreadPoolExecutor(6) as pool:
    print(json.dumps(dict(zip(keys, pool.map(lambda key: channel.send(message, "outbox", key), keys)))))
"""


@pytest.mark.slow  # three interpreters
def test_a_crowd_in_one_outbox_delivers_each_key_once_and_sweeps_what_crashed(tmp_path):
    outbox = tmp_path / ".signalroom/outbox"
    dead = outbox / ".writing" / "key3.dead"
    dead.mkdir(parents=True)
    (dead / "slack.json").write_text("{")
    os.utime(dead, (0, 0))
    crowd = [
        subprocess.Popen([sys.executable, "-c", CROWD, str(tmp_path), f"2026-11-1{day}"], stdout=subprocess.PIPE)
        for day in (7, 8, 9)
    ]
    told = [json.loads(text or b"{}") for text, _ in [one.communicate() for one in crowd]]
    assert len(told[0]) == 40
    assert told[0] == told[1] == told[2]
    assert sorted(told[0].values()) == sorted(str(path) for path in outbox.glob("r/*/*"))
    for place in map(Path, told[0].values()):
        assert sorted(path.name for path in place.iterdir()) == [
            "email.eml",
            "email.html",
            "email.txt",
            "message.json",
            "sms.txt",
        ]
    assert not list((outbox / ".writing").iterdir())


def test_an_outbox_that_cannot_be_looked_into_is_tried_again(channel):
    (channel.folder / ".keys" / KEY).mkdir(parents=True)
    with pytest.raises(RetryableError, match="could not be looked for"):
        send(channel)


def test_check_names_a_folder_that_cannot_be_written(tmp_path):
    assert FileChannel(root=tmp_path).check() == []
    (tmp_path / "file").write_text("")
    assert "cannot be written" in FileChannel(root=tmp_path, path="file/outbox").check()[0]


CRASHING = """
import sys
from pathlib import Path
from signalroom.channels.file import FileChannel
from signalroom.message import Image, Message
message = Message("r", "s", "t", html="<p>h</p>", sms="x", data={"_report": {"report_date": "2026-11-19"}})
print(FileChannel(root=Path(sys.argv[1])).send(message, "outbox", "key1"))
"""


def test_killed_at_every_border_and_sent_again_there_is_one_whole_folder(tmp_path):
    def run(root, **environment):
        return subprocess.run(
            [sys.executable, "-c", CRASHING, str(root)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )

    log = tmp_path / "log"
    assert run(tmp_path / "record", SIGNALROOM_FAILPOINT_LOG=str(log)).returncode == 0
    whole = sorted(path.name for path in (tmp_path / "record/.signalroom/outbox/r/2026-11-19/key1").iterdir())
    for number, name in enumerate(log.read_text().split(), 1):
        root = tmp_path / f"kill{number}"
        assert run(root, SIGNALROOM_FAILPOINT_KILL=str(number)).returncode == -signal.SIGKILL
        found = FileChannel(root=root).find("key1", "", datetime(2026, 11, 20, tzinfo=UTC))
        assert (found is not None) == (name == "channels.file.rename.after")
        assert run(root).returncode == 0
        assert [folder.name for folder in (root / ".signalroom/outbox/r").glob("*/*")] == ["key1"]
        assert sorted(path.name for path in (root / ".signalroom/outbox/r/2026-11-19/key1").iterdir()) == whole
