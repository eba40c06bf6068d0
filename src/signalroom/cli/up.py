"""`signalroom up`: everything on one machine, in one process tree: scheduler, worker, health page."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from signalroom.cli.command import command
from signalroom.cli.exits import INTERRUPTED, OK
from signalroom.cli.output import print_table
from signalroom.cli.session import Session, pass_session
from signalroom.errors import ConfigError

if TYPE_CHECKING:
    from signalroom.engine.following import Following
    from signalroom.engine.requested import RequestedRefreshes
    from signalroom.engine.resident import Ready
    from signalroom.engine.server import DevServer
    from signalroom.room import Room
    from signalroom.web.server import WebServer

_began = time.monotonic()


@command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None, help="Port of the health page, instead of [web]'s."
)
@click.option("--temporal-option", "options", metavar="OPTION", multiple=True,
              help="A further argument of the Temporal server, e.g. --ui-port=8233; may be repeated.")  # fmt: skip
@pass_session
def up(session: Session, port: int | None, options: tuple[str, ...]) -> int:
    """Run the workspace's jobs on time, until told to stop.

    It starts a Temporal server of its own, unless TEMPORAL_ADDRESS names one, and a worker; on 127.0.0.1 it answers
    the API of report views, /health, /ready and /metrics.
    """
    require_worker()
    from signalroom.engine.ownership import owning
    from signalroom.engine.server import DevServer

    with session.room(here=True) as room, owning(room.state("up.lock"), room.clock):
        server = None
        if not room.workspace.environ.get("TEMPORAL_ADDRESS"):
            server = DevServer(room.state(), room.clock, room.workspace.engine.temporal, options)
        return stay(room, port, server)


def stay(room: Room, port: int | None, server: DevServer | None = None, host: str = "") -> int:
    """Open every part of the room, then run its worker and health page until told to stop; return the exit code."""
    running = server.start() if server else None  # it comes up while everything else is opened
    try:
        from signalroom.cli.door import Door
        from signalroom.engine.following import Following
        from signalroom.engine.requested import RequestedRefreshes
        from signalroom.engine.resident import Resident
        from signalroom.web.endpoint import Site
        from signalroom.web.server import WebServer

        # Opened here, once: threads that open one part at the same moment would open it twice.
        for part in (room.ledger, room.lake, room.warehouse, room.reports, room.renderer):
            del part
        room.warehouse.merged("", "")
        resident = Resident(room, server)
        web = room.workspace.web
        wanted = web.port if port is None else port
        requested, following = RequestedRefreshes(room), Following(room)
        site = Site(
            room, resident.pulse.problem, partial(_wake, requested, following), web.open_metrics,
            following.loops.loops,
        )  # fmt: skip
        page = WebServer(site, wanted, host or web.host)
        # Where one process owns the file, the others' commands run in this one.
        with Door(room) if room.workspace.warehouse.kind == "duckdb" else nullcontext():
            interrupted = asyncio.run(
                resident.run(lambda what: _tell(room, what, page.address), _beside(requested, following, page), running)
            )
    finally:
        if server:
            server.stop()
    click.echo("Stopped.")
    return INTERRUPTED if interrupted else OK


@contextmanager
def _beside(requested: RequestedRefreshes, following: Following, page: WebServer) -> Generator[None]:
    """Run what goes on beside the worker."""
    with requested, following, page:
        yield


def _wake(requested: RequestedRefreshes, following: Following) -> None:
    """Tell whoever does what callers ask for."""
    requested.wake()
    following.wake()


def require_worker() -> None:
    """Raise ConfigError where the libraries of the worker are not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("temporalio", "starlette", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} is not installed.",
            mend="Install signalroom[local]; `signalroom run JOB` from cron needs none of it.",
        )


def _tell(room: Room, what: Ready, page: str) -> None:
    done = what.schedules
    counts = ((done.created, "new"), (done.updated, "changed"), (done.removed, "removed"))
    news = ", ".join(f"{len(names)} {word}" for names, word in counts if names)
    click.echo(f"Ready in {time.monotonic() - _began:.1f} s: {room.workspace.name}, Temporal at {what.address}")
    click.echo(f"API     {page}/api/seeder/jobs")
    click.echo(f"Health  {page}/health, {page}/ready, {page}/metrics")
    if news:
        click.echo(f"Jobs    {news}")
    zone = room.workspace.timezone
    for job, times in done.caught_up.items():
        click.echo(f"Late    {job}: due {', '.join(when_text(one, zone) for one in times)}, started now")
    firings = sorted(next_firings(room))
    if firings:
        print_table(("next", "job"), [(when_text(moment, zone), job) for moment, job in firings])
    click.echo("Press Ctrl-C to stop.")
    sys.stdout.flush()


def next_firings(room: Room) -> list[tuple[datetime, str]]:
    """Return when each scheduled job that is not paused fires next, UTC, with its name."""
    from signalroom.engine.executions import jobs_of

    paused, now = room.ledger.pauses.notes(), room.clock.now()
    crons = [(job, job.cron()) for job in jobs_of(room).values() if job.name not in paused]
    return [(cron.due(now, job.timezone), job.name) for job, cron in crons if cron is not None]


def when_text(moment: datetime, zone: str, *, seconds: bool = False) -> str:
    """Return a moment as the people of a zone read it."""
    clock = "%H:%M:%S" if seconds else "%H:%M"
    return f"{moment.astimezone(ZoneInfo(zone)):%a %Y-%m-%d {clock} %Z}"
