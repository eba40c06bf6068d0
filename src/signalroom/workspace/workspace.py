"""The workspace as its owner wrote it: ``signalroom.toml`` and ``.env``, checked whole, opened nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, nearest
from signalroom.workspace.convert import Context, convert, first_of
from signalroom.workspace.convert import problems as conversion_problems
from signalroom.workspace.environment import (
    Reference,
    hidden,
    is_reference,
    literal_secrets,
    read_environment,
    references,
    show,
)
from signalroom.workspace.jobs import Job, JobSettings, Names, check_zone, circles, known_name, read_job
from signalroom.workspace.parts import (
    AlertSettings,
    EngineSettings,
    Part,
    ReportSettings,
    ViewSettings,
    WebSettings,
    known_reports,
)
from signalroom.workspace.plugins import Role, find
from signalroom.workspace.projections import ProjectionSettings
from signalroom.workspace.toml import read_toml

T = TypeVar("T")
FILE: Final = "signalroom.toml"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = {"signalroom", "reporting", "public", "main", "information_schema"}
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "warehouse": {"kind": "duckdb", "path": ".signalroom/warehouse.duckdb"},
    "lake": {"url": ".signalroom/lake"},
    "ledger": {"url": ".signalroom/ledger.sqlite"},
}
_ROLES: Final[Mapping[str, Role]] = {"warehouse": "warehouse", "sources": "source", "channels": "channel"}


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace that has been read and found right; nothing of it is open.

    Attributes:
        root: The folder that holds ``signalroom.toml``.
        name: Its name.
        timezone: IANA zone of windows, schedules and report dates.
        warehouse: Where tables are; DuckDB when left out.
        lake: Where raw is kept; ``.signalroom/lake`` when left out.
        ledger: Where runs and deliveries are kept; SQLite in ``.signalroom`` when left out.
        sources: Name -> source.
        channels: Name -> channel.
        jobs: Name -> job.
        reports: Name -> what the file overrides.
        alerts: Where alerts go.
        views: What manifests of report views may read and use.
        environ: The environment, ``.env`` included; never printed.
        engine: How jobs run.
        web: Where the resident process answers.
        projections: Name -> app whose reporting rows are followed.
    """

    root: Path
    name: str
    timezone: str
    warehouse: Part
    lake: Part
    ledger: Part
    sources: Mapping[str, Part]
    channels: Mapping[str, Part]
    jobs: Mapping[str, Job]
    reports: Mapping[str, ReportSettings]
    alerts: AlertSettings
    views: ViewSettings
    environ: Mapping[str, str] = field(repr=False, compare=False)
    engine: EngineSettings = field(default_factory=EngineSettings)
    web: WebSettings = field(default_factory=WebSettings)
    projections: Mapping[str, Part] = field(default_factory=dict[str, Part])

    @staticmethod
    def find(start: Path | None = None) -> Path:
        """Return the nearest folder at or above ``start`` that holds ``signalroom.toml``.

        Raises:
            ConfigError: There is none.
        """
        folder = (start or Path.cwd()).absolute()
        for candidate in (folder, *folder.parents):
            if (candidate / FILE).is_file():
                return candidate
        raise ConfigError(
            f"There is no {FILE} in {folder} or above it.",
            mend="Go to a workspace, or make one with `signalroom init`.",
        )

    @classmethod
    def load(cls, root: Path, environ: Mapping[str, str] | None = None) -> Workspace:
        """Read the workspace at or above ``root``; imports no plugin and resolves no secret.

        Args:
            root: A folder.
            environ: Environment variables; the process's own when None. They win over ``.env``.

        Raises:
            ConfigError: The first problem, with the count of the others.
        """
        workspace, problems, table = _read(cls.find(root), os.environ if environ is None else environ)
        if workspace is None or problems:
            raise first_of(hidden(problems, table))
        return workspace

    @classmethod
    def readable(cls, root: Path, environ: Mapping[str, str] | None = None) -> Workspace:
        """Return what of the workspace can be read, for who looks on after a problem; broken entries are left out.

        Args:
            root: A folder.
            environ: Environment variables; the process's own when None.

        Raises:
            ConfigError: There is no workspace, or its file is no TOML.
        """
        workspace, problems, table = _read(cls.find(root), os.environ if environ is None else environ)
        if workspace is None:
            raise first_of(hidden(problems, table))
        return workspace

    @classmethod
    def problems(
        cls,
        root: Path,
        environ: Mapping[str, str] | None = None,
        *,
        shapes: Mapping[str, type] | None = None,
    ) -> list[str]:
        """Return every problem of the workspace, each one sentence with its mend; touches no upstream.

        Beyond what :meth:`load` refuses, each part is converted onto its plugin, variables that are not set are
        named, and pinned schemas are read.

        Args:
            root: A folder at or below the workspace.
            environ: Environment variables; the process's own when None.
            shapes: Section -> dataclass, for the parts that are no plugins: ``lake`` and ``ledger``.
        """
        try:
            folder = cls.find(root)
        except ConfigError as error:
            return [str(error)]
        workspace, found, table = _read(folder, os.environ if environ is None else environ)
        if workspace is not None:
            found += _part_problems(workspace, shapes or {})
            found += _pin_problems(workspace)
        return list(dict.fromkeys(str(problem) for problem in hidden(found, table)))

    def parts(self) -> Iterator[Part]:
        """Yield every part, in file order of the sections."""
        yield from (self.warehouse, self.lake, self.ledger, *self.sources.values(), *self.channels.values())
        yield from self.projections.values()

    def references(self) -> tuple[Reference, ...]:
        """Return every ``env:NAME`` of the parts with whether it is set; never a value."""
        return tuple(found for part in self.parts() for found in references(part.settings, part.path, self.environ))

    def context(self, part: Part, clock: Clock | None = None) -> Context:
        """Return what a part may be given: its name, the root, the zone, the clock, the environment."""
        return Context(part.name, self.root, self.timezone, clock or SystemClock(), self.environ)

    def configure(self, shape: type[T], part: Part, clock: Clock | None = None) -> T:
        """Return ``shape`` filled with a part's settings; raises ConfigError where one is wrong."""
        return convert(shape, part.settings, part.path, self.context(part, clock))

    def create(self, part: Part, clock: Clock | None = None) -> Any:
        """Return the plugin of a part with its settings; the plugin has connected to nothing yet.

        Raises:
            ConfigError: The kind is unknown, or a setting is wrong or its variable not set.
        """
        shape: Any = find(_ROLES[part.section], part.kind, self.root, part.path)
        return self.configure(shape, part, clock)


