"""`signalroom refresh`: the report views whose query or inputs changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import count, note, print_json, print_table, size
from signalroom.cli.session import Session, pass_session

if TYPE_CHECKING:
    from signalroom.position import Json
    from signalroom.view import Refreshed
    from signalroom.views.refresh import RefreshResult

_SHOWN = 20


@command()
@click.argument("target", metavar="[VIEW|AGENCY]", default="")
@click.option("--all", "everything", is_flag=True, help="Every view; the same as naming none.")
@click.option("--agency", metavar="SLUG", default="", help="The views of one agency.")
@click.option("--table", metavar="NAME", default="", help="One view.")
@click.option("--force", is_flag=True, help="Those too whose inputs are unchanged, or that failed too often.")
@json_option
@pass_session
def refresh(
    session: Session, target: str, agency: str, table: str, as_json: bool, *, everything: bool, force: bool
) -> None:
    """Compute the report views whose query or inputs changed: all, one agency's, or one."""
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall

    named = [one for one in (target, agency, table) if one]
    if len(named) + everything > 1:
        raise click.UsageError("Name one of --all, --agency, --table, or a view or agency.")
    options: dict[str, str | bool] = {"force": True} if force else {}
    with session.room() as room:
        with session.progress(as_json=as_json) as progress:
            step = StepCall("refresh", named[0] if named else "", options)
            result = inline.run_step(room, step, progress=progress).views
        if as_json:
            print_json(_record(result))
        elif result is None:
            click.echo("This workspace has no views.")
        else:
            _print(result)


def refresh_summary(result: RefreshResult) -> str:
    """Return what a refresh did, e.g. ``12 views refreshed, 488 unchanged``."""
    told = f"{count(len(result.refreshed), 'view')} refreshed, {count(result.unchanged)} unchanged"
    told += f", {count(len(result.busy))} busy" if result.busy else ""
    return told + (f", {count(len(result.resting))} resting" if result.resting else "")


def view_record(one: Refreshed) -> Mapping[str, Json]:
    """Return what ``--json`` prints of a view that was computed."""
    return {
        "view": one.view.name,
        "agency": one.view.agency_slug,
        "rows": one.rows,
        "bytes": one.bytes,
        "seconds": round(one.seconds, 3),
        "memory_mb": one.memory_mb,
        "cpu_percent": one.cpu_percent,
    }


def _record(result: RefreshResult | None) -> Mapping[str, Json]:
    if result is None:
        return {"refreshed": [], "unchanged": 0, "busy": [], "resting": []}
    return {
        "refreshed": [view_record(one) for one in result.refreshed],
        "unchanged": result.unchanged,
        "busy": list(result.busy),
        "resting": list(result.resting),
    }


def _print(result: RefreshResult) -> None:
    if result.refreshed:
        slowest = sorted(result.refreshed, key=lambda one: (-one.seconds, one.view.name))
        rows = [
            (one.view.name, one.view.agency_slug, count(one.rows), size(one.bytes), f"{one.seconds:.2f}")
            for one in slowest[:_SHOWN]
        ]
        print_table(("view", "agency", "rows", "size", "seconds"), rows, right=(2, 3, 4))
        if len(slowest) > _SHOWN:
            click.echo(f"… and {count(len(slowest) - _SHOWN)} faster ones.")
    click.echo(f"{refresh_summary(result)}.")
    if result.busy:
        note("Another process is refreshing the busy ones.")
    if result.resting:
        note("The resting ones failed too often: `signalroom views` shows why; --force tries them now.")
