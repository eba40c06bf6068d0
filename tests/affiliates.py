"""The affiliates workspace on small simulated upstreams, for tests that run the whole job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from signalroom.simulators import World
from signalroom.workspace.init import init

TODAY = date(2026, 11, 19)
NOON = datetime(2026, 11, 19, 17, 0, tzinfo=UTC)  # in New York
EVERFLOW_KEY, REDTRACK_KEY = "everflow-network-key", "redtrack-key"
NAMES_OF_LOADS = ("_load_id", "_loaded_at")


class Clock:
    """A clock that is set and never waits."""

    def __init__(self, now: datetime = NOON) -> None:
        self.time = now
        self.waited_s = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.waited_s += seconds
        self.time += timedelta(seconds=seconds)


def small_world(clock: Clock, **size: int) -> World:
    """Return a world of a few days with a few orders a day."""
    return World(7, clock.now().date(), now=clock.now, **({"days": 18, "orders_per_day": 40, "export_days": 3} | size))


def make_affiliates(root: Path, edits: Mapping[str, str] | None = None) -> Path:
    """Make the workspace at ``root``; ``edits`` replace text of its ``signalroom.toml``."""
    init("affiliates", root)
    path = root / "signalroom.toml"
    text = path.read_text(encoding="utf-8")
    for old, new in (edits or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return root


def tables_of(room, *sources: str) -> list[str]:
    """Return the tables of sources, ``schema.table``, sorted."""
    names = ", ".join(f"'{name}'" for name in sources)
    found = room.warehouse.query(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
        f" WHERE table_schema IN ({names}) AND table_type = 'BASE TABLE'"
    )
    return sorted(found.column("name").to_pylist())


def checksums(room, *sources: str, exclude: tuple[str, ...] = ()) -> dict[str, str]:
    """Return table -> checksum of the tables of sources."""
    assert all(re.fullmatch(r"\w+", source) for source in sources)
    return {name: room.warehouse.checksum(name, exclude=exclude) for name in tables_of(room, *sources)}
