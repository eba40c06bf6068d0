"""`signalroom views`: the report views, their manifests and their history."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from signalroom.cli.command import Command, Group, json_option, with_default
from signalroom.cli.output import ago, cell, count, duration, print_json, print_table
from signalroom.cli.session import Session, pass_session
from signalroom.cli.views_import import import_views
from signalroom.errors import ConfigError, SignalRoomError, nearest

_HISTORY = (
    "start_time", "status", "duration_seconds", "records_processed", "bytes_processed", "memory_usage_mb",
    "cpu_percentage", "consecutive_failures", "errors",
)  # fmt: skip


class _Views(Group):
    """Lists when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_default(args, "list"))


@click.group(cls=_Views)
def views() -> None:
    """List report views, check their manifests, show their history; `signalroom views` alone lists."""


@views.command("list", cls=Command)
@json_option
@pass_session
def list_views(session: Session, as_json: bool) -> None:
    """List every view with its last refresh; those that fail or run far longer than usual stand first."""
    with session.room() as room:
        known = {view.name: view for view in room.refresher.views()}
        room.ledger.views.sweep()
        found = [one for name, one in room.ledger.views.statuses().items() if name in known]
        now = room.clock.now()
        slow = room.ledger.monitor.lingering(now)
        found.sort(key=lambda one: (-one.failures, one.name not in slow, one.name))
        if as_json:
            print_json(
                {
                    "views": [
                        {
                            "view": one.name,
                            "agency": known[one.name].agency_slug,
                            "report_type": known[one.name].report_type,
                            "status": one.status,
                            "consecutive_failures": one.failures,
                            "updated_at": one.updated_at,
                            "error": one.error,
                            "long_running": one.name in slow,
                        }
                        for one in found
                    ]
                }
            )
            return
        rows = [
            (
                one.name,
                known[one.name].agency_slug,
                one.status,
                ago(one.updated_at, now),
                _slow(slow, one.name) or one.error,
            )
            for one in found
        ]
        print_table(("view", "agency", "status", "since", "note"), rows)
        click.echo(f"{count(len(rows), 'view')}.")


def _slow(lingering: Mapping[str, tuple[float, float]], name: str) -> str:
    """Return what is told of a view that runs far longer than it usually does; nothing of another."""
    if name not in lingering:
        return ""
    running_s, usual_s = lingering[name]
    return f"Running for {duration(running_s)}; it usually takes {duration(usual_s)}."


@views.command(cls=Command)
@json_option
@pass_session
def check(session: Session, as_json: bool) -> None:
    """Read every manifest and say of each what it may not do, and why; computes nothing."""
    with session.room() as room:
        refresher = room.refresher
        found = [(view, refresher.ready(view)) for view in refresher.views()]
    wrong = [(view, str(query)) for view, query in found if isinstance(query, SignalRoomError)]
    if as_json:
        print_json({"checked": len(found), "wrong": [{"view": view.name, "problem": told} for view, told in wrong]})
    elif wrong:
        print_table(("view", "problem"), [(view.name, told) for view, told in wrong])
    else:
        click.echo(f"{count(len(found), 'manifest')} checked, nothing is wrong.")
    if wrong:
        raise ConfigError(
            f"{count(len(wrong), 'manifest')} of {count(len(found))} may not be what it is."
            if len(wrong) == 1
            else f"{count(len(wrong), 'manifest')} of {count(len(found))} may not be what they are.",
            mend="Mend the SQL; the others are refreshed all the same.",
        )


@views.command(cls=Command)
@click.argument("view")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."
)
@json_option
@pass_session
def history(session: Session, view: str, limit: int, as_json: bool) -> None:
    """List the refreshes of one view, the newest first."""
    with session.room() as room:
        names = [one.name for one in room.refresher.views()]
        if view not in names:
            mend = nearest(view, names) or "`signalroom views` lists them."
            raise ConfigError(f"There is no view {view!r}.", mend=mend)
        room.ledger.views.sweep()
        found = room.ledger.views.history(view, limit)
    if as_json:
        print_json({"view": view, "history": [{name: one[name] for name in ("run_id", *_HISTORY)} for one in found]})
        return
    headers = ("started", "status", "took", "rows", "bytes", "MB", "CPU %", "failures", "error")
    print_table(headers, [_shown(one) for one in found], right=(2, 3, 4, 5, 6, 7))


def _shown(one: dict[str, Any]) -> list[str]:
    started = one["start_time"].isoformat(sep=" ", timespec="seconds")
    seconds = one["duration_seconds"]
    took = "" if seconds is None else duration(seconds)
    return [started, one["status"], took, *(cell(one[name]) for name in _HISTORY[3:])]


@views.command("preview", cls=Command)
@click.argument("target", metavar="NAME|FILE")
@click.option("--query", "file", metavar="FILE", type=click.Path(path_type=Path), default=None,
              help="Try this SQL instead of the manifest's.")  # fmt: skip
@click.option(
    "--rows", metavar="N", type=click.IntRange(0, 100), default=5, show_default=True, help="Differing rows to show."
)
@json_option
@pass_session
def preview_view(session: Session, target: str, file: Path | None, rows: int, as_json: bool) -> None:
    r"""Show what a changed query would do to a view before agencies see it; writes nothing.

    NAME is a view; FILE is an .sql file of a manifest, and each view that asks it is shown.

    \b
    Examples:
      signalroom views preview daily__harbor                      # as views/ says now
      signalroom views preview daily__harbor --query new.sql
      signalroom views preview views/daily.sql
    """
    from signalroom.cli import views_preview

    asked = file.absolute() if file else None  # here, where the caller's folder is
    here = Path(target).absolute()
    with session.room() as room:
        found = views_preview.tried(room, views_preview.chosen(room, target, here, asked), rows)
        if as_json:
            print_json({"previews": [views_preview.record(one) for one in found]})
        else:
            for one in found:
                views_preview.show(one)


@views.command(cls=Command)
@click.option("--sqlite", is_flag=True, help="For SQLite instead of Postgres.")
def ddl(sqlite: bool) -> None:
    """Print the tables of manifests, history and status as SQL, for a team that keeps its own schema repository."""
    from signalroom.ledger.view_tables import ddl as statements

    for statement in statements("sqlite" if sqlite else "postgresql"):
        click.echo(f"{statement};\n")


@views.command(cls=Command)
def functions() -> None:
    """List the functions a manifest may call and the types it may cast to."""
    from signalroom.views.vocabulary import AGGREGATES, ENGINES, FUNCTIONS, TYPES

    for title, names in (("aggregates", AGGREGATES), ("functions", FUNCTIONS - AGGREGATES), ("types", TYPES)):
        click.echo(f"{title}: {', '.join(sorted(names))}\n")
    for engine in ("duckdb", "postgres"):
        click.echo(f"only on {engine}: {', '.join(name for name, (only, _) in ENGINES.items() if only == engine)}\n")


views.add_command(import_views)
