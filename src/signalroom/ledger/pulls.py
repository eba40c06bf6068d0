"""Pulls: rows of an app that somebody said have changed, remembered until they are here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from signalroom.failpoints import failpoint
from signalroom.ledger.store import Store


@dataclass(frozen=True, slots=True)
class Pull:
    """A row that is wanted.

    Attributes:
        entity: Its entity.
        id: Its id.
        version: The version that must have arrived; 0 where any will do.
        attempts: How often it was looked for in vain.
        since: When it was first asked for, UTC.
    """

    entity: str
    id: str
    version: int
    attempts: int = 0
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits of one entity: how many rows, and since when the oldest does, UTC."""

    rows: int
    since: datetime


class Pulls:
    """The queue of a ledger: one place for each projection, entity and id, which keeps the greatest version wanted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.tables.pulls

    def want(self, projection: str, pulls: Iterable[tuple[str, str, int]]) -> int:
        """Remember rows that are wanted, each (entity, id, version); durable when it returns.

        What is queued already keeps its place and the greater version; it is due at once again.

        Returns:
            How many different rows that was.
        """
        greatest: dict[tuple[str, str], int] = {}
        for entity, name, version in pulls:
            greatest[entity, name] = max(version, greatest.get((entity, name), 0))
        if not greatest:
            return 0
        now, table = self._store.clock.now(), self._table
        insert: Any = postgresql.insert if self._store.dialect == "postgresql" else sqlite.insert
        new = insert(table)
        raised = sa.case((new.excluded.wanted > table.c.wanted, new.excluded.wanted), else_=table.c.wanted)
        merged = new.on_conflict_do_update(
            index_elements=[table.c.projection, table.c.entity, table.c.entity_id],
            set_={"wanted": raised, "attempts": 0, "not_before": new.excluded.not_before},
        )
        values = [
            {"projection": projection, "entity": entity, "entity_id": name, "wanted": version, "attempts": 0,
             "since": now, "not_before": now}
            for (entity, name), version in sorted(greatest.items())
        ]  # fmt: skip
        failpoint("pulls.want.before")
        with self._store.write() as connection:
            connection.execute(merged, values)
        failpoint("pulls.want.after")
        return len(values)

    def due(self, projection: str, limit: int) -> Sequence[Pull]:
        """Return what is to be fetched now, the longest due first; it stays queued until it is settled."""
        table, now = self._table, self._store.clock.now()
        query = (
            sa.select(table.c.entity, table.c.entity_id, table.c.wanted, table.c.attempts, table.c.since)
            .where(table.c.projection == projection, table.c.not_before <= now)
            .order_by(table.c.not_before)
            .limit(limit)
        )
        with self._store.read() as connection:
            return [Pull(*row) for row in connection.execute(query)]

    def settle(self, projection: str, pulls: Sequence[Pull]) -> None:
        """Forget rows that are here in these versions; one for which a newer version is wanted meanwhile stays."""
        if not pulls:
            return
        table = self._table
        gone = table.delete().where(*self._named(projection), table.c.wanted <= sa.bindparam("b_wanted"))
        failpoint("pulls.settle.before")
        with self._store.write() as connection:
            connection.execute(
                gone, [{"b_entity": one.entity, "b_id": one.id, "b_wanted": one.version} for one in pulls]
            )

    def defer(self, projection: str, pulls: Mapping[Pull, datetime]) -> None:
        """Look for rows that were not there yet again, each not before a moment; one wanted anew is due at once."""
        if not pulls:
            return
        table = self._table
        later = (
            table.update()
            .where(*self._named(projection), table.c.wanted <= sa.bindparam("b_wanted"))
            .values(attempts=table.c.attempts + 1, not_before=sa.bindparam("b_at", type_=table.c.not_before.type))
        )
        with self._store.write() as connection:
            values = [
                {"b_entity": one.entity, "b_id": one.id, "b_wanted": one.version, "b_at": at}
                for one, at in pulls.items()
            ]
            connection.execute(later, values)

    def backlog(self, projection: str) -> Mapping[str, Backlog]:
        """Return entity -> what waits of it; entities of which nothing waits are left out."""
        table = self._table
        query = (
            sa.select(table.c.entity, sa.func.count(), sa.func.min(table.c.since, type_=table.c.since.type))
            .where(table.c.projection == projection)
            .group_by(table.c.entity)
        )
        with self._store.read() as connection:
            return {entity: Backlog(rows, since) for entity, rows, since in connection.execute(query)}

    def _named(self, projection: str) -> tuple[sa.ColumnElement[bool], ...]:
        table = self._table
        return (
            table.c.projection == projection,
            table.c.entity == sa.bindparam("b_entity"),
            table.c.entity_id == sa.bindparam("b_id"),
        )
