"""Load ids: they sort by the moment they were made, strictly."""

from __future__ import annotations

import re
import secrets
import threading
from datetime import UTC, datetime, timedelta

from signalroom.errors import DataError

_PATTERN = re.compile(r"(\d{8}T\d{6}\d{6})Z-[0-9a-f]{8}")
_TICK = timedelta(microseconds=1)


class Ids:
    """Gives ids out, each greater than the one before, whatever the clock does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = ""

    def next(self, now: datetime, after: str = "") -> str:
        """Return the next id.

        Args:
            now: The present moment.
            after: An id to exceed, given out by another process perhaps; empty for none.
        """
        with self._lock:
            least = max(after, self._last)
            moment = max(now.astimezone(UTC), moment_of(least) + _TICK) if least else now.astimezone(UTC)
            self._last = f"{moment:%Y%m%dT%H%M%S%f}Z-{secrets.token_hex(4)}"
            return self._last


def is_id(name: str) -> bool:
    """Return whether ``name`` is a load id."""
    return _PATTERN.fullmatch(name) is not None


def moment_of(load_id: str) -> datetime:
    """Return the moment a load id was made for; raises DataError for a name that is no load id."""
    found = _PATTERN.fullmatch(load_id)
    if not found:
        raise DataError(f"{load_id!r} is no load id.", mend="`signalroom status` lists them.")
    return datetime.strptime(found.group(1), "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
