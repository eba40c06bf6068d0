"""`signalroom serve`: the API and the health pages on their own, beside workers elsewhere."""

from __future__ import annotations

import signal
import sys
import threading
from importlib.util import find_spec

import click

from signalroom.cli.command import command
from signalroom.cli.session import Session, pass_session
from signalroom.errors import ConfigError


@command()
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="Port, instead of [web]'s.")
@click.option("--host", default="", help="Address, instead of [web]'s: 0.0.0.0 in a container.")
@pass_session
def serve(session: Session, port: int | None, host: str) -> None:
    """Answer the API of report views until told to stop; /metrics asks for a key here.

    It runs no jobs; refreshes that callers ask for are done. `signalroom up` and `signalroom worker` answer the same
    API themselves.
    """
    if missing := [name for name in ("starlette", "prometheus_client") if find_spec(name) is None]:
        raise ConfigError(f"{', '.join(missing)} is not installed.", mend="Install signalroom[worker].")
    from signalroom.engine.requested import RequestedRefreshes
    from signalroom.web.endpoint import Site
    from signalroom.web.server import WebServer

    with session.room(here=True) as room:
        if room.workspace.warehouse.kind == "duckdb":
            raise ConfigError(
                "A server apart needs a warehouse that several processes share, and DuckDB lets one own its file.",
                mend='Use Postgres ([warehouse] kind = "postgres"), or `signalroom up`, which answers the API too.',
            )
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        for part in (room.ledger, room.warehouse):  # opened once, before threads ask for them
            del part
        web = room.workspace.web
        requested = RequestedRefreshes(room)
        site = Site(room, wake=requested.wake, open_metrics=False)
        wanted = web.port if port is None else port
        with requested, WebServer(site, wanted, host or web.host, insist=True) as server:
            click.echo(f"API     {server.address}/api/seeder/jobs")
            click.echo(f"Health  {server.address}/health, {server.address}/ready")
            click.echo("Press Ctrl-C to stop.")
            sys.stdout.flush()
            stop.wait()
    click.echo("Stopped.")
