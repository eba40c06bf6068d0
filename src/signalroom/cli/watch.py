"""`signalroom watch`: looks for what is wrong, and tells it once to who must know."""

from __future__ import annotations

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import count, print_json
from signalroom.cli.report import delivery_line, delivery_record
from signalroom.cli.session import Session, pass_session


@command()
@click.option("--digest", is_flag=True, help="Send yesterday's digest instead.")
@json_option
@pass_session
def watch(session: Session, digest: bool, as_json: bool) -> None:
    """Look for what is wrong, and tell it once to the channels of [alerts]."""
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall

    with session.room() as room:
        with session.progress(as_json=as_json) as progress:
            call = StepCall("watch", "", {"digest": True} if digest else {})
            outcome = inline.run_step(room, call, progress=progress)
        found = room.ledger.alerts.list()
        if as_json:
            sent = [delivery_record(one) for one in outcome.deliveries]
            print_json({"run_id": outcome.run.run_id, "alerts": [one.key for one in found], "deliveries": sent})
            return
        for one in outcome.deliveries:
            click.echo(delivery_line(one))
        told = f"{count(len(found), 'alert')}: `signalroom alerts` lists them." if found else "Nothing is wrong."
        click.echo(told)
