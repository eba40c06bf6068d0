"""`signalroom follow`: an app's rows, current in the warehouse, and streams that change all the time."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import ago, count, note, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.errors import ConfigError, SignalRoomError, nearest

if TYPE_CHECKING:
    from signalroom.projections.follower import Follower
    from signalroom.room import Room


@command()
@click.argument("what", required=False, default="")
@click.option("--once", is_flag=True, help="Bring what a relay of the app computed until now, then stop.")
@click.option("--reconcile", is_flag=True, help="Compare checksums with the app's and repair what differs, then stop.")
@click.option("--resync", is_flag=True, help="Copy everything anew, then stop.")
@json_option
@pass_session
def follow(session: Session, what: str, once: bool, reconcile: bool, resync: bool, as_json: bool) -> None:
    """Keep the rows of apps current here, and streams that change all the time; `signalroom up` does so itself.

    WHAT is an APP or an APP.ENTITY, for --once, --reconcile and --resync; or `status`, which shows how far everything
    is. Without it they mean every app.
    """
    with session.room() as room:
        if what == "status":
            _status(room, as_json=as_json)
        elif once or reconcile or resync:
            _now(room, what, "resync" if resync else "reconcile" if reconcile else "sweep", as_json=as_json)
        elif what or as_json:
            raise ConfigError(
                "What is followed all the time is everything.",
                mend="Add --once, --reconcile or --resync; or leave the rest out.",
            )
        elif session.handed is not None:
            raise ConfigError("`signalroom up` runs and follows already.", mend="`signalroom follow status` shows it.")
        else:
            _stay(room)


def _stay(room: Room) -> None:
    """Follow until told to stop; the owner of a DuckDB file takes the commands of others meanwhile."""
    from signalroom.cli.door import Door
    from signalroom.engine.following import Following
    from signalroom.engine.ownership import owning

    for part in (room.ledger, room.lake, room.warehouse):  # opened once, before threads ask for them
        del part
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as until_stopped:
        if room.workspace.warehouse.kind == "duckdb":
            until_stopped.enter_context(owning(room.state("up.lock"), room.clock))
            until_stopped.enter_context(Door(room))
        following = Following(room)
        if not following.loops.loops:
            raise _nothing()
        until_stopped.enter_context(following)
        click.echo(f"Following: {', '.join(one.name for one in following.loops.loops)}. Press Ctrl-C to stop.")
        sys.stdout.flush()
        stop.wait()
    click.echo("Stopped.")


def _now(room: Room, what: str, verb: str, *, as_json: bool) -> None:
    """Do one thing to every entity asked for; one that fails keeps no other waiting."""
    from dataclasses import asdict

    done: list[dict[str, Any]] = []
    failed: list[SignalRoomError] = []
    for one, entity in _chosen(room, what):
        with one:
            try:
                if verb == "sweep":
                    while one.pull().wanted:
                        pass
                result: Any = getattr(one, verb)(entity)
                if verb == "sweep" and one.is_purge_due(entity):
                    one.purge(entity)
                done.append({"entity": f"{one.name}.{entity}", **asdict(result)})
            except SignalRoomError as problem:
                failed.append(problem)
    if as_json:
        print_json({verb: done})
    else:
        for row in done:
            counted = ", ".join(f"{number:,} {name}" for name, number in row.items() if name != "entity" and number)
            click.echo(f"{row['entity']}: {counted or 'nothing new'}")
    if failed:
        raise failed[0]


def _status(room: Room, *, as_json: bool) -> None:
    rows = [_row(room, one, entity) for one, entity in _chosen(room, "")]
    if as_json:
        print_json({"entities": rows})
        return
    now = room.clock.now()
    print_table(
        ("entity", "rows", "lag", "queued", "waiting since", "swept", "compared", "set aside"),
        [
            (row["entity"], count(row["rows"]),
             "" if row["lag_s"] is None else f"{row['lag_s']:.1f} s", count(row["queued"]),
             *(ago(row[name], now) if row[name] else "never" if name != "queued_since" else ""
               for name in ("queued_since", "swept_at", "reconciled_at")), count(row["set_aside"]))
            for row in rows
        ],
        right=(1, 2, 3, 7),
    )  # fmt: skip
    if all(row["swept_at"] is None for row in rows):
        note(
            "Nothing was brought yet: `signalroom follow` or `signalroom up` does so all the time, `follow --once` now."
        )


def _row(room: Room, one: Follower, entity: str) -> dict[str, Any]:
    """Return how far one entity is; it asks nothing of the app."""
    state, backlog = one.state(entity), room.ledger.pulls.backlog(one.name).get(entity)
    counted = f"SELECT count(*) AS n FROM signalroom.rejects WHERE source = '{one.name}' AND stream = '{entity}'"
    rows = room.warehouse.query(f'SELECT count(*) AS n FROM "{one.name}"."{entity}"') if state.swept_at else None
    return {
        "entity": f"{one.name}.{entity}",
        "rows": rows.to_pylist()[0]["n"] if rows is not None else 0,
        "lag_s": state.lag_s,
        "queued": backlog.rows if backlog else 0,
        "queued_since": backlog.since if backlog else None,
        "swept_at": state.swept_at,
        "reconciled_at": state.reconciled_at,
        "set_aside": room.warehouse.query(counted).to_pylist()[0]["n"],
    }


def _chosen(room: Room, what: str) -> list[tuple[Follower, str]]:
    """Return followers with the entities that ``what`` names; raises ConfigError where it names none."""
    from signalroom.engine.following import follower, projections

    every = [(settings, name) for settings in projections(room) for name in settings.entities]
    chosen = [one for one in every if what in ("", one[0].name, f"{one[0].name}.{one[1]}")]
    if not every:
        raise _nothing()
    if not chosen:
        known = [f"{settings.name}.{name}" for settings, name in every]
        raise ConfigError(f"There is no app or entity {what!r}.", mend=nearest(what, known) or f"{', '.join(known)}.")
    return [(follower(room, settings), name) for settings, name in chosen]


def _nothing() -> ConfigError:
    return ConfigError(
        "The workspace follows nothing.",
        mend="Write a [projections.NAME] into signalroom.toml, with its entities, or a source that is continuous.",
    )
