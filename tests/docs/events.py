"""Writes ``docs/events-beside-projections.md``: the supporter page report made of events, beside that of the projections.

``python tests/docs/events.py`` (or ``make events``; a Postgres server, half a minute). The simulated app is used, its
events are noted as its code would emit them, and a careful consumer makes the report of them alone; the projections'
report is compared with the app's own totals first. Equal seeds write equal pages, so a test can tell a page that is old.
"""

import random
import sys
import tempfile
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.app_events import AGREED, MINTED, PROPOSED, Consumer, differing
from postgres_server import PostgresServer
from signalroom import steps
from signalroom.engine.following import follower, projection, sweep_all
from signalroom.projections.leader import Leader
from signalroom.room import Room
from signalroom.simulators.fundraising import FundraisingApp
from signalroom.workspace.init import init
from signalroom.workspace.workspace import Workspace

PAGE = Path(__file__).parents[2] / "docs/events-beside-projections.md"
SEED, ACTS, LOST = 7, 600, 0.01


def play(root, url):
    """Use the app and follow it; return its events, and page id -> the row of the report by the projections."""
    init("fundraising", root)
    app = FundraisingApp(url, SEED, emits=True)
    app.create()
    with Room(Workspace.load(root, {"LEADER_URL": url, "REPLICA_URL": url})) as room, Leader(url) as kit:
        settings = projection(room, "app")
        kit.install(settings)
        app.seed()
        acts = [app.act() for _ in range(ACTS)]
        kit.drain()
        with follower(room, settings) as one:
            sweep_all(one)
        steps.build(room)
        rows = {
            row["page_url"]: row
            for row in room.warehouse.query("SELECT * FROM marts.supporter_page_report").to_pylist()
        }
    numbers = {row["url"]: row["id"] for row in app.rows("select id, url from pages")}
    true = {numbers[url]: {name: plain(value) for name, value in row.items()} for url, row in rows.items()}
    totals = {number: (row["page_online_total"], row["page_offline_total"]) for number, row in true.items()}
    assert totals == app.truth.page_totals(), "the projections' report is not what people gave"
    app.close()
    return app.events, true, acts


def plain(value):
    return str(value) if type(value).__name__ == "UUID" else value


def of_events(events):
    """Return page id -> the row of the report that a consumer makes of events."""
    consumer = Consumer()
    for event in events:
        consumer.take(event.name, {name: plain(value) for name, value in event.properties.items()})
    return consumer.report()


def compared(events, true):
    """Return rows and fields that differ from the projections' report, as far as events can have them at all."""
    known = {number: {name: value for name, value in row.items() if name not in MINTED} for number, row in true.items()}
    return differing(of_events(events), known)


def write(events, true, acts):
    """Return the page's text."""
    done = [event for event in events if event.is_committed]
    agreed = [event for event in done if event.name in AGREED]
    chance = random.Random(SEED)
    arrived = [event for event in done if chance.random() >= LOST]
    ways = [("the events that the app emits, each once and in order", agreed)]
    names = list(AGREED)
    for name in PROPOSED:
        names.append(name)
        ways.append((f"and `{name}`", [event for event in done if event.name in names]))
    ways.append((f"all of these, one in {round(1 / LOST)} lost ({len(done) - len(arrived)} of {len(done)})", arrived))
    ways.append(("all of these, emitted before the commit: what was rolled back is told too", events))
    told = [(way, *compared(given, true)) for way, given in ways]
    fields = tomllib.loads((Path(__file__).parents[2] / TEMPLATE).read_text())["events"]
    return TEXT.format(
        acts=len(acts), rolled_back=sum("rolled back" in one for one in acts), events=len(agreed), pages=len(true),
        ways="\n".join(f"| {way} | {rows} | {_fields(wrong)} |" for way, rows, wrong in told),
        agreed=told[0][1],
        insufficient="\n".join(
            f"| {one['name']} | {_listed(one['fields'])} | {_listed(one.get('follows', ()))} |" for one in fields
        ),
        minted=_listed(sorted(MINTED)),
        proposed="\n".join(f"| `{name}` | {properties} | {_mended(name, done, true)} |" for name, properties in PROPOSED.items()),
        with_all=told[len(PROPOSED)][1],
    )  # fmt: skip


def _mended(name, done, true):
    """Return how many more rows are wrong where only this event is left out."""
    rows, _ = compared([event for event in done if event.name != name], true)
    return f"{rows} without it"


def _fields(wrong):
    listed = sorted(wrong.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{name} {count}" for name, count in listed) or "none"


def _listed(names):
    return ", ".join(f"`{name}`" for name in names) or "none"


TEMPLATE = "src/signalroom/workspace/templates/fundraising/docs/fields.toml"
TEXT = """# Events beside projections

<!-- Written by `make events` from the template's docs/fields.toml and the simulated app's events. -->

The fundraising template makes the supporter page report of *projections*: rows that the app's own database computes
again whenever what they hang on changed. The usual other way is to make it of the *events* that the app's code emits, in
the manner of Segment's `track`. This page sets one beside the other. It is written by a program: the simulated app did
{acts} things ({rolled_back} of them rolled back), which emitted {events} of the events that the template lists; a careful
consumer kept the newest row of each thing and every gift by its id, joined them, and its report was compared with the
projections', whose totals are to the cent what people gave.

## What differs

The report has {pages} rows. Those that differ, a row that should not be there included, and the fields that do, each with
the rows it is wrong in:

| made of | rows that differ | fields |
|---|---|---|
{ways}

So {agreed} rows are wrong although no event was lost, doubled or late: things happen of which no event tells. With every
event that is proposed below, {with_all} are, which also says that both ways compute the same. What is lost or emitted too
early stays wrong, for an event that adds to a total is not said again; a projection's next version, or the next sweep,
heals whatever was missed before ([Figures](figures.md#faults)).

## What is missing

| event to add | its properties | rows that differ, all others given |
|---|---|---|
{proposed}

## What is insufficient

An event changes fields of the row that it is about, and fields of other rows that follow from it. A consumer has to know
the second kind itself: a page that joins a team changes that team's totals and those of the team it left.

| event | sets | and, of rows that point to it or that it points to |
|---|---|---|
{insufficient}

No event can have {minted}: the app's tables have no such uuids; the leader kit mints them.

## What would serve better

An event that needs nothing else to be right holds the whole row and a version that rises with each change of it, written
in the transaction that made the change:

| event | when | properties |
|---|---|---|
| `Page Changed` | a page, its money, its team or whoever it points to changed | `uuid`, `version`, and every column of `reporting_page` |
| `Team Changed`, `User Changed`, `Charity Changed`, `Campaign Changed` | likewise | the same, of their reporting tables |
| `Page Removed`, ... | the row is gone | `uuid`, `version` |

Such an event may be doubled, late or out of order, for the greater version wins; one that is lost is made good by the
next. It is what a projection is: `reporting_page` with its `_version`, its tombstones, and a sweep that finds what nobody
was told.
"""


def main():
    with PostgresServer.started() as server, tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(write(*play(Path(folder, "workspace"), server.create_database())), encoding="utf-8")


if __name__ == "__main__":
    main()
