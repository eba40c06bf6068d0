"""Commands while `signalroom up` owns the workspace: they run inside it, and the caller's process shows what they say.

DuckDB lets one process own its file. So a command that would open the warehouse sends its words over a Unix socket in
``.signalroom`` (open to that user only), and gets back what it prints, as it is printed, and its exit code.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from signalroom.errors import RetryableError

EXIT, OUT, ERR = 0, 1, 2
_HEAD = struct.Struct("!BI")  # what a frame is, and its length in bytes
wires: contextvars.ContextVar[Wire | None] = contextvars.ContextVar("wire", default=None)


class HandOverError(Exception):
    """The command belongs in another process; never shown, only caught where commands begin.

    Attributes:
        address: Where that process listens.
    """

    def __init__(self, address: Path) -> None:
        super().__init__(str(address))
        self.address = address


class Wire:
    """The way back to one caller. A caller that leaves is no reason to stop half-way: what it asked for is done."""

    def __init__(self, connection: socket.socket, stdin: str) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._gone = False
        self.stdin = stdin

    def send(self, kind: int, body: bytes) -> None:
        """Send one frame."""
        with self._lock:
            if not self._gone:
                try:
                    self._connection.sendall(_HEAD.pack(kind, len(body)) + body)
                except OSError:
                    self._gone = True


def address_of(root: Path) -> Path:
    """Return where the owner of the workspace at ``root`` listens."""
    return root / ".signalroom" / "up.sock"


def listening(root: Path) -> Path | None:
    """Return where another process takes this workspace's commands; None where none does."""
    address = address_of(root)
    if not address.exists():
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, short(address) as name:
        try:
            probe.connect(name)
        except OSError:
            return None
    return address


def stdin() -> str:
    """Return all of standard input: the caller's, within a command that was handed over."""
    wire = wires.get()
    return sys.stdin.read() if wire is None else wire.stdin


def hand_over(address: Path, words: Sequence[str]) -> int:
    """Run a command in the process that listens at ``address``, show what it says, and return its exit code.

    Raises:
        RetryableError: That process ended before the command did.
    """
    told = stdin() if "-" in words else ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        ended = RetryableError(
            "`signalroom up` ended while it was at it.", mend="What was committed is kept: run the command again."
        )
        try:
            with short(address) as name:
                connection.connect(name)
            connection.sendall(json.dumps({"words": list(words), "stdin": told}).encode() + b"\n")
        except OSError as problem:
            raise ended from problem
        try:
            with connection.makefile("rb") as incoming:
                while head := incoming.read(_HEAD.size):
                    kind, size = _HEAD.unpack(head)
                    body = incoming.read(size)
                    if kind == EXIT:
                        return int(struct.unpack("!i", body)[0])
                    stream = sys.stdout if kind == OUT else sys.stderr
                    stream.write(body.decode())
                    stream.flush()
        except struct.error as problem:
            raise ended from problem
        except ConnectionError as problem:
            if isinstance(problem, BrokenPipeError):  # our own reader has gone, which is for the caller to say
                raise
            raise ended from problem
        raise ended


@contextlib.contextmanager
def short(address: Path) -> Generator[str]:
    """Yield a name of a socket that fits into the hundred bytes which an address of a socket may have."""
    folder = os.open(address.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        near = f"/proc/self/fd/{folder}/{address.name}"
        yield near if len(os.fsencode(address)) > 100 and Path("/proc/self/fd").exists() else str(address)
    finally:
        os.close(folder)
