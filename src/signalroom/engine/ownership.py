"""Who owns a workspace while `signalroom up` runs: one process, known by its pid, gone the moment it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from signalroom.clock import Clock
from signalroom.errors import ConfigError

# Whoever asks for the owner holds the lock for a moment too.
_TRIES = 4
_TRY_AGAIN_S = 0.05


@contextmanager
def owning(file: Path, clock: Clock) -> Generator[None]:
    """Own a workspace for as long as the block lasts.

    Args:
        file: The lock file; it holds the owner's pid. The lock itself goes with the process, however that ends.
        clock: Where waiting takes its time.

    Raises:
        ConfigError: Another process owns it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not any(_locked(descriptor, clock) for _ in range(_TRIES)):
            raise ConfigError(
                f"`signalroom up` runs already in this workspace, as process {owner(file) or 'unknown'}.",
                mend="Stop that one first, or use it: `signalroom jobs` shows what it does.",
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, clock: Clock) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        clock.sleep(_TRY_AGAIN_S)
        return False
    return True


def owner(file: Path) -> int | None:
    """Return the pid of the process that owns a workspace; None when there is none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.pread(descriptor, 32, 0).decode().strip()
        return int(told) if told.isdecimal() else None
    finally:
        os.close(descriptor)
    return None
