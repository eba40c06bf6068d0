"""What a source offers (streams of tables) and what it hands over (batches)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from signalroom.position import Json, Slice

if TYPE_CHECKING:
    import pyarrow as pa

Disposition: TypeAlias = Literal["append", "merge", "replace_slice", "replace", "history"]
"""How rows meet the table.

All kept; latest of a key wins; a slice is swapped; the newest snapshot is the table; each version of a key with the
time it held, which begins at the first column of the order.
"""

Contract: TypeAlias = Literal["evolve", "freeze", "discard"]
"""A column nobody declared: added as text; refused with the whole load; left in the lake only."""

Format: TypeAlias = Literal["csv", "jsonl", "json", "parquet"]
Compression: TypeAlias = Literal["none", "gzip", "zstd"]


_UNSAFE = re.compile(r"[^a-z0-9_]+")


def column_name(spelling: str) -> str:
    """Return the warehouse's name for a field's spelling: lower snake case, at most 63 bytes."""
    plain = unicodedata.normalize("NFKD", spelling).encode("ascii", "ignore").decode()
    name = _UNSAFE.sub("_", plain.strip().lower()).strip("_")[:58]
    if not name:
        return "column"
    return f"c_{name}" if name[0].isdigit() else name


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Name in the warehouse (lower snake case).
        type: ``text``, ``bigint``, ``double``, ``decimal(p,s)``, ``boolean``, ``date``, ``timestamp``,
            ``timestamptz`` or ``json``. Money is ``decimal``.
        path: Where the value is found: the header's spelling in a CSV file, a JSON path (``$.reporting.cv``) in
            a record. Empty means ``name``.
        format: For dates and times, a strptime pattern (``%m/%d/%Y``) or ``epoch@ZONE`` (seconds, read as the
            local date or time of ZONE). Empty means ISO 8601.
    """

    name: str
    type: str = "text"
    path: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One table that a stream feeds.

    Attributes:
        name: Table name; the schema is the source's name.
        columns: The declared columns; empty means: infer on the first load, text when unsure.
        key: Primary key columns; required by ``merge`` and ``history``.
        order: Columns whose greatest value wins a key, e.g. ``("updated_at",)`` or ``("_file_time", "_row")``.
            Ties go to the greater ``_file_time``, then ``_source_ref`` object, then ``_row``: never to chance.
        disposition: How rows meet the table.
        contract: What to do with a column nobody declared.
        slice_column: The local date column that ``replace_slice`` cuts by.
        nulls: Spellings that mean null, compared exactly; in files and pages the empty string always does.
    """

    name: str
    columns: tuple[Column, ...] = ()
    key: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    disposition: Disposition = "append"
    contract: Contract = "evolve"
    slice_column: str = ""
    nulls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """The unit of reading and of position; it names the tables it feeds.

    Attributes:
        source: Name of the source in the workspace.
        name: Name of the stream within its source.
        tables: The tables its batches may name.
        client: Tag stamped on every row as ``_client_id``; empty means null.
    """

    source: str
    name: str
    tables: tuple[Table, ...]
    client: str = ""

    @property
    def title(self) -> str:
        """``source.stream``, as people type it."""
        return f"{self.source}.{self.name}"

    def table(self, name: str) -> Table:
        """Return the table called ``name``; raises KeyError for a name the stream does not feed."""
        return next(table for table in self.tables if table.name == name)


@dataclass(frozen=True, slots=True)
class Window:
    """The local days a sync asks for, inclusive at both ends, in the source's zone."""

    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they arrived, read once, with what is needed to parse them later.

    Attributes:
        chunks: The bytes, in order.
        format: What the bytes are once decompressed.
        compression: How they arrived.
        delimiter: Field separator of ``csv`` (a TSV is a csv with a tab).
        encoding: Text encoding when somebody declared it; empty means UTF-8, else found while reading.
        records: JSON path of the array of records in a ``json`` document (``$.table``); ``$`` for a bare array.
        rows: Number of records, where the source counted them (``json``); None lets the lake count.
        empty_texts: Whether a quoted empty field of ``csv`` is an empty text, as databases write it; else it is null.
    """

    chunks: Iterable[bytes]
    format: Format
    compression: Compression = "none"
    delimiter: str = ","
    encoding: str = ""
    records: str = "$"
    rows: int | None = None
    empty_texts: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows or bytes for one table, with the position they advance and what they replace.

    Decoded rows may carry control columns: ``_op`` (``upsert``, ``delete``, ``truncate``), ``_seq`` (order in the
    stream) and ``_unset`` (names of columns whose value did not arrive).

    Attributes:
        table: Name of one of the stream's tables.
        content: Bytes as they arrived, or an Arrow table of decoded rows.
        position: Partitions this batch advances.
        replaces: What the rows are authoritative for; legal with no rows.
        object_key: The object these bytes are, for sources of objects.
        file_time: The object's time (its name's, else LastModified), aware.
        source_ref: Where the rows came from, without the row: an object key or a request fingerprint.
        request: The upstream request, without secrets, as recorded in ``_load.json``.
    """

    table: str
    content: Raw | pa.Table
    position: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
    replaces: tuple[Slice, ...] = ()
    object_key: str = ""
    file_time: datetime | None = None
    source_ref: str = ""
    request: Mapping[str, Json] = field(default_factory=dict[str, "Json"])
