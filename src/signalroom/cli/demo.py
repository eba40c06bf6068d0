"""`signalroom demo`: the main job on a fresh machine, against simulated upstreams that know the truth."""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from signalroom.cli.build import build_summary
from signalroom.cli.command import command, json_option
from signalroom.cli.demo_truth import Compared, compare, fetch_truth
from signalroom.cli.demo_world import DemoState, environment, prepare, write_environment, write_exports
from signalroom.cli.output import count, duration, print_json, print_table, size, table_text
from signalroom.cli.preview import message_text
from signalroom.cli.report import message_record
from signalroom.cli.session import Session, pass_session
from signalroom.cli.sync import stream_notes, stream_row
from signalroom.errors import DataError
from signalroom.run import Progress

if TYPE_CHECKING:
    from signalroom.message import Delivery, Message
    from signalroom.models.artifacts import BuildResult
    from signalroom.room import Room
    from signalroom.run import OnProgress
    from signalroom.simulators import Upstreams
    from signalroom.steps import StreamSync

_REPORT = "daily_ccw"
_PROJECT = "CCW"
_BESIDES = {"daily_exp": "EXP"}  # checked like it, and not sent
_WIDEST = 110

Say: TypeAlias = "Callable[..., None]"
"""Takes a paragraph for people, or nothing for an empty line."""


@dataclass(slots=True)
class Story:
    """What a demo did, as it goes on.

    Attributes:
        root: The workspace.
        state: Its world.
        streams: What was synced.
        build: What was built.
        delivery: Where the report went.
        again: Whether it had been delivered before.
        message: The report as it was delivered.
        compared: Its numbers beside the truth.
    """

    root: Path
    state: DemoState
    streams: list[StreamSync] = field(default_factory=list["StreamSync"])
    build: BuildResult | None = None
    delivery: Delivery | None = None
    again: bool = False
    message: Message | None = None
    compared: list[Compared] = field(default_factory=list[Compared])

    @property
    def differing(self) -> list[Compared]:
        """What the report shows otherwise than the upstreams know it."""
        return [one for one in self.compared if not one.agrees]


@command()
@click.argument(
    "template",
    metavar="[affiliates|agencies|fundraising]",
    type=click.Choice(["affiliates", "agencies", "fundraising"]),
    default="affiliates",
)
@click.option("--dir", "folder", metavar="DIR", type=click.Path(path_type=Path), default="demo", show_default=True,
              help="Where the workspace is made, or is already.")  # fmt: skip
@click.option(
    "--seed", metavar="N", type=int, default=7, show_default=True, help="Which world; equal seeds, equal worlds."
)
@click.option("--today", metavar="D", type=click.DateTime(["%Y-%m-%d"]), default="2026-11-20", show_default=True,
              help="The world's last day; the report is about the day before.")  # fmt: skip
@click.option("--orders-per-day", metavar="N", type=click.IntRange(min=50), default=5_700, show_default=True,
              help="About how many rows a file of the exports has.")  # fmt: skip
@click.option(
    "--warehouse-url", metavar="env:NAME", default="", help="Load into this Postgres database instead of DuckDB."
)
@json_option
@pass_session
def demo(
    session: Session, template: str, folder: Path, seed: int, today: datetime, orders_per_day: int,
    warehouse_url: str, as_json: bool,
) -> None:  # fmt: skip
    """Show the whole product on this machine: no account, no server, no Docker.

    Simulated upstreams are started on loopback, synced, built and reported on; the report goes to a local outbox, and
    every number in it is checked against what the upstreams know to be true. Run it again: nothing is loaded twice.

    `agencies` shows report views instead: 512 of them for 50 agencies, compared with a full recompute.
    `fundraising` follows an app's rows from its Postgres into the warehouse while it is used, and compares every one.
    """
    if template == "fundraising":
        _tell_fundraising(session, folder, seed, warehouse_url, as_json=as_json)
        return
    if template == "agencies":
        _tell_agencies(session, folder, seed, warehouse_url, as_json=as_json)
        return
    began = time.monotonic()
    wanted = DemoState(seed, today.date(), orders_per_day, datetime.now(UTC), warehouse_url)
    session.start_logging()
    state, made = prepare(folder, wanted, template)
    story = Story(folder, state)
    with session.progress(as_json=as_json) as shown:
        say = _silent if as_json else shown.say
        _introduce(story, say, made=made)
        _tell(story, shown, say)
    if as_json:
        print_json(_record(story))
    else:
        _conclude(story, time.monotonic() - began)
    if story.differing:
        raise DataError(
            f"{count(len(story.differing), 'figure')} of the report differ from the upstreams' truth.",
            mend="Look at the models and the report's SQL.",
        )


