"""One committed unit in the lake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from signalroom.position import Json, Slice
from signalroom.stream import Compression, Format


@dataclass(frozen=True, slots=True)
class Part:
    """One stored file of a load.

    Attributes:
        name: File name inside the load's folder.
        table: The stream's table it feeds.
        format: What the bytes are once decompressed.
        compression: How they are stored.
        rows: Records it holds, counted while it was written and independently of any parser.
        bytes: Size as it arrived.
        stored_bytes: Size in the lake.
        sha256: Hash of the bytes as they arrived, in hex.
        encoding: Text encoding found or declared (``utf-8``, ``utf-8-sig``, ``utf-16``, ``cp1252``).
        delimiter: Field separator of a csv part.
        header: The csv header's fields as spelt; empty for other formats.
        irregular: True where the bytes need the careful reader: stray quotes, NUL, ragged encodings, lone CR.
        records: JSON path of the array of records in a json part.
        object_key: The object these bytes are; empty for pages and decoded rows.
        file_time: The object's time, aware.
        source_ref: Where the rows came from, without the row.
        request: The upstream request, without secrets.
        empty_texts: Whether a quoted empty field of a csv part is an empty text; else it is null, as an unquoted one.
    """

    name: str
    table: str
    format: Format
    compression: Compression
    rows: int
    bytes: int
    stored_bytes: int
    sha256: str
    encoding: str = "utf-8"
    delimiter: str = ","
    header: tuple[str, ...] = ()
    irregular: bool = False
    records: str = "$"
    object_key: str = ""
    file_time: datetime | None = None
    source_ref: str = ""
    request: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    empty_texts: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """One committed unit in the lake; its ``_load.json`` is this record.

    Attributes:
        load_id: Sorts by commit time; names the folder.
        source: Source name.
        stream: Stream name.
        client: Tag of every row; empty means null.
        committed_at: When ``_load.json`` was written (UTC): every row's ``_loaded_at``.
        parts: The files.
        positions: Partitions this load advances.
        slices: What it replaces.
        code_version: Version of the package that wrote it.
    """

    load_id: str
    source: str
    stream: str
    client: str
    committed_at: datetime
    parts: tuple[Part, ...]
    positions: Mapping[str, Json]
    slices: tuple[Slice, ...]
    code_version: str

    @property
    def rows(self) -> int:
        """Records in all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes as they arrived, in all parts."""
        return sum(part.bytes for part in self.parts)
