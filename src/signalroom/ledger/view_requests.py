"""Refreshes that somebody asked for: rows of history that wait until a process takes them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from signalroom.ledger.store import Store, clean
from signalroom.ledger.view_tables import view_tables


@dataclass(frozen=True, slots=True)
class Waiting:
    """A refresh that waits: its run in the history, and the view."""

    run_id: str
    name: str


class ViewRequests:
    """Asks for refreshes, one at a time for each view; a claim of the view takes the one that waits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = view_tables(store.dialect)

    def ask(self, job: Mapping[str, Any]) -> tuple[str, bool]:
        """Ask for a refresh; return its run and whether it is new: a view has at most one that waits.

        Args:
            job: The view, with the columns of ``seeder_job_status``.
        """
        name, now = str(job["table_name"]), self._store.clock.now()
        history, registry, status = self._tables.history, self._tables.registry, self._tables.status
        with self._store.write() as connection:
            # Who asks at the same moment waits here, and then finds this one.
            connection.execute(registry.select().where(registry.c.table_name == name).with_for_update())
            found = connection.execute(
                sa.select(history.c.run_id).where(history.c.table_name == name, history.c.status == "pending")
            ).first()
            if found is not None:
                return str(found.run_id), False
            run_id = new_run_id(now)
            about = {
                column: job[column]
                for column in ("manifest_id", "table_name", "report_name", "agency_id", "agency_slug", "report_type")
            }
            state = {"status": "pending", "start_time": now, "consecutive_failures": job["consecutive_failures"]}
            stamps = {"records_processed": 0, "bytes_processed": 0, "created_at": now, "updated_at": now}
            connection.execute(history.insert(), {"run_id": run_id, **about, **state, **stamps})
            idle = sa.and_(status.c.table_name == name, status.c.status != "running")
            connection.execute(status.update().where(idle).values(status="pending", last_run_id=run_id, updated_at=now))
        return run_id, True

    def waiting(self) -> list[Waiting]:
        """Return what waits for a view that nobody is refreshing just now, the oldest first."""
        history, registry, now = self._tables.history, self._tables.registry, self._store.clock.now()
        query = (
            sa.select(history.c.run_id, history.c.table_name)
            .join(registry, registry.c.table_name == history.c.table_name)
            .where(
                history.c.status == "pending", sa.or_(registry.c.lease_until.is_(None), registry.c.lease_until < now)
            )
        )
        with self._store.read() as connection:
            return [Waiting(row.run_id, row.table_name) for row in connection.execute(query.order_by(history.c.id))]

    def give_up(self, waiting: Waiting, reason: str) -> bool:
        """End a refresh that cannot be done; return False where a process has taken it, which then says how it went."""
        history, status, now = self._tables.history, self._tables.status, self._store.clock.now()
        ended = {"status": "error", "updated_at": now}
        mine = sa.and_(
            history.c.run_id == waiting.run_id, history.c.table_name == waiting.name, history.c.status == "pending"
        )
        with self._store.write() as connection:
            change = history.update().where(mine).values({**ended, "errors": clean(reason), "finish_time": now})
            if not connection.execute(change).rowcount:
                return False
            stays = sa.and_(status.c.table_name == waiting.name, status.c.status == "pending")
            connection.execute(status.update().where(stays).values({**ended, "last_errors": clean(reason)}))
        return True


def new_run_id(now: datetime) -> str:
    """Return the id of a refresh: it sorts by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