def _tell_agencies(session: Session, folder: Path, seed: int, warehouse_url: str, *, as_json: bool) -> None:
    from signalroom.cli import demo_agencies
    from signalroom.simulators.agencies import AgencyWorld

    session.start_logging()
    with session.progress(as_json=as_json) as shown:
        say = _silent if as_json else shown.say
        demo_agencies.tell(folder, AgencyWorld(seed), shown, say, warehouse_url, as_json=as_json)


def _tell_fundraising(session: Session, folder: Path, seed: int, warehouse_url: str, *, as_json: bool) -> None:
    from signalroom.cli import demo_fundraising

    session.start_logging()
    with session.progress(as_json=as_json) as shown:
        say = _silent if as_json else shown.say
        demo_fundraising.tell(folder, seed, warehouse_url, shown, say, as_json=as_json)


def _tell(story: Story, progress: OnProgress, say: Say) -> None:
    """Do it all: upstreams up, sync, build, deliver, check."""
    from signalroom.room import Room
    from signalroom.simulators import serve
    from signalroom.workspace.workspace import Workspace

    world = story.state.world()
    files, written = write_exports(story.state, world, story.root, progress)
    told = f"{count(files, 'export file')}, {size(written)}, written" if files else "their files are there already"
    say(_line("upstreams", f"Everflow, Redtrack and a CRM's exports, on loopback ({told})"))
    progress(Progress("starting the upstreams"))
    with serve(world) as upstreams:
        variables = environment(upstreams)
        write_environment(story.root, variables)
        # The demo's own win: no key of this machine's environment goes to a simulator, none of its to a vendor.
        workspace = Workspace.load(story.root, {**os.environ, **variables})
        with Room(workspace, story.state.clock()) as room:
            _sync(story, room, progress)
            say(_loaded(story))
            _build(story, room, progress)
            say(_built(story))
            _deliver(story, room, progress)
            _check(story, room, upstreams)


def _sync(story: Story, room: Room, progress: OnProgress) -> None:
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall

    days = f"{story.state.first_day}..{story.state.today}"
    for source in room.workspace.sources:
        if _observed(story, room, source):
            story.streams += [_nothing_new(stream.title) for stream in room.streams(source)]
            continue
        windowed = hasattr(room.source(source), "lookback_days")
        call = StepCall("sync", source, {"window": days} if windowed else {})
        story.streams += inline.run_step(room, call, progress=progress).streams


def _observed(story: Story, room: Room, source: str) -> bool:
    """Tell whether a source was asked at the moment its upstream stands still at: it can have no other answer."""
    for stream in room.streams(source):
        positions = room.warehouse.positions(stream.source, stream.name).partitions
        seen = {
            partition.partition("|")[0]
            for partition, value in positions.items()
            if isinstance(value, Mapping)
            and isinstance(asked := value.get("observed_at"), str)
            and datetime.fromisoformat(asked) >= story.state.moment
        }
        if not {story.state.first_day.isoformat(), story.state.today.isoformat()} <= seen:
            return False
    return True


def _nothing_new(title: str) -> StreamSync:
    from signalroom.steps import StreamSync
    from signalroom.warehouse.base import MergeResult

    return StreamSync(title, MergeResult(()), 0, 0.0)


def _build(story: Story, room: Room, progress: OnProgress) -> None:
    from signalroom.engine import inline

    story.build = inline.run_step(room, "build", progress=progress).build


def _deliver(story: Story, room: Room, progress: OnProgress) -> None:
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall

    day = story.state.report_day.isoformat()
    sent = {one.key for one in room.ledger.deliveries.list(_REPORT, state="sent")}
    outcome = inline.run_step(room, StepCall("report", _REPORT, {"date": day}), progress=progress)
    story.delivery = outcome.deliveries[0]
    story.again = story.delivery.key in sent
    archived = room.ledger.archive.get(story.delivery.digest)
    story.message = archived.message if archived else None


def _check(story: Story, room: Room, upstreams: Upstreams) -> None:
    """Compare what the report shows now, from the tables as they are, with what the upstreams know.

    The message that was delivered may be of an earlier run; it was checked then.
    """
    from datetime import timedelta

    from signalroom import steps

    day = story.state.report_day

    def checked(report: str, project: str) -> Message:
        shown = steps.preview(room, report, day)
        true, before = (fetch_truth(upstreams.truth_url, project, of) for of in (day, day - timedelta(days=1)))
        found = compare(shown.data, true, before)
        story.compared += [replace(one, where=f"{project} {one.where}") if report in _BESIDES else one for one in found]
        return shown

    shown = checked(_REPORT, _PROJECT)
    if story.message is None:
        story.message = shown
    for report, project in _BESIDES.items():
        checked(report, project)