def _part_problems(workspace: Workspace, shapes: Mapping[str, type]) -> list[ConfigError]:
    found: list[ConfigError] = []
    known = {"projections": ProjectionSettings, **shapes}
    for part in workspace.parts():
        try:
            role = _ROLES.get(part.section)
            shape = find(role, part.kind, workspace.root, part.path) if role else known.get(part.section)
            if shape is not None:
                found += conversion_problems(shape, part.settings, part.path, workspace.context(part))
        except ConfigError as error:
            found.append(error)
    return found


def _pin_problems(workspace: Workspace) -> list[ConfigError]:
    from signalroom.workspace.pins import inspect_pin

    found: list[ConfigError] = []
    for file in sorted((workspace.root / "schemas").glob("*.toml")):
        source = file.name.partition(".")[0]
        known_name("source", source, list(workspace.sources), f"schemas/{file.name}", found)
        found += inspect_pin(file)[1]
    return found


def _read(root: Path, process: Mapping[str, str]) -> tuple[Workspace | None, list[ConfigError], Mapping[str, Any]]:
    """Return the workspace (None where its file is no TOML), every problem found on the way, and the raw table."""
    problems: list[ConfigError] = []
    environ = read_environment(root, process, problems)
    table = read_toml(root / FILE, problems)
    if table is None:
        return None, problems, {}
    return _Reader(root, environ, table, problems).workspace(), problems, table


