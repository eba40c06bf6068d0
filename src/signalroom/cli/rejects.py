"""`signalroom rejects`: the rows that were set aside, why, and another try."""

from __future__ import annotations

import dataclasses

import click

from signalroom.cli.command import Command, Group, json_option, with_default
from signalroom.cli.output import cell, count, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.cli.sync import print_streams


class _Rejects(Group):
    """Lists when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_default(args, "list"))


_source = click.option("--source", metavar="S", default="", help="This source only, or SOURCE.STREAM.")


@click.group(cls=_Rejects)
def rejects() -> None:
    """List the rows that were set aside, and why; `signalroom rejects` alone lists."""


@rejects.command("list", cls=Command)
@_source
@json_option
@pass_session
def list_rejects(session: Session, source: str, as_json: bool) -> None:
    """Count them by stream, column and reason, the most first."""
    from signalroom.warehouse.overview import reject_counts

    with session.room() as room:
        if source:
            room.streams(*source.split(".", 1))
        found = [one for one in reject_counts(room.warehouse) if _within(str(one["stream"]), source)]
        if as_json:
            print_json({"rejects": found})
        elif not found:
            click.echo("No row is set aside.")
        else:
            rows = [
                [cell(one[name]) for name in ("stream", "column", "reason")] + [_number(one["rows"])] for one in found
            ]
            print_table(("stream", "column", "reason", "rows"), rows, right=(3,))


@rejects.command(cls=Command)
@click.argument("stream", metavar="[SOURCE.STREAM]", default="")
@_source
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."
)
@json_option
@pass_session
def show(session: Session, stream: str, source: str, limit: int, as_json: bool) -> None:
    """Show the rows themselves, those of the newest loads first, each with where it came from."""
    from signalroom.warehouse.overview import rejects as rows_set_aside

    with session.room() as room:
        wanted = stream or source
        if wanted:
            room.streams(*wanted.split(".", 1))
        name, _, stream_name = wanted.partition(".")
        found = rows_set_aside(room.warehouse, name, stream_name, limit)
        if as_json:
            print_json({"rejects": [dataclasses.asdict(one) for one in found]})
            return
        if not found:
            click.echo("No row is set aside.")
        for one in found:
            where = f"{one.stream}  {one.part}, row {count(one.row)}  load {one.load_id}"
            click.secho(where, dim=True)
            what = f"{one.column} = {one.value!r}" if one.column else "the row"
            click.echo(f"  {what}: {one.reason}")
            click.echo(f"  {cell(one.raw)[:200]}")


@rejects.command(cls=Command)
@click.argument("stream", metavar="[SOURCE.STREAM]", default="")
@click.option("--load", "load_id", metavar="ID", default="", help="Only if a row of this load fits now.")
@json_option
@pass_session
def retry(session: Session, stream: str, load_id: str, as_json: bool) -> None:
    """Type them again under today's pins and settings, and merge those that fit now; the others stay set aside.

    Where a row fits, its stream's tables are rebuilt from the lake, so that all rows are read alike.
    """
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall

    call = StepCall("retry", stream, {"load": load_id} if load_id else {})
    with session.room() as room:
        if stream:
            room.streams(*stream.split(".", 1))  # a misspelt name is no failed run
        with session.progress(as_json=as_json) as progress:
            outcome = inline.run_step(room, call, progress=progress)
        if as_json:
            records = [inline.stream_record(one) for one in outcome.streams]
            print_json({"run_id": outcome.run.run_id, "streams": records})
        elif outcome.streams:
            print_streams(outcome.streams)
        else:
            click.echo("No row is set aside.")


def _within(stream: str, wanted: str) -> bool:
    return not wanted or wanted in {stream, stream.partition(".")[0]}


def _number(value: object) -> str:
    return count(int(str(value)))
