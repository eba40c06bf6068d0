"""`signalroom alerts`: what is wrong, and what a person says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import click

from signalroom.cli.command import Command, Group, json_option, with_default
from signalroom.cli.output import ago, print_json, print_table
from signalroom.cli.session import Session, pass_session

if TYPE_CHECKING:
    from signalroom.alert import Alert
    from signalroom.position import Json


class _Alerts(Group):
    """Lists when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_default(args, "list"))


_note = click.option("--note", metavar="TEXT", default="", help="What to tell the others.")


@click.group(cls=_Alerts)
def alerts() -> None:
    """List what is wrong; `signalroom alerts` alone lists, and `signalroom watch` looks."""


@alerts.command("list", cls=Command)
@json_option
@pass_session
def list_alerts(session: Session, as_json: bool) -> None:
    """List the alerts that are not resolved, critical ones first."""
    with session.room() as room:
        found = room.ledger.alerts.list()
        now = room.clock.now()
        if as_json:
            print_json({"alerts": [_record(one) for one in found]})
        elif not found:
            click.echo("Nothing is wrong.")
        else:
            rows = [(one.key, one.level, one.state, ago(one.since, now), one.title) for one in found]
            print_table(("alert", "level", "state", "since", ""), rows)


@alerts.command(cls=Command)
@click.argument("key")
@_note
@json_option
@pass_session
def ack(session: Session, key: str, note: str, as_json: bool) -> None:
    """Say that you are at the alert KEY: it says nothing more until it is over."""
    with session.room() as room:
        _tell(room.ledger.alerts.acknowledge(key, note), as_json=as_json)


@alerts.command(cls=Command)
@click.argument("key")
@click.option("--for", "span", metavar="AGE", default="4h", show_default=True, help="How long: 90m, 4h, 2d.")
@_note
@json_option
@pass_session
def snooze(session: Session, key: str, span: str, note: str, as_json: bool) -> None:
    """Let the alert KEY be silent for a while."""
    from signalroom.workspace.parts import parse_age

    with session.room() as room:
        until = room.clock.now() + parse_age(span)
        _tell(room.ledger.alerts.snooze(key, until, note), as_json=as_json)


@alerts.command(cls=Command)
@click.argument("key")
@_note
@json_option
@pass_session
def resolve(session: Session, key: str, note: str, as_json: bool) -> None:
    """Say that the alert KEY is over; the next watch tells everybody, or finds it again."""
    with session.room() as room:
        _tell(room.ledger.alerts.resolve(key, note), as_json=as_json)


def _tell(alert: Alert, *, as_json: bool) -> None:
    if as_json:
        print_json({"alert": _record(alert)})
        return
    until = (
        f" until {alert.snoozed_until:%Y-%m-%d %H:%M} UTC" if alert.state == "snoozed" and alert.snoozed_until else ""
    )
    click.echo(f"{alert.key} is {alert.state}{until}.")


def _record(alert: Alert) -> Mapping[str, Json]:
    values = dataclasses.asdict(alert)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
