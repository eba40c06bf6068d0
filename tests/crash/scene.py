"""What the killed processes were doing: a small workspace, three syncs of it, and what must be there afterwards.

The workspace merges and appends files, and a source in its own ``sources/`` folder stands for an API: days whose slices
are replaced, and pings that are appended from where the last sync stopped. Between the syncs a file is corrected under
its name, an older file comes late, a copy arrives under a new name and a day is restated. The last sync ends with a
report on its way to the file channel.
"""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

PHASES = (1, 2, 3)
STEPS = {
    1: ("sync files", "sync days", "build"),
    2: ("sync files", "sync days", "build"),
    3: ("sync files", "sync days", "build", "report summary --date 2025-06-04"),
}

WORKSPACE = """\
name = "crash"
timezone = "UTC"

[warehouse]
{warehouse}

[sources.files]
kind = "files"
url = "inbox"
client = "713"
[sources.files.streams.orders]
path = "orders/*"
key = ["id"]
write = "merge"
order = ["_file_time", "_row"]
file_time = "%Y-%m-%d"
[sources.files.streams.events]
path = "events/*.jsonl"

[sources.days]
kind = "days"

[channels.outbox]
kind = "file"

[reports.summary]
channels = ["outbox"]
"""
WAREHOUSES = {
    "duckdb": 'kind = "duckdb"\npath = ".signalroom/warehouse.duckdb"\nmemory_mb = 256\nthreads = 1',
    "postgres": 'kind = "postgres"\nurl = "env:CRASH_WAREHOUSE"',
}

SOURCE = '''\
"""Figures of days, each day authoritative for itself, and pings in their order: an API as far as a merge can tell."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

from signalroom.clock import Clock, SystemClock
from signalroom.failpoints import failpoint
from signalroom.position import Position, Slice
from signalroom.stream import Batch, Column, Raw, Stream, Table, Window
from signalroom.workspace.settings import injected, setting

COLUMNS = (Column("day", "date"), Column("place"), Column("amount", "decimal(12,2)"))


@dataclass(frozen=True)
class Days:
    kind: ClassVar[str] = "days"
    folder: str = setting("Where the upstream is.", default="upstream")
    name: str = injected("days")
    root: Path = injected(Path())
    clock: Clock = injected(factory=SystemClock)

    def streams(self) -> Sequence[Stream]:
        table = Table("stats", COLUMNS, ("day", "place"), disposition="replace_slice", slice_column="day")
        pings = Table("pings", (Column("ping"),), disposition="append")
        return [Stream(self.name, "stats", (table,)), Stream(self.name, "pings", (pings,))]

    def read(self, stream: Stream, since: Position, window: Window | None) -> Iterator[Batch]:
        return self._pings(since) if stream.name == "pings" else self._stats()

    def _pings(self, since: Position) -> Iterator[Batch]:
        import pyarrow as pa

        seen = int(since.get("cursor") or 0)
        pings = (self.root / self.folder / "pings.txt").read_text().split()
        for start in range(seen, len(pings), 10):
            failpoint("crash.pings.page")
            some = pings[start : start + 10]
            yield Batch("pings", pa.table({"ping": some}), {"cursor": start + len(some)}, source_ref=f"pings-{start}")

    def _stats(self) -> Iterator[Batch]:
        for page in sorted((self.root / self.folder).glob("*.json")):
            failpoint("crash.days.page")
            day = date.fromisoformat(page.name[:10])
            asked = Slice(self.clock.now().replace(minute=0, second=0, microsecond=0), day, day)
            yield Batch(
                "stats",
                Raw([page.read_bytes()], "json", records="$.table"),
                position={asked.partition(day): {"observed_at": asked.observed_at.isoformat()}},
                replaces=(asked,),
                source_ref=page.name,
                request={"day": day.isoformat()},
            )

    def confirm(self, stream: Stream, position: Position) -> None:
        failpoint("crash.days.confirm")

    def check(self) -> Sequence[str]:
        return []
'''

REPORT = """\
-- name: overall one
select count(*) as orders, sum(total) as total from files.orders where day <= :report_date;

-- name: places
select place, sum(amount) as amount from days.stats group by place order by place
"""
SLACK = """\
{{ overall.orders }} orders, {{ overall.total }}
---
{% for row in places %}{{ row.place }}: {{ row.amount }}
{% endfor %}
"""
PINS = """\
[columns]
id = "bigint"
day = "date"
total = "decimal(12,2)"
note = "text"
"""


class Clock:
    """A clock that stands an hour apart for each sync and moves on by a millisecond when it is looked at."""

    def __init__(self, phase: int, attempt_s: float = 0.0) -> None:
        self._now = datetime(2031, 1, 1, 5 + phase, tzinfo=UTC) + timedelta(seconds=attempt_s)

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


def orders(*rows: tuple[object, ...], extra: bool = False) -> bytes:
    """Return an orders file; ``extra`` gives it a column that nobody declared."""
    head = "id,day,total,note" + (",coupon" if extra else "")
    return "".join(f"{line}\r\n" for line in (head, *(",".join(str(v) for v in row) for row in rows))).encode()


def events(*numbers: int) -> bytes:
    """Return a file of events."""
    return "".join(f'{{"event": "e{number}", "at": {number}}}\n' for number in numbers).encode()


def pings(last: int) -> bytes:
    """Return all pings until ``last``."""
    return "".join(f"p{number}\n" for number in range(1, last + 1)).encode()


def page(*rows: tuple[str, str, str]) -> bytes:
    """Return one page of the API."""
    table = [{"day": day, "place": place, "amount": amount} for day, place, amount in rows]
    return json.dumps({"table": table}).encode()


