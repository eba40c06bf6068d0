"""The other side of a hand-over: the process that owns a workspace takes the commands of others."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any, Self, TextIO

from signalroom.cli.app import app
from signalroom.cli.handover import ERR, EXIT, OUT, Wire, address_of, short, wires
from signalroom.cli.session import Session

if TYPE_CHECKING:
    from signalroom.room import Room

_MAX_REQUEST_BYTES = 16 << 20


class _Routed(io.TextIOBase):
    """Standard output or standard error: to the caller within a command of its, else to this process's own."""

    def __init__(self, own: TextIO, kind: int) -> None:
        self._own, self._kind = own, kind

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - the protocol's name
        """Frames are UTF-8."""
        return "utf-8"

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether colours and moving displays make sense here."""
        return wires.get() is None and self._own.isatty()

    def write(self, s: str, /) -> int:
        """Write text."""
        wire = wires.get()
        if wire is None:
            return self._own.write(s)
        wire.send(self._kind, s.encode("utf-8", "replace"))
        return len(s)

    def flush(self) -> None:
        """Let out what is held back."""
        if wires.get() is None:
            self._own.flush()


class Door:
    """Where the process that owns a workspace takes the commands of others, for as long as the block lasts."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._address = address_of(room.workspace.root)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._own = sys.stdout, sys.stderr

    def __enter__(self) -> Self:
        self._address.parent.mkdir(parents=True, exist_ok=True)
        self._address.unlink(missing_ok=True)  # of an owner that died: the lock is ours
        with short(self._address) as name:
            before = os.umask(0o177)
            try:
                self._listener.bind(name)
            finally:
                os.umask(before)
        self._listener.listen()
        sys.stdout, sys.stderr = _Routed(self._own[0], OUT), _Routed(self._own[1], ERR)
        threading.Thread(target=self._accept, name="door", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._address.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        sys.stdout, sys.stderr = self._own

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="handed over", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            request = _request(connection)
            if request is None:
                return
            wire = Wire(connection, str(request["stdin"]))
            wires.set(wire)  # this thread's own context
            code: object = 1
            try:
                app.main([str(word) for word in request["words"]], obj=Session(handed=self._room))
            except SystemExit as ended:
                code = ended.code
            wire.send(EXIT, struct.pack("!i", code if isinstance(code, int) else 0 if code is None else 1))


def _request(connection: socket.socket) -> dict[str, Any] | None:
    """Return what a caller asks; None where it only looked whether somebody is there."""
    incoming = connection.makefile("rb")
    try:
        line = incoming.readline(_MAX_REQUEST_BYTES)
    except OSError:
        return None
    return json.loads(line) if line.endswith(b"\n") else None
