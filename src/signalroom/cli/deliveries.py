"""`signalroom deliveries`: what was sent to whom, and what a person decides where nobody else can."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, cast, get_args
from zoneinfo import ZoneInfo

import click

from signalroom.cli.command import Command, Group, json_option, with_default
from signalroom.cli.output import print_json, print_remarked
from signalroom.cli.report import delivery_line, delivery_record
from signalroom.cli.session import Session, pass_session
from signalroom.message import DeliveryState

if TYPE_CHECKING:
    from signalroom.message import Delivery


class _Deliveries(Group):
    """Lists when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_default(args, "list"))


@click.group(cls=_Deliveries)
def deliveries() -> None:
    """List what was sent to whom, settle what is unknown, send again; `signalroom deliveries` alone lists."""


@deliveries.command("list", cls=Command)
@click.option("--report", metavar="R", default=None, help="Those of this report only.")
@click.option("--state", type=click.Choice(get_args(DeliveryState)), default=None, help="Those in this state only.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
)
@json_option
@pass_session
def list_deliveries(session: Session, report: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List deliveries, the latest due first."""
    with session.room() as room:
        found = room.ledger.deliveries.list(report, state=cast("DeliveryState | None", state), limit=limit)
        if as_json:
            print_json({"deliveries": [delivery_record(one) for one in found]})
        elif not found:
            click.echo("Nothing has been delivered yet." if report is None and state is None else "No such delivery.")
        else:
            _print(found, ZoneInfo(room.workspace.timezone))


@deliveries.command(cls=Command)
@click.argument("key")
@click.argument("state", type=click.Choice(["sent", "failed"]))
@click.option("--reason", metavar="TEXT", default="", help="How you know; it is kept with the delivery.")
@json_option
@pass_session
def settle(session: Session, key: str, state: str, reason: str, as_json: bool) -> None:
    """Say whether the delivery KEY arrived: one that failed is sent again with the report's next run."""
    with session.room() as room:
        said = reason or f"settled by hand at {room.clock.now().astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        one = room.ledger.deliveries.decide(key, cast("Literal['sent', 'failed']", state), said)
        _tell(one, as_json=as_json)


@deliveries.command(cls=Command)
@click.argument("key")
@json_option
@pass_session
def resend(session: Session, key: str, as_json: bool) -> None:
    """Send the message of the delivery KEY again as it was; one that may have arrived is asked after first."""
    from signalroom import steps

    with session.room() as room:
        _tell(steps.resend(room, key), as_json=as_json)


def _tell(one: Delivery, *, as_json: bool) -> None:
    if as_json:
        print_json(delivery_record(one))
    else:
        click.echo(delivery_line(one))


def _print(found: tuple[Delivery, ...], zone: ZoneInfo) -> None:
    rows = [(one.report, _local(one.due_at, zone), one.channel, one.recipient, one.state, one.key) for one in found]
    print_remarked(
        ("report", "due", "channel", "recipient", "state", "key"), rows, [one.error or one.receipt for one in found]
    )


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
