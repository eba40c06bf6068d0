"""Writing one load: bytes are read once, and hashed, counted and compressed on the way."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from signalroom import __version__
from signalroom.clock import Clock
from signalroom.errors import DataError
from signalroom.failpoints import failpoint
from signalroom.lake import manifest
from signalroom.load import Load, Part
from signalroom.position import Json, Slice
from signalroom.records import CsvScanner, LineScanner, recount
from signalroom.stream import Batch, Raw, Stream

if TYPE_CHECKING:
    from signalroom.clients.objects import ObjectStore

_ZSTD_LEVEL = 1  # 672 MB in 2.3 s of one core; a higher level costs more time than it saves disk
_COPIES_AT_ONCE = 2
_ENDINGS = {"none": "", "gzip": ".gz", "zstd": ".zst"}


@dataclass(slots=True)
class LoadWriter:
    """One load being written; nothing of it is visible before :meth:`commit`.

    Attributes:
        store: The lake's store.
        stream: Whose load it is.
        load_id: Its id.
        clock: Where the commit time comes from.
    """

    store: ObjectStore
    stream: Stream
    load_id: str
    clock: Clock
    _parts: list[Part] = field(default_factory=list[Part], init=False)
    _positions: dict[str, Json] = field(default_factory=dict[str, "Json"], init=False)
    _slices: list[Slice] = field(default_factory=list[Slice], init=False)
    _number: int = field(default=0, init=False)

    @property
    def folder(self) -> str:
        """The load's folder in the lake."""
        return f"{self.stream.source}/{self.stream.name}/{self.load_id}"

    def append(self, batch: Batch) -> Part:
        """Store one batch and return its part."""
        return self._add(batch, self._write(batch, self._next()))

    def append_many(self, batches: Iterable[Batch], on_part: Callable[[Part], None]) -> None:
        """Store batches as the source yields them, a few at a time; ``on_part`` hears of each one, in order.

        Compression, hashing and reading leave the interpreter's lock, so two threads fill two cores. A batch's bytes
        are read in its thread; the source is asked for the next one meanwhile.
        """
        waiting: list[tuple[Batch, Future[Part]]] = []
        with ThreadPoolExecutor(_COPIES_AT_ONCE, "lake") as pool:
            try:
                for batch in batches:
                    if isinstance(batch.content, Raw) and batch.object_key:
                        waiting.append((batch, pool.submit(self._write, batch, self._next())))
                    else:  # a page of an API: its source may need it before it asks for the next
                        self._settle(waiting, on_part, 0)
                        on_part(self.append(batch))
                    self._settle(waiting, on_part, _COPIES_AT_ONCE)
                self._settle(waiting, on_part, 0)
            finally:
                for _, copying in waiting:
                    copying.cancel()

    def _settle(self, waiting: list[tuple[Batch, Future[Part]]], on_part: Callable[[Part], None], most: int) -> None:
        """Take finished copies off the list until at most ``most`` are under way."""
        while len(waiting) > most or (waiting and waiting[0][1].done()):
            if not waiting[0][1].done():
                wait([waiting[0][1]], return_when=FIRST_COMPLETED)
            batch, copied = waiting.pop(0)
            on_part(self._add(batch, copied.result()))

    def commit(self) -> Load | None:
        """Write ``_load.json``: from here the load cannot be lost. None when there is nothing to commit."""
        if not self._parts and not self._slices and not self._positions:
            self.abort()
            return None
        load = Load(
            load_id=self.load_id,
            source=self.stream.source,
            stream=self.stream.name,
            client=self.stream.client,
            committed_at=self.clock.now(),
            parts=tuple(self._parts),
            positions=self._positions,
            slices=tuple(dict.fromkeys(self._slices)),
            code_version=__version__,
        )
        failpoint("lake.commit.before")
        self.store.put(f"{self.folder}/{manifest.NAME}", [manifest.encode(load)], create=True)
        failpoint("lake.commit.after")
        return load

    def abort(self) -> None:
        """Forget the load and delete its parts; what a crash leaves behind is invisible, and swept later."""
        self.store.delete(info.key for info in self.store.list(f"{self.folder}/"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abort()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _add(self, batch: Batch, part: Part) -> Part:
        self._parts.append(part)
        self._slices.extend(batch.replaces)
        for name, value in batch.position.items():
            if name == batch.object_key and isinstance(value, Mapping):
                known: dict[str, Json] = {"sha256": part.sha256, "rows": part.rows}
                self._positions[name] = {**value, **known, "load_id": self.load_id, "part": part.name}
            else:
                self._positions[name] = value
        return part

    def _write(self, batch: Batch, number: int) -> Part:
        """Store one batch and return its part, complete."""
        stem = f"part-{number:05d}"
        failpoint("lake.part.open")
        where = batch.source_ref or batch.object_key
        part = self._copy(batch.content, stem, where) if isinstance(batch.content, Raw) else self._encode(batch, stem)
        failpoint("lake.part.stored")
        return replace(
            part,
            table=batch.table,
            object_key=batch.object_key,
            file_time=batch.file_time,
            source_ref=where,
            request=dict(batch.request),
        )

    def _encode(self, batch: Batch, stem: str) -> Part:
        """Store decoded rows as Parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table: Any = batch.content
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", compression_level=_ZSTD_LEVEL)
        data = sink.getvalue().to_pybytes()
        self.store.put(f"{self.folder}/{stem}.parquet", [data])
        digest = hashlib.sha256(data).hexdigest()
        return Part(f"{stem}.parquet", "", "parquet", "none", table.num_rows, len(data), len(data), digest)

    def _copy(self, raw: Raw, stem: str, where: str) -> Part:
        """Store bytes as they arrived, compressed where they were not, and say what is in them."""
        stored = "zstd" if raw.compression == "none" and raw.format != "parquet" else raw.compression
        name = f"{stem}.{raw.format}{_ENDINGS[stored]}"
        passing = _Passing(raw, _scanner(raw), where, press=stored != raw.compression)
        size = self.store.put(f"{self.folder}/{name}", passing)
        part = Part(
            name, "", raw.format, stored, raw.rows or 0, passing.size, size, passing.digest.hexdigest(),
            delimiter=raw.delimiter, records=raw.records,
        )  # fmt: skip
        if raw.format == "parquet":
            return replace(part, rows=_parquet_rows(b"".join(self._again(part)), where))
        if passing.scanner is None:
            return part if raw.rows is not None else replace(part, rows=_document_rows(self._again(part), part, where))
        scan = passing.scanner.finish()
        if not scan.exact:
            scan = recount(scan, self._again(part), delimiter=raw.delimiter if raw.format == "csv" else None)
        return replace(part, rows=scan.rows, header=scan.header, encoding=scan.encoding, irregular=scan.irregular)

    def _again(self, part: Part) -> Iterator[bytes]:
        """Yield a stored part's bytes, decompressed."""
        inflate = _inflater(part.compression)
        for chunk in self.store.read(f"{self.folder}/{part.name}"):
            yield _inflated(inflate, chunk, part.name)


class _Passing:
    """Bytes on their way to the store: each chunk is hashed, counted and compressed once."""

    def __init__(self, raw: Raw, scanner: CsvScanner | LineScanner | None, where: str, *, press: bool) -> None:
        self.raw, self.scanner, self.where, self.press = raw, scanner, where, press
        self.digest, self.size = hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        import zstandard

        pressed: Any = zstandard.ZstdCompressor(_ZSTD_LEVEL).compressobj() if self.press else None
        inflate = _inflater(self.raw.compression)
        for chunk in self.raw.chunks:
            self.digest.update(chunk)
            self.size += len(chunk)
            if self.scanner is not None:
                self.scanner.feed(_inflated(inflate, chunk, self.where))
            piece = chunk if pressed is None else pressed.compress(chunk)
            if piece:
                failpoint("lake.part.write")
                yield piece
        if pressed is not None:
            yield pressed.flush()


def _scanner(raw: Raw) -> CsvScanner | LineScanner | None:
    if raw.format == "csv":
        return CsvScanner(raw.delimiter, raw.encoding)
    return LineScanner(raw.encoding) if raw.format == "jsonl" else None


def _inflater(compression: str) -> Any:
    """Return an object with ``decompress``, or None for bytes that are plain."""
    import zstandard

    if compression == "gzip":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor().decompressobj() if compression == "zstd" else None


def _inflated(inflate: Any, chunk: bytes, where: str) -> bytes:
    import zstandard

    try:
        return chunk if inflate is None else inflate.decompress(chunk)
    except (zlib.error, zstandard.ZstdError) as problem:
        raise DataError(f"{where} cannot be decompressed: {problem}.", mend="Ask for the file again.") from problem


def _parquet_rows(data: bytes, where: str) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows)
    except pa.ArrowInvalid as problem:
        raise DataError(f"{where} is not a Parquet file: {problem}.", mend="Ask for the file again.") from problem


def _document_rows(chunks: Iterable[bytes], part: Part, where: str) -> int:
    """Count the records of a JSON document whose source did not."""
    import orjson

    text = b"".join(chunks)
    try:
        found: Any = orjson.loads(text) if text.strip() else []
    except orjson.JSONDecodeError as problem:
        raise DataError(f"{where} is not JSON: {problem}.", mend="Ask for the file again.") from problem
    for step in part.records.removeprefix("$").split("."):
        found = found.get(step, []) if step and isinstance(found, dict) else found
    if not isinstance(found, list):
        raise DataError(f"{where} holds no array at {part.records}.", mend="Correct the stream's records path.")
    return len(found)
