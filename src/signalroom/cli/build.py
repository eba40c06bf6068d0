"""`signalroom build`: the workspace's dbt project."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from signalroom.cli.command import command, json_option
from signalroom.cli.output import count, note, print_json, print_table
from signalroom.cli.session import Session, pass_session

if TYPE_CHECKING:
    from signalroom.models.artifacts import BuildResult


@command()
@click.option("--select", metavar="MODELS", default="", help="What to build, as dbt selects: daily_performance+.")
@click.option("--full-refresh", is_flag=True, help="Rebuild incremental tables from nothing.")
@json_option
@pass_session
def build(session: Session, select: str, full_refresh: bool, as_json: bool) -> None:
    """Build the models and run their tests; a failed test fails the build."""
    from signalroom.engine import inline
    from signalroom.workspace.jobs import StepCall

    options: dict[str, str | bool] = {"select": select} if select else {}
    if full_refresh:
        options["full-refresh"] = True
    with session.room() as room:
        with session.progress(as_json=as_json) as progress:
            outcome = inline.run_step(room, StepCall("build", "", options), progress=progress)
        result = outcome.build
        if result is None:  # a build step always has one
            return
        if as_json:
            print_json(
                {
                    "run_id": outcome.run.run_id,
                    "models": [dataclasses.asdict(model) for model in result.models],
                    "tests": [dataclasses.asdict(test) for test in result.tests],
                    "seconds": round(result.seconds, 3),
                    "notes": list(result.notes),
                }
            )
            return
        rows = [
            (one.name, one.status, "" if one.rows is None else count(one.rows), f"{one.seconds:.1f}")
            for one in result.models
        ]
        print_table(("model", "status", "rows", "seconds"), rows, right=(2, 3))
        click.echo(f"{build_summary(result)} in {result.seconds:.1f} s.")
        for text in result.notes:
            note(text)


def build_summary(result: BuildResult) -> str:
    """Return what a build did, e.g. ``11 models built, 11 tests passed``."""
    passed = sum(test.status == "pass" for test in result.tests)
    return f"{count(len(result.models), 'model')} built, {count(passed, 'test')} passed"
