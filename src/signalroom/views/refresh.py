"""Which views have to be computed, by whom, and what is recorded of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from signalroom.errors import ConfigError, DataError, SignalRoomError, nearest
from signalroom.run import OnProgress, Progress
from signalroom.view import CheckedQuery, Pending, Preview, Refreshed, View, ViewLimits, ViewStore
from signalroom.views.databases import Numbered
from signalroom.views.files import read_manifests
from signalroom.views.groups import Group, groups_of, in_turn
from signalroom.views.guard import check
from signalroom.workspace.parts import ViewSettings
from signalroom.workspace.workspace import Workspace

if TYPE_CHECKING:
    from signalroom.ledger.ledger import Ledger
    from signalroom.ledger.view_history import ViewRun, ViewStatus

_TOGETHER = 3  # times timeout_s: for all agencies at once; where that fails, for each alone; for the last of these
_SLACK_S = 120.0  # beside the queries: reading the rows, publishing the answers


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What one refresh of views did.

    Attributes:
        refreshed: Views that were computed, those that failed among them.
        unchanged: How many needed nothing.
        busy: Names of those that another process is refreshing.
        resting: Names of those that failed too often, and are left alone until their query changes or time has passed.
        notes: Sentences a person should read.
    """

    refreshed: tuple[Refreshed, ...] = ()
    unchanged: int = 0
    busy: tuple[str, ...] = ()
    resting: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Refreshed, ...]:
        """Views whose query failed; each is still what it was before."""
        return tuple(one for one in self.refreshed if one.error is not None)


