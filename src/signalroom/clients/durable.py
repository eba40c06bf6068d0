"""Files that are there whole and for good, or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from signalroom.errors import ConfigError, RetryableError
from signalroom.failpoints import failpoint

TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp")
"""Names of files that are being written; after a crash, litter."""


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what a file system refuses into our errors; a name that is taken stays FileExistsError."""
    try:
        yield
    except FileExistsError:
        raise
    except PermissionError:
        raise ConfigError(f"{path} may not be written.", mend="Give this user the right to write there.") from None
    except OSError as problem:
        raise RetryableError(
            f"{path} cannot be written: {problem.strerror or problem}.", mend="Make room, or mend the disk."
        ) from problem


def write_whole(path: Path, chunks: Iterable[bytes], *, create: bool = False) -> None:
    """Write a file whole or not at all, and make it last: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: Where; its folder exists.
        chunks: The bytes.
        create: Raise FileExistsError where ``path`` exists, even if another process made it this very moment.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb", buffering=0) as sink:
            for chunk in chunks:
                write_all(sink, chunk)
            failpoint("objects.file.fsync")
            os.fsync(sink.fileno())
        failpoint("objects.file.rename")
        if create:
            _link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    failpoint("objects.folder.fsync")
    sync_folder(path.parent)


def _link(temporary: Path, path: Path) -> None:
    """Give a file its name unless the name is taken: a rename would replace what another process just made."""
    try:
        os.link(temporary, path)
    except OSError as problem:
        if problem.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
            raise
        if path.exists():  # a file system without links: the check is the best it can do
            raise FileExistsError(path) from None
        temporary.replace(path)


def write_all(sink: BinaryIO, chunk: bytes) -> None:
    """Write every byte of ``chunk`` to an unbuffered file: one call may take fewer."""
    view = memoryview(chunk)
    while view:
        view = view[sink.write(view) :]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable before what is put in it."""
    missing = [folder]
    while not missing[-1].exists():
        missing.append(missing[-1].parent)
    for made in reversed(missing[:-1]):
        made.mkdir(exist_ok=True)
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
