"""A workspace that has been opened: the one place where parts meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, nearest
from signalroom.stream import Stream
from signalroom.workspace.jobs import local_today
from signalroom.workspace.pins import read_pin
from signalroom.workspace.workspace import Workspace

if TYPE_CHECKING:
    from signalroom.channels.base import Channel
    from signalroom.lake.lake import Lake
    from signalroom.ledger.ledger import Ledger
    from signalroom.reports.render import Renderer
    from signalroom.reports.report import Report
    from signalroom.sources.base import Source
    from signalroom.views.refresh import Refresher
    from signalroom.warehouse.base import Warehouse


@dataclass
class Room:
    """A workspace with its parts, each opened at first use and closed together.

    Attributes:
        workspace: What the room was opened from.
        clock: Where every part takes its time.
    """

    workspace: Workspace
    clock: Clock = field(default_factory=SystemClock)
    _sources: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    _channels: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    _databases: dict[int, Warehouse] = field(default_factory=dict[int, Any], repr=False)

    @classmethod
    def open(cls, root: Path, *, clock: Clock | None = None) -> Room:
        """Read the workspace at ``root`` and return its room; raises ConfigError where it is wrong."""
        return cls(Workspace.load(root), clock or SystemClock())

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse."""
        return self.workspace.create(self.workspace.warehouse, self.clock)

    @cached_property
    def lake(self) -> Lake:
        """The lake."""
        from signalroom.lake.lake import Lake, LakeSettings

        part = self.workspace.lake
        return Lake.open(self.workspace.configure(LakeSettings, part, self.clock))

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, migrated to this version."""
        from signalroom.ledger.ledger import Ledger, LedgerSettings

        part = self.workspace.ledger
        return Ledger.open(self.workspace.configure(LedgerSettings, part, self.clock))

    @property
    def refresher(self) -> Refresher:
        """What refreshes report views, as of now."""
        from signalroom.views.databases import Numbered, ViewDatabases
        from signalroom.views.refresh import Refresher

        numbers = Numbered.of(self.workspace).elsewhere
        elsewhere = {number: lambda number=number: self.database(number).views() for number in numbers}
        store = ViewDatabases(self.warehouse.views(), elsewhere)
        today = local_today(self.clock, self.workspace.timezone)
        return Refresher(self.workspace, self.ledger, store, self.clock.now(), today)

    def database(self, number: int) -> Warehouse:
        """Return a database that ``[views.databases]`` gives this number and that is not the warehouse."""
        from signalroom.views.databases import Numbered
        from signalroom.warehouse.postgres import PostgresWarehouse

        address = Numbered.of(self.workspace).elsewhere[number]
        return self._databases.setdefault(number, PostgresWarehouse(url=address))

    @cached_property
    def reports(self) -> dict[str, Report]:
        """The workspace's reports, by name."""
        from signalroom.reports.finding import find_reports

        return dict(find_reports(self.workspace.root))

    @cached_property
    def renderer(self) -> Renderer:
        """What renders messages: confined processes, kept warm."""
        from signalroom.reports.render import Renderer

        return Renderer()

    def channels_of(self, report: str) -> Sequence[str]:
        """Return the channels a report goes to: the workspace file's, else what the report itself declares."""
        settings = self.workspace.reports.get(report)
        if settings is not None and settings.channels:
            return settings.channels
        declared = self.report(report).declared
        if declared is not None and declared.channels:
            return declared.channels
        raise ConfigError(
            f"Report {report!r} goes to no channel.", mend=f'Write [reports.{report}] channels = ["..."].'
        )

    def source(self, name: str) -> Source:
        """Return a source; raises ConfigError naming the nearest when there is none of that name."""
        if name not in self._sources:
            part = self.workspace.sources.get(name)
            if part is None:
                known = self.workspace.sources
                raise ConfigError(f"There is no source {name!r}.", mend=nearest(name, known) or _choices(known))
            self._sources.setdefault(name, self.workspace.create(part, self.clock))  # threads may ask at one moment
        return self._sources[name]

    def streams(self, source: str, stream: str = "") -> Sequence[Stream]:
        """Return a source's streams with their pins applied; only the one called ``stream`` if it is named."""
        offered = [self._pinned(one) for one in self.source(source).streams()]
        chosen = [one for one in offered if stream in ("", one.name)]
        if not chosen:
            names = [one.name for one in offered]
            mend = nearest(stream, names) or _choices(names)
            raise ConfigError(f"Source {source!r} has no stream {stream!r}.", mend=mend)
        return chosen

    def _pinned(self, stream: Stream) -> Stream:
        pin = read_pin(self.workspace.root, stream.source, stream.name)
        if not pin:
            return stream
        return replace(stream, tables=tuple(replace(table, columns=tuple(pin)) for table in stream.tables))

    def channel(self, name: str) -> Channel:
        """Return a channel; raises ConfigError naming the nearest when there is none of that name."""
        if name not in self._channels:  # one for all its messages: they share the vendor's allowance
            part = self.workspace.channels.get(name)
            if part is None:
                known = self.workspace.channels
                raise ConfigError(f"There is no channel {name!r}.", mend=nearest(name, known) or _choices(known))
            self._channels.setdefault(name, self.workspace.create(part, self.clock))
        return self._channels[name]

    def report(self, name: str) -> Report:
        """Return a report; raises ConfigError naming the nearest when there is none of that name."""
        if name not in self.reports:
            mend = nearest(name, self.reports) or _choices(self.reports)
            raise ConfigError(f"There is no report {name!r}.", mend=mend)
        return self.reports[name]

    def state(self, *names: str) -> Path:
        """Return a path under ``.signalroom``, its folder made."""
        path = self.workspace.root.joinpath(".signalroom", *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def interrupt(self) -> None:
        """End what an embedded warehouse computes, from another thread; where there is none, nothing happens."""
        end = getattr(self.__dict__.get("warehouse"), "interrupt", None)
        if end is not None:
            end()

    def close(self) -> None:
        """Close what was opened."""
        with ExitStack() as closing:  # one that fails to close keeps none of the others open
            for name in ("ledger", "lake", "warehouse", "renderer"):
                opened = self.__dict__.pop(name, None)
                if opened is not None:
                    closing.callback(opened.close)
            while self._databases:
                closing.callback(self._databases.popitem()[1].close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _choices(names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names))
    return f"Known: {listed}." if listed else "The workspace has none yet."
