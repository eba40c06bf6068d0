"""`signalroom report`: one report, shown or sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import print_json
from signalroom.cli.preview import message_text, print_shown, shown_by, shown_record
from signalroom.cli.session import Session, pass_session

if TYPE_CHECKING:
    from signalroom.message import Delivery, Message
    from signalroom.position import Json
    from signalroom.room import Room


@command()
@click.argument("name")
@click.option("--date", "day", metavar="D", default="", help="Local day: yesterday (the default), today, YYYY-MM-DD.")
@click.option(
    "--preview", is_flag=True, help="Show it as each of its channels would send it, with their limits (the default)."
)
@click.option("--send", is_flag=True, help="Send it once to each recipient; what was sent is not sent again.")
@click.option("--channel", metavar="C", default="", help="This channel only, whatever the workspace says.")
@json_option
@pass_session
def report(session: Session, name: str, day: str, preview: bool, send: bool, channel: str, as_json: bool) -> None:
    """Show the report NAME about a day, or send it."""
    if preview and send:
        raise click.UsageError(
            "--preview and --send exclude each other. Take one of them away: `--preview` or `--send`."
        )
    with session.room() as room:
        room.report(name)  # a misspelt name is no failed run
        if channel:
            room.channel(channel)
        if send:
            _send(session, room, name, day, channel, as_json=as_json)
        else:
            _preview(room, name, day, channel, as_json=as_json)


def _preview(room: Room, name: str, day: str, channel: str, *, as_json: bool) -> None:
    from signalroom import steps
    from signalroom.engine import inline
    from signalroom.readiness import late_inputs

    about = inline.report_day(room, day)
    late = late_inputs(room, name, inline.due_at(room, about), wait=False)
    message = steps.preview(room, name, about, late)
    every = shown_by(room, name, channel, message)
    if as_json:
        print_json({**message_record(message), "channels": [shown_record(one) for one in every]})
    elif every:
        print_shown(every)
    else:
        click.echo(message_text(message), nl=False)


def _send(session: Session, room: Room, name: str, day: str, channel: str, *, as_json: bool) -> None:
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall

    options: dict[str, str | bool] = {"date": inline.report_day(room, day).isoformat(), "send": True}
    if channel:
        options["channel"] = channel
    before = {one.key for one in room.ledger.deliveries.list(name, state="sent", limit=1000)}
    with session.progress(as_json=as_json) as progress:
        outcome = inline.run_step(room, StepCall("report", name, options), progress=progress)
    if as_json:
        print_json({"run_id": outcome.run.run_id, "deliveries": [delivery_record(one) for one in outcome.deliveries]})
        return
    for one in outcome.deliveries:
        click.echo(delivery_line(one, again=one.key in before))


def message_record(message: Message) -> Mapping[str, Json]:
    """Return what ``--json`` prints of a message: everything but its pictures."""
    return {
        "report": message.report,
        "subject": message.subject,
        "text": message.text,
        "sms": message.sms,
        "html": message.html,
        "blocks": list(message.blocks),
        "data": message.data,
        "load_ids": list(message.load_ids),
    }


def delivery_record(one: Delivery) -> Mapping[str, Json]:
    """Return what ``--json`` prints of a delivery."""
    return {
        "report": one.report,
        "due_at": one.due_at.isoformat(),
        "channel": one.channel,
        "recipient": one.recipient,
        "state": one.state,
        "receipt": one.receipt,
        "error": one.error,
        "key": one.key,
    }


def delivery_line(one: Delivery, *, again: bool = False) -> str:
    """Return a delivery in words; ``again`` where it had been sent before."""
    if one.state == "sent":
        told = "was sent before, and was not sent again" if again else "sent"
    else:
        told = f"is {one.state}" + (f": {one.error}" if one.error else "")
    return (
        f"{one.report} to {one.channel} ({one.recipient}) {told}: {one.receipt}"
        if one.receipt
        else (f"{one.report} to {one.channel} ({one.recipient}) {told}.")
    )
