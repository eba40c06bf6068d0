"""The parts of a workspace as written: plugins to be opened, what reports override, where alerts go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signalroom.errors import ConfigError
from signalroom.workspace.settings import injected, setting


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the workspace as written, not yet converted.

    Attributes:
        section: ``warehouse``, ``lake``, ``ledger``, ``sources`` or ``channels``.
        name: Its name; that of the section where there is only one.
        kind: Which plugin it is; empty for the lake and the ledger.
        settings: Its table without ``kind``; values may still be ``env:NAME``.
    """

    section: str
    name: str
    kind: str
    settings: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Where it stands in the file, e.g. ``sources.everflow``."""
        return self.section if self.name == self.section else f"{self.section}.{self.name}"


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """A ``[reports.NAME]`` table: it overrides what the report says of itself."""

    name: str = injected()
    channels: tuple[str, ...] = setting("Channels the report goes to.", example='["outbox"]')


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The ``[alerts]`` table."""

    channel: str = setting("Channel that hears of failures; never a client's.", default="", example='"ops"')
    critical: str = setting("Channel that also hears of critical ones, e.g. by SMS.", default="", example='"phone"')


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """The ``[views]`` table: what manifests may read, and what one query of them may use."""

    tables: list[str] = setting(
        "Tables manifests may read, under their names without schema; in each, agency_id says whose a row is.",
        factory=list,
        example='["public.clicks"]',
    )
    timeout_s: int = setting("Longest one query may take.", default=60, unit="s")
    memory_mb: int = setting("Memory one query may use.", default=512, unit="MB")
    concurrency: int = setting("Groups of views that are computed at the same time.", default=2)
    rest_after: int = setting("Failures in a row after which a view is left alone for a while.", default=5)
    rest_hours: int = setting("How long; a changed query is tried at once.", default=6, unit="h")

    def __post_init__(self) -> None:
        for name in ("timeout_s", "memory_mb", "concurrency", "rest_after"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be greater than 0.", mend="Leave it out.")


def known_reports(root: Path) -> list[str]:
    """Return the names of the workspace's reports, sorted: the folders of ``reports/``.

    A report written as a function has a folder of its name too, for its templates.
    """
    return sorted(path.name for path in (root / "reports").glob("*/") if path.is_dir() and path.name[0] not in "._")