class Refresher:
    """Refreshes the views of one workspace."""

    def __init__(self, workspace: Workspace, ledger: Ledger, store: ViewStore, now: datetime, today: date) -> None:
        settings = workspace.views
        self._workspace, self._ledger, self._store = workspace, ledger, store
        self._settings: ViewSettings = settings
        self._now, self._today = now, today
        self._limits = ViewLimits(
            tables_of(settings), settings.timeout_s, settings.memory_mb, workspace.timezone
        )  # fmt: skip
        self._numbered = Numbered.of(workspace)
        self._checked: dict[tuple[str, str], CheckedQuery | SignalRoomError] = {}

    def checked(self, query: str, dialect: str = "") -> CheckedQuery | SignalRoomError:
        """Return a manifest's query as the guard reads it, or why it may not be one on an engine; "" is on either."""
        if (key := (query, dialect)) not in self._checked:
            tables = list(self._limits.tables)
            try:
                self._checked[key] = check(query, self._store.parse(query), tables, self._today, dialect=dialect)
            except SignalRoomError as problem:
                self._checked[key] = problem
        return self._checked[key]

    def ready(self, view: View) -> CheckedQuery | SignalRoomError:
        """Return a view's query as the guard reads it, or why the view cannot be computed as its manifest is."""
        if view.database_id in self._numbered.known:
            there = "postgres" if view.database_id in self._numbered.elsewhere else self._store.dialect
            return self.checked(view.query, there)
        known = ", ".join(map(str, self._numbered.known))
        return ConfigError(
            f"{view.name}: its {view.report_type} manifest {view.manifest_id} asks for database {view.database_id}, "
            f"and there is {known}.",
            mend=f'Set database_id, or give the number an address: [views.databases] {view.database_id} = "env:NAME".',
        )

    def views(self) -> tuple[View, ...]:
        """Bring the manifests of ``views/`` into the ledger and return every view there is, sorted by name."""
        if (written := read_manifests(self._workspace.root)) is not None:
            self._ledger.manifests.bring(written)
        found = self._ledger.manifests.all().views()
        self._ledger.manifests.register(found)
        return found

    def proposed(self) -> tuple[View, ...]:
        """Return every view as the next refresh would find it, sorted by name; writes nothing, not even manifests."""
        held = {view.key: view for view in self._ledger.manifests.all().views()}
        if (written := read_manifests(self._workspace.root)) is not None:
            held |= {view.key: view for view in written.views()}
        return tuple(sorted(held.values(), key=lambda view: view.name))

    def written(self) -> tuple[View, ...]:
        """Return the enabled views that the files of ``views/`` ask for, sorted by name; writes nothing."""
        manifests = read_manifests(self._workspace.root)
        views = manifests.views() if manifests is not None else ()
        return tuple(sorted((view for view in views if view.enabled), key=lambda view: view.name))

    def preview(self, view: View, *, samples: int = 10) -> Preview:
        """Return what a refresh would make of a view, with the query it has here; nothing is written.

        Raises:
            SignalRoomError: The guard refuses the query, or it fails.
        """
        query = self.ready(view)
        if isinstance(query, SignalRoomError):
            raise query
        return self._store.preview(Pending(view, query, ""), self._limits, samples=samples)

    def refresh(self, target: str, progress: OnProgress, *, force: bool = False) -> RefreshResult:
        """Compute what changed; everything, or one view or agency.

        Args:
            target: A view's name or an agency's slug; empty for all.
            progress: Hears of each group of views.
            force: Compute what is unchanged, and what failed too often, all the same.

        Raises:
            ConfigError: There is no such view or agency, or the manifests are wrong.
        """
        chosen = [view for view in _chosen(self.views(), target) if view.enabled]
        self._ledger.views.sweep()
        places = {view.database_id for view in chosen} & {*self._numbered.known}
        stuck = self._store.settle(self._ledger.manifests.all().only(places.__contains__), self._limits)
        pending, broken = self._inputs([view for view in chosen if view.name not in stuck])
        broken += [Refreshed(view, error=stuck[view.name]) for view in chosen if view.name in stuck]
        statuses = self._ledger.views.statuses()
        due = [one for one in pending if force or not self._resting(one.view, statuses)]
        wrong = [one for one in broken if force or not self._resting(one.view, statuses)]
        resting = {one.view.name for one in (*pending, *broken)} - {one.view.name for one in (*due, *wrong)}
        changed = [replace(one, anew=True) for one in due] if force else self._changed(due, statuses)
        refreshed = self._refuse(wrong)
        busy: list[str] = []
        unchanged = len(due) - len(changed)
        with ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="views") as pool:
            groups = in_turn(groups_of(changed), statuses, self._now)
            for results, skipped, taken in pool.map(lambda group: self._group(group, force=force), groups):
                refreshed += results
                busy += taken
                unchanged += skipped
                phase = f"refreshing views: {len(refreshed)} of {len(changed)}"
                progress(Progress(phase, sum(one.rows for one in refreshed)))
        return RefreshResult(tuple(refreshed), unchanged, tuple(sorted(busy)), tuple(sorted(resting)))

    def _inputs(self, views: Sequence[View]) -> tuple[list[Pending], list[Refreshed]]:
        """Return each view with its query and the version of what it reads; apart, those that cannot be computed."""
        pending: list[tuple[View, CheckedQuery]] = []
        broken: list[Refreshed] = []
        for view in views:
            query = self.ready(view)
            if isinstance(query, CheckedQuery):
                pending.append((view, query))
            else:
                broken.append(Refreshed(view, error=query))
        tables = sorted({self._limits.tables[name] for _, query in pending for name in query.tables})
        versions = self._store.versions(tables) if tables else {}
        return [Pending(view, query, self._version(view, query, versions)) for view, query in pending], broken

    def _version(self, view: View, query: CheckedQuery, versions: Mapping[str, str]) -> str:
        """Return a text that changes whenever a query's answer may; empty where that cannot be told."""
        if view.database_id not in self._numbered.here:
            return ""  # nobody tells us what came into it
        read = [versions[self._limits.tables[name]] for name in query.tables]
        if not all(read):
            return ""
        today = self._today.isoformat() if query.uses_today else ""
        said = "\0".join([*self._limits.tables.values(), *read, self._limits.zone, today])
        return hashlib.sha256(said.encode()).hexdigest()

    def _changed(self, pending: Sequence[Pending], statuses: Mapping[str, ViewStatus]) -> list[Pending]:
        states = self._store.states()
        return [
            one for one in pending
            if not one.inputs or states.get(one.view.name) != (one.view.query_hash, one.inputs)
            or statuses[one.view.name].status != "success"  # it may be right, but nobody has said so
        ]  # fmt: skip

    def _resting(self, view: View, statuses: Mapping[str, ViewStatus]) -> bool:
        """Tell whether a view failed so often with this query that it is left alone for a while."""
        status, settings = statuses[view.name], self._settings
        recent = self._now - status.updated_at < timedelta(hours=settings.rest_hours)
        return status.failures >= settings.rest_after and status.query_hash == view.query_hash and recent

    def _group(self, group: Group, *, force: bool) -> tuple[list[Refreshed], int, list[str]]:
        """Compute one group; return what came of it, how many needed nothing after all, and which were taken."""
        with self._store.turn(self._settings.concurrency):  # before it is leased: a lease does not wait in a queue
            return self._leased(group, force=force)

    def _leased(self, group: Group, *, force: bool) -> tuple[list[Refreshed], int, list[str]]:
        queries = _TOGETHER if group.together else len(group.pending)
        runs = {
            run.view.name: run
            for run in self._ledger.views.claim(
                [one.view for one in group.pending], queries * self._settings.timeout_s + _SLACK_S
            )
        }
        mine = [one for one in group.pending if one.view.name in runs]
        taken = [one.view.name for one in group.pending if one.view.name not in runs]
        try:
            due = mine if force else self._still_due(mine, runs)
            results = self._computed(due, together=group.together) if due else []
        except SignalRoomError as problem:
            self._ledger.views.finish([(run, Refreshed(run.view, error=problem)) for run in runs.values()])
            raise
        self._ledger.views.finish([(runs[one.view.name], one) for one in results])
        return list(results), len(mine) - len(due), taken

    def _computed(self, due: Sequence[Pending], *, together: bool) -> Sequence[Refreshed]:
        """Compute views of one group.

        Where one query for several agencies fails, each is asked alone: a value that one of them has fails that one's
        report only, and what the engine says of the value is for nobody else.
        """
        until = time.monotonic() + (_TOGETHER - 1) * self._settings.timeout_s
        results = self._store.refresh(due, self._limits, together=together)
        if not together or len(due) == 1 or not all(isinstance(one.error, DataError) for one in results):
            return results
        alone: list[Refreshed] = []
        for one in due:
            if alone and time.monotonic() > until:
                problem = DataError(
                    f"The query of {one.view.name} failed for all agencies at once, and time ran out to ask for each.",
                    mend=f"`signalroom refresh {one.view.name}` asks for this one.",
                )
                alone.append(Refreshed(one.view, error=problem))
            else:
                alone += self._store.refresh([one], self._limits, together=False)
        return alone

    def _still_due(self, mine: Sequence[Pending], runs: Mapping[str, ViewRun]) -> list[Pending]:
        """Return those that nobody computed between our look and our claim, and give the others back."""
        states = self._store.states()
        done = [
            one.view.name for one in mine
            if one.inputs and states.get(one.view.name) == (one.view.query_hash, one.inputs)
            and runs[one.view.name].status_before == "success"
        ]  # fmt: skip
        if done:
            self._ledger.views.release([runs[name] for name in done])
        return [one for one in mine if one.view.name not in done]

    def _refuse(self, broken: Sequence[Refreshed]) -> list[Refreshed]:
        """Record what cannot even be tried; return it."""
        runs = {run.view.name: run for run in self._ledger.views.claim([one.view for one in broken], _SLACK_S)}
        told = [one for one in broken if one.view.name in runs]
        self._ledger.views.finish([(runs[one.view.name], one) for one in told])
        return told


