"""A report as each of its channels would send it, held against that channel's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from signalroom.errors import ConfigError, SignalRoomError

if TYPE_CHECKING:
    from signalroom.message import Message, Preview
    from signalroom.position import Json
    from signalroom.room import Room


@dataclass(frozen=True, slots=True)
class Shown:
    """One channel's view of a message; ``kind`` is its plugin."""

    channel: str
    kind: str
    recipients: tuple[str, ...]
    preview: Preview


def shown_by(room: Room, report: str, channel: str, message: Message) -> list[Shown]:
    """Return how each channel of a report, or the one named, would send a message; a broken one says what is wrong."""
    try:
        names: Sequence[str] = [channel] if channel else room.channels_of(report)
    except ConfigError:
        return []  # a report may be looked at before it goes anywhere
    return [_shown(room, name, message) for name in names]


def _shown(room: Room, name: str, message: Message) -> Shown:
    from signalroom.channels.base import Previews
    from signalroom.message import Preview

    part = room.workspace.channels.get(name)
    kind = part.kind if part else ""
    try:
        found = room.channel(name)
    except SignalRoomError as problem:
        return Shown(name, kind, (), Preview("", (), (str(problem),)))
    shown = found.preview(message) if isinstance(found, Previews) else Preview(message_text(message))
    return Shown(name, kind, tuple(found.recipients()), shown)


def print_shown(every: Sequence[Shown]) -> int:
    """Print each channel's view under a heading; return how many problems there are."""
    for at, one in enumerate(every):
        if len(every) > 1 or one.preview.facts or one.preview.problems:
            click.echo("\n" if at else "", nl=False)
            told = ", ".join(one.preview.facts)
            click.secho(f"{one.channel} ({one.kind}){': ' if told else ''}{told}", dim=True)
        if one.preview.text:
            click.echo(one.preview.text.rstrip("\n"))
        for problem in one.preview.problems:
            click.echo(f"{click.style('problem: ', fg='red')}{problem}")
    return sum(len(one.preview.problems) for one in every)


def shown_record(one: Shown) -> Mapping[str, Json]:
    """Return what ``--json`` prints of a channel's view."""
    return {
        "channel": one.channel,
        "kind": one.kind,
        "recipients": list(one.recipients),
        "text": one.preview.text,
        "facts": list(one.preview.facts),
        "problems": list(one.preview.problems),
    }


def message_text(message: Message) -> str:
    """Return a message as a terminal shows it: its Slack form where it has one, else its plain text."""
    from signalroom.blocktext import as_text

    if message.blocks:
        return as_text(message.blocks)
    return f"{message.text or message.sms or message.subject}\n"
