"""Failpoints: names at every I/O border where a test may kill the process.

``failpoint("lake.commit.before")`` costs one dictionary look-up when nothing is armed. A test arms them
through the environment of a child process, so that production code has no other hook:

* ``SIGNALROOM_FAILPOINT_LOG``: a file; each hit appends its name (the recording run that enumerates them).
* ``SIGNALROOM_FAILPOINT_KILL``: ``N``; the process kills itself with SIGKILL at its Nth hit.
"""

from __future__ import annotations

import os
import signal
import threading

_LOG = os.environ.get("SIGNALROOM_FAILPOINT_LOG")
_KILL_AT = int(os.environ.get("SIGNALROOM_FAILPOINT_KILL", "0"))
_armed = bool(_LOG or _KILL_AT)
_lock = threading.Lock()
_hits = 0


def failpoint(name: str) -> None:
    """Mark an I/O border called ``name``; a no-op unless a test armed this process."""
    if _armed:
        _hit(name)


def _hit(name: str) -> None:
    global _hits  # noqa: PLW0603 - a process-wide counter is what "the Nth hit" means
    with _lock:
        _hits += 1
        if _LOG:
            with open(_LOG, "a", encoding="utf-8") as sink:  # noqa: PTH123 - no pathlib on the hot import path
                sink.write(f"{name}\n")
        if _hits == _KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)
