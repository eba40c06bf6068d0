"""`signalroom demo fundraising`: an app is used, its rows are followed, and every one is compared with the app's."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from signalroom.cli.output import count, print_json
from signalroom.errors import ConfigError, DataError
from signalroom.run import Progress

if TYPE_CHECKING:
    from signalroom.room import Room
    from signalroom.run import OnProgress
    from signalroom.simulators.fundraising import FundraisingApp
    from signalroom.workspace.projections import ProjectionSettings

_PROJECTION: Final = "app"
_PAUSE_S: Final = 0.02
_PROBE_EVERY_S: Final = 0.25
_POLL_S: Final = 0.005
_PATIENCE_S: Final = 30.0
_CAMPAIGN: Final = "Coast Walk"
_CSV: Final = "outbox/supporter_page_report.csv"

Say = Callable[..., None]


@dataclass(slots=True)
class Story:
    """What the demo saw.

    Attributes:
        acts: What people did, rolled back or not.
        lags_s: Seconds from a commit in the app until the row was seen in the warehouse, of each probe.
        rows: Rows of the app compared with the warehouse's, all entities.
        differing: Those that differ, as ``entity id``.
        totals: Currency -> minor units raised, as the report has it.
        truth: The same, as the app's supporters know it.
        pages: Rows of the supporter page report.
        csv: Where they were written.
    """

    acts: int = 0
    lags_s: list[float] = field(default_factory=list[float])
    rows: int = 0
    differing: list[str] = field(default_factory=list[str])
    totals: dict[str, int] = field(default_factory=dict[str, int])
    truth: dict[str, int] = field(default_factory=dict[str, int])
    pages: int = 0
    csv: Path = Path()

    def lag_s(self, share: float) -> float:
        """Return the lag that ``share`` of the probes did not exceed; 0 without probes."""
        ordered = sorted(self.lags_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def tell(
    folder: Path, seed: int, warehouse_url: str, progress: OnProgress, say: Say, *, as_json: bool, seconds: float = 12.0
) -> None:
    """Do it all in a workspace at ``folder``; raises DataError when a row differs from the app's.

    Raises:
        ConfigError: No Postgres server is installed here, or the folder holds something else.
    """
    from signalroom.room import Room
    from signalroom.simulators.fundraising import FundraisingApp
    from signalroom.workspace.workspace import Workspace

    story = Story()
    with _servers(progress) as (leader, replica):
        _prepare(folder, warehouse_url, leader, replica)
        say(_line("app", "a fundraising app on a private Postgres, with a physical standby to read from"))
        say(_line("workspace", str(folder)))
        app = FundraisingApp(leader, seed)
        try:
            app.create()
            app.seed()
            workspace = Workspace.load(folder, {**os.environ, "LEADER_URL": leader, "REPLICA_URL": replica})
            with Room(workspace) as room:
                _follow(room, app, story, progress, say, seconds)
                _report(room, app, story, progress)
        finally:
            app.close()
    if as_json:
        print_json(_record(folder, story))
    else:
        _conclude(folder, story)
    if story.differing or story.totals != story.truth:
        raise DataError(
            f"{count(len(story.differing), 'row')} of the warehouse differ from the app.",
            mend=f"Look at {', '.join(story.differing[:5]) or 'the totals by currency'}.",
        )


@contextmanager
def _servers(progress: OnProgress) -> Generator[tuple[str, str]]:
    """Yield the addresses of an app's database and of its standby; both are gone afterwards."""
    from signalroom.simulators.private_postgres import PrivatePostgres, binaries

    bin_dir = binaries()
    if bin_dir is None:
        raise ConfigError(
            "This demo is an app's database and its standby: it needs the programs of a Postgres server.",
            mend="Install them (Debian: apt install postgresql; macOS: brew install postgresql); no server need run.",
        )
    progress(Progress("starting the app's Postgres and its standby"))
    with PrivatePostgres.running(bin_dir) as leader, PrivatePostgres.running(bin_dir, copy_of=leader) as standby:
        yield leader.dsn(), standby.dsn()


