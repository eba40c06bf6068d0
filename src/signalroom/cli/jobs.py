"""`signalroom jobs`: when each job runs, and an operator's hand on it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import date
from types import ModuleType
from typing import TYPE_CHECKING

import click

from signalroom.cli.command import Command, Group, json_option, with_default
from signalroom.cli.output import ago, count, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.cli.up import require_worker, when_text
from signalroom.errors import ConfigError

if TYPE_CHECKING:
    from signalroom.engine.operating import JobState
    from signalroom.position import Json
    from signalroom.room import Room


class _Jobs(Group):
    """Lists when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_default(args, "list"))


@click.group(cls=_Jobs)
def jobs() -> None:
    """Show when each job runs, and pause, resume or start one; `signalroom jobs` alone lists."""


@jobs.command("list", cls=Command)
@json_option
@pass_session
def list_jobs(session: Session, as_json: bool) -> None:
    """List jobs with their schedule, next firing and last execution."""
    with _operating(session) as (room, operating):
        room.ledger.runs.sweep()
        found = asyncio.run(operating.states(room))
        if as_json:
            print_json({"jobs": [_record(one) for one in found]})
        elif not found:
            click.echo("The workspace has no jobs yet: add a [jobs.NAME] to signalroom.toml.")
        else:
            headers = ("job", "schedule", "zone", "next", "last", "")
            print_table(headers, [_row(room, one) for one in found])


@contextmanager
def _operating(session: Session) -> Generator[tuple[Room, ModuleType]]:
    """Yield the room, opened in this process whoever owns the workspace, and what operates its jobs."""
    require_worker()
    from signalroom.engine import operating

    with session.room(here=True) as room:
        yield room, operating


def _row(room: Room, one: JobState) -> tuple[str, ...]:
    if one.paused:
        next_text = f"paused: {one.note}" if one.note else "paused"
    else:
        next_text = when_text(one.next_at, one.job.timezone) if one.next_at else ""
    last = ago(one.last.started_at, room.clock.now()) if one.last else "never"
    status = one.last.status if one.last else ""
    schedule = one.job.schedule or (f"after {', '.join(one.job.after)}" if one.job.after else "by hand")
    return (one.job.name, schedule, one.job.timezone, next_text, last, status)


def _record(one: JobState) -> Mapping[str, Json]:
    return {
        "job": one.job.name,
        "schedule": one.job.schedule,
        "timezone": one.job.timezone,
        "steps": [call.text for call in one.job.steps],
        "next_at": one.next_at.isoformat() if one.next_at else None,
        "paused": one.paused,
        "note": one.note,
        "last_run_id": one.last.run_id if one.last else None,
        "last_status": one.last.status if one.last else None,
    }


@jobs.command(cls=Command)
@click.argument("job")
@click.option("--note", metavar="TEXT", default="", help="Why, for whoever sees it paused.")
@pass_session
def pause(session: Session, job: str, note: str) -> None:
    """Stop JOB's schedule until it is resumed; restarts and upgrades keep it paused."""
    with _operating(session) as (room, operating):
        asyncio.run(operating.pause(room, job, note))
    click.echo(f"{job} is paused.")


@jobs.command(cls=Command)
@click.argument("job")
@pass_session
def resume(session: Session, job: str) -> None:
    """Let JOB's schedule fire again."""
    with _operating(session) as (room, operating):
        asyncio.run(operating.resume(room, job))
    click.echo(f"{job} fires again.")


@jobs.command(cls=Command)
@click.argument("job")
@pass_session
def trigger(session: Session, job: str) -> None:
    """Start JOB now, in the process that runs jobs; paused or not."""
    with _operating(session) as (room, operating):
        skipped = asyncio.run(operating.would_skip(room, job))
        if not skipped:
            asyncio.run(operating.trigger(room, job))
    told = 'runs already and is not started twice (overlap = "skip")' if skipped else "was started"
    click.echo(f"{job} {told}; `signalroom runs --job {job}` shows how it goes.")


@jobs.command(cls=Command)
@click.argument("job")
@click.option("--from", "first", metavar="DAY", required=True, help="First local day, YYYY-MM-DD.")
@click.option("--to", "last", metavar="DAY", default="", help="Last local day; the first when left out.")
@click.option("--send", is_flag=True, help="Send its reports of those days too, to whoever has not got them.")
@pass_session
def backfill(session: Session, job: str, first: str, last: str, send: bool) -> None:
    """Run JOB once for each of its times on past days, one after another; what succeeded then is not done again.

    A job that sends reports is refused without --send.
    """
    begin, end = _day(first), _day(last or first)
    if end < begin:
        raise ConfigError("The days end before they begin.", mend="Put the earlier day first.")
    with _operating(session) as (room, operating):
        reports = [call.target for call in operating.find_job(room, job).steps if call.verb == "report"]
        if reports and not send:
            raise ConfigError(
                f"Job {job!r} sends {', '.join(reports)} of past days to whoever has not got them.",
                mend=f"Add --send if they should; `signalroom sync SOURCE --window {begin}..{end}` and "
                "`signalroom build` load the days alone.",
            )
        times = asyncio.run(operating.backfill(room, job, begin, end))
    click.echo(f"{count(times, 'run')} of {job} to come; `signalroom runs --job {job}` shows how they go.")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a date.", mend="Write it as YYYY-MM-DD.") from None
