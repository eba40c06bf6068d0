"""Runs: leased while they go on, fenced when they are taken over, never left ``running`` by a crash."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from signalroom.errors import DataError
from signalroom.failpoints import failpoint
from signalroom.ledger.store import Store, clean, dump_json
from signalroom.position import Json
from signalroom.run import Failure, Occasion, Run, RunStatus

_UNPLANNED = Occasion()
_MOST_FAILURES = 50


class Runs:
    """The runs of a ledger.

    A run is leased: its process says that it lives by :meth:`heartbeat`, and :meth:`sweep` marks a silent one
    ``lost``. Each take-over raises its fence, so that a process believed dead cannot write over what came after it.
    """

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._table = store.tables.runs
        self._lease = timedelta(seconds=lease_s)
        self.lease_s = lease_s
        self._beat_every_s = lease_s / 10
        self._beats: dict[tuple[str, int], float] = {}
        self._held: set[tuple[str, int]] = set()
        self._hands = (store.clock.now(), store.clock.monotonic())
        self._wary_until = float("-inf")
        self._odd: dict[tuple[str, int, datetime], float] = {}

    def start(self, job: str, step: str, occasion: Occasion = _UNPLANNED) -> Run:
        """Record that a step starts and return its run.

        Args:
            job: The job; empty for a step a person started.
            step: The step as typed.
            occasion: The execution it belongs to, when that was due, and the run it repeats. With an id, the same
                for each attempt, the run is taken over under a higher fence, unless it has succeeded: then it is
                returned as it is.
        """
        now = self._store.clock.now()
        run_id = occasion.run_id or f"{now.astimezone(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        fresh: dict[str, Any] = {"status": "running", "heartbeat_at": now, "lease_until": now + self._lease}
        failpoint("ledger.runs.start.before")
        with self._store.write() as connection:
            row = self._locked(connection, run_id)
            if row is None:
                values = {"run_id": run_id, "job": job, "step": step, "started_at": now, "fence": 1, "error": ""}
                values |= {"execution": occasion.execution, "repeat_of": occasion.repeat_of, "due_at": occasion.due_at}
                connection.execute(
                    self._table.insert().values(values | fresh | {"result": {}, "repeats": 0, "failures": []})
                )
            elif row.status != "success":
                again = {"fence": row.fence + 1, "finished_at": None, "error": "", "result": {}, "repeats": 0}
                connection.execute(self._update(run_id).values(fresh | again | {"failures": _failures(row, now)}))
            run = self._found(connection, run_id)
        if run.status == "running":
            self._held.add((run.run_id, run.fence))
        failpoint("ledger.runs.start.after")
        return run

    def heartbeat(self, run: Run) -> bool:
        """Say that a run goes on; False when it is no longer ours and its process must stop.

        Cheap enough for every report of progress: it writes at most ten times in a lease.
        """
        mark = (run.run_id, run.fence)
        beat = self._store.clock.monotonic()
        if beat - self._beats.get(mark, float("-inf")) < self._beat_every_s:
            return True
        now = self._store.clock.now()
        failpoint("ledger.runs.heartbeat.before")
        with self._store.write() as connection:
            ours = self._update(run.run_id).where(self._table.c.fence == run.fence, self._table.c.status == "running")
            done = connection.execute(ours.values(heartbeat_at=now, lease_until=now + self._lease))
        if done.rowcount != 1:
            self._beats.pop(mark, None)
            return False
        self._beats[mark] = beat
        return True

    def finish(self, run: Run, status: RunStatus, result: Mapping[str, Json] | None = None, error: str = "") -> Run:
        """Record how a run ended and return it as the ledger has it now.

        Success is terminal, and a run that was taken over or swept is no longer ours: then nothing is written and
        the returned run shows what stands.

        Raises:
            DataError: The result is no JSON.
        """
        answer = dict(result or {})
        try:
            dump_json(answer)
        except (TypeError, ValueError) as problem:
            raise DataError(f"The result of run {run.run_id} is no JSON: {problem}.") from None
        self._beats.pop((run.run_id, run.fence), None)
        self._held.discard((run.run_id, run.fence))
        failpoint("ledger.runs.finish.before")
        with self._store.write() as connection:
            row = self._locked(connection, run.run_id)
            if row is not None and row.fence == run.fence and row.status != "success":
                self._end(connection, row, status, clean(error), result=answer)
            found = self._found(connection, run.run_id)
        failpoint("ledger.runs.finish.after")
        return found

    def sweep(self, now: datetime | None = None) -> tuple[Run, ...]:
        """Mark every run whose lease has expired ``lost`` and return them; its process can no longer finish it.

        Where the machine's clock has just been set, nobody's lease has: each process gets the time of one to say that
        it lives. A lease that ends later than one taken now can, from before the clock was set back, is over once it
        has not been renewed for its length.
        """
        moment = now or self._store.clock.now()
        if now is None and self._was_clock_set(moment):
            return ()
        table = self._table
        running, expired = table.c.status == "running", table.c.lease_until < moment
        odd = table.c.lease_until > moment + self._lease
        with self._store.read() as connection:
            found = sa.select(table.c.run_id, table.c.fence, table.c.lease_until, odd.label("odd"))
            rows = connection.execute(found.where(running, sa.or_(expired, odd))).all()
        unrenewed = self._unrenewed({(row.run_id, row.fence, row.lease_until) for row in rows if row.odd})
        silent = [row.run_id for row in rows if not row.odd or (row.run_id, row.fence, row.lease_until) in unrenewed]
        if not silent:
            return ()
        failpoint("ledger.runs.sweep.before")
        with self._store.write() as connection:
            # Another sweeper may be at the same rows: those it holds are its own to report.
            ended = sa.or_(expired, table.c.lease_until.in_([lease_until for *_, lease_until in unrenewed]))
            wanted = sa.select(table).where(table.c.run_id.in_(silent), running, ended).order_by(table.c.started_at)
            rows = connection.execute(wanted.with_for_update(skip_locked=True)).all()
            for row in rows:
                seen = row.heartbeat_at.isoformat(timespec="seconds")
                reason = f"The run was lost: its process stopped reporting, last at {seen}."
                self._end(connection, row, "lost", reason, fence=row.fence + 1)
            lost = tuple(self._found(connection, row.run_id) for row in rows)
        failpoint("ledger.runs.sweep.after")
        return lost

    def _was_clock_set(self, now: datetime) -> bool:
        """Return whether the clock on the wall jumped, now or less than a lease ago."""
        (then, mark), beat = self._hands, self._store.clock.monotonic()
        self._hands = (now, beat)
        if abs((now - then).total_seconds() - (beat - mark)) > self.lease_s / 2:
            self._wary_until = beat + self.lease_s
        return beat < self._wary_until

    def _unrenewed(self, odd: set[tuple[str, int, datetime]]) -> set[tuple[str, int, datetime]]:
        """Return which of some leases (run, fence, end) have stayed as they are for the length of one."""
        beat = self._store.clock.monotonic()
        self._odd = {one: self._odd.get(one, beat) for one in odd}
        return {one for one, since in self._odd.items() if beat - since >= self.lease_s}

    def release(self, reason: str) -> tuple[Run, ...]:
        """Mark the runs that this process still has ``lost``, now and not when their leases end, and return them."""
        table, released = self._table, list[str]()
        with self._store.write() as connection:
            for run_id, fence in sorted(self._held):
                row = self._locked(connection, run_id)
                if row is not None and row.fence == fence and row.status == "running":
                    self._end(connection, row, "lost", clean(reason), fence=fence + 1)
                    released.append(run_id)
            found = connection.execute(sa.select(table).where(table.c.run_id.in_(released)).order_by(table.c.run_id))
            return tuple(_run(row) for row in found)

    def get(self, run_id: str) -> Run | None:
        """Return one run, or None."""
        with self._store.read() as connection:
            row = connection.execute(sa.select(self._table).where(self._table.c.run_id == run_id)).one_or_none()
        return None if row is None else _run(row)

    def first_started(self) -> datetime | None:
        """Return when the first of all runs started (UTC), or None."""
        query = sa.select(self._table.c.started_at).order_by(self._table.c.started_at).limit(1)
        with self._store.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def recent(self, limit: int) -> tuple[Run, ...]:
        """Return what tells how every step stands, the newest first.

        That is the ``limit`` newest runs, every run that goes on, and of each step of each job the last that ended,
        however many others came after it: what runs every minute does not hide what runs once a week.
        """
        table = self._table
        newest = sa.select(table.c.run_id).order_by(table.c.started_at.desc(), table.c.run_id.desc()).limit(limit)
        going = sa.select(table.c.run_id).where(table.c.status == "running")
        last = sa.select(table.c.job, table.c.step, sa.func.max(table.c.started_at).label("at"))
        ended = (table.c.job != "", table.c.finished_at.is_not(None))
        last = last.where(*ended).group_by(table.c.job, table.c.step).subquery()
        same = sa.and_(table.c.job == last.c.job, table.c.step == last.c.step, table.c.started_at == last.c.at)
        ids = sa.union(sa.select(newest.subquery().c.run_id), going, sa.select(table.c.run_id).join(last, same))
        query = sa.select(table).where(table.c.run_id.in_(ids))
        with self._store.read() as connection:
            found = connection.execute(query.order_by(table.c.started_at.desc(), table.c.run_id.desc()))
            return tuple(_run(row) for row in found)

    def list(
        self, limit: int = 50, *, job: str | None = None, step: str | None = None, status: RunStatus | None = None,
        since: datetime | None = None, before: datetime | None = None,
    ) -> tuple[Run, ...]:  # fmt: skip
        """Return the newest runs first; only those of a job, a step or a status where one is named.

        ``since`` and ``before`` bound when they started: at or after the one, before the other.
        """
        table = self._table
        query = sa.select(table).order_by(table.c.started_at.desc(), table.c.run_id.desc()).limit(limit)
        for column, value in ((table.c.job, job), (table.c.step, step), (table.c.status, status)):
            if value is not None:
                query = query.where(column == value)
        query = query.where(*started_within(table, since, before))
        with self._store.read() as connection:
            return tuple(_run(row) for row in connection.execute(query))

    def forget(self, before: datetime, most: int) -> int:
        """Remove runs that ended and had started before a moment, ``most`` at once, the oldest; return how many."""
        table = self._table
        old = sa.select(table.c.run_id).where(table.c.started_at < before, table.c.finished_at.is_not(None))
        oldest = old.order_by(table.c.started_at).limit(most)
        with self._store.write() as connection:
            return connection.execute(table.delete().where(table.c.run_id.in_(oldest))).rowcount

    def execution(self, job: str) -> tuple[Run, ...]:
        """Return the runs of a job's execution that was due last, its first step first; empty when it never ran."""
        table = self._table
        newest = sa.select(table.c.execution).where(table.c.job == job, table.c.execution != "")
        newest = newest.order_by(table.c.due_at.desc(), table.c.started_at.desc()).limit(1)
        steps = sa.select(table).where(table.c.job == job, table.c.execution == newest.scalar_subquery())
        with self._store.read() as connection:
            return tuple(_run(row) for row in connection.execute(steps.order_by(table.c.started_at, table.c.run_id)))

    def due_after(self, jobs: Sequence[str], moment: datetime) -> tuple[Run, ...]:
        """Return the runs of some jobs whose executions were due after a moment, the first that was due first."""
        table = self._table
        query = sa.select(table).where(table.c.job.in_(jobs), table.c.due_at > moment)
        with self._store.read() as connection:
            return tuple(_run(row) for row in connection.execute(query.order_by(table.c.due_at, table.c.run_id)))

    def _update(self, run_id: str) -> sa.Update:
        return self._table.update().where(self._table.c.run_id == run_id)

    def _locked(self, connection: sa.Connection, run_id: str) -> sa.Row[Any] | None:
        query = sa.select(self._table).where(self._table.c.run_id == run_id).with_for_update()
        return connection.execute(query).one_or_none()

    def _found(self, connection: sa.Connection, run_id: str) -> Run:
        row = connection.execute(sa.select(self._table).where(self._table.c.run_id == run_id)).one_or_none()
        if row is None:
            raise DataError(f"The ledger has no run {run_id!r}.", mend="It belongs to another ledger, or was removed.")
        return _run(row)

    def _end(self, connection: sa.Connection, row: sa.Row[Any], status: RunStatus, error: str, **values: Any) -> None:
        table = self._table
        before = (
            sa.select(table.c.status, table.c.repeats)
            .where(table.c.job == row.job, table.c.step == row.step, table.c.run_id != row.run_id)
            .where(table.c.finished_at.is_not(None), table.c.started_at <= row.started_at)
            .order_by(table.c.started_at.desc(), table.c.run_id.desc())
            .limit(1)
        )
        last = connection.execute(before).one_or_none()
        repeats = last.repeats + 1 if last is not None and last.status == status else 0
        ended = {"status": status, "finished_at": self._store.clock.now(), "error": error, "repeats": repeats}
        connection.execute(self._update(row.run_id).values(ended | values))


def started_within(
    table: sa.Table, since: datetime | None, before: datetime | None
) -> Sequence[sa.ColumnElement[bool]]:
    """Return the conditions that a run started at or after ``since`` and before ``before``, where these are given."""
    started = table.c.started_at
    bounds = (None if since is None else started >= since, None if before is None else started < before)
    return [bound for bound in bounds if bound is not None]


def _failures(row: sa.Row[Any], now: datetime) -> list[dict[str, str]]:
    """Return what is kept of a run's attempts when another one begins."""
    ended_at, error = row.finished_at or now, row.error
    if row.status == "running":
        error = "It was taken over by another attempt: its process had stopped reporting."
    return [*row.failures, {"ended_at": ended_at.isoformat(), "error": error}][-_MOST_FAILURES:]


def _run(row: sa.Row[Any]) -> Run:
    return Run(
        run_id=row.run_id,
        job=row.job,
        step=row.step,
        status=row.status,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        result=row.result,
        fence=row.fence,
        repeats=row.repeats,
        execution=row.execution,
        repeat_of=row.repeat_of,
        due_at=row.due_at,
        failures=tuple(Failure(datetime.fromisoformat(one["ended_at"]), one["error"]) for one in row.failures),
    )
