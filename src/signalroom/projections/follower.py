"""The follower: rows of an app that changed, brought into the warehouse; nothing is lost, doubled or taken back.

A hint says that a row is wanted, perhaps in which version. It may be lost, late, doubled or forged: the row and its
version are read from the app's replica in one statement, and the warehouse applies what is newer. What no hint told is
found by the sweep, and whatever else there may be by comparing checksums (:mod:`signalroom.projections.reconcile`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from signalroom.clock import Clock
from signalroom.errors import SignalRoomError
from signalroom.failpoints import failpoint
from signalroom.projection import Entity, FollowState, ProjectionStore, Upserted
from signalroom.projections.leader import Leader
from signalroom.projections.reconcile import Reconciled, reconcile
from signalroom.projections.replica import Replica

if TYPE_CHECKING:
    import pyarrow as pa

    from signalroom.ledger.pulls import Pull, Pulls
    from signalroom.workspace.projections import ProjectionSettings

_FIRST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 5.0
_AILING_WAIT_S: Final = 30.0
_PURGE_EVERY: Final = timedelta(hours=1)
_log = logging.getLogger("signalroom.projections")


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one round of pulling did.

    Attributes:
        wanted: Rows that were due.
        applied: Rows that became newer here.
        late: Rows that are not where they are read yet, and are looked for again.
        unknown: Rows that the app does not have in the version wanted, nor will: hints that are forged, or lost theirs.
        problems: Why entities could not be pulled, each a sentence; the others were.
    """

    wanted: int = 0
    applied: int = 0
    late: int = 0
    unknown: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Pulled) -> Pulled:
        """Return the sum."""
        return Pulled(
            self.wanted + other.wanted, self.applied + other.applied, self.late + other.late,
            self.unknown + other.unknown, (*self.problems, *other.problems),
        )  # fmt: skip


