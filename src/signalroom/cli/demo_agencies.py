"""`signalroom demo agencies`: five hundred report views, refreshed, skipped, changed, and compared with a recompute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signalroom.cli.output import count, print_json
from signalroom.cli.refresh import refresh_summary
from signalroom.errors import ConfigError, DataError

if TYPE_CHECKING:
    from signalroom.room import Room
    from signalroom.run import OnProgress
    from signalroom.simulators.agencies import AgencyWorld
    from signalroom.view import View
    from signalroom.views.refresh import RefreshResult

_DAYS = 21
_EXPORTS = ".signalroom/demo/exports"
_REPORTS = 10
_OWN = 12
_MARGIN = """
with earned as (select day, sum(revenue) as revenue from clicks group by day),
    paid as (select day, sum(cost) as cost from spend group by day)
select earned.day, revenue, coalesce(cost, 0) as cost, revenue - coalesce(cost, 0) as margin
from earned left join paid on paid.day = earned.day
"""


@dataclass(frozen=True, slots=True)
class _Told:
    """One refresh of the demo: what it was about, what it did, and how long it took."""

    title: str
    result: RefreshResult
    seconds: float

    @property
    def record(self) -> dict[str, Any]:
        rows = sum(one.rows for one in self.result.refreshed)
        return {
            "refresh": self.title,
            "views": len(self.result.refreshed),
            "unchanged": self.result.unchanged,
            "rows": rows,
            "seconds": round(self.seconds, 3),
        }


def tell(
    folder: Path, world: AgencyWorld, progress: OnProgress, say: Callable[..., None], warehouse_url: str = "", *,
    as_json: bool,
) -> None:  # fmt: skip
    """Make or find the demo's workspace and do it all, on DuckDB or on the Postgres that ``env:NAME`` names.

    Raises:
        DataError: A view differs from a recompute.
        ConfigError: The folder holds something else.
    """
    from signalroom.room import Room
    from signalroom.workspace.workspace import Workspace

    made = _prepare(folder, world, warehouse_url)
    exports = folder / _EXPORTS
    rows = sum(world.write(exports, day) for day in range(_DAYS))
    say(f"{'Made' if made else 'Found'} {folder}: {count(world.agencies)} agencies, {count(rows, 'new row')}.")
    workspace = Workspace.load(folder, {**os.environ, "EXPORTS_URL": _EXPORTS})
    with Room(workspace) as room:
        told = [_refresh(room, "first", progress), _refresh(room, "nothing new", progress)]
        new = len(list((exports / "spend").glob("*.csv")))
        added = world.write(exports, new, ["spend"])
        told.append(_refresh(room, f"{count(added, 'row')} of spend are new", progress))
        groups, differing = _compare(room, progress)
    if as_json:
        print_json({"workspace": str(folder), "refreshes": [one.record for one in told],
                    "groups": groups, "differ": differing})  # fmt: skip
    else:
        for one in told:
            shown = sum(view.rows for view in one.result.refreshed)
            click.echo(f"  {one.title}: {refresh_summary(one.result)}, {count(shown, 'row')}, {one.seconds:.2f} s")
        mark = click.style("✗", fg="red") if differing else click.style("✓", fg="green")
        click.echo(f"{mark} {count(differing)} of {count(groups, 'group')} differ from a full recompute.")
    if differing:
        raise DataError(f"{count(differing, 'group')} differ from a full recompute.", mend="Look at the views named.")


def _prepare(folder: Path, world: AgencyWorld, warehouse_url: str) -> bool:
    """Make the workspace at ``folder``, or find it there; return whether it was made now."""
    from signalroom.cli.demo_world import check_reference, use_postgres
    from signalroom.workspace.init import init
    from signalroom.workspace.workspace import FILE

    check_reference(warehouse_url)
    which = f"{world.seed} {warehouse_url}".strip()
    mark = folder / ".signalroom" / "demo" / "agencies"
    if mark.exists():
        if mark.read_text(encoding="utf-8") != which:
            raise ConfigError(
                f"{folder} holds a demo of another seed or warehouse.", mend="Name another folder with --dir."
            )
        return False
    if (folder / "signalroom.toml").exists():
        raise ConfigError(f"{folder} holds a workspace that is no such demo.", mend="Name another folder with --dir.")
    init("agencies", folder)
    if warehouse_url:
        use_postgres(folder / FILE, warehouse_url)
    (folder / "views" / "agencies.toml").write_text(_manifests(world), encoding="utf-8")
    (folder / ".env").write_text(f"EXPORTS_URL={_EXPORTS}\n", encoding="utf-8")
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(which, encoding="utf-8")
    return True


def _manifests(world: AgencyWorld) -> str:
    """Return the manifests of the world: every canned report for every agency, and a few written for one."""
    slugs = world.slugs()
    parts = ["# Written by `signalroom demo agencies`: the agencies are invented.\n"]
    for number, slug in enumerate(slugs, 1):
        name = slug.replace("_", " ").title()
        parts.append(f'[[agencies]]\nid = {number}\nslug = "{slug}"\nname = "{name}"\n')
    pairs = [(slug, report) for slug in slugs for report in range(1, _REPORTS + 1)]
    parts += [
        f'[[assigned]]\nid = {number}\nagency = "{slug}"\ncanned_report = {report}\n'
        for number, (slug, report) in enumerate(pairs, 1)
    ]
    parts += [
        f'[[custom]]\nid = {number}\nagency = "{slug}"\ntable_name = "{slug}_margin"\n'
        f'report_name = "Margin by day"\nquery = """{_MARGIN}"""\n'
        for number, slug in enumerate(slugs[:_OWN], 1)
    ]
    return "\n".join(parts)


def _refresh(room: Room, title: str, progress: OnProgress) -> _Told:
    from signalroom.engine import inline

    inline.run_step(room, "sync shop", progress=progress)
    began = time.monotonic()
    result = inline.run_step(room, "refresh", progress=progress).views
    if result is None:
        raise ConfigError("The demo's workspace has no views.", mend="Remove the folder and start anew.")
    return _Told(title, result, time.monotonic() - began)


def _compare(room: Room, progress: OnProgress) -> tuple[int, int]:
    """Return how many rows the views hold, and how many differ from a recompute that knows nothing of views."""
    from signalroom.run import Progress
    from signalroom.views.refresh import tables_of

    groups = differing = 0
    tables = tables_of(room.workspace.views)
    for number, view in enumerate(room.ledger.manifests.all().views()):
        held, different = _differing(room, view, tables)
        groups, differing = groups + held, differing + different
        if number % 50 == 0:
            progress(Progress("comparing with a full recompute", groups))
    return groups, differing


def _differing(room: Room, view: View, tables: dict[str, str]) -> tuple[int, int]:
    mine = ", ".join(
        f"{name} AS (SELECT * FROM {table} WHERE agency_id = {view.agency_id})" for name, table in tables.items()
    )
    there = f"SELECT * FROM agency_{view.agency_slug}.{view.name}"
    sql = f"""WITH {mine} SELECT (SELECT count(*) FROM ({there}) h) AS held,
        (SELECT count(*) FROM (({there}) EXCEPT ALL ({view.query})) l)
        + (SELECT count(*) FROM (({view.query}) EXCEPT ALL ({there})) r) AS differing"""
    found = room.warehouse.query(sql).to_pylist()[0]
    return int(found["held"]), int(found["differing"])
