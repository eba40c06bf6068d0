"""`signalroom run`: a job's steps in this process, for a person, cron or another scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from signalroom.cli.build import build_summary
from signalroom.cli.command import command, json_option
from signalroom.cli.output import count, duration, print_json
from signalroom.cli.refresh import refresh_summary
from signalroom.cli.session import Session, pass_session

if TYPE_CHECKING:
    from signalroom.engine.inline import Outcome
    from signalroom.position import Json
    from signalroom.run import Run


@command()
@click.argument("job")
@click.option("--from", "from_step", metavar="STEP", default="", help="Begin with this step: its number or its text.")
@click.option("--from-failed", is_flag=True, help="Begin with the step at which the last execution failed.")
@json_option
@pass_session
def run(session: Session, job: str, from_step: str, from_failed: bool, as_json: bool) -> None:
    """Run JOB's steps in order, here and now; the first that fails for good ends it.

    Begun in the middle, it repeats the job's last execution: "yesterday" is the day it was then.
    """
    from signalroom.engine import executions, inline

    if from_step and from_failed:
        raise click.UsageError("--from and --from-failed exclude each other. Take one of them away.")
    with session.room() as room, session.progress(as_json=as_json) as progress:

        def tell(outcome: Outcome) -> None:
            if not as_json:
                progress.say(_line(outcome))

        execution = executions.plan(room, job, from_step=from_step, from_failed=from_failed)
        outcomes = inline.run_job(room, execution, progress, done=tell)
        if as_json:
            print_json({"job": job, "steps": [run_record(one.run) for one in outcomes]})


def _line(outcome: Outcome) -> str:
    """Return a step that has ended, on one line."""
    took = duration(run_seconds(outcome.run))
    return f"{click.style('✓', fg='green')} {outcome.run.step}  {click.style(f'{_summary(outcome)}, {took}', dim=True)}"


def _summary(outcome: Outcome) -> str:
    if outcome.streams:
        rows = sum(one.merge.rows_in for one in outcome.streams)
        rejected = sum(one.merge.rows_rejected for one in outcome.streams)
        told = count(rows, "row") if rows else "nothing new"
        return f"{told}, {count(rejected)} rejected" if rejected else told
    if outcome.build:
        return build_summary(outcome.build)
    if outcome.views:
        return refresh_summary(outcome.views)
    if outcome.deliveries:
        return ", ".join(f"{one.channel} {one.state}" for one in outcome.deliveries)
    return "done"


def run_seconds(one: Run) -> float:
    """Return how long a run took; 0 while it goes on."""
    return (one.finished_at - one.started_at).total_seconds() if one.finished_at else 0.0


def run_record(one: Run) -> Mapping[str, Json]:
    """Return what ``--json`` prints of a run."""
    return {
        "run_id": one.run_id,
        "job": one.job,
        "step": one.step,
        "status": one.status,
        "started_at": one.started_at.isoformat(),
        "finished_at": one.finished_at.isoformat() if one.finished_at else None,
        "seconds": round(run_seconds(one), 3) if one.finished_at else None,
        "error": one.error,
        "result": one.result,
        "repeats": one.repeats,
        "execution": one.execution,
        "due_at": one.due_at.isoformat() if one.due_at else None,
        "repeat_of": one.repeat_of,
        "failures": [{"ended_at": failure.ended_at.isoformat(), "error": failure.error} for failure in one.failures],
    }
