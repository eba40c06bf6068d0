"""Bugs put in on purpose: an explorer that finds none of them would find none of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

# Where each shows: a kill at one of these, in some stream of some sync, leaves a wrong state behind.
SHOWS = {
    "loads recorded after the rows": ("warehouse.commit.after",),
    "positions written after the rows": ("warehouse.commit.after",),
    "pending loads forgotten": ("lake.commit.after", "steps.load"),
    "_load.json before the parts": ("objects.file.rename", "objects.folder.fsync", "objects.put.after"),
    "sent before it is sent": ("channels.file.write", "channels.file.rename.before", "ledger.settle.after"),
}


def apply(name: str) -> None:
    """Put one bug into this process; none for an empty name."""
    if name:
        _MUTANTS[name]()


def _loads_apart() -> None:
    from signalroom.warehouse import bookkeeping

    write = bookkeeping.write_load
    held: list[tuple[Any, ...]] = []

    def later(execute: Any, load: Any, now: Any, *, replay: bool) -> bool:
        held.append((execute, load, now, replay))
        return True

    def record() -> None:
        while held:
            execute, load, now, replay = held.pop(0)
            write(execute, load, now, replay=replay)

    bookkeeping.write_load = later
    _after_commit(record)


def _positions_apart() -> None:
    from signalroom.warehouse import bookkeeping

    write = bookkeeping.write_positions
    held: list[tuple[Any, ...]] = []
    bookkeeping.write_positions = lambda *arguments: held.append(arguments)

    def record() -> None:
        while held:
            write(*held.pop(0))

    _after_commit(record)


def _after_commit(work: Callable[[], None]) -> None:
    """Do something once the load's transaction is over."""
    from signalroom.warehouse.duckdb import DuckDBWarehouse

    commit = DuckDBWarehouse._commit

    def both(*arguments: Any, **options: Any) -> Any:
        result = commit(*arguments, **options)
        work()
        return result

    DuckDBWarehouse._commit = both


def _pending_forgotten() -> None:
    from signalroom.position import Position

    Position.overlay = lambda self, *_: self


def _manifest_first() -> None:
    from signalroom.lake.layout import Layout

    store, mark = Layout.store_part, Layout.mark
    held: list[tuple[Any, str, list[bytes]]] = []

    def keep(self: Any, key: str, stored: Any) -> None:
        held.append((self, key, list(stored)))

    def first(self: Any, load: Any) -> None:
        mark(self, load)
        while held:
            store(*held.pop(0))

    Layout.store_part, Layout.settle_parts, Layout.mark = keep, lambda *_: None, first


def _sent_first() -> None:
    from signalroom import delivering

    def send(ledger: Any, channel: Any, planned: Any) -> Any:
        claimed = ledger.deliveries.claim(planned)
        if claimed is None:
            return ledger.deliveries.get(planned.key)
        settled = ledger.deliveries.settle(claimed, "sent", receipt="it will be")
        message = ledger.archive.get(planned.digest).message
        return replace(settled, receipt=channel.send(message, claimed.recipient, claimed.key))

    delivering.send_once = send


_MUTANTS: dict[str, Callable[[], None]] = {
    "loads recorded after the rows": _loads_apart,
    "positions written after the rows": _positions_apart,
    "pending loads forgotten": _pending_forgotten,
    "_load.json before the parts": _manifest_first,
    "sent before it is sent": _sent_first,
}
