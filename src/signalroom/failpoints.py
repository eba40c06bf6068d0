"""Failpoints: names at every I/O border where a test may kill the process.

``failpoint("lake.commit.before")`` costs one look-up when nothing is armed. A test arms them through the environment of
a child process, so that production code has no other hook:

* ``SIGNALROOM_FAILPOINT_LOG``: a file; each hit appends its name (the recording run that enumerates them).
* ``SIGNALROOM_FAILPOINT_KILL``: ``N``; the process kills itself with SIGKILL at its Nth hit.

A test that forks a process which is warm already calls :func:`arm` in the child instead.
"""

from __future__ import annotations

import os
import signal
import threading

_log = os.environ.get("SIGNALROOM_FAILPOINT_LOG", "")
_kill_at = int(os.environ.get("SIGNALROOM_FAILPOINT_KILL", "0"))
_only = ""
_armed = bool(_log or _kill_at)
_lock = threading.Lock()
_hits = 0


def failpoint(name: str) -> None:
    """Mark an I/O border called ``name``; a no-op unless a test armed this process."""
    if _armed:
        _hit(name)


def arm(*, log: str = "", kill_at: int = 0, only: str = "") -> None:
    """Arm this process from here on, its count of hits begun again; for tests.

    Args:
        log: A file to which each hit appends its name; empty for none.
        kill_at: Which hit kills the process; 0 for none.
        only: The one name whose hits count towards ``kill_at``; empty for all.
    """
    global _log, _kill_at, _only, _armed, _hits  # noqa: PLW0603 - what is armed is a fact about the process
    with _lock:
        _log, _kill_at, _only, _hits = log, kill_at, only, 0
        _armed = bool(log or kill_at)


def _hit(name: str) -> None:
    global _hits  # noqa: PLW0603 - a process-wide counter is what "the Nth hit" means
    with _lock:
        _hits += _only in ("", name)
        if _log:
            with open(_log, "a", encoding="utf-8") as sink:  # noqa: PTH123 - no pathlib on the hot import path
                sink.write(f"{name}\n")
        if _hits == _kill_at and _only in ("", name):
            os.kill(os.getpid(), signal.SIGKILL)
