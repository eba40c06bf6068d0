"""Figures: what the ledger holds, counted for a metrics page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from signalroom.ledger.runs import started_within
from signalroom.ledger.store import Store


class Figures:
    """Counts over a ledger; each is one query that an index serves."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def runs_by_status(self, since: datetime | None = None, before: datetime | None = None) -> Mapping[str, int]:
        """Return status -> how many runs have it: of all, or of those that started from ``since`` to ``before``."""
        runs = self._store.tables.runs
        return self._counted(runs.c.status, started_within(runs, since, before))

    def deliveries_by_state(self) -> Mapping[str, int]:
        """Return state -> how many deliveries have it."""
        return self._counted(self._store.tables.deliveries.c.state)

    def _counted(self, column: sa.Column[Any], where: Sequence[sa.ColumnElement[bool]] = ()) -> Mapping[str, int]:
        query = sa.select(column, sa.func.count()).where(*where).group_by(column).order_by(column)
        with self._store.read() as connection:
            return {str(value): int(number) for value, number in connection.execute(query)}
