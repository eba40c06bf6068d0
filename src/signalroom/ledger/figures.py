"""Figures: what the ledger holds, counted for a metrics page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from signalroom.ledger.store import Store


class Figures:
    """Counts over a ledger; each is one query that an index serves."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def runs_by_status(self) -> Mapping[str, int]:
        """Return status -> how many runs have it."""
        return self._counted(self._store.tables.runs.c.status)

    def deliveries_by_state(self) -> Mapping[str, int]:
        """Return state -> how many deliveries have it."""
        return self._counted(self._store.tables.deliveries.c.state)

    def _counted(self, column: sa.Column[Any]) -> Mapping[str, int]:
        query = sa.select(column, sa.func.count()).group_by(column).order_by(column)
        with self._store.read() as connection:
            return {str(value): int(number) for value, number in connection.execute(query)}
