"""`signalroom replay`: warehouse tables again from the lake, without any upstream."""

from __future__ import annotations

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import print_json
from signalroom.cli.session import Session, pass_session
from signalroom.cli.sync import print_streams


@command()
@click.option("--source", metavar="S", default="", help="This source only; every source when left out.")
@click.option("--from", "first", metavar="A", default="", help="Streams with loads of this day (UTC) or later.")
@click.option("--to", "last", metavar="B", default="", help="Streams with loads of this day (UTC) or earlier.")
@click.option("--no-deliveries", is_flag=True, help="Send nothing afterwards; a replay alone never does.")
@json_option
@pass_session
def replay(session: Session, source: str, first: str, last: str, no_deliveries: bool, as_json: bool) -> None:
    """Type and merge streams again from the lake: a table is rebuilt from every load of its stream."""
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall, parse_step

    named = (("source", source), ("from", first), ("to", last))
    options: dict[str, str | bool] = {name: value for name, value in named if value}
    if no_deliveries:
        options["no-deliveries"] = True
    call = parse_step(StepCall("replay", "", options).text)
    with session.room() as room:
        if source:
            room.streams(source)  # a misspelt name is no failed run
        with session.progress(as_json=as_json) as progress:
            outcome = inline.run_step(room, call, progress=progress)
        if as_json:
            records = [inline.stream_record(one) for one in outcome.streams]
            print_json({"run_id": outcome.run.run_id, "streams": records})
        elif outcome.streams:
            print_streams(outcome.streams)
        else:
            click.echo("The lake holds no load of these days.")
