"""`signalroom sync`: what is new upstream, into the lake and the warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import count, note, print_json, print_table, size
from signalroom.cli.session import Session, pass_session

if TYPE_CHECKING:
    from pathlib import Path

    from signalroom.room import Room
    from signalroom.steps import StreamSync
    from signalroom.stream import Column, Stream


@command()
@click.argument("what", metavar="SOURCE[.STREAM]")
@click.option(
    "--window",
    metavar="W",
    default="",
    help="Local days to ask for: today, yesterday, lookback, 7d, YYYY-MM-DD or YYYY-MM-DD..YYYY-MM-DD.",
)
@click.option("--pin", is_flag=True, help="Write the columns in force to schemas/, for git to keep.")
@json_option
@pass_session
def sync(session: Session, what: str, window: str, pin: bool, as_json: bool) -> None:
    """Bring what is new upstream into the lake and the warehouse: one source, or one stream of it."""
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall

    with session.room() as room:
        source, _, stream = what.partition(".")
        # Asked before the run starts: a misspelt name is no failed run.
        chosen = room.streams(source, stream)
        inline.window_of(room, source, window)
        call = StepCall("sync", what, {"window": window} if window else {})
        with session.progress(as_json=as_json) as progress:
            outcome = inline.run_step(room, call, progress=progress)
        pinned = _pin(room, chosen) if pin else []
        if as_json:
            records = [inline.stream_record(one) for one in outcome.streams]
            print_json({"run_id": outcome.run.run_id, "streams": records, "pinned": [str(file) for file in pinned]})
            return
        print_streams(outcome.streams)
        for file in pinned:
            click.echo(f"Pinned {file.relative_to(room.workspace.root)}.")


def print_streams(streams: Sequence[StreamSync]) -> None:
    """Print what a sync or replay did to each stream, then what a person should know about it."""
    if streams and not any(one.merge.load_ids for one in streams):
        click.echo(f"Nothing new in {', '.join(one.stream for one in streams)}.")
    else:
        headers = ("stream", "rows in", "merged", "superseded", "rejected", "size", "seconds")
        print_table(headers, [stream_row(one) for one in streams], right=range(1, 7))
    for one in streams:
        for text in stream_notes(one):
            note(text)


def stream_row(one: StreamSync) -> list[str]:
    """Return a stream's cells: name, rows in, merged, superseded, rejected, size, seconds."""
    done = one.merge
    if not done.load_ids:
        return [one.stream, "nothing new", "", "", "", "", f"{one.seconds:.1f}"]
    counts = (done.rows_in, done.rows_merged, done.rows_superseded, done.rows_rejected)
    return [one.stream, *map(count, counts), size(one.bytes), f"{one.seconds:.1f}"]


def stream_notes(one: StreamSync) -> list[str]:
    """Return what a person should know about a stream's sync, a sentence each."""
    done = one.merge
    notes = [text if text.startswith(one.stream) else f"{one.stream}: {text}" for text in done.notes]
    if done.skipped_objects:
        same = count(len(done.skipped_objects), "object")
        notes.append(f"{one.stream}: {same} hold what is loaded already under another name, and were skipped.")
    if done.rows_restored:
        notes.append(f"{one.stream}: {count(done.rows_restored, 'earlier row')} came back, their successors withdrawn.")
    if done.rows_rejected:
        aside = count(done.rows_rejected, "row")
        notes.append(f"{aside} of {one.stream} set aside: `signalroom rejects show {one.stream}` tells why.")
    return notes


def _pin(room: Room, streams: Sequence[Stream]) -> list[Path]:
    """Write the columns in force of each stream's tables and return the files that changed."""
    from signalroom.warehouse.overview import columns_in_force
    from signalroom.workspace.pins import read_pin, write_pin

    root, written = room.workspace.root, list["Path"]()
    for stream in streams:
        for table in stream.tables:
            name = stream.name if len(stream.tables) == 1 else table.name
            columns = _plain(columns_in_force(room.warehouse, stream.source, table.name))
            if columns != _plain(read_pin(root, stream.source, name)):
                written.append(write_pin(root, stream.source, name, columns))
    return written


def _plain(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return columns without the paths that only repeat their names."""
    return tuple(replace(one, path="" if one.path == one.name else one.path) for one in columns)
