"""The parts of a workspace as written: plugins to be opened, what reports override, where alerts go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

from signalroom.errors import ConfigError
from signalroom.workspace.settings import Secret, injected, setting

_AGE: Final = re.compile(r"([1-9]\d{0,4})([mhd])")
_SHARE: Final = re.compile(r"\d{1,4}(\.\d{1,4})?%")
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\-\[\]:]+")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


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
    needs: Mapping[str, str] = setting(
        "How old its inputs may be: SOURCE or SOURCE.STREAM, and an age. Until they are that new it waits.",
        factory=dict,
        example='{ everflow = "2h", "s3_exports.orders_create" = "26h" }',
    )
    deadline: str = setting(
        "Local time, on the day after the one it is about, at which it goes out and says what is late; without one it "
        "waits for as long as its job tries.",
        default="",
        example='"07:45"',
    )
    internal: bool = setting(
        "Its readers are the team itself: alerts may use its channels. Those of any other report never hear of one.",
        default=False,
    )

    def __post_init__(self) -> None:
        for age in self.needs.values():
            parse_age(age)
        if self.deadline and not _CLOCK.fullmatch(self.deadline):
            raise ConfigError(f"deadline: {self.deadline!r} is no time of day.", mend='Write e.g. deadline = "07:45".')

    def deadline_of(self, due_at: datetime, timezone: str) -> datetime | None:
        """Return the deadline of the report whose day was over at ``due_at``; None when it has none."""
        from zoneinfo import ZoneInfo

        if not self.deadline:
            return None
        zone = ZoneInfo(timezone)
        return datetime.combine(due_at.astimezone(zone).date(), time.fromisoformat(self.deadline), zone)


def parse_age(text: str) -> timedelta:
    """Return the span that ``90m``, ``2h`` or ``3d`` means; raises ConfigError for anything else."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is no age.", mend="Write minutes, hours or days, e.g. 90m, 2h or 3d.")
    return int(found[1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[found[2]]


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """An ``[alerts.checks.NAME]`` table: a figure of the team's own that is watched."""

    sql: str = setting(
        "One SELECT. With ``above``: one row with ``value``. With ``drift``: rows with ``day`` and ``value``. "
        "``:report_date`` is yesterday in the workspace's zone.",
        example='"select date as day, sum(conversions) as value from public.daily_performance group by date"',
    )
    name: str = injected()
    title: str = setting("What it is called in an alert; its name when left out.", default="")
    above: Decimal | None = setting("It is wrong when the value is greater.", default=None, example="0")
    drift: Literal["", "down", "both"] = setting(
        "It is wrong when yesterday is far from the same weekday of the weeks before, below it or on both sides.",
        default="",
    )
    level: Literal["warning", "critical"] = setting("How much it matters.", default="warning")
    mend: str = setting("What to do about it.", default="")
    sources: tuple[str, ...] = setting(
        "Sources it stands on: while one of them is out, it belongs to that alert.", default=()
    )

    def __post_init__(self) -> None:
        if (self.above is None) == (not self.drift):
            raise ConfigError("it needs either above or drift.", mend='Write above = 0, or drift = "down".')


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The ``[alerts]`` table."""

    channel: str = setting("Channel that hears of failures; never a client's.", default="", example='"ops"')
    critical: str = setting("Channel that also hears of critical ones, e.g. by SMS.", default="", example='"phone"')
    grace: str = setting("How late a job may start.", default="15m")
    fresh: Mapping[str, str] = setting(
        "How old the data of a SOURCE or SOURCE.STREAM may be; of others what was usual of late counts.",
        factory=dict,
        example='{ everflow = "10h" }',
    )
    restated: str = setting(
        "How far a figure of a report may move after the report went out, of a day that was over; empty for any.",
        default="5%",
        example='"2%"',
    )
    checks: Mapping[str, CheckSettings] = setting("Figures of the team's own, by name.", factory=dict)

    def __post_init__(self) -> None:
        for age in (self.grace, *self.fresh.values()):
            parse_age(age)
        if self.restated and not _SHARE.fullmatch(self.restated):
            raise ConfigError(
                f"alerts.restated: {self.restated!r} is no share.", mend='Write e.g. restated = "5%", or "" for never.'
            )

    @property
    def restated_share(self) -> Decimal | None:
        """``restated`` as a fraction, e.g. 0.05; None for never."""
        return Decimal(self.restated.removesuffix("%")) / 100 if self.restated else None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The ``[engine]`` table: how `signalroom up` and `signalroom worker` run jobs."""

    concurrency: int = setting("Steps that run at the same time; those of one source take turns anyway.", default=4)
    step_timeout_s: float = setting("How long one attempt of a step may take.", default=21600.0, unit="s")
    stop_grace_s: float = setting(
        "How long a step that runs may go on after the process was told to stop; five seconds later it is cut off. "
        "Whoever stops the process must wait longer before it kills.",
        default=20.0,
        unit="s",
    )
    temporal: str = setting(
        "The `temporal` program of `up`; the one beside Python, else the one on PATH, when left out.",
        default="",
        example='"/usr/local/bin/temporal"',
    )

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.step_timeout_s <= 0 or self.stop_grace_s <= 0:
            raise ConfigError(
                "engine: concurrency, step_timeout_s and stop_grace_s must be greater than 0.", mend="Leave them out."
            )


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The ``[web]`` table: where `signalroom up` and `signalroom worker` answer."""

    port: int = setting("Port; another is taken, and told, when it is in use.", default=8080)
    host: str = setting("Address it answers on; 0.0.0.0 in a container, say.", default="127.0.0.1")
    origins: tuple[str, ...] = setting(
        "Origins of the front ends whose pages may call the API from a browser.",
        default=(),
        example='["https://reports.example.com"]',
    )
    requests_per_minute: int = setting("Requests one API key may make in a minute.", default=600)
    open_metrics: bool = setting(
        "Whether /metrics answers without a key; set it to false where the port faces agencies.", default=True
    )

    def __post_init__(self) -> None:
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"web.origins: {origin!r} is no origin.",
                    mend='Write scheme and host, e.g. "https://app.example.com".',
                )
        if self.requests_per_minute < 1:
            raise ConfigError("web.requests_per_minute: it must be greater than 0.", mend="Leave it out.")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"web.port: {self.port} is no port.", mend="Use 1 to 65535, or 0 for any that is free.")


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """The ``[views]`` table: what manifests may read, and what one query of them may use."""

    tables: list[str] = setting(
        "Tables manifests may read, under their names without schema; in each, agency_id says whose a row is.",
        factory=list,
        example='["public.clicks"]',
    )
    databases: list[int] | Mapping[str, Secret] = setting(
        "What a manifest's database_id means: a list of numbers for the warehouse, or a table of number and address of "
        "a Postgres database, in which 1 is the warehouse unless it is given another address. "
        "A manifest with any other number is refused.",
        factory=lambda: [1],
        example='{ 4 = "env:ARCHIVE_URL" }',
    )
    timeout_s: int = setting("Longest one query may take.", default=60, unit="s")
    memory_mb: int = setting("Memory one query may use.", default=512, unit="MB")
    concurrency: int = setting(
        "Groups of views that are computed at the same time, by all processes that refresh in this warehouse.",
        default=2,
    )
    rest_after: int = setting("Failures in a row after which a view is left alone for a while.", default=5)
    rest_hours: int = setting("How long; a changed query is tried at once.", default=6, unit="h")

    def __post_init__(self) -> None:
        for name in ("timeout_s", "memory_mb", "concurrency", "rest_after"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be greater than 0.", mend="Leave it out.")
        if isinstance(self.databases, Mapping):
            for number in self.databases:
                if not number.isdecimal():
                    raise ConfigError(f"databases.{number}: it is no number.", mend='Write 4 = "env:NAME".')


def known_reports(root: Path) -> list[str]:
    """Return the names of the workspace's reports, sorted: the folders of ``reports/``.

    A report written as a function has a folder of its name too, for its templates. ``alert`` and ``digest`` are none:
    they change how alerts look.
    """
    folders = [path.name for path in (root / "reports").glob("*/") if path.is_dir() and path.name[0] not in "._"]
    return sorted(name for name in folders if name not in {"alert", "digest"})
