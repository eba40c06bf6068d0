"""The CRM's daily CSV exports, and the mapping file the team keeps beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from signalroom.simulators.chance import stream
from signalroom.simulators.days import ONE_DAY, each_day, epoch_s
from signalroom.simulators.order_columns import ORDER_COLUMNS
from signalroom.simulators.order_rows import order_row, prospect_row
from signalroom.simulators.orders import PREFIXES, OrderBook, Prefix
from signalroom.simulators.world import World

MAPPING_PATH = "internal-affiliates/internal-affiliates.csv"
MAPPING_COLUMNS = (
    "project", "affiliate.id", "affiliate.label", "redtrack.source_id", "redtrack.source_name",
    "everflow.offer_id", "notes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file of the exports: its path below the folder and the local moment it is written."""

    prefix: Prefix
    day: date
    time: datetime
    path: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What `write_exports` wrote; files that were there already are not counted."""

    files: int
    rows: int
    size_bytes: int


def export_files(world: World, as_of: datetime | None = None) -> list[ExportFile]:
    """Return the files that exist at a moment (now if not given), oldest first."""
    orders = world.orders
    as_of_s = epoch_s(as_of or world.now())
    files = [
        ExportFile(prefix, day, orders.file_time(prefix, day), orders.file_path(prefix, day))
        for day in each_day(orders.first_file, orders.last_file)
        for prefix in PREFIXES
        if orders.is_written(prefix, day, as_of_s)
    ]
    return sorted(files, key=lambda file: file.time)


def export_bytes(world: World, file: ExportFile) -> bytes:
    """Return the whole content of one file: UTF-8, CRLF, header first."""
    return _content(list(_rows(world, file)))


def mapping_bytes(world: World) -> bytes:
    """Return `internal-affiliates.csv`: UTF-8 with a BOM, CRLF, `n/a` for null, labels unstripped."""
    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerow(MAPPING_COLUMNS)
    for row in world.cast.mapping:
        values = (
            row.project, row.affiliate_id, row.affiliate_label, row.source_id, row.source_label,
            row.offer_id, row.notes,
        )  # fmt: skip
        writer.writerow("n/a" if value is None else value for value in values)
    return sink.getvalue().encode("utf-8-sig")


def write_exports(world: World, folder: Path, as_of: datetime | None = None) -> Exported:
    """Write every file that exists at a moment (now if not given) below `folder`, the mapping too.

    A file appears under its name only when it is complete. Exports that are there already are left alone;
    the mapping file is always written.
    """
    files = rows = size = 0
    for file in export_files(world, as_of):
        if (folder / file.path).exists():
            continue
        lines = list(_rows(world, file))
        files += 1
        rows += len(lines)
        size += _write(folder / file.path, _content(lines))
    size += _write(folder / MAPPING_PATH, mapping_bytes(world))
    return Exported(files + 1, rows + len(world.cast.mapping), size)


def _rows(world: World, file: ExportFile) -> Iterator[str]:
    if file.prefix == "orders-update":
        return (order_row(order, delivery) for order, delivery in world.orders.updates_in(file.day))
    placed = file.day - ONE_DAY
    if file.prefix == "orders-create":
        return (order_row(order, order.deliveries[0]) for order in world.orders.placed_on(placed))
    return _prospects(world, world.orders, placed)


def _prospects(world: World, orders: OrderBook, day: date) -> Iterator[str]:
    chance = stream(orders.seed, "prospects", day)
    affiliates = [affiliate.id for affiliate in world.cast.affiliates]
    first_id = day.toordinal() * 10_000
    for number in range(round(orders.orders_per_day * chance.uniform(0.97, 1.05))):
        look = chance.getrandbits(96)
        yield prospect_row(first_id + number, day, affiliates[look % len(affiliates)], look)


def _content(lines: list[str]) -> bytes:
    return "\r\n".join([",".join(ORDER_COLUMNS), *lines, ""]).encode()


def _write(path: Path, content: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return len(content)
