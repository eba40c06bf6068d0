"""Compressed bytes made plain, as they go by: truncation and bombs are noticed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from signalroom.errors import DataError
from signalroom.stream import Compression

_OUT_BYTES = 1 << 20
_SLICE_BYTES = 16 * 1024  # one slice of zstd can become 32,768 times its size at most
_BOMB_RATIO = 250  # real files stay below 60
_BOMB_BYTES = 256 << 20  # below this a ratio means nothing


def plain(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """Yield the decompressed bytes of ``chunks``; raises DataError where they cannot be."""
    unpacker = Unpacker(compression)
    for chunk in chunks:
        yield from unpacker.feed(chunk)
    unpacker.finish()


class Unpacker:
    """Decompresses bytes that are pushed into it.

    Args:
        compression: How the bytes are compressed; ``none`` hands them through.
    """

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._frame: Any = None
        self._taken = self._given = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take compressed bytes and yield what they hold; raises DataError where they are not what they seem."""
        if self._compression == "none":
            yield chunk
            return
        self._taken += len(chunk)
        for out in self._gunzip(chunk) if self._compression == "gzip" else self._unzstd(chunk):
            self._given += len(out)
            if self._given > _BOMB_BYTES and self._given > _BOMB_RATIO * self._taken:
                raise DataError(f"Its {self._compression} data unpack to more than {_BOMB_RATIO} times their size.")
            yield out

    def finish(self) -> None:
        """Raise DataError if the bytes ended early."""
        if self._frame is not None:
            raise DataError(f"Its {self._compression} data end early, after {self._taken:,} bytes.")

    def _gunzip(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._frame is None:
                if not chunk.strip(b"\0"):
                    return  # padding after the last member
                self._frame = zlib.decompressobj(wbits=31)
            try:
                out = self._frame.decompress(chunk, _OUT_BYTES)
            except zlib.error as problem:
                raise DataError(f"It is not gzip: {problem}.") from None
            if out:
                yield out
            chunk = self._frame.unconsumed_tail
            if self._frame.eof:
                chunk, self._frame = self._frame.unused_data, None

    def _unzstd(self, chunk: bytes) -> Iterator[bytes]:
        import zstandard

        for start in range(0, len(chunk), _SLICE_BYTES):
            rest = chunk[start : start + _SLICE_BYTES]
            while rest:
                if self._frame is None:
                    self._frame = zstandard.ZstdDecompressor().decompressobj()
                try:
                    out = self._frame.decompress(rest)
                except zstandard.ZstdError as problem:
                    raise DataError(f"It is not zstd: {problem}.") from None
                if out:
                    yield out
                rest = b""
                if self._frame.eof:
                    rest, self._frame = self._frame.unused_data, None
