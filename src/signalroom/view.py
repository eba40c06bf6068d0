"""What a manifest asks for, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from signalroom.errors import SignalRoomError
from signalroom.position import Json

AGENCY_COLUMN = "agency_id"
"""Column of each table that manifests may read: it says whose a row is."""

ReportType: TypeAlias = Literal["custom", "canned"]


@dataclass(frozen=True, slots=True)
class Agency:
    """Somebody whose reports these are.

    Attributes:
        id: What ``agency_id`` says in the rows that are theirs.
        slug: Short name: part of schema, role and view names.
        name: What people call them.
    """

    id: int
    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class View:
    """One report view for one agency, refreshed and never dropped.

    Attributes:
        name: Public name of the view, unique in the warehouse.
        report_name: What people call it.
        agency_id: Whose it is.
        agency_slug: The agency's short name.
        query: One SELECT over the agency's own rows.
        manifest_id: Its manifest; numbered apart for custom and for canned reports.
        report_type: ``custom``: written for one agency; ``canned``: shared by several.
        database_id: Which configured connection it lives in.
        enabled: Whether it is refreshed.
    """

    name: str
    report_name: str
    agency_id: int
    agency_slug: str
    query: str
    manifest_id: int = 0
    report_type: ReportType = "custom"
    database_id: int = 1
    enabled: bool = True

    @property
    def key(self) -> tuple[ReportType, int]:
        """What its history hangs on."""
        return self.report_type, self.manifest_id

    @property
    def query_hash(self) -> str:
        """A hash of what it asks for: another query, or another agency, is another hash."""
        return hashlib.sha256(f"{self.agency_id}\0{self.agency_slug}\0{self.query.strip()}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CannedReport:
    """A report that agencies share; each gets a view of its own, ``<table_name>__<agency_slug>``.

    Attributes:
        id: Its number.
        table_name: Stem of the names of its views.
        report_name: What people call it.
        query: One SELECT over an agency's own rows.
        database_id: Which configured connection its views live in.
    """

    id: int
    table_name: str
    report_name: str
    query: str
    database_id: int = 1

    def view(self, manifest_id: int, agency: Agency) -> View:
        """Return the view of one agency."""
        name = f"{self.table_name}__{agency.slug}"
        return View(name, self.report_name, agency.id, agency.slug, self.query, manifest_id, "canned", self.database_id)


@dataclass(frozen=True, slots=True)
class ManifestSet:
    """Manifests as they are written down.

    Attributes:
        agencies: The agencies.
        custom: Views written for one agency.
        canned: Reports that agencies share.
        assigned: (manifest id, agency id, canned report id): who uses which.
    """

    agencies: tuple[Agency, ...] = ()
    custom: tuple[View, ...] = ()
    canned: tuple[CannedReport, ...] = ()
    assigned: tuple[tuple[int, int, int], ...] = ()

    def views(self) -> tuple[View, ...]:
        """Return every view they ask for, sorted by name."""
        agencies = {one.id: one for one in self.agencies}
        reports = {one.id: one for one in self.canned}
        shared = (reports[report].view(manifest, agencies[agency]) for manifest, agency, report in self.assigned)
        return tuple(sorted((*self.custom, *shared), key=lambda view: view.name))

    def only(self, wanted: Callable[[int], bool]) -> ManifestSet:
        """Return every agency, and the manifests whose views are in a wanted database."""
        canned = tuple(one for one in self.canned if wanted(one.database_id))
        numbers = {one.id for one in canned}
        custom = tuple(one for one in self.custom if wanted(one.database_id))
        return ManifestSet(self.agencies, custom, canned, tuple(one for one in self.assigned if one[2] in numbers))


@dataclass(frozen=True, slots=True)
class CheckedQuery:
    """A manifest's query after the guard let it pass.

    Attributes:
        text: As it was written.
        tree: As DuckDB's parser serializes it; ``current_date`` is a literal in it.
        tables: The tables it reads, by the names it uses, sorted.
        uses_today: Whether it asks for the date: its answer changes at midnight too.
        shared: Whether it can be computed for all agencies at once: one table, grouped, with nothing above the groups.
        keys: Output columns that together name a row, where its grouping says so.
        columns: Every name it uses, columns of its tables among them; None when it asks for whole rows.
    """

    text: str
    tree: Mapping[str, Any]
    tables: tuple[str, ...]
    uses_today: bool
    shared: bool
    keys: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A view that has to be computed.

    Attributes:
        view: What it asks for.
        query: Its query, checked.
        inputs: The version of everything it is computed from; empty where that cannot be told.
        anew: Whether it is computed from all rows, even where less would do.
    """

    view: View
    query: CheckedQuery
    inputs: str
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did to one view. Nothing here is estimated; what an engine cannot measure is None.

    Attributes:
        view: The view.
        rows: Rows it holds now.
        bytes: Bytes of its rows, as the engine keeps or hands them over.
        seconds: How long its query took, or until it failed; views computed together share one time.
        memory_mb: The most memory the process that ran its query has held; on Postgres, what the hash tables and sorts
            of the query's own plan held, and None for a materialized view, whose plan nobody tells.
        cpu_percent: Processor time of that process by wall time; on Postgres, of the server's process, where it runs on
            this machine; parallel workers are not in it.
        error: Why the view is as it was, when its query failed.
    """

    view: View
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    memory_mb: int | None = None
    cpu_percent: int | None = None
    error: SignalRoomError | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a refresh would make of a view, held against what agencies see now; nothing was written.

    Rows are compared as often as they occur, by the columns that both have; of one whose type changed, by its text.

    Attributes:
        view: The view, with the query that was tried.
        before: Its columns now, each with its type; empty where there is no view yet.
        after: Its columns then.
        rows_before: Rows it holds now.
        rows_after: Rows it would hold.
        appearing: How many of these are not there now.
        vanishing: How many of today's would be gone.
        sample_appearing: Some that appear: column -> value.
        sample_vanishing: Some that vanish.
        seconds: How long the query took.
    """

    view: View
    before: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...]
    rows_before: int
    rows_after: int
    appearing: int
    vanishing: int
    sample_appearing: tuple[Mapping[str, Any], ...]
    sample_vanishing: tuple[Mapping[str, Any], ...]
    seconds: float

    @property
    def columns(self) -> tuple[tuple[str, str | None, str | None], ...]:
        """Each column with its type now and then; None where it has none. Those it will have stand first."""
        now, then = dict(self.before), dict(self.after)
        names = (*then, *(name for name in now if name not in then))
        return tuple((name, now.get(name), then.get(name)) for name in names)


