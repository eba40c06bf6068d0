"""The rows there are: several connections copy ranges of the tables' blocks, all as of one moment."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signalroom.capture.rows import copied
from signalroom.capture.shapes import Shape
from signalroom.clients.replication import Database, quoted
from signalroom.errors import DataError
from signalroom.failpoints import failpoint
from signalroom.sources.postgres_catalog import Catalogue, table_sql

if TYPE_CHECKING:
    import pyarrow as pa

_RANGE_PAGES = 4_096  # 32 MB of 8 KB blocks: enough to hide the start of a COPY, few enough to share out evenly
_PAGES = """
    SELECT oid::bigint, pg_relation_size(oid) / current_setting('block_size')::int FROM pg_class WHERE oid = ANY (%s)"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of one table's blocks.

    Attributes:
        shape: The table.
        first: First block; None for all blocks there are.
        after: First block that is not meant; None leaves the end open.
    """

    shape: Shape
    first: int | None = None
    after: int | None = None

    @property
    def sql(self) -> str:
        """The COPY of it. What has no binary form that we decode is copied as its text."""
        columns = ", ".join(quoted(one.name) + ("" if one.kind else "::text") for one in self.shape.fields)
        where = ""
        if self.first is not None:
            # the table may have grown since it was measured: the last range has no end
            end = "" if self.after is None else f" AND ctid < '({self.after},0)'"
            where = f" WHERE ctid >= '({self.first},0)'{end}"
        return f"COPY (SELECT {columns} FROM {table_sql(self.shape)}{where}) TO STDOUT (FORMAT binary)"


def pieces(database: Database, catalogue: Catalogue) -> list[Piece]:
    """Return the tables cut into ranges; a partitioned table, or one of a server older than 14, is one piece.

    Raises:
        RetryableError: Somebody keeps a table to himself for too long.
    """
    found: list[Piece] = []
    pages = dict(database.rows(_PAGES, [one.shape.oid for one in catalogue.tables.values()]))
    for one in catalogue.tables.values():
        firsts = range(0, max(pages.get(one.shape.oid, 0), 1), _RANGE_PAGES)
        if one.partitioned or catalogue.version < 140000 or len(firsts) == 1:
            found.append(Piece(one.shape))
            continue
        found += [Piece(one.shape, first, None if first == firsts[-1] else first + _RANGE_PAGES) for first in firsts]
    return found


class Snapshot:
    """Copies pieces in threads of its own; iterate it once, and close it.

    Args:
        url: The database.
        timeout_s: Seconds for a connection.
        name: The exported snapshot that all of them read under.
        todo: What to copy.
        seq: The rows' ``_seq``.
        connections: How many at once.
        part_bytes: Bytes after which what was copied is handed over.
    """

    def __init__(
        self, url: str, timeout_s: int, name: str, todo: Sequence[Piece], seq: int, connections: int, part_bytes: int
    ) -> None:
        self._url, self._timeout_s, self._name, self._seq, self._part_bytes = url, timeout_s, name, seq, part_bytes
        self._todo: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        for piece in todo:
            self._todo.put(piece)
        self._ready: queue.Queue[tuple[Shape, pa.Table] | BaseException | None] = queue.Queue(1)
        self._stopped = threading.Event()
        count = max(1, min(connections, len(todo)))
        self._threads = [threading.Thread(target=self._work, name="snapshot", daemon=True) for _ in range(count)]

    def __iter__(self) -> Iterator[tuple[Shape, pa.Table]]:
        """Yield tables of rows; raises what a connection raised."""
        for thread in self._threads:
            thread.start()
        working = len(self._threads)
        while working:
            got = self._ready.get()
            if got is None:
                working -= 1
            elif isinstance(got, BaseException):
                raise got
            else:
                yield got

    def close(self) -> None:
        """Stop the connections and wait for them."""
        self._stopped.set()
        while any(thread.is_alive() for thread in self._threads):
            try:
                self._ready.get(timeout=0.05)  # one that waits to hand something over must not wait for ever
            except queue.Empty:
                continue

    def _work(self) -> None:
        try:
            with Database(self._url, timeout_s=self._timeout_s) as database:
                database.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                database.run(f"SET TRANSACTION SNAPSHOT '{self._name}'")
                while not self._stopped.is_set():
                    try:
                        piece = self._todo.get_nowait()
                    except queue.Empty:
                        break
                    self._copy(database, piece)
        except BaseException as problem:  # noqa: BLE001 - raised where the rows are asked for
            self._ready.put(problem)
        self._ready.put(None)

    def _copy(self, database: Database, piece: Piece) -> None:
        import pyarrow as pa

        held: list[pa.RecordBatch] = []
        size = 0

        def hand_over() -> None:
            nonlocal size
            while held:
                same = [one for one in held if one.schema.equals(held[0].schema)]
                held[:] = [one for one in held if not one.schema.equals(same[0].schema)]
                failpoint("capture.snapshot.part")
                self._ready.put((piece.shape, pa.Table.from_batches(same)))
            size = 0

        for records in database.copy(piece.sql):
            if self._stopped.is_set():
                return
            try:
                held.append(copied(piece.shape, records, self._seq))
            except (IndexError, ValueError) as problem:
                raise DataError(f"A row of {piece.shape.title} cannot be read.") from problem
            size += sum(map(len, records))
            if size >= self._part_bytes:
                hand_over()
        hand_over()
