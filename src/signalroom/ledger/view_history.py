"""What became of each refresh of a report view: history, status, and who is at it just now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from signalroom.failpoints import failpoint
from signalroom.ledger.store import Store, clean
from signalroom.ledger.view_requests import new_run_id
from signalroom.ledger.view_tables import upsert, view_tables
from signalroom.view import Refreshed, View


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """A view as the monitor shows it.

    Attributes:
        name: Its public name.
        status: ``pending``, ``running``, ``success`` or ``error``.
        failures: Refreshes in a row that failed, up to now.
        query_hash: Of the query that was tried last; empty before the first.
        updated_at: When this was written, UTC.
        error: Why the last one failed.
        seconds: How long the last one took, whole seconds.
    """

    name: str
    status: str
    failures: int
    query_hash: str
    updated_at: datetime
    error: str
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class ViewRun:
    """One refresh of one view that is ours to do, under a fence: whoever takes it over raises it.

    Attributes:
        view: The view.
        run_id: The run in its history.
        fence: Only who holds this number may say how it ended.
        failures: Refreshes in a row that failed before it.
        status_before: Its status when it was taken.
        asked: Whether somebody asked for it, and it waited in the history.
    """

    view: View
    run_id: str
    fence: int
    failures: int
    status_before: str = ""
    asked: bool = False


class HistoryRepository:
    """History and status of views, kept by upserts.

    A refresh is leased: one process at a time has a view, and one that dies leaves it to :meth:`sweep`, which calls
    its run an error and never lets it stay ``running``.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = view_tables(store.dialect)

    def claim(self, views: Sequence[View], lease_s: float) -> tuple[ViewRun, ...]:
        """Take the views nobody is refreshing, for ``lease_s`` seconds, and record that each runs.

        Where a refresh of one waits because somebody asked for it, this is that refresh.
        """
        now = self._store.clock.now()
        run_id = new_run_id(now)
        registry = self._tables.registry
        free = sa.or_(registry.c.lease_until.is_(None), registry.c.lease_until < now)
        wanted = {view.name: view for view in views}
        until = now + timedelta(seconds=lease_s)
        failpoint("ledger.views.claim.before")
        with self._store.write() as connection:
            self._sweep(connection, now)  # before its lease is ours, or a dead run would be taken for this one
            taking = registry.update().where(registry.c.table_name.in_(list(wanted)), free)
            taken = connection.execute(
                taking.values(lease_until=until, fence=registry.c.fence + 1).returning(
                    registry.c.table_name, registry.c.fence
                )
            ).all()
            names = [row.table_name for row in taken]
            before, asked = self._before(connection, names), self._asked(connection, names)
            runs = tuple(
                ViewRun(wanted[name], asked.get(name, run_id), row.fence, *before.get(name, (0, "")), name in asked)
                for name, row in zip(names, taken, strict=True)
            )
            self._record_start(connection, runs, now)
        failpoint("ledger.views.claim.after")
        return runs

    def finish(self, done: Sequence[tuple[ViewRun, Refreshed]]) -> int:
        """Record how refreshes ended and let the views go; return how many were still ours to record."""
        failpoint("ledger.views.finish.before")
        with self._store.write() as connection:
            held = self._fences(connection, [run.view.name for run, _ in done])
            mine = [(run, result) for run, result in done if held.get(run.view.name) == run.fence]
            self._end(connection, [_ended(run, result) for run, result in mine])
        failpoint("ledger.views.finish.after")
        return len(mine)

    def release(self, runs: Sequence[ViewRun]) -> None:
        """Give back views that turned out to need nothing: as if they had not been taken.

        One that was taken over meanwhile stays with whoever has it.
        """
        history, registry, status = self._tables.history, self._tables.registry, self._tables.status
        with self._store.write() as connection:
            held = self._fences(connection, [run.view.name for run in runs])
            mine_still = [run for run in runs if held.get(run.view.name) == run.fence]
            names = [run.view.name for run in mine_still]
            again = self._asked(connection, names)  # one of them may have been asked for once more
            for run in mine_still:
                name = run.view.name
                mine = sa.and_(history.c.run_id == run.run_id, history.c.table_name == name)
                waits = run.asked and name not in again
                connection.execute(
                    history.update().where(mine).values(status="pending") if waits else history.delete().where(mine)
                )
                before = "pending" if name in again else run.status_before
                connection.execute(status.update().where(status.c.table_name == name).values(status=before))
            connection.execute(registry.update().where(registry.c.table_name.in_(names)).values(lease_until=None))

    def sweep(self) -> int:
        """Call each run whose process is gone an error; return how many there were."""
        with self._store.write() as connection:
            return self._sweep(connection, self._store.clock.now())

    def forget(self, before: datetime, most: int) -> int:
        """Remove refreshes that ended and had begun before a moment, the oldest first and ``most`` at once.

        Returns how many; what a view's status says of its last one stays.
        """
        history = self._tables.history
        ended = (history.c.start_time < before, history.c.status.in_(("success", "error")))
        oldest = sa.select(history.c.id).where(*ended).order_by(history.c.start_time).limit(most)
        with self._store.write() as connection:
            return connection.execute(history.delete().where(history.c.id.in_(oldest))).rowcount

    def statuses(self, names: Sequence[str] | None = None) -> Mapping[str, ViewStatus]:
        """Return the status of each view, by name; only of those named where names are given."""
        status, registry = self._tables.status, self._tables.registry
        query = sa.select(status, registry.c.query_hash).join(registry, status.c.table_name == registry.c.table_name)
        if names is not None:
            query = query.where(status.c.table_name.in_(list(names)))
        with self._store.read() as connection:
            return {
                row.table_name: ViewStatus(
                    row.table_name, row.status, row.consecutive_failures or 0, row.query_hash, row.updated_at,
                    row.last_errors or "", row.duration_seconds or 0,
                )
                for row in connection.execute(query.order_by(status.c.table_name))
            }  # fmt: skip

    def history(self, name: str, limit: int = 50) -> list[dict[str, Any]]:
        """Return the newest refreshes of a view first, each with the columns of ``seeder_run_history``."""
        history = self._tables.history
        query = history.select().where(history.c.table_name == name)
        with self._store.read() as connection:
            newest = query.order_by(history.c.start_time.desc(), history.c.id.desc()).limit(limit)
            return [dict(row) for row in connection.execute(newest).mappings()]

    def _sweep(self, connection: sa.Connection, now: datetime) -> int:
        history, registry = self._tables.history, self._tables.registry
        running = history.c.status == "running"
        silent = sa.or_(registry.c.lease_until < now, registry.c.lease_until.is_(None))
        lost = sa.exists().where(history.c.table_name == registry.c.table_name, running)
        # Locked, then read: who sweeps at the same moment, or claims next, finds what this one left.
        locked = sa.select(registry.c.table_name).where(silent, lost).order_by(registry.c.table_name).with_for_update()
        names = connection.execute(locked).scalars().all()
        if not names:
            return 0
        expired = sa.select(history, registry.c.fence).join(registry, history.c.table_name == registry.c.table_name)
        expired = expired.where(running, registry.c.table_name.in_(names))
        rows = connection.execute(expired.order_by(history.c.id)).all()
        before = self._before(connection, [row.table_name for row in rows])
        reason = {"errors": "The refresh was lost: its process ended before it could say how it went."}
        for row in rows:
            view = View(
                row.table_name, row.report_name, row.agency_id, row.agency_slug, "", row.manifest_id, row.report_type
            )
            run = ViewRun(view, row.run_id, row.fence + 1, *before.get(row.table_name, (0, "")))
            self._end(connection, [_Ended(run, "error", reason, tried=False)])
        return len(rows)

    def _record_start(self, connection: sa.Connection, runs: Sequence[ViewRun], now: datetime) -> None:
        if not runs:
            return
        rows = [_row(run) | {"status": "running", "start_time": now} for run in runs]
        stamps = {"records_processed": 0, "bytes_processed": 0, "created_at": now, "updated_at": now}
        history = self._tables.history
        fresh = [{"run_id": run.run_id} | row | stamps for run, row in zip(runs, rows, strict=True) if not run.asked]
        if fresh:
            connection.execute(history.insert(), fresh)
        for run in runs:
            mine = sa.and_(history.c.run_id == run.run_id, history.c.table_name == run.view.name)
            if run.asked:
                starts = {"status": "running", "start_time": now, "updated_at": now}
                connection.execute(history.update().where(mine).values(starts))
        kept = [row | {"last_run_id": run.run_id, "updated_at": now} for run, row in zip(runs, rows, strict=True)]
        upsert(connection, self._tables.status, kept)

    def _end(self, connection: sa.Connection, ended: Sequence[_Ended]) -> None:
        """Record how runs ended, all with the same columns, and let their views go."""
        if not ended:
            return
        history, registry, now = self._tables.history, self._tables.registry, self._store.clock.now()
        told: list[dict[str, Any]] = []
        kept: list[dict[str, Any]] = []
        freed: list[dict[str, Any]] = []
        for one in ended:
            run, values = one.run, one.values
            failures = 0 if one.status == "success" else run.failures + 1
            end = {"status": one.status, "consecutive_failures": failures, "updated_at": now}
            told.append({"of_run": run.run_id, "of_view": run.view.name, **values, **end, "finish_time": now})
            seconds = {name: values[name] for name in ("duration_seconds",) if name in values}
            status = {"last_errors": values.get("errors"), "last_run_id": run.run_id, **seconds}
            kept.append(_row(run) | end | status)
            tried = {"query_hash": run.view.query_hash} if one.tried else {}
            freed.append({"of_view": run.view.name, "lease_until": None, "fence": run.fence, **tried})
        mine = sa.and_(history.c.run_id == sa.bindparam("of_run"), history.c.table_name == sa.bindparam("of_view"))
        connection.execute(history.update().where(mine), told)
        upsert(connection, self._tables.status, kept)
        connection.execute(registry.update().where(registry.c.table_name == sa.bindparam("of_view")), freed)

    def _fences(self, connection: sa.Connection, names: Sequence[str]) -> dict[str, int]:
        registry = self._tables.registry
        query = sa.select(registry.c.table_name, registry.c.fence).where(registry.c.table_name.in_(names))
        # In one order, so that two who lock several of them never wait for one another.
        locked = query.order_by(registry.c.table_name).with_for_update()
        return {row.table_name: row.fence for row in connection.execute(locked)}

    def _asked(self, connection: sa.Connection, names: Sequence[str]) -> dict[str, str]:
        """Return view -> the refresh of it that waits."""
        history = self._tables.history
        waiting = sa.select(history.c.table_name, history.c.run_id).where(history.c.status == "pending")
        found = connection.execute(waiting.where(history.c.table_name.in_(names)))
        return {row.table_name: row.run_id for row in found}

    def _before(self, connection: sa.Connection, names: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Return view -> failures in a row and status."""
        status = self._tables.status
        query = sa.select(status.c.table_name, status.c.consecutive_failures, status.c.status)
        found = connection.execute(query.where(status.c.table_name.in_(names)))
        return {row.table_name: (row.consecutive_failures or 0, row.status) for row in found}


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a run ended, the columns of its history that say so, and whether it says anything about its query."""

    run: ViewRun
    status: str
    values: Mapping[str, Any]
    tried: bool = True


def _ended(run: ViewRun, result: Refreshed) -> _Ended:
    error = None if result.error is None else clean(str(result.error))
    values = {
        "duration_seconds": round(result.seconds), "records_processed": result.rows,
        "bytes_processed": result.bytes, "memory_usage_mb": result.memory_mb, "cpu_percentage": result.cpu_percent,
        "errors": error,
    }  # fmt: skip
    return _Ended(run, "success" if error is None else "error", values)


def _row(run: ViewRun) -> dict[str, Any]:
    view = run.view
    return {
        "manifest_id": view.manifest_id, "table_name": view.name, "report_name": view.report_name,
        "agency_id": view.agency_id, "agency_slug": view.agency_slug, "report_type": view.report_type,
    }  # fmt: skip
