"""The changes there are: from the slot by replication, or by asking again and again where that cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from signalroom.capture.decoding import Decoder, NeedsText
from signalroom.capture.shapes import Shape, require_compatible, require_identity
from signalroom.capture.spool import Spool
from signalroom.clients.replication import Database, Replication, spelt
from signalroom.clock import Clock
from signalroom.errors import RetryableError
from signalroom.failpoints import failpoint
from signalroom.position import Json
from signalroom.sources.postgres_catalog import Catalogue
from signalroom.sources.postgres_moved import Moved
from signalroom.sources.postgres_slot import Mark

if TYPE_CHECKING:
    import pyarrow as pa

_ASK_AFTER_S = 0.02  # short, since nothing else says that there is no more; it is as little as a packet
_NUDGE_AFTER_S = 0.3
_STREAMED_SINCE = 140000  # transactions in progress, and binary cells


@dataclass(slots=True)
class Changes:
    """Reads what committed since a mark, up to the end of the WAL when it began.

    Attributes:
        url: The database.
        slot: The slot to read from.
        publication: What it is read by.
        catalogue: The tables as they are now.
        keys: ``schema.table`` -> its key columns.
        mark: Where to begin.
        clock: What waits are measured by.
        folder: Where large transactions are kept meanwhile.
        mode: How it is read.
        timeout_s: Seconds the server may be silent.
        part_bytes: Bytes after which rows are handed over.
        most_bytes: Bytes after which the next end of a transaction is the last; 0 for no such end.
        reached: WAL address up to which every transaction was handed over, once all was read.
        shapes: ``schema.table`` -> its columns when they were last seen.
    """

    url: str
    slot: str
    publication: str
    catalogue: Catalogue
    keys: Mapping[str, Sequence[str]]
    mark: Mark
    clock: Clock
    folder: Path
    mode: Literal["stream", "poll"]
    timeout_s: int
    part_bytes: int
    most_bytes: int
    reached: int = 0
    shapes: dict[str, Json] = field(default_factory=dict[str, "Json"])

    def read(self, target: int) -> Iterator[tuple[str, pa.Table]]:
        """Yield ``schema.table`` and rows of it until everything up to ``target`` was told.

        Raises:
            ConfigError: A table changed its shape so that it needs a new snapshot.
            RetryableError: The connection was lost, or the server was silent for too long.
            DataError: The server sent what cannot be read.
        """
        self.shapes = dict(self.mark.shapes)
        self.reached = self.mark.lsn
        binary = self.catalogue.binary
        with Spool(self.folder) as spool:
            decoder = Decoder(
                self.keys, spool, self.catalogue.bases, binary=binary, base=self.mark.base, on_shape=self._meet,
                complete=Moved(self.url, self.timeout_s, self.catalogue).complete, part_bytes=self.part_bytes,
            )  # fmt: skip
            while True:
                try:
                    yield from (
                        self._polled(decoder, target, binary)
                        if self.mode == "poll"
                        else self._streamed(decoder, target, binary)
                    )
                except NeedsText:
                    self.reached = max(self.reached, decoder.whole)
                    decoder.as_text()
                    binary = False
                else:
                    return

    def _streamed(self, decoder: Decoder, target: int, binary: bool) -> Iterator[tuple[str, pa.Table]]:
        taken = 0
        with Replication(self.url, timeout_s=self.timeout_s) as wire:
            wire.start(self.slot, self.reached, self._options(binary))
            heard, since_s = 0, self.clock.monotonic()
            quiet_s, nudged = since_s, False
            while True:
                messages = wire.receive(_ASK_AFTER_S)
                now_s = self.clock.monotonic()
                if messages:
                    quiet_s = now_s
                elif not nudged and now_s - quiet_s > _NUDGE_AFTER_S:
                    nudged = True
                    self._nudge()
                if messages or wire.heard > heard:
                    heard, since_s = wire.heard, now_s
                elif now_s - since_s > self.timeout_s:
                    raise RetryableError(f"Postgres has said nothing for {self.timeout_s} s.", mend="Try again later.")
                for _ in decoder.parts(messages):
                    taken += decoder.bytes
                    yield from _tables(decoder)
                    wire.ask(self.clock.now().timestamp(), reply=False)
                if not decoder.inside:
                    self.reached = max(self.reached, decoder.whole, wire.reached)
                    full = self.most_bytes and taken + decoder.bytes >= self.most_bytes
                    if self.reached >= target or full:
                        break
                if not messages:
                    wire.ask(self.clock.now().timestamp())
            yield from _tables(decoder)

    def _nudge(self) -> None:
        """Have the server write its WAL's last record whole.

        Of a transaction that is open in a database where nothing else goes on it may have written a part, for which the
        stream would wait until its WAL writer wakes up: seconds.
        """
        with Database(self.url, timeout_s=self.timeout_s) as database:
            database.rows("SELECT pg_logical_emit_message(true, 'signalroom', '') WHERE NOT pg_is_in_recovery()")

    def _polled(self, decoder: Decoder, target: int, binary: bool) -> Iterator[tuple[str, pa.Table]]:
        options = self._options(binary)
        options.pop("streaming", None)  # what is asked for by SQL comes once it has committed
        named = ", ".join(f"'{name}', '{value.replace(chr(39), chr(39) * 2)}'" for name, value in options.items())
        sql = (
            "COPY (SELECT lsn, data FROM pg_logical_slot_peek_binary_changes("
            f"'{self.slot}', '{spelt(target)}', NULL, {named})) TO STDOUT (FORMAT binary)"
        )
        self._nudge()
        with ExitStack() as held:
            database = held.enter_context(Database(self.url, timeout_s=self.timeout_s))
            behind, announced = False, dict[bytes, bytes]()
            for records in database.copy(sql):
                messages: list[bytes] = []
                for record in records:
                    kind = record[18:19]
                    if kind == b"B":  # asked from what was confirmed: transactions before the mark come again
                        behind = int.from_bytes(record[19:27], "big") < self.reached
                    message = b"w" + record[6:14] + bytes(16) + record[18:]
                    if not behind:
                        messages += (*announced.values(), message)
                        announced.clear()
                    elif kind == b"R":  # a table is announced once, which later transactions rely on
                        announced[record[19:23]] = message
                for _ in decoder.parts(messages):
                    yield from _tables(decoder)
            yield from _tables(decoder)
        self.reached = max(self.reached, decoder.whole, target)

    def _options(self, binary: bool) -> dict[str, str]:
        name = self.publication.replace('"', '""')
        options = {"proto_version": "1", "publication_names": f'"{name}"'}
        if self.catalogue.version >= _STREAMED_SINCE:
            options |= {"proto_version": "2", "streaming": "on"}
        return options | ({"binary": "true"} if binary else {})

    def _meet(self, shape: Shape) -> None:
        """Take a table's shape in, or refuse it."""
        require_identity(shape, self.keys[shape.title])
        known: Any = self.shapes.get(shape.title) or ()
        require_compatible(shape, known)
        self.shapes[shape.title] = shape.record()


def _tables(decoder: Decoder) -> Iterator[tuple[str, pa.Table]]:
    import pyarrow as pa

    for title, batches in decoder.take():
        failpoint("capture.stream.part")
        yield title, pa.Table.from_batches(batches)
