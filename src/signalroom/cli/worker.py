"""`signalroom worker`: a worker of the Temporal server that TEMPORAL_* names."""

from __future__ import annotations

import click

from signalroom.cli.command import command
from signalroom.cli.session import Session, pass_session
from signalroom.cli.up import require_worker, stay
from signalroom.errors import ConfigError


@command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None, help="Port of the health page, instead of [web]'s."
)
@click.option("--host", default="", help="Address of the health page, instead of [web]'s: 0.0.0.0 in a container.")
@pass_session
def worker(session: Session, port: int | None, host: str) -> int:
    """Run the workspace's jobs for the Temporal server that TEMPORAL_ADDRESS names, until told to stop."""
    require_worker()
    with session.room(here=True) as room:
        if room.workspace.warehouse.kind == "duckdb":
            raise ConfigError(
                "A worker apart needs a warehouse that several processes share, and DuckDB lets one own its file.",
                mend='Use Postgres ([warehouse] kind = "postgres"), or run everything in one process: `signalroom up`.',
            )
        if not room.workspace.environ.get("TEMPORAL_ADDRESS"):
            raise ConfigError(
                "TEMPORAL_ADDRESS is not set.",
                mend="Set it to the Temporal server's address, or use `signalroom up`, which starts one.",
            )
        return stay(room, port, host=host)
