"""The stream of changes: messages in, tables of rows out, and the address up to which transactions are whole."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from signalroom.capture.rows import HEADER_BYTES, changes, truncation
from signalroom.capture.shapes import Shape, relation
from signalroom.capture.spool import Spool
from signalroom.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 8_192
"""Rows decoded together: more would leave the second-level cache."""

Complete: TypeAlias = Callable[[Shape, Sequence[str], "list[pa.RecordBatch]"], "list[pa.RecordBatch]"]
"""Takes a table, its key and changes of it, and returns the changes."""

_ROWS = frozenset(b"IUD")
_SPOOLED = frozenset(b"IUDTRYM")
_STREAM_COMMIT = ord("c")
_AT = HEADER_BYTES


@dataclass(slots=True)
class _Pending:
    """What arrived for one table and was not handed over yet."""

    shape: Shape
    messages: list[bytes] = field(default_factory=list[bytes])
    batches: list[pa.RecordBatch] = field(default_factory=list["pa.RecordBatch"])
    last: int = 0  # WAL address of the last change decoded
    skip: int = 0  # changes up to here were decoded before the connection was made anew


class NeedsText(Exception):  # noqa: N818 - no error: the reader asks again, for text
    """A table has a column whose binary form is not known."""


class Decoder:
    """Decodes pgoutput, protocol 1 and 2, text and binary.

    Args:
        keys: Relation ``schema.table`` -> its key columns; changes of other tables are left out.
        spool: Where transactions in progress are kept.
        bases: Domain or enum OID -> (OID that its binary form is of, modifier).
        binary: Whether cells come in binary form where their type has one.
        base: What is added to a WAL address to make ``_seq``.
        on_shape: Called with each table before rows of that shape; may refuse it.
        complete: Called with a table, its key and its changes, as ``rows.changes`` returned them; may complete them.
        part_bytes: Size after which ``parts`` offers what there is.

    Attributes:
        whole: WAL address after the last transaction that is decoded whole; 0 before the first.
        bytes: Size of what is decoded or waits, and was not taken yet.
        rows: Rows decoded so far.
    """

    def __init__(
        self,
        keys: Mapping[str, Sequence[str]],
        spool: Spool,
        bases: Mapping[int, tuple[int, int]],
        *,
        binary: bool = True,
        base: int = 0,
        on_shape: Callable[[Shape], object] = lambda _: None,
        complete: Complete = lambda _shape, _key, found: found,
        part_bytes: int = 8 << 20,
    ) -> None:
        self._part_bytes = part_bytes
        self.whole = self.bytes = self.rows = 0
        self._keys, self._spool, self._bases, self._base = keys, spool, bases, base
        self._on_shape, self._complete, self._binary = on_shape, complete, binary
        self._tables: dict[bytes, _Pending | None] = {}
        self._streamed = 0  # the transaction in progress whose block is open
        self._inside = False
        self._skipping = False

    @property
    def inside(self) -> bool:
        """Whether a transaction has begun that has not ended yet."""
        return self._inside or bool(self._streamed)

    def as_text(self) -> None:
        """Begin anew at ``whole``, as a new connection that asks for text does; no change is decoded twice."""
        for oid, pending in list(self._tables.items()):
            if pending is None:
                del self._tables[oid]
            else:
                self._decode(pending)
                pending.skip = pending.last
        self._spool.clear()
        self._binary, self._inside, self._streamed, self._skipping = False, False, 0, True

    def feed(self, messages: Iterable[bytes]) -> None:
        """Take messages in the order in which they came, all at once; see ``parts``."""
        for _ in self.parts(messages):
            pass

    def parts(self, messages: Iterable[bytes]) -> Iterator[None]:
        """Take messages in the order in which they came; yield where so much waits that it should be taken first.

        One message may bring a whole transaction out of the spool.

        Raises:
            DataError: One cannot be read.
            ConfigError: A table is called otherwise from here on, or ``on_shape`` refuses it.
            NeedsText: A table has a column whose binary form is not known; see ``as_text``.
        """
        try:
            yield from self._feed(messages)
        except IndexError as problem:
            raise DataError("The database sent a message that is cut.") from problem

    def _feed(self, messages: Iterable[bytes]) -> Iterator[None]:
        tables, streamed, rows = self._tables, self._streamed, _ROWS
        last, pending = b"", None  # rows of one table come one after the other: it is looked up once
        for message in messages:
            if streamed or message[_AT] not in rows:
                if message[_AT] == _STREAM_COMMIT:
                    yield from self._spooled(message)
                else:
                    self._steer(message[_AT], message)
                streamed, last = self._streamed, b""
                continue
            if message[_AT + 1 : _AT + 5] != last:
                last = message[_AT + 1 : _AT + 5]
                pending = tables.get(last, _UNKNOWN)
                if pending is _UNKNOWN:
                    raise DataError("The database sent rows of a table that it did not announce.")
            if pending is not None:
                pending.messages.append(message)
                self.bytes += len(message)
                if len(pending.messages) >= BATCH_ROWS:
                    self._decode(pending)
                if self.bytes >= self._part_bytes:
                    yield

    def _spooled(self, message: bytes) -> Iterator[None]:
        """Take a transaction that was in progress and has committed."""
        transaction, _, _, end = _words(">IBQQ", message, _AT + 1)
        self._inside = True
        yield from self._feed(self._spool.committed(transaction))
        self.whole = end
        self._end()

    def take(self) -> Iterator[tuple[str, list[pa.RecordBatch]]]:
        """Yield ``schema.table`` and its rows since the last call, batches of one schema together."""
        for pending in list(self._tables.values()):
            if pending is None:
                continue
            self._decode(pending)
            while pending.batches:
                same = [one for one in pending.batches if one.schema.equals(pending.batches[0].schema)]
                pending.batches = [one for one in pending.batches if not one.schema.equals(same[0].schema)]
                yield pending.shape.title, same
        self.bytes = 0

    def _decode(self, pending: _Pending) -> None:
        if not pending.messages:
            return
        messages, pending.messages = pending.messages, []
        if pending.skip:
            messages = [one for one in messages if int.from_bytes(one[1:9], "big") > pending.skip]
            if not messages:
                return
        key = self._keys[pending.shape.title]
        try:
            found = changes(pending.shape, messages, key, self._base)
        except (IndexError, ValueError) as problem:
            raise DataError(f"The database sent rows of {pending.shape.title} that cannot be read.") from problem
        pending.batches += self._complete(pending.shape, key, found)
        pending.last = max(pending.last, int.from_bytes(messages[-1][1:9], "big"))
        self.rows += sum(one.num_rows for one in found)

    def _steer(self, kind: int, message: bytes) -> None:
        """Take a message that is no row, or that belongs to a transaction in progress."""
        if self._streamed and kind in _SPOOLED:
            (part,) = _words(">I", message, _AT + 1)
            self._spool.add(self._streamed, part, message[: _AT + 1] + message[_AT + 5 :])
        elif kind == ord("R"):
            self._announce(message)
        elif kind == ord("T"):
            self._truncate(message)
        elif kind == ord("B"):
            self._inside = True
        elif kind == ord("C"):
            _, _, self.whole = _words(">BQQ", message, _AT + 1)
            self._end()
        elif kind == ord("S"):
            (self._streamed,) = _words(">I", message, _AT + 1)
        elif kind == ord("E"):
            self._streamed = 0
        elif kind == ord("A"):
            self._spool.drop(*_words(">II", message, _AT + 1))
        elif kind not in b"YMO":
            raise DataError(f"The database sent a message of kind {chr(kind)!r}, which no protocol asked for has.")

    def _end(self) -> None:
        if self._skipping:  # the transaction that was begun again is over
            for pending in self._tables.values():
                if pending is not None:
                    self._decode(pending)
                    pending.skip = 0
            self._skipping = False
        self._inside = False

    def _announce(self, message: bytes) -> None:
        shape = relation(message[_AT:], self._bases)
        oid = message[_AT + 1 : _AT + 5]
        known = self._tables.get(oid)
        if shape.title not in self._keys:
            if known is not None:
                raise ConfigError(
                    f"{known.shape.title} is {shape.title} from here on, which the source does not name.",
                    mend="Name it in `tables` by its new name, and raise `snapshot`.",
                )
            self._tables[oid] = None
            return
        if self._binary and not all(one.kind for one in shape.fields):
            raise NeedsText(shape.title)
        if known is None:
            known = self._tables[oid] = _Pending(shape)
        elif known.shape == shape:
            return
        self._decode(known)
        self._on_shape(shape)
        known.shape = shape

    def _truncate(self, message: bytes) -> None:
        count, _ = _words(">IB", message, _AT + 1)
        if len(message) != _AT + 6 + 4 * count:
            raise DataError("The database sent a Truncate message that cannot be read.")
        (address,) = _words(">Q", message, 1)
        for number in range(count):
            start = _AT + 6 + 4 * number
            pending = self._tables.get(message[start : start + 4])
            if pending is not None and address > pending.skip:
                self._decode(pending)
                pending.batches.append(truncation(pending.shape, address + self._base))
                self.bytes += len(message)
                self.rows += 1
                pending.last = max(pending.last, address)


_UNKNOWN = _Pending(Shape(0, "", "", ()))


def _words(form: str, message: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, message, at)
    except struct.error as problem:
        raise DataError("The database sent a message that is cut.") from problem
