"""A part of the lake on its way into a table, and parts that are read together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from signalroom.errors import DataError
from signalroom.load import Load, Part

_READ_BYTES = 1 << 20
BEGINNING = datetime.fromtimestamp(0, UTC)
"""File time of an object that has none."""


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part on its way into a table.

    Attributes:
        number: Its rank among all parts of the merge: file time, then object, then load; ties of rows follow it.
        load: The load it belongs to.
        part: The part itself.
        path: Local file with its stored bytes.
        restored: True for a part of an older load that is consulted again.
    """

    number: int
    load: Load
    part: Part
    path: Path
    restored: bool = False

    @property
    def source_ref(self) -> str:
        """Where its rows came from, without the row; an object is known by its key."""
        return self.part.object_key or self.part.source_ref or self.part.name

    def chunks(self) -> Iterator[bytes]:
        """Yield the part's bytes, decompressed; raises DataError where they cannot be."""
        import zlib

        import zstandard

        try:
            with self._opened() as stream:
                while chunk := stream.read(_READ_BYTES):
                    yield chunk
        except (EOFError, OSError, zlib.error, zstandard.ZstdError) as problem:
            raise DataError(
                f"{self.path.name} of load {self.load.load_id} cannot be decompressed: {problem}.",
                mend="Run `signalroom replay` after restoring the lake's file from a copy.",
            ) from problem

    def _opened(self) -> Any:
        import gzip

        import zstandard

        if self.part.compression == "gzip":
            return gzip.open(self.path, "rb")
        if self.part.compression == "zstd":
            frames = zstandard.ZstdDecompressor()
            return frames.stream_reader(self.path.open("rb"), read_across_frames=True)
        return self.path.open("rb")

    @property
    def file_time(self) -> datetime | None:
        """The object's time; None for pages and decoded rows."""
        return file_time(self.part)


def file_time(part: Part) -> datetime | None:
    """Return the time of the object a part is; None where it is none."""
    return part.file_time or (BEGINNING if part.object_key else None)


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that one statement reads: same format, same fields.

    Attributes:
        kind: ``csv``, ``jsonl``, ``json`` or ``parquet``.
        parts: The parts.
        fields: Spellings of the fields, in order (csv, parquet); the keys found (json).
        types: DuckDB's types of a parquet file's fields; empty for other kinds.
        careful: Whether the records are read one by one, into ``signalroom_careful``.
        doubled: Whether some JSON object holds a key twice.
        decoded: Whether an empty text of theirs is one, as rows that a source decoded or a database wrote have it;
            a file's means null.
    """

    kind: str
    parts: tuple[StagedPart, ...]
    fields: tuple[str, ...]
    types: tuple[str, ...] = ()
    careful: bool = False
    doubled: bool = False
    decoded: bool = False

    @property
    def json(self) -> bool:
        """Whether its records are JSON objects."""
        return self.kind in ("json", "jsonl")
