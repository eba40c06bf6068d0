"""Writes one load: its parts first, ``_load.json`` last."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from signalroom import __version__
from signalroom.clock import Clock
from signalroom.errors import DataError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.lake import archive
from signalroom.lake.ids import moment_of
from signalroom.lake.layout import Layout
from signalroom.lake.packing import Packing
from signalroom.load import Load, Part
from signalroom.position import Json, Slice
from signalroom.records import Scan, recount
from signalroom.stream import Batch, Raw, Stream

_log = logging.getLogger("signalroom.lake")
_THREADS = 3  # hashing, counting and compressing leave Python: two keep two cores busy while one waits for the disk


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Bytes that could not be read: archived whole, not part of the load.

    Attributes:
        source_ref: Where they came from: an object key or a request.
        reason: One sentence.
        archive: Their key in the lake; a ``.json`` beside it says the rest.
        bytes: Size as they arrived.
    """

    source_ref: str
    reason: str
    archive: str
    bytes: int


@dataclass(frozen=True, slots=True)
class _Written:
    """What one batch adds to the load."""

    part: Part | None
    positions: Mapping[str, Json]
    slices: tuple[Slice, ...]
    unreadable: Unreadable | None = None


class LoadWriter:
    """Collects batches into one load; ``commit`` makes it exist. A context manager that aborts what was not committed.

    Attributes:
        unreadable: What was set aside so far, in the order it was appended.
    """

    def __init__(self, layout: Layout, stream: Stream, clock: Clock) -> None:
        self.unreadable: list[Unreadable] = []
        self._layout = layout
        self._stream = stream
        self._clock = clock
        self._load_id = ""
        self._naming = threading.Lock()
        self._count = 0
        self._written: list[_Written] = []
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            self.abort()

    @property
    def folder(self) -> str:
        """The load's folder in the lake."""
        return self._layout.folder(self._stream.source, self._stream.name, self.load_id)

    @property
    def load_id(self) -> str:
        """The load's id, chosen at the first use; greater than that of every committed load of the stream."""
        with self._naming:
            if not self._load_id:
                self._load_id = self._layout.ids.next(self._clock.now(), self._latest())
            return self._load_id

    def append(self, batch: Batch) -> Part:
        """Write one batch as a part and return it.

        Raises:
            DataError: Its bytes cannot be read. They are archived, the position remembers an object so that it is
                not read again unchanged, and the load may go on.
        """
        written = self._write(batch, self._next())
        self._keep(written)
        if written.part is None:
            what = written.unreadable
            raise DataError(
                f"{batch.source_ref or batch.table} cannot be read: {what.reason if what else ''}",
                mend=f"Its bytes are kept as {what.archive if what else ''}.",
            )
        return written.part

    def append_many(self, batches: Iterable[Batch], on_part: Callable[[Part], object] | None = None) -> list[Part]:
        """Write batches as parts, objects several at once, and return the parts in order.

        Bytes that cannot be read are set aside (see ``unreadable``) and the others go on.

        Args:
            batches: Asked for by this thread only. Objects are asked for ahead; a page is written before its source
                is asked for the next, since it may wait for that.
            on_part: Called in this thread for each part, in order; may raise to cancel.
        """
        parts: list[Part] = []
        running: deque[Future[_Written]] = deque()

        def settle(most: int) -> None:
            while len(running) > most:
                written = running.popleft().result()
                self._keep(written)
                if written.part is not None:
                    parts.append(written.part)
                    if on_part is not None:
                        on_part(written.part)

        with ThreadPoolExecutor(_THREADS, "lake") as pool:
            try:
                for batch in batches:
                    running.append(pool.submit(self._write, batch, self._next()))
                    settle(_THREADS if batch.object_key else 0)
                settle(0)
            finally:
                for future in running:
                    future.cancel()
        return parts

    def commit(self) -> Load | None:
        """Make the load exist and return it; None, and nothing is left, when nothing was appended.

        Parts and folders are durable before ``_load.json`` is created.

        Raises:
            RetryableError: Another process committed a later load of the stream, or swept a part of this one.
        """
        if not any(written.part or written.positions or written.slices for written in self._written):
            self.abort()
            return None
        load = self._load()
        self._layout.settle_parts(load)
        latest = self._latest()
        if latest > load.load_id:
            self.abort()
            raise RetryableError(
                f"Another sync of {self._stream.title} committed {latest} while this one was reading.",
                mend="Run the sync again: it goes on from there.",
            )
        failpoint("lake.commit.before")
        self._open = False  # whatever happens now, the load may exist: only `sweep` may remove its parts
        self._layout.mark(load)
        failpoint("lake.commit.after")
        return load

    def abort(self) -> None:
        """Remove what was written; the load never existed."""
        self._open = False
        if self._load_id:
            self._layout.remove(self._stream.source, self._stream.name, self._load_id)

    def _latest(self) -> str:
        return max(self._layout.committed(self._stream.source, self._stream.name), default="")

    def _load(self) -> Load:
        positions: dict[str, Json] = {}
        for written in self._written:
            positions.update(written.positions)
        return Load(
            load_id=self.load_id,
            source=self._stream.source,
            stream=self._stream.name,
            client=self._stream.client,
            committed_at=max(self._clock.now(), moment_of(self.load_id)),
            parts=tuple(written.part for written in self._written if written.part is not None),
            positions=positions,
            slices=tuple(item for written in self._written for item in written.slices),
            code_version=__version__,
        )

    def _next(self) -> int:
        if not self._open:
            raise RetryableError(f"The load of {self._stream.title} is closed.")
        self._count += 1
        return self._count

    def _keep(self, written: _Written) -> None:
        self._written.append(written)
        if written.unreadable is not None:
            self.unreadable.append(written.unreadable)
            aside = written.unreadable
            _log.warning(
                "%s: %s %s Its bytes are kept as %s.", self._stream.title, aside.source_ref, aside.reason, aside.archive
            )

    def _write(self, batch: Batch, number: int) -> _Written:
        """Write one batch; runs in any thread and touches no state of the writer."""
        raw = batch.content if isinstance(batch.content, Raw) else _parquet(batch.content)
        packing = Packing(raw)
        name = f"part-{number:05d}{packing.extension}"
        key = f"{self.folder}/{name}"
        self._layout.store_part(key, packing)
        scan = packing.scan
        if scan is None and not packing.trouble:
            scan, trouble = _count_parquet(self._layout.fetch(key, packing.stored_bytes))
        else:
            trouble = packing.trouble
        if scan is None:
            return self._set_aside(batch, packing, key, trouble)
        part = Part(
            name=name,
            table=batch.table,
            format=raw.format,
            compression=packing.compression,
            rows=scan.rows,
            bytes=packing.bytes,
            stored_bytes=packing.stored_bytes,
            sha256=packing.sha256,
            encoding=scan.encoding,
            delimiter=raw.delimiter,
            header=scan.header,
            irregular=scan.irregular,
            records=raw.records,
            object_key=batch.object_key,
            file_time=batch.file_time,
            source_ref=batch.source_ref,
            request=dict(batch.request),
            empty_texts=raw.empty_texts,
        )
        if not scan.exact:
            counted = recount(
                scan, self._layout.text(key, part), delimiter=raw.delimiter if raw.format == "csv" else None
            )
            part = replace(part, rows=counted.rows, header=counted.header)
        return _Written(part, _completed(batch, part, self.load_id), batch.replaces)

    def _set_aside(self, batch: Batch, packing: Packing, key: str, reason: str) -> _Written:
        """Move a part that cannot be read to the archive; its object's position remembers which version it was."""
        about = {
            "reason": reason,
            "source_ref": batch.source_ref,
            "object_key": batch.object_key,
            "bytes": packing.bytes,
            "sha256": packing.sha256,
            "request": dict(batch.request),
        }
        kept = archive.move(self._layout.store, self._stream, key, about, self._clock.now())
        positions: dict[str, Json] = {}
        seen = batch.position.get(batch.object_key) if batch.object_key else None
        if isinstance(seen, Mapping):
            positions[unreadable_partition(batch.object_key)] = {**seen, "reason": reason, "archive": kept}
        return _Written(None, positions, (), Unreadable(batch.source_ref, reason, kept, packing.bytes))


