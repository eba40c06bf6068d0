"""Whether a part still holds the bytes that arrived."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from signalroom.errors import DataError, RetryableError
from signalroom.lake.compression import Unpacker
from signalroom.load import Part

if TYPE_CHECKING:
    from signalroom.clients.objects import ObjectStore


def verify_part(store: ObjectStore, key: str, part: Part) -> str:
    """Return what is wrong with a stored part, as a sentence; empty when its size and hash are what they were.

    The hash is of the bytes as they arrived: what arrived plain is stored compressed, the rest as it came.
    """
    stored, arrived = hashlib.sha256(), hashlib.sha256()
    size = 0
    unpacker = Unpacker(part.compression)
    try:
        for chunk in store.read(key):
            size += len(chunk)
            stored.update(chunk)
            if part.compression != "none":
                for text in unpacker.feed(chunk):
                    arrived.update(text)
        unpacker.finish()
    except RetryableError:
        if store.head(key) is not None:
            raise
        return f"{key} is gone."
    except DataError as problem:
        return f"{key} is damaged: {problem.message}"
    if size != part.stored_bytes:
        return f"{key} has {size:,} bytes where {part.stored_bytes:,} were written."
    if part.sha256 not in {stored.hexdigest(), arrived.hexdigest()}:
        return f"{key} no longer has the hash it was written with."
    return ""
