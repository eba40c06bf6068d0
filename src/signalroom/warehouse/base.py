"""The role of a warehouse, and the answers it gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from signalroom.load import Load, Part
from signalroom.position import Position
from signalroom.projection import ProjectionStore
from signalroom.run import OnProgress, ignore_progress
from signalroom.stream import Stream
from signalroom.view import ViewStore

if TYPE_CHECKING:
    import pyarrow as pa


class Ask(Protocol):
    """Runs one SELECT with named parameters (``:name``) and returns its rows."""

    def __call__(self, sql: str, params: Mapping[str, Any] | None = None, /) -> pa.Table:
        """Return the rows of ``sql``."""
        ...


class LakeReader(Protocol):
    """What a merge may ask of the lake."""

    def loads(self, source: str, stream: str, load_ids: Iterable[str]) -> Sequence[Load]:
        """Return the named loads of one stream; raises DataError for one that is gone."""
        ...

    def local(self, load: Load, part: Part) -> Path:
        """Return a local file holding the part's stored bytes (downloaded first from a remote lake)."""
        ...


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What one merge did: ``rows_in == rows_merged + rows_superseded + rows_rejected``, asserted there.

    Each of the four is counted on its own: ``rows_in`` by the lake's scan of the bytes, the others by the
    statements that moved the rows.

    Attributes:
        load_ids: Loads merged now.
        already: Loads another process had merged before (nothing was done for them).
        rows_in: Records in the loads.
        rows_merged: Rows that entered the table.
        rows_superseded: Rows that lost their key to another row, or their slice to a newer observation.
        rows_rejected: Rows set aside in ``signalroom.rejects``.
        rows_restored: Rows of older loads that came back because the row that displaced them was withdrawn.
        skipped_objects: Objects whose bytes the stream already holds under another name.
        notes: Sentences a person should read, e.g. about an inferred schema.
    """

    load_ids: tuple[str, ...]
    already: tuple[str, ...] = ()
    rows_in: int = 0
    rows_merged: int = 0
    rows_superseded: int = 0
    rows_rejected: int = 0
    rows_restored: int = 0
    skipped_objects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@runtime_checkable
class Warehouse(Protocol):
    """Holds tables exactly once. A plugin: a dataclass whose fields are its settings."""

    @property
    def dialect(self) -> str:
        """``duckdb`` or ``postgres``: the SQL it speaks."""
        ...

    def positions(self, source: str, stream: str) -> Position:
        """Return where the merged loads of a stream stopped."""
        ...

    def merged(self, source: str, stream: str) -> set[str]:
        """Return the ids of the loads of a stream that are in the tables."""
        ...

    def merge(
        self,
        stream: Stream,
        loads: Sequence[Load],
        lake: LakeReader,
        *,
        replay: bool = False,
        progress: OnProgress = ignore_progress,
    ) -> MergeResult:
        """Merge loads in one transaction: every load id first, then rows, then positions.

        With ``replay`` the loads' rows are taken out and typed again; positions stay.
        """
        ...

    def retry(
        self, stream: Stream, lake: LakeReader, *, load_id: str = "", progress: OnProgress = ignore_progress
    ) -> MergeResult:
        """Type the rows of a stream that are set aside again, and merge those that fit now; the others stay there.

        Afterwards the tables and the rejects equal a clean load of the merged loads. The result counts the rows that
        were set aside, and its ``load_ids`` are the loads they are in. With ``load_id`` nothing happens unless a row
        of that load fits.
        """
        ...

    def run(self, sql: str) -> None:
        """Run statements of our own, e.g. DDL."""
        ...

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Run one SELECT with named parameters (``:name``) and return its rows."""
        ...

    def snapshot(self) -> AbstractContextManager[Ask]:
        """Return a context whose function runs SELECTs that all see one moment of the warehouse."""
        ...

    def newest_loads(self) -> Mapping[str, str]:
        """Return ``source.stream`` -> id of its newest merged load."""
        ...

    def record_build(
        self, started_at: datetime, finished_at: datetime, before: Mapping[str, str], after: Mapping[str, str]
    ) -> None:
        """Record one build of the models with the newest load of each stream before and after it."""
        ...

    def built_from(self, ask: Ask) -> tuple[str, ...]:
        """Return the newest load of each stream that the last build saw, within the snapshot of ``ask``.

        Where nothing was ever built: the newest of each stream.
        """
        ...

    def checksum(self, table: str, *, exclude: Sequence[str] = ()) -> str:
        """Return a hash of the rows of ``schema.table``, without the columns ``exclude``; equal on every engine.

        The order of rows does not matter: ``<rows>:<sum of row hashes in hex>``.
        """
        ...

    def views(self) -> ViewStore:
        """Return what keeps report views in this warehouse."""
        ...

    def projections(self) -> ProjectionStore:
        """Return what keeps rows of an app's entities in this warehouse."""
        ...

    def dbt_profile(self) -> Mapping[str, object]:
        """Return one output of a dbt profile that reaches this warehouse."""
        ...

    def check(self) -> Sequence[str]:
        """Return each problem with the connection or its settings as one sentence with its mend."""
        ...

    def close(self) -> None:
        """Release connections and files."""
        ...
