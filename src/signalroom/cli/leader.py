"""`signalroom leader`: the kit in an app's database that keeps its reporting rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from signalroom.cli.command import Command, json_option
from signalroom.cli.output import ago, count, note, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.errors import ConfigError, nearest

if TYPE_CHECKING:
    from signalroom.projections.leader import Change, Leader, Status
    from signalroom.workspace.projections import ProjectionSettings

_F = TypeVar("_F", bound=Callable[..., Any])


def _where(function: _F) -> _F:
    """Give a command ``--app`` and ``--dsn``."""
    app = click.option("--app", metavar="NAME", default="", help="Which [projections.NAME]; the only one if left out.")
    dsn = click.option(
        "--dsn", metavar="URL", default="", help="Address of the app's database, instead of the workspace's."
    )
    return app(dsn(function))


@click.group()
def leader() -> None:
    """Install, look at and run what keeps an app's reporting rows, in the app's own database."""


@leader.command(cls=Command)
@_where
@click.option("--dry-run", is_flag=True, help="Print the SQL, for a migration of the app's, and connect to nothing.")
@pass_session
def install(session: Session, app: str, dsn: str, dry_run: bool) -> None:
    """Make tables, views, functions and triggers of what the workspace declares; again is harmless."""
    from signalroom.projections.leader_ddl import script

    settings = _settings(session, app)
    if dry_run:
        click.echo(script(settings))
        return
    with _leader(settings, dsn) as kit:
        kit.install(settings)
        found = kit.status()
    names = ", ".join(one.entity for one in found.entities) or "no entity"
    click.echo(f"Installed in the schema {settings.schema}: {names}.")
    if found.intentions.pending:
        click.echo(
            f"{count(found.intentions.pending, 'intention')} pending: `signalroom leader relay` computes the rows."
        )


@leader.command(cls=Command)
@_where
@json_option
@pass_session
def status(session: Session, app: str, dsn: str, as_json: bool) -> None:
    """Show what waits, what failed, what is held of each entity, and triggers that are missing."""
    settings = _settings(session, app)
    with _leader(settings, dsn) as kit:
        found = kit.status()
    if as_json:
        print_json(_document(found))
        return
    from signalroom.clock import SystemClock

    now = SystemClock().now()
    print_table(
        ("entity", "rows", "gone", "newest version", "changed"),
        [
            (one.entity, count(one.rows), count(one.tombstones), _version(one.newest_version),
             ago(one.updated_at, now) if one.updated_at else "never")
            for one in found.entities
        ],
        right=(1, 2, 3),
    )  # fmt: skip
    oldest = f", the oldest written {ago(found.intentions.oldest_at, now)}" if found.intentions.oldest_at else ""
    click.echo(f"Epoch {found.epoch}; {count(found.intentions.pending, 'intention')} pending{oldest}.")
    if found.intentions.failed:
        _print_failed(found.intentions.failed)
    if found.followers:
        seen = ", ".join(f"{one.name} (heard of {ago(one.seen_at, now)})" for one in found.followers)
        click.echo(f"Rows that are gone are remembered until all have passed them: {seen}.")
    unseen: dict[str, list[str]] = {}
    for missing in found.missing_triggers:
        table, _, event = missing.rpartition(": ")
        unseen.setdefault(table, []).append(event)
    for table, events in unseen.items():
        note(f"No trigger on {table} ({', '.join(events)}): such writes are not seen; run `signalroom leader install`.")


def _print_failed(failed: Sequence[tuple[str, str, str]]) -> None:
    """Show each reason once, with the first row it was given for: a query that broke fails all rows alike."""
    alike: dict[tuple[str, str], list[str]] = {}
    for entity, row, reason in failed:
        alike.setdefault((entity, reason), []).append(row)
    rows = [(entity, count(len(ids)), ids[0], reason) for (entity, reason), ids in alike.items()]
    rows_seen = "rows" if len(failed) < 100 else "of the first 100"  # no more are asked for
    print_table(("failed", rows_seen, "the first", "reason"), rows, right=(1,))


@leader.command(cls=Command)
@_where
@click.option("--once", is_flag=True, help="Stop when nothing is due.")
@click.option(
    "--batch", metavar="N", type=click.IntRange(1, 5_000), default=500, show_default=True, help="Rows at a time."
)
@pass_session
def relay(session: Session, app: str, dsn: str, once: bool, batch: int) -> None:
    """Compute the rows that changed, at once whenever the app writes; Ctrl-C stops."""
    import signal
    import threading

    from signalroom.projections.leader_relay import Relay

    session.start_logging()
    settings = _settings(session, app)
    if once:
        with _leader(settings, dsn) as kit:
            click.echo(f"{count(len(kit.drain(batch)), 'row')} changed.")
        return
    changed = 0

    def told(changes: list[Change]) -> None:
        nonlocal changed
        changed += len(changes)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    click.echo("Relaying; press Ctrl-C to stop.")
    Relay(_address(settings, dsn), settings.schema, batch).run(stop, told)
    click.echo(f"Stopped; {count(changed, 'row')} changed.")


@leader.command(cls=Command)
@_where
@click.option("--dry-run", is_flag=True, help="Print the SQL and connect to nothing.")
@pass_session
def uninstall(session: Session, app: str, dsn: str, dry_run: bool) -> None:
    """Remove all that `install` made; uuids that it gave to the app's rows stay."""
    from signalroom.projections.leader_ddl import removal

    settings = _settings(session, app)
    if dry_run:
        click.echo(removal(settings.schema))
        return
    with _leader(settings, dsn) as kit:
        kit.uninstall()
    click.echo(f"Removed from the schema {settings.schema}.")