@dataclass(frozen=True, slots=True)
class ViewLimits:
    """What one query of a view may use, and which tables it may read.

    Attributes:
        tables: Name in a manifest -> ``schema.table`` in the warehouse.
        timeout_s: Longest a query may take.
        memory_mb: Most memory a query may use.
        zone: IANA zone in which a query's dates are.
    """

    tables: Mapping[str, str]
    timeout_s: int = 60
    memory_mb: int = 512
    zone: str = "UTC"


class ViewStore(Protocol):
    """What a warehouse does for views."""

    @property
    def dialect(self) -> str:
        """``duckdb`` or ``postgres``: the SQL its queries are in."""
        ...

    def turn(self, limit: int) -> AbstractContextManager[None]:
        """Return a context that is entered when fewer than ``limit`` are in it, of all who refresh in this warehouse.

        A process that is killed in it is out of it.
        """
        ...

    def parse(self, sql: str) -> Json:
        """Return the statements of ``sql`` as DuckDB's parser serializes them; raises DataError for no SELECT."""
        ...

    def versions(self, tables: Sequence[str]) -> Mapping[str, str]:
        """Return ``schema.table`` -> a text that changes whenever its rows may have; empty where none can be told."""
        ...

    def states(self) -> Mapping[str, tuple[str, str]]:
        """Return view -> hash of the query and version of the inputs it was last computed from."""
        ...

    def settle(self, manifests: ManifestSet, limits: ViewLimits) -> Mapping[str, SignalRoomError]:
        """Let the views of agencies whose slug changed follow them: the same views, under the names they have now.

        Takes every agency and the views of the database. Returns view -> why it cannot be refreshed, of those that
        could not follow.
        """
        ...

    def refresh(self, pending: Sequence[Pending], limits: ViewLimits, *, together: bool) -> Sequence[Refreshed]:
        """Compute views and publish each in one transaction with its state; one that fails stays as it is.

        With ``together`` they are one report of several agencies, and one query may answer for all of them.
        """
        ...

    def preview(self, pending: Pending, limits: ViewLimits, *, samples: int) -> Preview:
        """Run a view's query as a refresh would, hold it against what is there, and write nothing.

        At most ``samples`` of the rows that appear are shown, and of those that vanish. Raises DataError or ConfigError
        for a query that fails.
        """
        ...
