"""What every command is given: where the workspace is, how much to say, and the room, opened and closed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signalroom.errors import ConfigError

if TYPE_CHECKING:
    from signalroom.cli.progress import Shown
    from signalroom.room import Room
    from signalroom.workspace.workspace import Workspace

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|WEBHOOK|_SID$|DSN", re.IGNORECASE)


@dataclass(slots=True)
class Session:
    """The global options of one call.

    Attributes:
        workspace: A folder at or below the workspace; the current one when None.
        debug: Show tracebacks.
        log_level: From which level on log lines are shown; empty for warnings in plain words.
        log_json: Log lines as JSON objects.
        handed: The room of the process that owns the workspace, for a command that another process handed to it.
    """

    workspace: Path | None = None
    debug: bool = False
    log_level: str = ""
    log_json: bool = False
    handed: Room | None = None

    @property
    def root(self) -> Path:
        """The workspace's folder; raises ConfigError where there is none."""
        from signalroom.workspace.workspace import Workspace

        return Workspace.find(self.workspace)

    @contextmanager
    def room(self, *, broken: bool = False, here: bool = False) -> Generator[Room]:
        """Open the workspace's room and close it afterwards; a ``broken`` one too, without what cannot be read.

        Raises:
            HandOverError: `signalroom up` owns the workspace and takes its commands, and ``here`` does not insist.
        """
        if self.handed is not None:
            yield self.handed
            return
        from signalroom.cli.demo_world import clock_of
        from signalroom.cli.handover import HandOverError, listening
        from signalroom.cli.interrupting import interruptible
        from signalroom.room import Room
        from signalroom.workspace.workspace import Workspace

        self.start_logging()
        if not (here or broken) and (address := listening(self.root)):
            raise HandOverError(address)
        workspace = Workspace.readable(self.root) if broken else Workspace.load(self.root)
        conceal_secrets(workspace)
        start_traces(os.environ)
        with Room(workspace, clock_of(workspace.root)) as room, interruptible(room):
            yield room

    def start_logging(self) -> None:
        """Let log lines out as the options ask."""
        from signalroom import telemetry

        if self.log_level or self.log_json:
            telemetry.configure(self.log_level or "info", json=self.log_json)
        else:
            telemetry.configure_plainly()

    def progress(self, *, as_json: bool = False) -> AbstractContextManager[Shown]:
        """Return what shows a long step's progress: a display on a terminal, now and then a line elsewhere."""
        from signalroom.cli import progress

        if sys.stderr.isatty():
            return progress.display()
        return progress.lines(logged=bool(self.log_level)) if self.log_level or not as_json else progress.nothing()


pass_session = click.make_pass_decorator(Session)


def start_traces(environ: Mapping[str, str]) -> None:
    """Send traces where the environment asks for them; raises ConfigError where what sends them is not installed."""
    from signalroom import telemetry

    try:
        telemetry.trace(environ)
    except ModuleNotFoundError:
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed.",
            mend="Install signalroom[otel], or unset the variable.",
        ) from None


def conceal_secrets(workspace: Workspace) -> None:
    """Keep the values of the environment that look like secrets out of everything printed, opened or not."""
    from signalroom.telemetry import conceal
    from signalroom.workspace.environment import looks_secret

    for reference in workspace.references():
        value = workspace.environ.get(reference.variable, "")
        if _SECRET_NAME.search(reference.variable) or looks_secret(value):
            conceal(value)