_NINETEENTH = orders(
    *((n, "2025-06-02", f"{n}.50", f"b{n}") for n in range(8, 26)), (20, "2025-06-02", "99.00", "twice in one file")
)
_EVENTS = events(*range(1, 31))

ARRIVALS: dict[int, dict[str, bytes]] = {
    1: {
        "upstream/pings.txt": pings(15),
        "inbox/orders/2025-06-01.csv": orders(
            *((n, "2025-06-01", f"{n}.00", f"a{n}") for n in range(1, 16)), (90, "2025-06-01", "lots", "no number")
        ),
        "inbox/orders/2025-06-02.csv.gz": gzip.compress(_NINETEENTH, mtime=0),
        "inbox/events/a.jsonl": _EVENTS,
        "upstream/2025-06-01-1.json": page(("2025-06-01", "north", "10.10"), ("2025-06-01", "south", "20.20")),
        "upstream/2025-06-01-2.json": page(("2025-06-01", "east", "30.30")),
        "upstream/2025-06-02-1.json": page(("2025-06-02", "north", "1.01"), ("2025-06-02", "south", "2.02")),
    },
    2: {
        "upstream/pings.txt": pings(30),
        # corrected under its name: 3 and 4 are gone, 5 has another total, and 90 is a number now
        "inbox/orders/2025-06-01.csv": orders(
            *((n, "2025-06-01", f"{n}.00", f"a{n}") for n in range(1, 3)),
            (5, "2025-06-01", "5.55", "corrected"),
            *((n, "2025-06-01", f"{n}.00", f"a{n}") for n in range(6, 16)),
            (90, "2025-06-01", "90.00", "a number"),
        ),
        # late and older: brings 70 to 72 and loses 1 and 10 to newer files
        "inbox/orders/2025-05-28.csv": orders(
            *((n, "2025-05-28", "0.70", "late") for n in (70, 71, 72)), (1, "2025-05-28", "0.01", "older"),
            (10, "2025-05-28", "0.10", "older"), (3, "2025-05-28", "0.03", "comes into its own"),
        ),
        "inbox/events/b-copy-of-a.jsonl": _EVENTS,
        "inbox/events/c.jsonl": events(*range(31, 41)),
        # restated: south vanished, north has another amount; one more day
        "upstream/2025-06-02-1.json": page(("2025-06-02", "north", "1.11")),
        "upstream/2025-06-03-1.json": page(("2025-06-03", "west", "7.00"), ("2025-06-03", "north", "8.00")),
    },
    3: {
        "upstream/pings.txt": pings(45),
        # the same bytes under a new, later name; the original then corrected, so that the copy comes into its own
        "inbox/orders/2025-06-04-copy.csv.gz": gzip.compress(_NINETEENTH, mtime=0),
        "inbox/events/a.jsonl": events(*range(1, 21)),
        "inbox/orders/2025-06-03.csv": orders(
            (8, "2025-06-03", "8.88", "newest", "SAVE"), (200, "2025-06-03", "200.00", "new", ""), extra=True
        ),
        "upstream/2025-06-03-1.json": page(),
        "upstream/2025-06-04-1.json": page(("2025-06-04", "north", "4.04")),
    },
}  # fmt: skip


def prepare(root: Path, warehouse: str) -> None:
    """Write the workspace; nothing has arrived yet."""
    files = {
        "signalroom.toml": WORKSPACE.format(warehouse=WAREHOUSES[warehouse]),
        "sources/days.py": SOURCE,
        "schemas/files.orders.toml": PINS,
        "reports/summary/summary.sql": REPORT,
        "reports/summary/summary.slack.j2": SLACK,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for folder in ("inbox", "upstream", "models"):
        (root / folder).mkdir(exist_ok=True)


def arrive(root: Path, phase: int) -> None:
    """Put in place what arrives before a sync; doing it again changes nothing."""
    for number, (name, body) in enumerate(sorted(ARRIVALS[phase].items())):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, (1_750_000_000 + 1000 * phase + number,) * 2)


def expected() -> dict[str, list[tuple[str, ...]]]:
    """Return what the tables hold after the last sync, worked out by hand and independently of the product."""
    final: dict[int, tuple[str, str, str]] = {}
    for n in (70, 71, 72):
        final[n] = ("2025-05-28", "0.70", "late")
    final[3] = ("2025-05-28", "0.03", "comes into its own")
    for n in (1, 2, *range(6, 16)):
        final[n] = ("2025-06-01", f"{n}.00", f"a{n}")
    final[5] = ("2025-06-01", "5.55", "corrected")
    final[90] = ("2025-06-01", "90.00", "a number")
    for n in range(8, 26):
        final[n] = ("2025-06-02", f"{n}.50", f"b{n}")
    final[20] = ("2025-06-02", "99.00", "twice in one file")
    final[8] = ("2025-06-03", "8.88", "newest")
    final[200] = ("2025-06-03", "200.00", "new")
    # a.jsonl was corrected to 1..20, so its copy b (1..30) counts now, and c (31..40)
    numbers = [*range(1, 21), *range(1, 31), *range(31, 41)]
    return {
        "files.orders": sorted((str(n), *rest) for n, rest in final.items()),
        "files.events": sorted((f"e{n}",) for n in numbers),
        "days.pings": sorted((f"p{n}",) for n in range(1, 46)),
        "days.stats": sorted(
            [
                ("2025-06-01", "north", "10.10"),
                ("2025-06-01", "south", "20.20"),
                ("2025-06-01", "east", "30.30"),
                ("2025-06-02", "north", "1.11"),
                ("2025-06-04", "north", "4.04"),
            ]
        ),
    }
