"""What a server keeps for a slot that is not read: measured on a real one, and told before its disk is full."""

from datetime import UTC, datetime

import psycopg
import pytest

from affiliates import Clock
from captured import Follower, captured
from shop_workspace import make_shop
from signalroom.alerts.checks import lagging
from signalroom.engine import inline
from signalroom.room import Room
from signalroom.sources.base import Holding

MB = 2**20
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLUGIN = """
from dataclasses import dataclass

from signalroom.errors import RetryableError
from signalroom.sources.base import Backlog
from signalroom.workspace.settings import setting

@dataclass(frozen=True)
class Held:
    held_mb: int = setting("How much is held; less than nothing for a server that is away.")

    def streams(self):
        return []

    def read(self, stream, since, window):
        yield from ()

    def confirm(self, stream, position):
        pass

    def check(self):
        return []

    def backlog(self):
        if self.held_mb < 0:
            raise RetryableError("It is away.")
        return Backlog(self.held_mb * 2**20, 100 * 2**20) if self.held_mb else None
"""
MORE = """
[sources.app]
kind = "held"
held_mb = 250
[channels.ops]
kind = "file"
path = ".signalroom/ops"
[alerts]
channel = "ops"
"""


def test_only_what_is_over_its_limit_or_lost_is_told():
    held = {
        "fine": (100 * MB, 100 * MB, False),
        "late": (101 * MB, 100 * MB, False),
        "far": (401 * MB, 100 * MB, False),
        "lost": (0, 100 * MB, True),
    }
    found = {one.cause: one for one in lagging(held, NOW)}
    assert {cause: one.level for cause, one in found.items()} == {
        "source.late": "warning",
        "source.far": "critical",
        "source.lost": "critical",
    }
    assert found["source.late"].details == "Its server keeps 101 MB that it has not read; 100 MB are allowed."
    assert "new snapshot" in found["source.lost"].mend


@pytest.mark.slow
def test_a_lag_is_an_alert_until_it_is_read_and_none_ends_because_nobody_could_ask(tmp_path):
    shop, clock = make_shop(tmp_path, MORE), Clock(NOW)
    (shop / "sources").mkdir()
    (shop / "sources/held.py").write_text(PLUGIN)

    def watched(held_mb):
        toml = (shop / "signalroom.toml").read_text()
        (shop / "signalroom.toml").write_text(toml.replace(MORE, MORE.replace("250", str(held_mb))))
        with Room.open(shop, clock=clock) as room:
            for _ in range(2):
                inline.run_step(room, "watch")
                clock.sleep(700)
            state = room.ledger.alerts.get("source.app")
        (shop / "signalroom.toml").write_text(toml)
        return state.state if state else None

    assert watched(0) is None
    assert watched(50) is None
    assert watched(250) == "open"
    assert watched(-1) == "open", "a server that is away tells nothing"
    assert watched(50) == "resolved"


@pytest.mark.slow
def test_a_slot_tells_what_it_holds_until_it_is_read(postgres, tmp_path):
    dsn = postgres()
    source = captured(dsn, tmp_path, tables=["t"])
    assert isinstance(source, Holding)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id bigint PRIMARY KEY, text text)")
        assert source.backlog() is None
        follower = Follower(source)
        follower.sync()
        before = source.backlog().held_bytes
        connection.execute("INSERT INTO t SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 5000) g")
        held = source.backlog()
        assert held.held_bytes - before > 3 * MB
        assert (held.allowed_bytes, held.lost) == (source.held_mb * MB, False)
        follower.sync()
        connection.execute("CHECKPOINT")
        follower.sync()
        assert source.backlog().held_bytes < held.held_bytes
