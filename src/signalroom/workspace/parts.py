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
class EngineSettings:
    """The ``[engine]`` table: how `signalroom up` and `signalroom worker` run jobs."""

    concurrency: int = setting("Steps that run at the same time; those of one source take turns anyway.", default=4)
    step_timeout_s: float = setting("How long one attempt of a step may take.", default=21600.0, unit="s")
    temporal: str = setting(
        "The `temporal` program of `up`; the one beside Python, else the one on PATH, when left out.",
        default="",
        example='"/usr/local/bin/temporal"',
    )

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.step_timeout_s <= 0:
            raise ConfigError("engine: concurrency and step_timeout_s must be greater than 0.", mend="Leave them out.")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The ``[web]`` table: where `signalroom up` and `signalroom worker` answer."""

    port: int = setting("Port on 127.0.0.1; another is taken, and told, when it is in use.", default=8080)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"web.port: {self.port} is no port.", mend="Use 1 to 65535, or 0 for any that is free.")


def known_reports(root: Path) -> list[str]:
    """Return the names of the workspace's reports, sorted: the folders of ``reports/``.

    A report written as a function has a folder of its name too, for its templates.
    """
    return sorted(path.name for path in (root / "reports").glob("*/") if path.is_dir() and path.name[0] not in "._")