def _prepare(folder: Path, warehouse_url: str, leader: str, replica: str) -> None:
    """Make the demo's workspace, or make it anew: each run is about another app."""
    from signalroom.cli.demo_world import check_reference, use_postgres, write_environment
    from signalroom.workspace.init import init
    from signalroom.workspace.workspace import FILE

    check_reference(warehouse_url)
    mark = folder / ".signalroom" / "demo" / "fundraising"
    if mark.exists():
        shutil.rmtree(folder)
    elif (folder / FILE).exists():
        raise ConfigError(f"{folder} holds a workspace that is no such demo.", mend="Name another folder with --dir.")
    init("fundraising", folder)
    if warehouse_url:
        use_postgres(folder / FILE, warehouse_url)
    mark.parent.mkdir(parents=True)
    mark.touch()
    write_environment(folder, {"LEADER_URL": leader, "REPLICA_URL": replica})


def _follow(room: Room, app: FundraisingApp, story: Story, progress: OnProgress, say: Say, seconds: float) -> None:
    """Install the kit, let people use the app while its rows are followed, and wait until both agree."""
    from signalroom.engine.following import Following, follower, projection, sweep_all
    from signalroom.projections.leader import Leader

    settings = projection(room, _PROJECTION)
    progress(Progress("installing the leader kit"))
    with Leader(settings.url.reveal(), settings.schema) as kit:
        kit.install(settings)
        kit.drain()
    with follower(room, settings) as first:
        sweep_all(first)
    with Following(room):
        say(
            _line("leader", f"{count(len(settings.entities))} reporting tables, their triggers and the relay installed")
        )
        _use(room, app, settings.url.reveal(), story, progress, seconds)
        progress(Progress("waiting for the last rows"))
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            story.rows, story.differing = _compare(room, app, settings)
            if not story.differing or time.monotonic() > deadline:
                break
            time.sleep(_PROBE_EVERY_S)
    say(_line("traffic", f"{count(story.acts)} things done by its supporters, one in twelve rolled back"))


def _use(room: Room, app: FundraisingApp, leader: str, story: Story, progress: OnProgress, seconds: float) -> None:
    """Let people use the app for ``seconds``, and measure how soon a commit is seen in the warehouse."""
    from signalroom.simulators.fundraising import FundraisingApp

    stop = threading.Event()
    probe = FundraisingApp(leader)  # one more writer, on a connection of its own

    def people() -> None:
        while not stop.wait(_PAUSE_S):
            app.act()
            story.acts += 1

    with ThreadPoolExecutor(1, "people") as crowd:
        using = crowd.submit(people)
        ends = time.monotonic() + seconds
        try:
            for _ in range(2):  # the followers are connecting
                _probe(room, probe, 0)
            while time.monotonic() < ends and not using.done():
                story.lags_s.append(_probe(room, probe, len(story.lags_s)))
                done = f"following: {count(story.acts, 'thing')} done"
                progress(Progress(f"{done}, the last row seen after {story.lags_s[-1]:.2f} s"))
                stop.wait(_PROBE_EVERY_S)
        finally:
            stop.set()
            probe.rename_campaign(_CAMPAIGN)
            probe.close()
        using.result()  # raises what went wrong in the app


def _probe(room: Room, probe: FundraisingApp, number: int) -> float:
    """Give a campaign a new name and return the seconds from its commit until the warehouse shows it."""
    name = f"{_CAMPAIGN}, renamed {count(number + 1, 'time')}"
    uuid = probe.rename_campaign(name)
    began = time.monotonic()
    asked = f"SELECT count(*) AS n FROM {_PROJECTION}.campaign WHERE uuid = :uuid AND name = :name"
    while time.monotonic() - began < _PATIENCE_S:
        if room.warehouse.query(asked, {"uuid": str(uuid), "name": name}).to_pylist()[0]["n"]:
            return time.monotonic() - began
        time.sleep(_POLL_S)
    raise DataError(
        f"A row changed in the app was not seen in the warehouse within {_PATIENCE_S:.0f} s.",
        mend="`signalroom follow status` says what ails the followers.",
    )