class _Reader:
    """Reads the sections one by one and goes on after a problem, so that all of them are found."""

    def __init__(
        self, root: Path, environ: Mapping[str, str], table: Mapping[str, Any], problems: list[ConfigError]
    ) -> None:
        self._root, self._environ, self._table, self._problems = root, environ, table, problems
        self._timezone = "UTC"

    def _bad(self, message: str, mend: str) -> None:
        self._problems.append(ConfigError(message, mend=mend))

    def workspace(self) -> Workspace:
        """Return the workspace; parts with problems are left out of it."""
        self._problems += literal_secrets(self._table, "")
        sections = ("sources", "channels", "jobs", "reports", "alerts", "views", "engine", "web", "projections")
        known = ("name", "timezone", *_DEFAULTS, *sections)
        for key in self._table:
            if key not in known:
                self._bad(f"{FILE}: unknown section {key!r}.", nearest(key, known) or f"Known: {', '.join(known)}.")
        name = self._text("name", '"affiliates"')
        self._timezone = self._zone()
        sources, channels = self._parts("sources"), self._parts("channels")
        reports = {
            key: value for key, table in self._tables("reports") if (value := self._shape(ReportSettings, table, key))
        }
        alerts = self._alerts()
        self._routes(reports, alerts, list(channels), list(sources))
        return Workspace(
            root=self._root,
            name=name,
            timezone=self._timezone,
            warehouse=self._single("warehouse"),
            lake=self._single("lake"),
            ledger=self._single("ledger"),
            sources=sources,
            channels=channels,
            jobs=self._jobs(list(sources), list(channels)),
            reports=reports,
            alerts=alerts,
            views=self._section("views", ViewSettings) or ViewSettings([]),
            environ=self._environ,
            engine=self._section("engine", EngineSettings) or EngineSettings(),
            web=self._section("web", WebSettings) or WebSettings(),
            projections=self._parts("projections"),
        )

    def _text(self, key: str, example: str) -> str:
        value = self._table.get(key)
        if isinstance(value, str) and value.strip():
            return value
        what = f"expected str, got {show(value)}" if key in self._table and value != "" else "it is missing"
        self._bad(f"{key}: {what}.", f"Write {key} = {example} at the top of {FILE}.")
        return ""

    def _zone(self) -> str:
        zone = self._text("timezone", '"America/New_York"')
        try:
            if zone:
                check_zone(zone, "timezone")
                return zone
        except ConfigError as error:
            self._problems.append(error)
        return "UTC"

    def _tables(self, section: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield name and table of each well-formed entry of a section such as ``[sources]``."""
        raw = self._table.get(section, {})
        if not isinstance(raw, Mapping):
            self._bad(f"{section}: expected tables, got {show(raw)}.", f"Write [{section}.NAME].")
            return
        entries: Mapping[str, Any] = raw
        for name, table in entries.items():
            path = f"{section}.{name}"
            if not isinstance(table, Mapping):
                self._bad(f"{path}: expected a table, got {show(table)}.", f"Write [{section}.NAME].")
            elif _NAME.fullmatch(name) is None:
                self._bad(f"{path}: a name is lower case letters, digits and underscores.", "Rename it.")
            elif section == "sources" and name in _RESERVED:
                # A source's name is its schema in the warehouse.
                self._bad(f"{path}: the name is taken by a schema of the warehouse.", "Rename the source.")
            else:
                yield name, table

    def _part(self, section: str, name: str, table: Mapping[str, Any]) -> Part | None:
        settings = dict(table)
        kind = settings.pop("kind", "")
        part = Part(section, name, kind if isinstance(kind, str) else "", settings)
        if section in _ROLES and (not part.kind or is_reference(kind)):
            what = "the kind is missing" if kind == "" else f"expected a kind, got {show(kind)}"
            self._bad(f"{part.path}: {what}.", f'Write kind = "..." under [{part.path}].')
            return None
        if section not in _ROLES and "kind" in table:
            self._bad(f"{part.path}: unknown setting 'kind'.", "Remove it: its url says what it is.")
        return part

    def _parts(self, section: str) -> dict[str, Part]:
        return {name: part for name, table in self._tables(section) if (part := self._part(section, name, table))}

    def _single(self, section: str) -> Part:
        table: Any = self._table.get(section, _DEFAULTS[section])
        if not isinstance(table, Mapping):
            self._bad(f"{section}: expected a table, got {show(table)}.", f"Write [{section}].")
            table = _DEFAULTS[section]
        return self._part(section, section, table) or Part(section, section, "", {})

    def _shape(self, shape: type, table: object, name: str, section: str = "reports") -> Any:
        path = f"{section}.{name}" if name else section
        context = Context(name, self._root, self._timezone, SystemClock(), self._environ)
        raw: Any = table
        found = conversion_problems(shape, raw, path, context)
        self._problems += found
        return None if found else convert(shape, raw, path, context)

    def _section(self, name: str, shape: type) -> Any:
        return self._shape(shape, self._table.get(name, {}), "", name)

    def _alerts(self) -> AlertSettings:
        return self._section("alerts", AlertSettings) or AlertSettings()

    def _routes(
        self, reports: Mapping[str, ReportSettings], alerts: AlertSettings, channels: list[str], sources: list[str]
    ) -> None:
        """Note channels and sources that do not exist, and reports that nobody wrote."""
        written = known_reports(self._root)
        for report in reports.values():
            known_name("report", report.name, written, f"reports.{report.name}", self._problems)
            for index, channel in enumerate(report.channels):
                known_name("channel", channel, channels, f"reports.{report.name}.channels[{index}]", self._problems)
            for name in report.needs:
                source = name.partition(".")[0]
                known_name("source", source, sources, f"reports.{report.name}.needs", self._problems)
        for key, channel in (("channel", alerts.channel), ("critical", alerts.critical)):
            if channel:
                known_name("channel", channel, channels, f"alerts.{key}", self._problems)
        clients = {channel for report in reports.values() if not report.internal for channel in report.channels}
        for key, channel in (("channel", alerts.channel), ("critical", alerts.critical)):
            if channel in clients:
                mend = (
                    "Give alerts their own, or write internal = true under the [reports.NAME] that only the team reads."
                )
                self._bad(f"alerts.{key}: a report is sent to the channel {channel!r}.", mend)
        wanted = [("fresh", name) for name in alerts.fresh]
        wanted += [(f"checks.{check.name}.sources", name) for check in alerts.checks.values() for name in check.sources]
        for key, name in wanted:
            known_name("source", name.partition(".")[0], sources, f"alerts.{key}", self._problems)

    def _jobs(self, sources: list[str], channels: list[str]) -> dict[str, Job]:
        tables = dict(self._tables("jobs"))
        names = Names(sources, channels, known_reports(self._root), list(tables))
        jobs: dict[str, Job] = {}
        for name, table in tables.items():
            written = self._shape(JobSettings, table, name, "jobs")
            job = read_job(written, self._timezone, names, self._problems) if written else None
            if job is not None:
                jobs[name] = job
        waits = {
            name: [*job.after, *(step.target for step in job.steps if step.verb == "run")] for name, job in jobs.items()
        }
        if circle := circles(waits):
            self._bad(
                f"jobs.{circle[0]}: the jobs wait for one another in a circle ({' -> '.join(circle)}).",
                "Take one `after` or `run` out of it.",
            )
        return jobs
