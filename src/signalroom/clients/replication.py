"""Postgres' replication protocol, and bulk reading by COPY, on psycopg's own connection to the server.

psycopg offers no call for replication; libpq has what it takes: a query that answers with COPY in both directions.
"""

from __future__ import annotations

import select
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

from signalroom.clients.postgres import connect, explained
from signalroom.errors import DataError, RetryableError

_PG_EPOCH_S = 946_684_800
_HELD_UP = "55P03"
_AT_ONCE = 8_192  # messages
_FAREWELL_S = 5.0  # without a word of the server, at the end of a stream
_COPIED_AT_ONCE = 4_096  # records: enough that what a column costs is small beside its rows
_XLOG_DATA, _KEEPALIVE = b"wk"
_MESSAGE_BYTES = 26  # the header and the kind of what follows
_COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_COPY_END = b"\xff\xff"
_PLAIN = ("SET timezone = 'UTC'", "SET datestyle = 'ISO'", "SET intervalstyle = 'postgres'", "SET bytea_output = 'hex'",
          "SET extra_float_digits = 1", "SET client_encoding = 'UTF8'")  # fmt: skip


def address(text: str) -> int:
    """Return a WAL address as a number: ``16/B374D848`` is 0x16B374D848."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def spelt(lsn: int) -> str:
    """Return a WAL address as Postgres writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def quoted(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class HeldUpError(RetryableError):
    """A slot cannot be made before transactions that are under way have ended."""


class Database:
    """An ordinary connection to the upstream: questions, and COPY of many rows.

    Args:
        url: The database.
        timeout_s: Seconds for a connection, and for a table that somebody keeps to himself.
    """

    def __init__(self, url: str, *, timeout_s: int) -> None:
        self._connection = connect(url, timeout_s=timeout_s)
        for setting in (*_PLAIN, f"SET lock_timeout = '{timeout_s}s'"):
            self.run(setting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query with ``%s`` parameters."""
        with explained("answer"):
            statement: Any = sql
            return self._connection.execute(statement, params or None).fetchall()

    def run(self, sql: str) -> None:
        """Run a statement without parameters and rows."""
        with explained("do that"):
            statement: Any = sql
            self._connection.execute(statement)

    def copy(self, sql: str) -> Iterator[list[bytes]]:
        """Yield the records of a binary ``COPY … TO STDOUT``, some thousands at once.

        Raises:
            DataError: What comes is no binary COPY.
            RetryableError: The connection was lost.
        """
        wire: Any = self._connection.pgconn
        with explained("copy"):
            _begin(wire, sql, "COPY_OUT")
            first, ended = True, False
            while not ended:
                records = list[bytes]()
                while len(records) < _COPIED_AT_ONCE and not ended:
                    arrived, ended = _receive(wire, None, most=_COPIED_AT_ONCE - len(records))
                    records += arrived
                if first and records:
                    if not records[0].startswith(_COPY_SIGNATURE) or len(records[0]) < 19:
                        raise DataError("What the database copies does not begin as a binary COPY.")
                    records[0] = records[0][19 + int.from_bytes(records[0][15:19], "big") :]
                    first = False
                if records[-1:] == [_COPY_END]:
                    records.pop()
                if records and not records[0]:
                    records.pop(0)
                if records:
                    yield records
            _end(wire)

    def close(self) -> None:
        """Close it; a COPY under way ends."""
        self._connection.close()


class Replication:
    """A connection that speaks the replication protocol.

    Attributes:
        reached: WAL address up to which the server has sent everything, as far as it said.
        heard: How often it said so.
    """

    def __init__(self, url: str, *, timeout_s: int) -> None:
        import psycopg

        self.reached = self.heard = 0
        self._received, self._timeout_s = 0, timeout_s
        with explained("connect for replication"):
            self._connection = psycopg.connect(
                url, autocommit=True, connect_timeout=timeout_s, replication="database", application_name="signalroom",
            )  # fmt: skip
        self._wire: Any = self._connection.pgconn
        self._streaming = False
        for setting in _PLAIN:
            self._ask(setting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def identify(self) -> tuple[str, int]:
        """Return the system's identifier and its timeline."""
        (row,) = self._ask("IDENTIFY_SYSTEM")
        return row[0], int(row[1])

    def create_slot(self, name: str = "") -> tuple[int, str]:
        """Create a logical slot and return its consistent point and the name of the snapshot as of it.

        The snapshot lasts until this connection is asked something else or closed.

        Args:
            name: Its name; without one it is a slot for the time being, which goes when this connection does.

        Raises:
            HeldUpError: A transaction that is under way did not end within ``timeout_s``; there is no slot then.
        """
        kind = "" if name else "TEMPORARY "
        self._ask(f"SET lock_timeout = '{self._timeout_s}s'")  # else it waits for as long as they last
        try:
            (row,) = self._ask(
                f"CREATE_REPLICATION_SLOT {quoted(name or self._passing)} {kind}LOGICAL pgoutput (SNAPSHOT 'export')"
            )
        except RetryableError as problem:
            if getattr(problem.__cause__, "sqlstate", "") == _HELD_UP:
                raise HeldUpError(problem.message, mend="End what is under way, then try again.") from problem
            raise
        return address(row[1]), row[2]

    def drop_passing_slot(self) -> None:
        """Drop the slot without a name that this connection created, and with it the server's hold on the WAL."""
        self._ask(f"DROP_REPLICATION_SLOT {quoted(self._passing)}")

    @property
    def _passing(self) -> str:
        return f"signalroom_passing_{self._wire.backend_pid}"

    def start(self, slot: str, lsn: int, options: Mapping[str, str]) -> None:
        """Begin to stream the transactions that committed at or after ``lsn``."""
        spelling = ", ".join(f"{name} '{value.replace(chr(39), chr(39) * 2)}'" for name, value in options.items())
        with explained("stream changes"):
            _begin(self._wire, f"START_REPLICATION SLOT {quoted(slot)} LOGICAL {spelt(lsn)} ({spelling})", "COPY_BOTH")
        self._streaming = True
        self.reached = self._received = lsn

    def receive(self, wait_s: float) -> list[bytes]:
        """Return the messages that have arrived, headers included; none when nothing comes in time.

        Args:
            wait_s: Seconds to wait for the first.

        Raises:
            DataError: A message is cut.
            RetryableError: The connection was lost, or the server ended the stream.
        """
        with explained("stream changes"):
            found, ended = _receive(self._wire, wait_s, self._keepalive)
            if ended:
                self._streaming = False
                _end(self._wire)
        if ended:
            raise RetryableError("Postgres ended the stream of changes.", mend="Run the sync again.")
        if found:
            self._received = max(self._received, int.from_bytes(found[-1][1:9], "big"))
        return found

    def ask(self, now_s: float, *, reply: bool = True) -> None:
        """Tell the server that we are here, and ask how far it has sent; confirms nothing.

        Args:
            now_s: Seconds since 1970.
            reply: Whether it should answer.
        """
        # flushed up to 0 means: nothing said
        moment = int((now_s - _PG_EPOCH_S) * 1_000_000)
        with explained("stream changes"):
            self._wire.put_copy_data(struct.pack(">cQQQqB", b"r", self._received, 0, 0, moment, reply))
            self._wire.flush()

    def _keepalive(self, data: Any) -> None:
        end, moment, reply = struct.unpack_from(">QqB", data, 1)
        self.heard += 1
        self.reached = max(self.reached, end)
        self._received = max(self._received, end)
        if reply:
            self.ask(moment / 1_000_000 + _PG_EPOCH_S, reply=False)

    def _ask(self, command: str) -> list[tuple[str, ...]]:
        import psycopg

        with explained("do that"):
            result = self._wire.exec_(command.encode())
            if result.status not in (psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK):
                raise psycopg.errors.error_from_result(result)
        return [
            tuple((result.get_value(row, column) or b"").decode() for column in range(result.nfields))
            for row in range(result.ntuples)
        ]

    def close(self) -> None:
        """End the stream, so that the slot is free at once, and close the connection."""
        import psycopg

        if self._streaming:
            self._streaming = False
            with suppress(psycopg.Error):  # the server frees the slot when the connection is gone
                self._wire.put_copy_end()
                self._wire.flush()
                # What was under way may still come; of a server that is out of reach nothing does.
                ended, came = False, True
                while came and not ended:
                    found, ended = _receive(self._wire, _FAREWELL_S)
                    came = bool(found)
        self._connection.close()


def _begin(wire: Any, command: str, status: str) -> None:
    import psycopg

    wire.send_query(command.encode())
    wire.flush()
    while wire.is_busy():
        _wait(wire, None)
    result = wire.get_result()
    if result is None or result.status != psycopg.pq.ExecStatus[status]:
        raise psycopg.errors.error_from_result(result) if result else psycopg.OperationalError("no answer came")


def _end(wire: Any) -> None:
    """Read what ends a COPY; raises what the server says."""
    import psycopg

    while (result := wire.get_result()) is not None:
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result)


def _receive(wire: Any, wait_s: float | None, keepalive: Any = None, most: int = _AT_ONCE) -> tuple[list[bytes], bool]:
    """Return what of a COPY has arrived, at least one record unless the time is up, and whether it has ended.

    ``keepalive`` takes the replication messages that are no data; without it every record is data.
    """
    get, found = wire.get_copy_data, list[bytes]()
    append, taken_in = found.append, 0
    while len(found) < most:
        size, data = get(1)
        if size > 0:
            if keepalive is None or (data[0] == _XLOG_DATA and size >= _MESSAGE_BYTES):
                append(bytes(data))
            elif data[0] == _KEEPALIVE and size == 18:
                keepalive(data)
            else:
                raise DataError("The database sent a replication message that cannot be read.")
        elif size < 0:
            return found, True
        elif len(found) > taken_in:  # while it flows, asking first whether there is more costs as much as taking it
            taken_in = len(found)
            wire.consume_input()
        elif found or not _wait(wire, wait_s):
            break
    return found, False


def _wait(wire: Any, wait_s: float | None) -> bool:
    """Wait until something arrives and take it in; False when the time is up."""
    ready, _, _ = select.select([wire.socket], [], [], wait_s)
    if ready:
        wire.consume_input()
    return bool(ready)