def _compare(room: Room, app: FundraisingApp, settings: ProjectionSettings) -> tuple[int, list[str]]:
    """Return how many rows the app's own queries give now, and which the warehouse has otherwise."""
    rows = 0
    differing: list[str] = []
    for name, entity in settings.entities.items():
        query = (room.workspace.root / entity.sql).read_text(encoding="utf-8")
        true = {str(row[entity.key]): _plain(row) for row in app.rows(query)}
        found = room.warehouse.query(f'SELECT * FROM "{_PROJECTION}"."{name}"').to_pylist()
        here = {
            str(row[entity.key]): _plain({key: row[key] for key in row if not key.startswith("_")}) for row in found
        }
        rows += len(true)
        differing += [f"{name} {key}" for key in sorted({*true, *here}) if true.get(key) != here.get(key)]
    return rows, differing


def _plain(row: Mapping[str, Any]) -> dict[str, object]:
    """Return a row with its values as both sides spell them."""

    def plain(value: object) -> object:
        match value:
            case UUID():
                return str(value)
            case datetime():
                return value.astimezone(UTC)
            case _:
                return value

    return {name: plain(value) for name, value in row.items()}


def _report(room: Room, app: FundraisingApp, story: Story, progress: OnProgress) -> None:
    """Build the marts, write the supporter page report, and compare its totals with what people gave."""
    from signalroom.engine import inline
    from signalroom.records.spreadsheet import write_csv

    inline.run_step(room, "build", progress=progress)
    pages = room.warehouse.query("SELECT * FROM marts.supporter_page_report ORDER BY page_id")
    story.pages, story.csv = pages.num_rows, room.state(_CSV)
    story.csv.parent.mkdir(parents=True, exist_ok=True)
    with story.csv.open("wb") as out:
        write_csv(pages, out)
    sums = "SELECT currency_code, sum(total) AS total FROM marts.totals_by_currency GROUP BY 1 ORDER BY 1"
    found = room.warehouse.query(sums).to_pylist()
    story.totals = {row["currency_code"]: int(row["total"]) for row in found if row["total"]}
    story.truth = {currency: total for currency, total in sorted(app.truth.currency_totals().items()) if total}


def _record(folder: Path, story: Story) -> dict[str, Any]:
    return {
        "workspace": str(folder),
        "acts": story.acts,
        "lag_s": {"p50": round(story.lag_s(0.5), 3), "p99": round(story.lag_s(0.99), 3), "probes": len(story.lags_s)},
        "rows_compared": story.rows,
        "differ": story.differing,
        "report": {"rows": story.pages, "csv": str(story.csv), "totals": story.totals, "truth": story.truth},
    }


def _conclude(folder: Path, story: Story) -> None:
    half, most = f"{story.lag_s(0.5):.2f} s", f"{story.lag_s(0.99):.2f} s"
    click.echo(_line("lag", f"{half} for half of {len(story.lags_s)} commits, {most} for 99 %, until the row is here"))
    raised = ", ".join(f"{currency} {total / 100:,.2f}" for currency, total in story.totals.items())
    click.echo(_line("raised", f"{raised}, each gift once"))
    click.echo(_line("report", f"{count(story.pages, 'page')} in {story.csv}"))
    click.echo(_line("next", f'cd {folder}; signalroom query "select * from marts.totals_by_currency"'))
    agree = story.totals == story.truth
    mark = click.style("✗", fg="red") if story.differing or not agree else click.style("✓", fg="green")
    verdict = "the totals are what was given" if agree else "the totals are not what was given"
    compared = f"{count(story.rows, 'row')} compared with the leader, {count(len(story.differing))} differ"
    click.echo(f"\n{mark} {compared}; {verdict}.")


def _line(label: str, text: str) -> str:
    return f"  {click.style(f'{label:10}', dim=True)} {text}"