def unreadable_partition(object_key: str) -> str:
    """Return the position partition that remembers which version of an object could not be read.

    It is not the object's own: that one goes on naming the version whose rows are in the table.
    """
    return f"unreadable|{object_key}"


def _completed(batch: Batch, part: Part, load_id: str) -> dict[str, Json]:
    """Return the batch's positions, an object's with what only the lake knows: hash, rows, load and part."""
    positions = dict(batch.position)
    seen = positions.get(batch.object_key) if batch.object_key else None
    if isinstance(seen, Mapping):
        known: dict[str, Json] = {"sha256": part.sha256, "rows": part.rows, "load_id": load_id, "part": part.name}
        positions[batch.object_key] = {**seen, **known}
    return positions


def _parquet(table: object) -> Raw:
    """Return decoded rows as the bytes of a Parquet file."""
    from typing import cast

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = cast("pa.Table", table)
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    return Raw([sink.getvalue().to_pybytes()], "parquet", rows=rows.num_rows)


def _count_parquet(path: Path) -> tuple[Scan | None, str]:
    """Return the records that a Parquet file's footer counts, or what is wrong with the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as problem:
        return None, f"It is not Parquet: {str(problem).splitlines()[0]}."
    return Scan(rows, (), "utf-8", irregular=False), ""