def _introduce(story: Story, say: Say, *, made: bool) -> None:
    say(click.style(f"SignalRoom demo, the morning of {story.state.today:%A}, {_long(story.state.today)}", bold=True))
    say()
    say(_line("workspace", f"{story.root}{'' if made else ', made before'}"))


def _loaded(story: Story) -> str:
    """Return what came in, stream by stream; one line when nothing did."""
    if not any(one.merge.load_ids for one in story.streams):
        return _line("loaded", f"nothing new in {count(len(story.streams), 'stream')}")
    headers = ("stream", "rows in", "merged", "superseded", "rejected", "size", "seconds")
    drawn = table_text(headers, [stream_row(one) for one in story.streams], right=range(1, 7))
    indented = "\n".join(f"    {line}" for line in drawn.split("\n"))
    rows = sum(one.merge.rows_in for one in story.streams)
    took = duration(sum(one.seconds for one in story.streams))
    notes = [_aside(text) for one in story.streams for text in stream_notes(one)]
    return "\n".join([_line("loaded", f"{count(rows, 'row')} in {took}"), "", indented, *notes, ""])


def _built(story: Story) -> str:
    if story.build is None:
        return ""
    told = f"{build_summary(story.build)} in {duration(story.build.seconds)}"
    return "\n".join([_line("built", told), *(_aside(text) for text in story.build.notes)])


def _conclude(story: Story, seconds: float) -> None:
    """Print the report, where its e-mail is, and how its numbers compare."""
    delivery = story.delivery
    if story.message is not None and delivery is not None:
        told = "was delivered before, and was not sent again" if story.again else "delivered"
        click.echo(_line("report", f"{_REPORT} of {_long(story.state.report_day)} to {delivery.channel}: {told}"))
        click.echo(f"\n{_beside_a_bar(message_text(story.message))}\n")
        html = Path(delivery.receipt) / "email.html"
        if html.is_file():
            click.echo(_line("e-mail", _near(html)))
    click.echo(_line("took", duration(seconds)))
    click.echo(
        _line(
            "next", f'cd {_near(story.root)}; signalroom status; signalroom query "select * from public.daily_orders"'
        )
    )
    _print_checked(story.compared, story.differing)


def _print_checked(compared: Sequence[Compared], differing: Sequence[Compared]) -> None:
    if differing:
        print_table(
            ("figure", "report", "truth"), [(one.where, one.shown or "missing", one.truth) for one in differing]
        )
    numbers = sum(one.is_number for one in compared)
    mark = click.style("✗", fg="red") if differing else click.style("✓", fg="green")
    click.echo(
        f"\n{mark} {count(numbers, 'number')} checked against the upstreams' truth, {count(len(differing))} differ."
    )


def _record(story: Story) -> Mapping[str, Any]:
    """Return what ``--json`` prints."""
    from signalroom.engine.inline import stream_record

    receipt = story.delivery.receipt if story.delivery else ""
    return {
        "workspace": str(story.root),
        "streams": [stream_record(one) for one in story.streams],
        "report": message_record(story.message) if story.message else None,
        "delivered_before": story.again,
        "email": str(Path(receipt) / "email.html") if receipt else None,
        "numbers_checked": sum(one.is_number for one in story.compared),
        "differ": [{"figure": one.where, "report": one.shown, "truth": one.truth} for one in story.differing],
    }


def _long(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _beside_a_bar(text: str) -> str:
    """Return a message set apart from what is around it; lines the terminal has no room for are wrapped."""
    room = min(shutil.get_terminal_size().columns, _WIDEST) - 6
    lines = [part for line in text.rstrip("\n").split("\n") for part in textwrap.wrap(line, room) or [""]]
    return "\n".join(f"    {_dim('│')} {line}".rstrip() for line in lines)


def _line(label: str, text: str) -> str:
    return f"  {_dim(f'{label:10}')} {text}"


def _aside(text: str) -> str:
    return f"    {click.style('note:', fg='yellow')} {text}"


def _near(path: Path) -> str:
    """Return a path as it is typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _dim(text: str) -> str:
    return click.style(text, dim=True)


def _silent(*_: object) -> None:
    """Say nothing."""