def _settings(session: Session, app: str) -> ProjectionSettings:
    from signalroom.workspace.projections import ProjectionSettings
    from signalroom.workspace.workspace import Workspace

    workspace = Workspace.load(session.root)
    name = chosen(list(workspace.projections), app)
    return workspace.configure(ProjectionSettings, workspace.projections[name])


def chosen(known: Sequence[str], app: str) -> str:
    """Return the app of ``known`` that is called ``app``, or the only one; raises ConfigError where that is none."""
    if not known:
        raise ConfigError(
            "The workspace follows no app.", mend="Write a [projections.NAME] into signalroom.toml, with its entities."
        )
    if not app and len(known) > 1:
        raise ConfigError(f"The workspace follows {len(known)} apps.", mend=f"Say which: --app {known[0]}.")
    if app and app not in known:
        raise ConfigError(
            f"There is no app {app!r}.", mend=nearest(app, known) or f"The workspace follows: {', '.join(known)}."
        )
    return app or known[0]


def _address(settings: ProjectionSettings, dsn: str) -> str:
    from signalroom.telemetry import conceal

    if not dsn:
        return settings.url.reveal()
    conceal(dsn)
    return dsn


def _leader(settings: ProjectionSettings, dsn: str) -> Leader:
    from signalroom.projections.leader import Leader

    return Leader(_address(settings, dsn), settings.schema)


def _version(version: int | None) -> str:
    """Return a version as people read it: its epoch, and how many there were in it."""
    from signalroom.projection import EPOCH_BITS

    return "" if version is None else f"{version >> EPOCH_BITS}.{version & ((1 << EPOCH_BITS) - 1)}"


def _document(found: Status) -> dict[str, Any]:
    from dataclasses import asdict

    failed = [dict(zip(("entity", "id", "error"), one, strict=True)) for one in found.intentions.failed]
    return {
        "epoch": found.epoch,
        "pending": found.intentions.pending,
        "oldest_at": found.intentions.oldest_at,
        "failed": failed,
        "entities": [asdict(one) for one in found.entities],
        "followers": [asdict(one) for one in found.followers],
        "missing_triggers": list(found.missing_triggers),
    }
