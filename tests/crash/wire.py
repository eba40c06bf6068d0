"""A wire to a Postgres server that can be cut at a chosen byte, either way, and whose last bytes may arrive late."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Literal, Self

Way = Literal["up", "down"]

_BEGUN = b"SET LOCAL synchronous_commit = on"
_LOCK = b"pg_advisory_xact_lock(hashtextextended"
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
COMMIT_BYTES: dict[Way, int] = {"up": len(_COMMIT), "down": 18}
"""How long a COMMIT is on the wire: the statement, and its answer with the server's word that it is ready."""


@dataclass(frozen=True)
class Cut:
    """Where and how the wire is cut.

    Attributes:
        way: ``up`` to the server, ``down`` to the client.
        after: How many bytes that way still pass.
        of: Counted from the start of the merge, over all of its connections, or from the COMMIT of its transaction.
        how: ``reset`` or ``end`` the connections; ``late``: the client loses its connection, and the server gets the
            rest of what was sent once somebody else asks for the merge's lock.
    """

    way: Way
    after: int
    of: Literal["merge", "commit"] = "merge"
    how: Literal["reset", "end", "late"] = "reset"


@dataclass(eq=False)
class _Line:
    """One connection: its two sockets, and whether it is the one whose transaction merges."""

    client: socket.socket
    server: socket.socket
    merges: bool = False
    commits: bool = False


@dataclass
class Wire:
    """A proxy on a loopback port of its own, to the server's.

    Attributes:
        server_port: Where the server listens.
        port: Where clients connect.
        passed: Bytes that passed each way since :meth:`arm`.
        happened: Whether the cut that was asked for took place.
        late_at: What another client says when late bytes arrive at the server.
    """

    server_port: int
    port: int = 0
    passed: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    happened: bool = False
    late_at: bytes = _LOCK
    _cut: Cut | None = None
    _late: list[tuple[socket.socket, bytes]] = field(default_factory=list)
    _lines: dict[socket.socket, _Line] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._awake, self._asleep = socket.socketpair()
        self._guard = threading.Lock()
        for one in (self._listener, self._asleep):
            self._selector.register(one, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="wire")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._awake.send(b"x")
        self._thread.join()
        for line in set(self._lines.values()):
            self._end(line, reset=False)
        for one in (self._listener, self._awake, self._asleep):
            one.close()
        self._selector.close()

    def arm(self, cut: Cut | None) -> None:
        """Begin to count, and cut where it is asked for; None for a run that is left alone."""
        with self._guard:
            self._cut, self.happened = cut, False
            self.passed = {"up": 0, "down": 0}
            self._of_commit: dict[Way, int] = {"up": 0, "down": 0}
            for line in self._lines.values():
                line.merges = line.commits = False

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                found = key.fileobj
                assert isinstance(found, socket.socket)
                if found is self._asleep:
                    return
                with self._guard:
                    if found is self._listener:
                        self._accept()
                    elif found in self._lines:
                        self._move(found, self._lines[found])

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        line = _Line(client, socket.create_connection(("127.0.0.1", self.server_port)))
        for one in (line.client, line.server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._lines[one] = line
            self._selector.register(one, selectors.EVENT_READ)

    def _move(self, source: socket.socket, line: _Line) -> None:
        way: Way = "up" if source is line.client else "down"
        target = line.server if way == "up" else line.client
        try:
            data = source.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self._end(line, reset=False)
            return
        room = self._room(line, way, data)
        self.passed[way] += min(room, len(data))
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            target.sendall(data[:room])
        if room < len(data):
            self._sever(line, data[room:])
        if way == "up" and self.late_at in data:
            self._deliver_late()

    def _room(self, line: _Line, way: Way, data: bytes) -> int:
        """Return how many of these bytes may pass; fewer than there are where the wire is cut."""
        before = 0
        if way == "up":
            line.merges = line.merges or _BEGUN in data
            if line.merges and not line.commits and _COMMIT in data:
                line.commits, before = True, data.index(_COMMIT)
        cut = self._cut
        if cut is None or cut.way != way:
            return len(data)
        if cut.of == "merge":
            return max(0, cut.after - self.passed[way])
        if not line.commits:
            return len(data)
        room = max(0, before + cut.after - self._of_commit[way])
        self._of_commit[way] += len(data) - before
        return room

    def _sever(self, line: _Line, rest: bytes) -> None:
        """Cut: every connection, as when a network goes; under ``late`` the bytes on their way arrive in the end."""
        cut, self._cut, self.happened = self._cut, None, True
        assert cut is not None
        for one in set(self._lines.values()):
            if cut.how == "late" and one is line:
                self._late.append((one.server, rest))
                self._forget(one, one.client)
                self._forget(one, one.server)
                _close(one.client, reset=True)
            else:
                self._end(one, reset=cut.how == "reset")

    def _deliver_late(self) -> None:
        while self._late:
            server, rest = self._late.pop()
            with contextlib.suppress(ConnectionError):
                server.sendall(rest)
            _close(server, reset=False)

    def _end(self, line: _Line, *, reset: bool) -> None:
        for one in (line.client, line.server):
            self._forget(line, one)
            _close(one, reset=reset)

    def _forget(self, line: _Line, one: socket.socket) -> None:
        if self._lines.pop(one, None) is line:
            self._selector.unregister(one)


def _close(one: socket.socket, *, reset: bool) -> None:
    if reset:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
