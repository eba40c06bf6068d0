"""Checksums of both sides compared by ranges, down into those that differ, and what differs repaired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from signalroom.clock import Clock
from signalroom.failpoints import failpoint
from signalroom.projection import Bucket, Entity, ProjectionStore
from signalroom.projections.replica import Replica

_DEPTHS: Final = (0, 2, 4, 6)
"""Digits by which ranges are named, level by level: one range, then 256 times as many."""

_SMALL_ROWS: Final = 20_000
"""Where ranges that differ hold fewer rows than this, their rows are listed instead of being cut finer."""

_BATCH_ROWS: Final = 5_000
_NOTHING: Final = Bucket(0, 0, 0)
_NONE: Final = (-1, 0)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a comparison found and mended.

    Attributes:
        rows: Rows that were compared.
        differing: Rows that differed; those that are set aside here are none.
        repaired: Rows that were fetched because they are newer there, or missing here.
        undone: Rows that were newer here than the app itself has them: it has lost those changes.
        removed: Rows that the app does not have at all.
        purged: Rows that were gone, which the app remembers no longer, and now nobody here: no difference.
    """

    rows: int
    differing: int = 0
    repaired: int = 0
    undone: int = 0
    removed: int = 0
    purged: int = 0


def reconcile(entity: Entity, store: ProjectionStore, replica: Replica, leader: Replica, clock: Clock) -> Reconciled:
    """Compare an entity with the app's replica and repair what differs.

    That the replica lacks something proves nothing, for it may be behind: before anything is undone or removed here the
    leader itself is asked, and only the very version that was looked at is replaced.

    Raises:
        RetryableError: A database does not answer; what was repaired stays.
    """
    rows, ranges = _descend(entity, store, replica)
    if not ranges:
        return Reconciled(rows)
    theirs, ours, aside = replica.versions(entity, ranges), store.versions(entity, ranges), store.waiting(entity)
    wanted = [
        name
        for name, held in theirs.items()
        if held[0] >= ours.get(name, _NONE)[0] and held != ours.get(name) and aside.get(name, -1) < held[0]
    ]
    ahead = [name for name, held in ours.items() if held[0] > theirs.get(name, _NONE)[0]]
    repaired = 0
    for ids in _batches(wanted):
        failpoint("projections.reconcile.repair")
        # Two rows of one version that are not the same: theirs is right, and no greater version says so.
        twins = {name: ours[name][0] for name in ids if ours.get(name, _NONE)[0] == theirs[name][0]}
        repaired += store.upsert(entity, replica.rows(entity, ids), clock.now(), undo=twins).applied
    undone = removed = purged = 0
    for ids in _batches(ahead):
        failpoint("projections.reconcile.undo")
        known = leader.versions(entity, (), ids)
        lost = {name: ours[name][0] for name in ids if name in known and known[name][0] < ours[name][0]}
        if lost:
            undone += store.upsert(entity, leader.rows(entity, list(lost)), clock.now(), undo=lost).applied
        live, gone = store.remove(entity, {name: ours[name][0] for name in ids if name not in known})
        removed, purged = removed + live, purged + gone
    return Reconciled(rows, len(wanted) + undone + removed, repaired, undone, removed, purged)


def _descend(entity: Entity, store: ProjectionStore, replica: Replica) -> tuple[int, Sequence[str]]:
    """Return how many rows there are, and the ranges that differ, as fine as listing their rows is worth."""
    differ: list[str] = []
    total = 0
    for digits in _DEPTHS:
        theirs, ours = replica.buckets(entity, digits, differ), store.buckets(entity, digits, differ)
        total = total or sum(one.rows for one in theirs.values())
        differ = sorted(
            one for one in theirs.keys() | ours.keys() if theirs.get(one, _NOTHING) != ours.get(one, _NOTHING)
        )
        if sum(max(theirs.get(one, _NOTHING).rows, ours.get(one, _NOTHING).rows) for one in differ) <= _SMALL_ROWS:
            break
    return total, differ


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), _BATCH_ROWS):
        yield ids[first : first + _BATCH_ROWS]
