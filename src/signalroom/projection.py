"""What is copied from an app's database row by row, and what became of it: entities, versions, cursors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from signalroom.stream import Column

if TYPE_CHECKING:
    import pyarrow as pa

VERSION_COLUMNS = ("_id", "_version", "_deleted", "_hash")
"""Columns every row of a projection carries beside its entity's own."""

CHANGED_AT = "_updated_at"
"""Column that rows bring where their lag is measured: when the leader changed them."""

EPOCH_BITS = 40
"""A version is ``epoch << EPOCH_BITS | counter``: whatever a newer leader writes wins over what an older one wrote."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of an app, as its reporting table on the leader has it now.

    Attributes:
        projection: Name of the projection; the schema its tables have in the warehouse.
        name: Name of the entity; that of its view of live rows in the warehouse.
        columns: Its own columns, in the order of the leader's table.
    """

    projection: str
    name: str
    columns: tuple[Column, ...]

    @property
    def title(self) -> str:
        """``projection.entity``, as people type it and query it."""
        return f"{self.projection}.{self.name}"

    @property
    def table(self) -> str:
        """``schema.table`` of all its rows, tombstones included."""
        return f"{self.title}__rows"


@dataclass(frozen=True, slots=True)
class Upserted:
    """What an upsert did with a batch: ``applied + stale + rejected`` is the number of its rows.

    Attributes:
        applied: Rows that were new, or newer than what was there.
        stale: Rows that were there in this version or a newer one: a no-op.
        rejected: Rows a value of which does not fit; they are in ``signalroom.rejects`` until a newer version heals
            them.
    """

    applied: int = 0
    stale: int = 0
    rejected: int = 0

    def __add__(self, other: Upserted) -> Upserted:
        """Return the sum."""
        return Upserted(self.applied + other.applied, self.stale + other.stale, self.rejected + other.rejected)


@dataclass(frozen=True, slots=True)
class FollowState:
    """How far the copy of one entity is; kept beside its rows and changed in the same transaction.

    Attributes:
        cursor: Transaction id (``xid8``) below which every change of the leader is here; empty before the first sweep.
        leader: Identity of the leader it was read from: system identifier, timeline, epoch.
        swept_at: When the last sweep ended, UTC.
        reconciled_at: When its checksums were last compared with the leader's, UTC.
        lag_s: Seconds from the leader's change to the commit here, of the slowest row of the newest batch that brought
            one; None before. It is measured by the upsert: to record a state leaves it.
    """

    cursor: str = ""
    leader: str = ""
    swept_at: datetime | None = None
    reconciled_at: datetime | None = None
    lag_s: float | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The checksum of some rows: two sides that agree on all three hold the same rows in the same versions.

    Attributes:
        rows: How many, tombstones included.
        versions: Sum of their versions.
        hashes: Sum of their hashes.
    """

    rows: int
    versions: int
    hashes: int


class ProjectionStore(Protocol):
    """What a warehouse does for projections."""

    def upsert(
        self, entity: Entity, rows: pa.Table, at: datetime, *,
        state: FollowState | None = None, undo: Mapping[str, int] | None = None,
    ) -> Upserted:  # fmt: skip
        """Apply rows in one transaction, each only where its version is greater than what is there.

        Args:
            entity: Whose rows; its table, view and new columns are made where they are missing.
            rows: Text columns named as :data:`VERSION_COLUMNS` and the entity's own; a row whose version is lower than
                another's of its id counts as stale. Where they bring :data:`CHANGED_AT`, the lag of those that are
                applied is kept in the entity's state.
            at: The moment of the commit, for ``_synced_at``.
            state: What to remember of the entity in the same transaction; None leaves it.
            undo: Id -> a version that the leader has lost: where it is still what is here, it makes room first.

        Raises:
            DataError: A column has another type now than in the table.
        """
        ...

    def remove(self, entity: Entity, ids: Mapping[str, int]) -> tuple[int, int]:
        """Take rows out that the leader does not know at all; return how many were live, and how many tombstones.

        Each id comes with the version that was looked at: what has another one by now stays.
        """
        ...

    def fits(self, entity: Entity) -> bool:
        """Return whether the entity's table can take its columns: none has another type now."""
        ...

    def rebuild(self, entity: Entity) -> None:
        """Drop the entity's table and state; the next upsert makes it with the columns of then."""
        ...

    def states(self, projection: str) -> Mapping[str, FollowState]:
        """Return entity -> state."""
        ...

    def record(self, entity: Entity, state: FollowState) -> None:
        """Remember a state apart from any row."""
        ...

    def buckets(self, entity: Entity, digits: int, within: Sequence[str]) -> Mapping[str, Bucket]:
        """Return the checksums of rows by the first ``digits`` hexadecimal digits of the md5 of their ids.

        Args:
            entity: Whose rows.
            digits: How many digits name a bucket; 0 is one bucket, called "".
            within: Shorter prefixes: only buckets that begin with one of them; nothing means all.
        """
        ...

    def versions(self, entity: Entity, within: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Return id -> version and hash of the rows of the buckets ``within``; all rows where that is empty."""
        ...

    def waiting(self, entity: Entity) -> Mapping[str, int]:
        """Return id -> version of the rows that are set aside."""
        ...
