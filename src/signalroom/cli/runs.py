"""`signalroom runs`: what ran and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

import click

from signalroom.cli.command import Command, Group, json_option, with_default
from signalroom.cli.output import ago, duration, print_json, print_table
from signalroom.cli.run import run_record, run_seconds
from signalroom.cli.session import Session, pass_session
from signalroom.errors import ConfigError
from signalroom.run import Run, RunStatus

if TYPE_CHECKING:
    from signalroom.room import Room

_COLORS = {"success": "green", "error": "red", "lost": "red", "running": "cyan"}


class _Runs(Group):
    """Lists when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_default(args, "list"))


@click.group(cls=_Runs)
def runs() -> None:
    """List what ran and how it ended; `signalroom runs` alone lists."""


@runs.command("list", cls=Command)
@click.option("--job", metavar="J", default=None, help="Runs of this job only.")
@click.option("--status", type=click.Choice(get_args(RunStatus)), default=None, help="Runs that ended so only.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."
)
@json_option
@pass_session
def list_runs(session: Session, job: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List the newest runs first."""
    with session.room() as room:
        room.ledger.runs.sweep()
        found = room.ledger.runs.list(limit, job=job, status=cast("RunStatus | None", status))
        if as_json:
            print_json({"runs": [run_record(one) for one in found]})
        elif not found:
            click.echo("Nothing has run yet." if job is None and status is None else "No such run.")
        else:
            _print(room, found)


def _print(room: Room, found: tuple[Run, ...]) -> None:
    now = room.clock.now()
    rows = [
        (one.run_id, ago(one.started_at, now), _took(one), one.status, one.job, one.step, _first(one.error))
        for one in found
    ]
    print_table(("run", "started", "took", "status", "job", "step", ""), rows)


def _took(one: Run) -> str:
    return duration(run_seconds(one)) if one.finished_at else ""


def _first(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


@runs.command(cls=Command)
@click.argument("run_id")
@json_option
@pass_session
def show(session: Session, run_id: str, as_json: bool) -> None:
    """Show one run whole: its error, and what its step reported."""
    with session.room() as room:
        one = room.ledger.runs.get(run_id)
        if one is None:
            raise ConfigError(f"There is no run {run_id!r}.", mend="`signalroom runs` lists them.")
        record: dict[str, Any] = dict(run_record(one))
        if as_json:
            print_json(record)
            return
        for name in ("run_id", "job", "step", "due_at", "started_at", "finished_at", "repeat_of"):
            click.echo(f"{name.replace('_', ' '):12}{record[name] or ''}")
        click.echo(f"{'status':12}{click.style(one.status, fg=_COLORS.get(one.status))}")
        if one.error:
            click.echo(f"{'error':12}{one.error}")
        if one.result:
            print_json(one.result)
