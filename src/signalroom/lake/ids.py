"""Load ids: they sort by the moment they were made, strictly."""

from __future__ import annotations

import re
import secrets
import threading
from datetime import UTC, datetime, timedelta

from signalroom.errors import DataError

_PATTERN = re.compile(r"(\d{8}T\d{6}\d{6})Z-[0-9a-f]{8}")
_TICK = timedelta(microseconds=1)
_lock = threading.Lock()
_last = datetime.min.replace(tzinfo=UTC)


def new_id(now: datetime, after: str = "") -> str:
    """Return an id greater than ``after`` and than every other one of this process, whatever the clock does.

    Args:
        now: The present moment.
        after: The greatest id so far, or empty.
    """
    global _last  # noqa: PLW0603 - "every other one of this process" is process-wide
    with _lock:
        moment = max(now.astimezone(UTC), _last + _TICK if _last.year > 1 else now)
        if after:
            moment = max(moment, moment_of(after) + _TICK)
        _last = moment
    return f"{moment:%Y%m%dT%H%M%S%f}Z-{secrets.token_hex(4)}"


def is_id(name: str) -> bool:
    """Return whether ``name`` is a load id."""
    return _PATTERN.fullmatch(name) is not None


def moment_of(load_id: str) -> datetime:
    """Return the moment a load id was made for; raises DataError for a name that is no load id."""
    found = _PATTERN.fullmatch(load_id)
    if not found:
        raise DataError(f"{load_id!r} is no load id.", mend="`signalroom status` lists them.")
    return datetime.strptime(found.group(1), "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
