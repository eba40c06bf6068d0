"""`signalroom runs`: what ran and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

import click

from signalroom.cli.command import Command, Group, json_option, with_default
from signalroom.cli.output import ago, duration, indented, print_json, print_remarked
from signalroom.cli.run import run_record, run_seconds
from signalroom.cli.session import Session, pass_session
from signalroom.cli.up import when_text
from signalroom.errors import ConfigError
from signalroom.run import Run, RunStatus

if TYPE_CHECKING:
    from signalroom.room import Room

_INDENT = 10
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
    headers = ("run", "started", "took", "status", "job", "step")
    rows = [(one.run_id, ago(one.started_at, now), _took(one), one.status, one.job, one.step) for one in found]
    print_remarked(headers, rows, [one.error for one in found])


def _took(one: Run) -> str:
    return duration(run_seconds(one)) if one.finished_at else ""


@runs.command(cls=Command)
@click.argument("run_id")
@json_option
@pass_session
def show(session: Session, run_id: str, as_json: bool) -> None:
    """Show one run whole: its error, how its earlier attempts ended, and what its step reported."""
    with session.room() as room:
        one = room.ledger.runs.get(run_id)
        if one is None:
            raise ConfigError(f"There is no run {run_id!r}.", mend="`signalroom runs` lists them.")
        if as_json:
            print_json(run_record(one))
            return
        _show(one, room.workspace.timezone)


def _show(one: Run, zone: str) -> None:
    """Print a run as lines of what and how; long sentences are broken under their beginning."""
    moments = {"due": one.due_at, "started": one.started_at, "finished": one.finished_at}
    lines = {"run": one.run_id, "job": one.job, "step": one.step}
    lines |= {name: when_text(moment, zone, seconds=True) for name, moment in moments.items() if moment}
    lines |= {"took": _took(one), "repeats": one.repeat_of}
    for name, text in lines.items():
        if text:
            click.echo(f"{name:{_INDENT}}{text}")
    click.echo(f"{'status':{_INDENT}}{click.style(one.status, fg=_COLORS.get(one.status))}")
    if one.error:
        _say("error", one.error)
    for number, failure in enumerate(one.failures, 1):
        _say("earlier" if number == 1 else "", f"{when_text(failure.ended_at, zone, seconds=True)}: {failure.error}")
    if one.result:
        click.echo(f"{'result':{_INDENT}}")
        print_json(one.result)


def _say(name: str, text: str) -> None:
    click.echo(indented(f"{name:{_INDENT}}", text))
