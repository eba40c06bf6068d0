"""Loads made by hand: what a test merges, without a lake's locks, renames and syncs.

:class:`Loads` writes each batch's bytes to a folder, counts them with the scanners the lake uses, and hands the parts
out again. It is what a merge asks of a lake and nothing more, at a fraction of the cost: property tests make thousands.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from signalroom.errors import DataError
from signalroom.load import Load, Part
from signalroom.position import Json
from signalroom.records import CsvScanner, LineScanner, Scan, recount
from signalroom.stream import Batch, Raw, Stream

if TYPE_CHECKING:
    import pyarrow as pa

FIRST_COMMIT = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
"""Commit time of the first load; each later one commits a minute after the one before."""

_CHUNK = 1 << 20
_ids = itertools.count(1)  # unique in a warehouse that many folders share


@dataclass(slots=True)
class Loads:
    """A folder of committed loads.

    Attributes:
        folder: Where the parts are stored.
    """

    folder: Path
    _made: dict[str, Load] = field(default_factory=dict[str, Load])

    def add(self, stream: Stream, *batches: Batch, load_id: str = "") -> Load:
        """Commit one load of ``batches``; ids and commit times rise with every call.

        Args:
            stream: The stream the load belongs to.
            batches: What a source would have yielded.
            load_id: An id of one's own; empty means the next.
        """
        number = len(self._made) + 1
        name = load_id or f"{next(_ids):012d}"
        folder = self.folder / name
        folder.mkdir(parents=True)
        positions: dict[str, Json] = {}
        for batch in batches:
            positions.update(batch.position)
        load = Load(
            load_id=name,
            source=stream.source,
            stream=stream.name,
            client=stream.client,
            committed_at=FIRST_COMMIT + timedelta(minutes=number),
            parts=tuple(_part(folder, n, batch) for n, batch in enumerate(batches, 1)),
            positions=positions,
            slices=tuple(piece for batch in batches for piece in batch.replaces),
            code_version="test",
        )
        self._made[name] = load
        return load

    def all(self, stream: Stream) -> list[Load]:
        """Return every load of ``stream``, oldest first."""
        made = (self._made[name] for name in sorted(self._made))
        return [load for load in made if (load.source, load.stream) == (stream.source, stream.name)]

    def loads(self, source: str, stream: str, load_ids: Iterable[str]) -> Sequence[Load]:
        """Return the named loads of one stream; raises DataError for one that is gone."""
        found: list[Load] = []
        for load_id in load_ids:
            load = self._made.get(load_id)
            if load is None or (load.source, load.stream) != (source, stream):
                raise DataError(f"Load {load_id} is gone.", mend="Restore it from a copy of the lake.")
            found.append(load)
        return found

    def local(self, load: Load, part: Part) -> Path:
        """Return the file that holds the part's stored bytes."""
        return self.folder / load.load_id / part.name


def _part(folder: Path, number: int, batch: Batch) -> Part:
    content = batch.content
    if not isinstance(content, Raw):
        return _decoded(folder, number, batch, content)
    arrived = b"".join(content.chunks)
    plain = _plain(arrived, content)
    scan = _scan(content, plain)
    name = f"part-{number:05d}.{content.format}"
    (folder / name).write_bytes(arrived)
    return Part(
        name=name,
        table=batch.table,
        format=content.format,
        compression=content.compression,
        rows=scan.rows,
        bytes=len(arrived),
        stored_bytes=len(arrived),
        sha256=hashlib.sha256(arrived).hexdigest(),
        encoding=scan.encoding,
        delimiter=content.delimiter,
        header=scan.header,
        irregular=scan.irregular,
        records=content.records,
        object_key=batch.object_key,
        file_time=batch.file_time,
        source_ref=batch.source_ref,
        request=batch.request,
        empty_texts=content.empty_texts,
    )


def _decoded(folder: Path, number: int, batch: Batch, rows: pa.Table) -> Part:
    import pyarrow.parquet as pq

    name = f"part-{number:05d}.parquet"
    pq.write_table(rows, folder / name)
    stored = (folder / name).read_bytes()
    return Part(
        name=name,
        table=batch.table,
        format="parquet",
        compression="none",
        rows=rows.num_rows,
        bytes=len(stored),
        stored_bytes=len(stored),
        sha256=hashlib.sha256(stored).hexdigest(),
        object_key=batch.object_key,
        file_time=batch.file_time,
        source_ref=batch.source_ref,
        request=batch.request,
    )


def _plain(arrived: bytes, raw: Raw) -> bytes:
    """Decompress what arrived."""
    import zstandard

    if raw.compression == "gzip":
        return gzip.decompress(arrived)
    if raw.compression == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(arrived), read_across_frames=True) as stream:
            return stream.read()
    return arrived


def _scan(raw: Raw, plain: bytes) -> Scan:
    """Count the records of bytes that are not compressed, as the lake does."""
    import pyarrow.parquet as pq

    if raw.format == "parquet":
        return Scan(pq.read_metadata(io.BytesIO(plain)).num_rows, (), "utf-8", irregular=False)
    if raw.format == "json":
        return Scan(raw.rows or 0, (), "utf-8", irregular=False)
    scanner = CsvScanner(raw.delimiter, raw.encoding) if raw.format == "csv" else LineScanner(raw.encoding)
    for chunk in _chunks(plain):
        scanner.feed(chunk)
    scan = scanner.finish()
    if scan.exact:
        return scan
    return recount(scan, _chunks(plain), delimiter=raw.delimiter if raw.format == "csv" else None)


def _chunks(plain: bytes) -> Iterator[bytes]:
    return (plain[start : start + _CHUNK] for start in range(0, len(plain), _CHUNK))