@dataclass(slots=True)
class Follower:
    """One projection and where its rows go. Not for two threads at once: each loop has one of its own.

    Attributes:
        settings: The projection.
        store: The warehouse's side.
        queue: Rows that are wanted.
        clock: Where time comes from.
        workspace: Name of the workspace, by which the leader knows who follows.
        ailing: Entity -> why it could not be pulled when it was last tried; those that could are left out.
    """

    settings: ProjectionSettings
    store: ProjectionStore
    queue: Pulls
    clock: Clock
    workspace: str = ""
    ailing: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False)
    _purged_at: dict[str, datetime] = field(default_factory=dict[str, datetime], init=False, repr=False)
    _replica: Replica = field(init=False, repr=False)
    _leader: Replica = field(init=False, repr=False)

    def __post_init__(self) -> None:
        leader, replica = self.settings.url.reveal(), self.settings.replica
        self._leader = Replica(leader, self.settings.schema)
        self._replica = Replica(replica.reveal() if replica else leader, self.settings.schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next question opens them again."""
        self._replica.close()
        self._leader.close()

    @property
    def name(self) -> str:
        """Name of the projection."""
        return self.settings.name

    @property
    def entities(self) -> Sequence[str]:
        """Names of the entities that are followed."""
        return tuple(self.settings.entities)

    def replica_entity(self, name: str) -> Entity:
        """Return an entity as the replica has it now."""
        return self._replica.entity(self.name, name)

    def state(self, name: str) -> FollowState:
        """Return how far an entity is; it asks nothing of the app."""
        return self.store.states(self.name).get(name, FollowState())

    def is_comparison_due(self, name: str) -> bool:
        """Return whether an entity's checksums are to be compared again."""
        every_s, last = self.settings.follow.reconcile_s, self.state(name).reconciled_at
        return every_s > 0 and (last is None or self.clock.now() - last >= timedelta(seconds=every_s))

    def hint(self, hints: Iterable[tuple[str, str, int]]) -> int:
        """Queue rows that are said to have changed, each (entity, id, version); returns how many are followed."""
        return self.queue.want(self.name, (one for one in hints if one[0] in self.settings.entities))

    def pull(self) -> Pulled:
        """Fetch what is due, one batch; an entity that fails keeps no other waiting.

        Raises:
            RetryableError: The ledger does not answer.
        """
        due = self.queue.due(self.name, self.settings.follow.batch_rows)
        done = Pulled()
        for name in sorted({one.entity for one in due}):
            mine = [one for one in due if one.entity == name]
            if name not in self.settings.entities:  # which was followed when it was queued
                self.queue.settle(self.name, mine)
                continue
            try:
                done += self._pull(name, mine)
                self.ailing.pop(name, None)
            except SignalRoomError as problem:
                self.close()
                again = self.clock.now() + timedelta(
                    seconds=_AILING_WAIT_S if len(mine) == len(due) else _LONGEST_WAIT_S
                )
                self.queue.defer(self.name, dict.fromkeys(mine, again))
                self.ailing[name] = f"{self.name}.{name}: {problem}"
                done += Pulled(len(mine), problems=(self.ailing[name],))
        return done

    def _pull(self, name: str, due: Sequence[Pull]) -> Pulled:
        here, done = self._fetch(self._replica, name, due)
        late = [one for one in due if not _arrived(one, here)]
        now, patience = self.clock.now(), timedelta(seconds=self.settings.follow.leader_after_s)
        overdue = [one for one in late if one.since is None or now - one.since >= patience]
        unknown: list[Pull] = []
        if overdue:  # the replica is far behind; or nobody has such a row
            found, more = self._fetch(self._leader, name, overdue)
            done += more
            unknown = [one for one in overdue if not _arrived(one, found)]
        waiting = [one for one in late if one not in overdue]
        failpoint("projections.pulled")
        self.queue.settle(self.name, [one for one in due if one not in waiting])
        waits = {one: min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(one.attempts, 10)) for one in waiting}
        self.queue.defer(self.name, {one: now + timedelta(seconds=wait_s) for one, wait_s in waits.items()})
        return Pulled(len(due), done.applied, len(waiting), len(unknown))

    def _fetch(self, side: Replica, name: str, pulls: Sequence[Pull]) -> tuple[Mapping[str, int], Upserted]:
        """Read rows and apply them; return id -> version of what was read, and what became of it."""
        entity = side.entity(self.name, name)
        rows = side.rows(entity, [one.id for one in pulls])
        done = self.store.upsert(entity, rows, self.clock.now()) if rows.num_rows else Upserted()
        return _versions(rows), done

    def sweep(self, name: str) -> Upserted:
        """Bring everything of an entity that changed since the last sweep; the cursor moves with the last of its rows.

        The first sweep copies the whole entity. So does the first one after the leader became another server, whose
        transaction ids may be lower; then checksums are compared too, for rows that only the lost leader had.

        Raises:
            RetryableError: A database does not answer; what was applied stays, the next sweep begins where this did.
            DataError: A column has another type than in the warehouse.
        """
        state = self.state(name)
        with self._replica.moment() as seen:
            entity = self._replica.entity(self.name, name)
            reborn = state.leader not in ("", seen.leader)
            since = "" if reborn else state.cursor
            if since and seen.xmin < int(since):
                return Upserted()  # the replica is behind where an earlier sweep was
            done, last = Upserted(), None
            for rows in self._replica.changed(entity, since, seen.xmin):
                done += Upserted() if last is None else self.store.upsert(entity, last, self.clock.now())
                failpoint("projections.sweep.chunk")
                last = rows
            now = self.clock.now()
            state = replace(state, cursor=str(seen.xmin), leader=state.leader or seen.leader, swept_at=now)
            rows = self._replica.none(entity) if last is None else last
            done += self.store.upsert(entity, rows, now, state=state)
            was_purged = since != "" and int(since) <= self._replica.purged(name)
        if was_purged:  # tombstones that were never seen here: a warehouse from before, or a follower forgotten
            self.reconcile(name)
        if reborn:
            self.reconcile(name)
            self.store.record(entity, replace(self.store.states(self.name)[name], leader=seen.leader))
        return done

    def reconcile(self, name: str) -> Reconciled:
        """Compare an entity's checksums with the app's and repair what differs.

        Raises:
            RetryableError: A database does not answer; what was repaired stays.
        """
        entity = self._replica.entity(self.name, name)
        if name not in self.store.states(self.name):
            self.sweep(name)
        done = reconcile(entity, self.store, self._replica, self._leader, self.clock)
        state = self.store.states(self.name)[name]
        self.store.record(entity, replace(state, reconciled_at=self.clock.now()))
        if done.differing:
            _log.warning("%s differed from the app in %d rows and was repaired.", entity.title, done.differing)
        return done

    def is_purge_due(self, name: str) -> bool:
        """Return whether the leader is to be told again how far an entity is; to be true once an hour."""
        last = self._purged_at.get(name)
        return self.settings.follow.tombstones_days > 0 and (last is None or self.clock.now() - last >= _PURGE_EVERY)

    def purge(self, name: str) -> int:
        """Tell the leader how far an entity is, and have it forget what every follower knows is gone; return how many.

        Here such tombstones go with the next comparison.

        Raises:
            RetryableError: The app's database does not answer.
            ConfigError: It lets us not write the kit's tables.
        """
        state = self.state(name)
        if not state.cursor:
            return 0
        keep = timedelta(days=self.settings.follow.tombstones_days)
        who = f"{self.workspace}.{self.name}" if self.workspace else self.name
        with Leader(self.settings.url.reveal(), self.settings.schema) as leader:
            purged = leader.purge(who, name, state.cursor, keep)
        self._purged_at[name] = self.clock.now()
        return purged

    def resync(self, name: str) -> Upserted:
        """Copy an entity anew and compare; where a column has another type now, its table is built again.

        Raises:
            RetryableError: A database does not answer; the next resync begins again.
        """
        entity = self._replica.entity(self.name, name)
        state = self.store.states(self.name).get(name)
        if state is not None and not self.store.fits(entity):
            self.store.rebuild(entity)
        elif state is not None:
            self.store.record(entity, replace(state, cursor=""))
        done = self.sweep(name)
        self.reconcile(name)
        return done


def _versions(rows: pa.Table) -> Mapping[str, int]:
    found = zip(rows["_id"].to_pylist(), rows["_version"].to_pylist(), strict=True)
    return {str(name): int(str(version)) for name, version in found}


def _arrived(one: Pull, here: Mapping[str, int]) -> bool:
    return here.get(one.id, -1) >= one.version