def tables_of(settings: ViewSettings) -> dict[str, str]:
    """Return name in a manifest -> ``schema.table``; raises ConfigError where two tables have one name."""
    tables: dict[str, str] = {}
    for table in settings.tables:
        schema, dot, name = table.partition(".")
        if not dot or not name or "." in name or not (schema + name).islower():
            raise ConfigError(f"[views] tables: {table!r} is no schema.table in lower case.", mend="Mend its name.")
        if name in tables:
            raise ConfigError(f"[views] tables: two tables are called {name!r}.", mend="Build a model for one of them.")
        tables[name] = table
    return tables


def _chosen(views: Sequence[View], target: str) -> list[View]:
    found = [view for view in views if target in ("", view.name, view.agency_slug)]
    if target and not found:
        known = {name for view in views for name in (view.name, view.agency_slug)}
        raise ConfigError(
            f"There is no view or agency {target!r}.",
            mend=nearest(target, known) or "`signalroom views` lists them.",
        )
    return found


def raised(result: RefreshResult) -> RefreshResult:
    """Return a result without failures; raise the first failure, with the count of the others, for one with them."""
    if not result.failed:
        return result
    first, *others = result.failed
    told = f" {len(others)} more failed." if others else ""
    problem = first.error or ConfigError(f"View {first.view.name} failed.")
    raise type(problem)(f"View {first.view.name}: {problem.message}{told}", mend=problem.mend)
