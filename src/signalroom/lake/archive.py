"""``_unreadable``: what could not even be read, whole, with the reason beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from signalroom.failpoints import failpoint
from signalroom.lake.ids import Ids
from signalroom.position import Json
from signalroom.stream import Stream

if TYPE_CHECKING:
    from signalroom.clients.objects import ObjectStore

FOLDER = "_unreadable"


def keep(store: ObjectStore, stream: Stream, chunks: Iterable[bytes], about: Mapping[str, Json], now: datetime) -> str:
    """Store bytes that could not be read and return their key.

    Args:
        store: The lake's store.
        stream: Where they came from.
        chunks: The bytes as they arrived.
        about: The reason and whatever helps to retry; written beside them as JSON.
        now: The present moment.
    """
    key = f"{FOLDER}/{stream.source}/{stream.name}/{Ids().next(now)}.bin"
    failpoint("lake.archive.keep")
    store.put(key, chunks)
    _explain(store, stream, key, about, now)
    return key


def move(store: ObjectStore, stream: Stream, key: str, about: Mapping[str, Json], now: datetime) -> str:
    """Move a stored part to the archive and return its key there."""
    name = "-".join(key.split("/")[-2:])
    kept = f"{FOLDER}/{stream.source}/{stream.name}/{name}"
    failpoint("lake.archive.move")
    store.move(key, kept)
    _explain(store, stream, kept, about, now)
    return kept


def _explain(store: ObjectStore, stream: Stream, key: str, about: Mapping[str, Json], now: datetime) -> None:
    import msgspec

    record = {"stream": stream.title, "at": now, "retry": f"signalroom sync {stream.title}", **about}
    store.put(f"{key}.json", [msgspec.json.format(msgspec.json.encode(record), indent=1)])
