"""Everything that must be the same after a crash, read through the product's own doors and made comparable.

Two runs differ in the random end of a load id, in the minute of a retry and in the folder they ran in; nothing else is
left out. Moments of the crash clock (year 2031) are cut to their hour, which is that of the sync.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from crash.scene import Clock
from signalroom.room import Room

_LOAD_ID = re.compile(r"(2031\d{4}T\d{2})\d{4,10}Z?-[0-9a-f]{8}")
_BUILD_ID = re.compile(r"(2031\d{4}T\d{2})\d{4,10}Z")
_MOMENT = re.compile(r"(2031-\d\d-\d\d[T ]\d\d):\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)?")
_LINEAGE = ("_load_id", "_loaded_at")


def read_state(root: Path) -> dict[str, Any]:
    """Return the state of the workspace at ``root``; see the module."""
    with Room.open(root, clock=Clock(9)) as room:
        made = {
            "tables": _tables(room),
            "checksums": {name: room.warehouse.checksum(name, exclude=_LINEAGE) for name in _names(room)},
            "books": _books(room),
            "lake": _lake(room),
            "deliveries": _deliveries(room),
            "runs": _runs(room),
        }
    return json.loads(_plain(json.dumps(made, default=_text), root))


def _names(room: Room) -> list[str]:
    found = room.warehouse.query(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
        " WHERE table_schema IN ('files', 'days')"
    )
    return sorted(found.column("name").to_pylist())


def _tables(room: Room) -> dict[str, list[str]]:
    return {name: _rows(room, f"SELECT * FROM {name}") for name in _names(room)}


def _books(room: Room) -> dict[str, list[str]]:
    """Return the warehouse's own tables; ``merged_at`` is when, and a retry of a build finds other loads before it."""
    return {
        "loads": _rows(room, "SELECT load_id, source, stream, committed_at, bytes, rows_in FROM signalroom.loads"),
        "positions": _rows(room, "SELECT source, stream, partition, value, load_id FROM signalroom.positions"),
        "schemas": _rows(room, "SELECT source, table_name, load_id, columns FROM signalroom.schemas"),
        "rejects": _rows(
            room,
            "SELECT load_id, source, stream, table_name, part, row_number, column_name, value, reason, raw"
            " FROM signalroom.rejects",
        ),
        "builds": [_built(row) for row in room.warehouse.query("SELECT * FROM signalroom.builds").to_pylist()],
    }


def _built(row: dict[str, Any]) -> str:
    return _text([row["build_id"][:11], json.loads(row["inputs"])["after"]])


def _lake(room: Room) -> dict[str, Any]:
    """Return each stream's loads as recorded, the parts that no longer are what they were, and what is unmerged."""
    found: dict[str, Any] = {"loads": {}, "damaged": [], "pending": []}
    for source in ("files", "days"):
        for stream in room.streams(source):
            loads = room.lake.loads(source, stream.name)
            merged = room.warehouse.merged(source, stream.name)
            found["pending"] += sorted({load.load_id for load in loads} ^ merged)
            found["damaged"] += [word for load in loads for word in room.lake.verify(load)]
            found["loads"][stream.title] = sorted(
                _text([load.client, load.positions, [(s.first_day, s.last_day, s.object_key) for s in load.slices],
                       [(p.name, p.rows, p.bytes, p.stored_bytes, p.sha256, p.object_key) for p in load.parts]])
                for load in loads
            )  # fmt: skip
    return found


def _deliveries(room: Room) -> dict[str, Any]:
    """Return the deliveries, what was archived for them, and the folders that were delivered."""
    rows = room.ledger.deliveries.list()
    outbox = room.workspace.root / ".signalroom/outbox"
    folders = sorted(str(path.relative_to(outbox)) for path in outbox.glob("*/*/*") if path.parts[-3][0] != ".")
    return {
        "rows": sorted(
            [one.key, one.report, str(one.due_at), one.channel, one.recipient, one.state, one.receipt] for one in rows
        ),
        "archived": [room.ledger.archive.get(one.digest) is not None for one in rows],
        "folders": folders,
        "sent": {path: _delivered(outbox / path) for path in folders},
        "as archived": all(_same(room, outbox, one) for one in rows),
    }  # fmt: skip


def _delivered(folder: Path) -> dict[str, str]:
    """Return each file of a delivery; a message is shown, anything else by its hash."""
    shown = {".json", ".txt"}
    return {
        file.name: file.read_text() if file.suffix in shown else hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
    }


