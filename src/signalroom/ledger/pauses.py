"""Pauses: jobs whose schedule an operator stopped, remembered whatever becomes of the scheduler's own database."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from signalroom.ledger.store import Store, clean


class Pauses:
    """The paused jobs of a ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.tables.pauses

    def notes(self) -> Mapping[str, str]:
        """Return each paused job with the note of whoever paused it."""
        with self._store.read() as connection:
            rows = connection.execute(sa.select(self._table.c.job, self._table.c.note).order_by(self._table.c.job))
            return {row.job: row.note for row in rows}

    def pause(self, job: str, note: str = "") -> None:
        """Remember that a job is paused; a newer note replaces the older."""
        with self._store.write() as connection:
            connection.execute(self._table.delete().where(self._table.c.job == job))
            values = {"job": job, "note": clean(note), "paused_at": self._store.clock.now()}
            connection.execute(self._table.insert().values(values))

    def resume(self, job: str) -> None:
        """Forget that a job was paused."""
        with self._store.write() as connection:
            connection.execute(self._table.delete().where(self._table.c.job == job))
