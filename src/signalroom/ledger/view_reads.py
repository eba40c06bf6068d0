"""What the monitor's front end reads of report views: jobs and history, within one agency or across all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import sqlalchemy as sa

from signalroom.ledger.store import Store
from signalroom.ledger.view_tables import view_tables

_LINGERING = timedelta(minutes=1)
_USUAL_RUNS = 20
_USUAL_TIMES = 3


class Monitor:
    """Reads jobs and history. What an agency may not see is not in the question: nothing is filtered afterwards."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = view_tables(store.dialect)

    def jobs(self, agency_id: int | None, *, limit: int, after: str = "") -> list[Mapping[str, Any]]:
        """Return views by name, each with the columns of ``seeder_job_status`` and those that name its agency.

        Args:
            agency_id: Whose; None for everybody's.
            limit: At most so many.
            after: Only names behind this one.
        """
        query = self._jobs(agency_id).where(self._tables.status.c.table_name > after)
        with self._store.read() as connection:
            found = connection.execute(query.order_by(self._tables.status.c.table_name).limit(limit)).mappings()
            return [dict(row) for row in found]

    def job(self, name: str, agency_id: int | None) -> Mapping[str, Any] | None:
        """Return one view as :meth:`jobs` does; None where there is none, or it is another agency's."""
        query = self._jobs(agency_id).where(self._tables.status.c.table_name == name)
        with self._store.read() as connection:
            found = connection.execute(query).mappings().first()
            return None if found is None else dict(found)

    def history(
        self, name: str, agency_id: int | None, *, limit: int, before: tuple[datetime, int] | None = None
    ) -> list[Mapping[str, Any]]:
        """Return refreshes of a view, the newest first, each with the columns of ``seeder_run_history``.

        Args:
            name: The view.
            agency_id: Only those that were this agency's; None for all.
            limit: At most so many.
            before: Start and id of the last one known: what follows is older.
        """
        history = self._tables.history
        query = history.select().where(history.c.table_name == name)
        if agency_id is not None:
            query = query.where(history.c.agency_id == agency_id)
        if before is not None:
            place = sa.tuple_(sa.literal(before[0], history.c.start_time.type), sa.literal(before[1]))
            query = query.where(sa.tuple_(history.c.start_time, history.c.id) < place)
        with self._store.read() as connection:
            newest = query.order_by(history.c.start_time.desc(), history.c.id.desc()).limit(limit)
            return [dict(row) for row in connection.execute(newest).mappings()]

    def lingering(self, now: datetime) -> Mapping[str, tuple[float, float]]:
        """Return each view that has been running far longer than it usually does: for how long, and its usual time.

        Both are in seconds. Usual is the median of its last refreshes that succeeded, from claim to end; a view without
        one, or that runs for less than a minute, is not told of.
        """
        status, history = self._tables.status, self._tables.history
        slow = sa.select(status.c.table_name, status.c.start_time).where(
            status.c.status == "running", status.c.start_time < now - _LINGERING
        )
        found: dict[str, tuple[float, float]] = {}
        with self._store.read() as connection:
            for name, began in connection.execute(slow).all():
                ended = (
                    sa.select(history.c.start_time, history.c.finish_time)
                    .where(history.c.table_name == name, history.c.status == "success")
                    .order_by(history.c.start_time.desc())
                    .limit(_USUAL_RUNS)
                )
                took = [(end - start).total_seconds() for start, end in connection.execute(ended) if end is not None]
                running, usual = (now - began).total_seconds(), median(took) if took else 0.0
                if took and running > _USUAL_TIMES * usual:
                    found[name] = (running, usual)
        return found

    def unregistered(self) -> bool:
        """Tell whether a front end wrote a manifest that has no status yet."""
        registry, manifests = self._tables.registry, self._manifests()
        known = sa.select(registry.c.table_name).where(
            registry.c.report_type == manifests.c.report_type, registry.c.manifest_id == manifests.c.id
        )
        with self._store.read() as connection:
            return connection.execute(sa.select(manifests.c.id).where(~known.exists()).limit(1)).first() is not None

    def _jobs(self, agency_id: int | None) -> sa.Select[Any]:
        status, agency, registry = self._tables.status, self._tables.agency, self._tables.registry
        manifests = self._manifests()
        mine = sa.and_(manifests.c.report_type == status.c.report_type, manifests.c.id == status.c.manifest_id)
        query = (
            sa.select(status, agency.c.name.label("agency_name"), manifests.c.enabled, registry.c.lease_until)
            .join(manifests, mine)
            .join(registry, registry.c.table_name == status.c.table_name)
            .join(agency, agency.c.id == status.c.agency_id, isouter=True)
        )
        # A manifest may go to another agency: what was said of it before is not for the new one.
        owned = (status.c.agency_id == agency_id, manifests.c.agency_id == agency_id)
        return query if agency_id is None else query.where(*owned)

    def _manifests(self) -> sa.Subquery:
        custom, assigned = self._tables.custom, self._tables.assigned
        return sa.union_all(
            sa.select(sa.literal("custom").label("report_type"), custom.c.id, custom.c.agency_id, custom.c.enabled),
            sa.select(sa.literal("canned"), assigned.c.id, assigned.c.agency_id, sa.true()),
        ).subquery("manifests")


def lost(job: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether a job says that it runs, and whoever ran it has been silent for too long."""
    until: datetime = job["lease_until"] or datetime.fromtimestamp(0, UTC)
    return job["status"] == "running" and until < now