def _same(room: Room, outbox: Path, delivery: Any) -> bool:
    archived = room.ledger.archive.get(delivery.digest)
    found = [json.loads(path.read_text()) for path in outbox.glob(f"*/*/{delivery.key}/message.json")]
    return archived is not None and [one["data"] for one in found] == [dict(archived.message.data)]


def _runs(room: Room) -> dict[str, Any]:
    """Return which steps succeeded, and what else runs ended with, once the silent ones are swept.

    A run that finds a dead sender's claim says so and fails; the one after its lease sends.
    """
    room.ledger.runs.sweep()
    runs = room.ledger.runs.list(1000)
    return {
        "succeeded": sorted({one.step for one in runs if one.status == "success"}),
        "others": sorted(
            f"{one.status}: {one.error}"
            for one in runs
            if one.status not in {"success", "lost"} and "another process has it" not in one.error
        ),
    }


def _rows(room: Room, sql: str) -> list[str]:
    return sorted(_text(row) for row in room.warehouse.query(sql).to_pylist())


def _text(value: Any) -> str:
    return json.dumps(value, default=_scalar, sort_keys=True) if not isinstance(value, str) else value


def _scalar(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return str(value)


def _plain(text: str, root: Path) -> str:
    text = _LOAD_ID.sub(r"\1", text.replace(str(root), "ROOT"))
    return _MOMENT.sub(r"\1", _BUILD_ID.sub(r"\1", text))


def compare(found: dict[str, Any], wanted: dict[str, Any]) -> tuple[list[str], int, int]:
    """Return what differs, the rows that were lost and the rows that were doubled.

    A stream that pulls its days again after a crash has one more load, which changes nothing; all other streams have
    exactly as many loads as without the crash.
    """
    problems: list[str] = []
    lost = doubled = 0
    for name in sorted({*found["tables"], *wanted["tables"]}):
        less, more = _difference(found["tables"].get(name, []), wanted["tables"].get(name, []))
        lost, doubled = lost + len(less), doubled + len(more)
        if less or more:
            problems.append(f"{name}: {len(less)} rows lost, {len(more)} too many, e.g. {(less + more)[0]}")
    for name, want in wanted["checksums"].items():
        if found["checksums"].get(name) != want:
            problems.append(f"{name}: checksum {found['checksums'].get(name)}, not {want}")
    for name, want in wanted["books"].items():
        have, want = sorted(found["books"][name]), sorted(want)  # noqa: PLW2901 - sorted by what is comparable
        if name == "loads":
            have, want = _but_repulled(have), _but_repulled(want)  # noqa: PLW2901 - narrowed step by step
        if name == "builds":
            have, want = sorted(set(have)), sorted(set(want))  # noqa: PLW2901 - narrowed step by step
        if have != want:
            less, more = _difference(have, want)
            problems.append(f"signalroom.{name}: without {less[:2]}, with {more[:2]}")
    for title, want in wanted["lake"]["loads"].items():
        have, want = sorted(found["lake"]["loads"].get(title, [])), sorted(want)  # noqa: PLW2901 - narrowed step by step
        if title == "days.stats":
            have, want = sorted(set(have)), sorted(set(want))  # noqa: PLW2901 - narrowed step by step
        if have != want:
            problems.append(f"lake of {title}: {len(have)} loads, not {len(want)}")
    for what in ("damaged", "pending"):
        problems += [f"{what}: {one}" for one in found["lake"][what]]
    if found["deliveries"] != wanted["deliveries"]:
        problems.append(f"deliveries: {found['deliveries']}")
        lost += not found["deliveries"]["folders"] and bool(wanted["deliveries"]["folders"])
        doubled += len(found["deliveries"]["folders"]) > len(wanted["deliveries"]["folders"])
    if found["runs"] != wanted["runs"]:
        problems.append(f"runs: {found['runs']}")
    return problems, lost, doubled


def _but_repulled(loads: list[str]) -> list[str]:
    kept = [one for one in loads if '"days"' not in one]
    return sorted([*kept, *{one for one in loads if '"days"' in one}])


def _difference(found: list[str], wanted: list[str]) -> tuple[list[str], list[str]]:
    """Return what is missing and what is too much, as multisets."""
    from collections import Counter

    have, want = Counter(found), Counter(wanted)
    return sorted((want - have).elements()), sorted((have - want).elements())
