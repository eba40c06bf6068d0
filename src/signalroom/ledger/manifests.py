"""Manifests of report views: who may see what, under which name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from signalroom.errors import ConfigError
from signalroom.ledger.store import Store
from signalroom.ledger.view_tables import upsert, view_tables
from signalroom.view import Agency, CannedReport, ManifestSet, View


class Manifests:
    """The manifests of a ledger. Front ends may write them too; what comes from files is marked as such."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = view_tables(store.dialect)

    def bring(self, given: ManifestSet) -> int:
        """Write manifests from files over those there; return how many that came from files before are gone from them.

        What a front end wrote stays. History and status of a manifest that is gone stay too.

        Raises:
            ConfigError: Two manifests claim one id, slug or public name.
        """
        return self._write(given, "file")

    def take(self, given: ManifestSet) -> None:
        """Write manifests over those of the same ids, as a front end would, and leave all others; raises as above."""
        self._write(given, "table")

    def _write(self, given: ManifestSet, origin: str) -> int:
        tables = self._tables
        slugs = {one.id: one.slug for one in given.agencies}
        custom = [
            {"id": one.manifest_id, "table_name": one.name, "report_name": one.report_name, "query": one.query,
             "agency_id": one.agency_id, "agency_slug": one.agency_slug, "database_id": one.database_id,
             "enabled": one.enabled}
            for one in given.custom
        ]  # fmt: skip
        canned = [
            {"id": one.id, "table_name": one.table_name, "report_name": one.report_name, "query": one.query,
             "database_id": one.database_id}
            for one in given.canned
        ]  # fmt: skip
        assigned = [
            {"id": manifest, "agency_id": agency, "agency_slug": slugs[agency], "canned_report_id": report}
            for manifest, agency, report in given.assigned
        ]
        try:
            with self._store.write() as connection:
                gone = self._remove_gone(connection, {view.key for view in given.views()}) if origin == "file" else 0
                agencies = [{"id": one.id, "slug": one.slug, "name": one.name} for one in given.agencies]
                self._vacate(connection, given.agencies)
                upsert(connection, tables.agency, agencies)
                upsert(connection, tables.canned, canned)
                upsert(connection, tables.custom, custom)
                upsert(connection, tables.assigned, assigned)
                self._register(connection, given.views(), origin)
        except exc.IntegrityError as problem:
            cause = str(problem.orig).strip().partition("\n")[0]
            raise ConfigError(
                f"The manifests cannot be taken: {cause}.", mend="Give each its own id, slug and table_name."
            ) from problem
        return gone

    def all(self) -> ManifestSet:
        """Return every manifest, whoever wrote it."""
        tables = self._tables
        with self._store.read() as connection:
            agencies = {
                row.id: Agency(row.id, row.slug, row.name) for row in connection.execute(tables.agency.select())
            }
            canned = [
                CannedReport(row.id, row.table_name, row.report_name, row.query, row.database_id)
                for row in connection.execute(tables.canned.select())
            ]
            assigned = [
                (row.id, row.agency_id, row.canned_report_id) for row in connection.execute(tables.assigned.select())
            ]
            custom = [
                View(row.table_name, row.report_name, row.agency_id, row.agency_slug, row.query, row.id, "custom",
                     row.database_id, row.enabled)
                for row in connection.execute(tables.custom.select())
            ]  # fmt: skip
        return ManifestSet(tuple(agencies.values()), tuple(custom), tuple(canned), tuple(assigned))

    def register(self, views: Sequence[View]) -> None:
        """Give each view its row in the registry and, where it has none, the status ``pending``.

        Raises:
            ConfigError: Two manifests claim one public name.
        """
        try:
            with self._store.write() as connection:
                self._register(connection, views, "table")
        except exc.IntegrityError as problem:
            names = [view.name for view in views]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigError(
                f"Two manifests claim the name {', '.join(twice) or 'of another, which may be gone by now'}.",
                mend="Rename one: a name belongs to one manifest for good.",
            ) from problem

    def _register(self, connection: sa.Connection, views: Sequence[View], origin: str) -> None:
        registry = self._tables.registry
        known = {(row.report_type, row.manifest_id): row for row in connection.execute(registry.select())}
        mine = [view for view in views if view.key in known]
        self._follow(connection, [view for view in mine if known[view.key].table_name != view.name])
        self._tell_slugs(connection, mine)
        if taken := [view.name for view in mine if origin == "file" != known[view.key].origin]:
            connection.execute(registry.update().where(registry.c.table_name.in_(taken)).values(origin=origin))
        new = [view for view in views if view.key not in known]
        blank = {"origin": origin, "query_hash": "", "fence": 0, "lease_until": None}
        if new:
            connection.execute(registry.insert(), [_registered(view) | blank for view in new])
            self._announce(connection, new)

    def _announce(self, connection: sa.Connection, views: Sequence[View]) -> None:
        now = self._store.clock.now()
        fresh = {"status": "pending", "duration_seconds": 0, "consecutive_failures": 0, "updated_at": now}
        upsert(connection, self._tables.status, [_described(view) | fresh for view in views])

    def _follow(self, connection: sa.Connection, views: Sequence[View]) -> None:
        """Let manifests go by other public names, and their status and history with them.

        All names are given back before any is taken: agencies may have exchanged theirs.
        """
        tables = self._tables
        for table in (tables.registry, tables.status):
            for view in views:
                nobodys = f"signalroom_moving_{view.report_type}_{view.manifest_id}"
                connection.execute(table.update().where(_of(table, view)).values(table_name=nobodys))
        for table in (tables.registry, tables.status, tables.history):
            for view in views:
                connection.execute(table.update().where(_of(table, view)).values(table_name=view.name))

    def _tell_slugs(self, connection: sa.Connection, views: Sequence[View]) -> None:
        """Let status and history name agencies as they are called now."""
        tables = self._tables
        told = sa.select(tables.status.c.agency_id, tables.status.c.agency_slug).distinct()
        held = {(row.agency_id, row.agency_slug) for row in connection.execute(told)}
        for agency, slug in sorted({(view.agency_id, view.agency_slug) for view in views}):
            if any(whose == agency and called != slug for whose, called in held):
                for table in (tables.status, tables.history):
                    connection.execute(table.update().where(table.c.agency_id == agency).values(agency_slug=slug))

    def _vacate(self, connection: sa.Connection, agencies: Sequence[Agency]) -> None:
        """Let agencies that are called otherwise now give their slugs back, for another may have one of them."""
        agency = self._tables.agency
        held = {row.id: row.slug for row in connection.execute(agency.select())}
        for one in agencies:
            if held.get(one.id, one.slug) != one.slug:
                nobodys = f"signalroom_moving_{one.id}"
                connection.execute(agency.update().where(agency.c.id == one.id).values(slug=nobodys))

    def _remove_gone(self, connection: sa.Connection, given: set[Any]) -> int:
        tables = self._tables
        registry = tables.registry
        from_files = connection.execute(registry.select().where(registry.c.origin == "file")).all()
        gone = [row for row in from_files if (row.report_type, row.manifest_id) not in given]
        for kind, table in (("custom", tables.custom), ("canned", tables.assigned)):
            ids = [row.manifest_id for row in gone if row.report_type == kind]
            connection.execute(table.delete().where(table.c.id.in_(ids)))
        connection.execute(
            registry.update().where(registry.c.table_name.in_([row.table_name for row in gone])).values(origin="gone")
        )
        return len(gone)


def _of(table: sa.Table, view: View) -> sa.ColumnElement[bool]:
    """Return the condition for the rows of a view's manifest."""
    return sa.and_(table.c.report_type == view.report_type, table.c.manifest_id == view.manifest_id)


def _registered(view: View) -> dict[str, Any]:
    return {"report_type": view.report_type, "manifest_id": view.manifest_id, "table_name": view.name}


def _described(view: View) -> dict[str, Any]:
    """Return the columns that name a view wherever it is told of."""
    about = {"report_name": view.report_name, "agency_slug": view.agency_slug, "agency_id": view.agency_id}
    return _registered(view) | about
