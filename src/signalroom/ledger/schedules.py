"""Schedules: what a scheduler had in hand and until when, remembered whatever becomes of its own database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from signalroom.ledger.store import Store


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job's schedule as a scheduler has had it.

    Attributes:
        line: Its cron line.
        timezone: Its IANA zone.
        since: From when on its times count, UTC: when it was first seen so, or resumed.
        seen_at: When a scheduler was last seen to have it, UTC.
    """

    line: str
    timezone: str
    since: datetime
    seen_at: datetime


class Schedules:
    """The schedules of a ledger, one a job."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.tables.schedules

    def known(self) -> Mapping[str, Schedule]:
        """Return each job's schedule, by its name."""
        table = self._table
        query = sa.select(table.c.job, table.c.line, table.c.timezone, table.c.since, table.c.seen_at)
        with self._store.read() as connection:
            return {row.job: Schedule(*row[1:]) for row in connection.execute(query.order_by(table.c.job))}

    def seen(self, schedules: Mapping[str, tuple[str, str]]) -> None:
        """Note that a scheduler has these schedules now, and no others.

        Args:
            schedules: Job -> its cron line and its zone. One that is new or has changed counts from now on.
        """
        table, now = self._table, self._store.clock.now()
        same = [name for name, one in self.known().items() if schedules.get(name) == (one.line, one.timezone)]
        insert: Any = postgresql.insert if self._store.dialect == "postgresql" else sqlite.insert
        new = [
            {"job": name, "line": line, "timezone": timezone, "since": now, "seen_at": now}
            for name, (line, timezone) in sorted(schedules.items())
            if name not in same
        ]
        with self._store.write() as connection:
            connection.execute(table.delete().where(table.c.job.not_in(same)))
            connection.execute(table.update().values(seen_at=now))
            if new:  # another worker that starts at this moment notes the same
                connection.execute(insert(table).on_conflict_do_nothing(), new)

    def renew(self, job: str) -> None:
        """Let a job's times count from now on: those that passed while it was paused are nobody's."""
        now = self._store.clock.now()
        with self._store.write() as connection:
            connection.execute(self._table.update().where(self._table.c.job == job).values(since=now, seen_at=now))
