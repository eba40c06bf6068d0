"""What `signalroom views preview` finds and how it shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signalroom.cli.output import cell, count, print_table
from signalroom.errors import ConfigError, nearest

if TYPE_CHECKING:
    from signalroom.room import Room
    from signalroom.view import Preview, View


def chosen(room: Room, target: str, here: Path, query: Path | None) -> list[View]:
    """Return the views that a person means, with the query to try.

    Args:
        room: The workspace's room.
        target: A view's name, or an .sql file's.
        here: The file that ``target`` would be.
        query: A file with the SQL to try; None for the manifest's own.

    Raises:
        ConfigError: There is no such view, or the file cannot be read, or no manifest asks it.
    """
    views = room.refresher.proposed()
    if target.endswith(".sql"):
        text = _text(here)
        found = [view for view in views if view.query.strip() == text]
        if not found:
            raise ConfigError(
                f"No manifest asks {target}.", mend="Name it as query_file, or name a view and this with --query."
            )
    else:
        found = [view for view in views if view.name == target]
        if not found:
            mend = nearest(target, [view.name for view in views]) or "`signalroom views` lists them."
            raise ConfigError(f"There is no view {target!r}.", mend=mend)
    return found if query is None else [replace(view, query=_text(query)) for view in found]


def tried(room: Room, views: Sequence[View], samples: int) -> list[Preview]:
    """Return the preview of each view; raises what the guard or the warehouse refuses a query with."""
    refresher = room.refresher
    return [refresher.preview(view, samples=samples) for view in views]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        said = "it is not UTF-8" if isinstance(problem, UnicodeDecodeError) else str(problem.strerror).lower()
        raise ConfigError(f"{file} cannot be read: {said}.", mend="Name a file with one SELECT.") from problem


def show(one: Preview) -> None:
    """Print a preview for people: what becomes of its columns, its rows, and some of those that differ."""
    click.echo(click.style(one.view.name, bold=True) + f" of {one.view.agency_slug}, in {one.seconds:.2f} s")
    if not one.before:
        click.echo(f"  The view is not there yet: it would have {count(one.rows_after, 'row')}.")
    elif one.appearing or one.vanishing or one.before != one.after:
        click.echo(
            f"  {count(one.rows_before, 'row')} now, {count(one.rows_after)} then: {count(one.appearing)} appear, "
            f"{count(one.vanishing)} vanish."
        )
    else:
        click.echo(f"  Nothing would change: {count(one.rows_after, 'row')}.")
    marks = {True: "", False: "retyped"}
    rows = [
        (name, now or "", then or "", "added" if not now else "removed" if not then else marks[now == then])
        for name, now, then in one.columns
    ]
    click.echo()
    print_table(("column", "now", "then", ""), rows)
    differing = [("+", row) for row in one.sample_appearing] + [("-", row) for row in one.sample_vanishing]
    if differing and one.before:
        names = list(differing[0][1])
        click.echo()
        print_table(("", *names), [(mark, *(cell(row[name]) for name in names)) for mark, row in differing])
        click.echo(f"+ appears, - vanishes; compared by {count(len(names), 'column')} that both have.")
    click.echo()


def record(one: Preview) -> Mapping[str, Any]:
    """Return a preview as ``--json`` prints it."""
    return {
        "view": one.view.name,
        "agency": one.view.agency_slug,
        "columns": [{"name": name, "now": now, "then": then} for name, now, then in one.columns],
        "rows_now": one.rows_before,
        "rows_then": one.rows_after,
        "appearing": one.appearing,
        "vanishing": one.vanishing,
        "sample_appearing": list(one.sample_appearing),
        "sample_vanishing": list(one.sample_vanishing),
        "seconds": round(one.seconds, 3),
    }
