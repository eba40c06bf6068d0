"""`signalroom check`: every problem at once, each with its mend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from signalroom.cli.checks import Finding, check_files, check_room
from signalroom.cli.command import command, json_option
from signalroom.cli.exits import CONFIG, OK
from signalroom.cli.output import count, indented, print_json
from signalroom.cli.session import Session, pass_session
from signalroom.errors import ConfigError
from signalroom.run import Progress
from signalroom.telemetry import redact


@command()
@json_option
@pass_session
@click.pass_context
def check(ctx: click.Context, session: Session, as_json: bool) -> None:
    """Name every problem of the workspace at once: its files, what it refers to, and every connection.

    Ends with code 2 when there is one.
    """
    findings = check_files(session.workspace)
    with session.progress(as_json=as_json) as progress:
        progress(Progress("checking"))
        findings += _open(session, findings[0].problems)
    problems = sum(len(one.problems) for one in findings)
    if as_json:
        print_json({"ok": not problems, "checks": [_record(one) for one in findings]})
    else:
        _print(findings, problems)
    ctx.exit(CONFIG if problems else OK)


def _open(session: Session, known: Sequence[str]) -> list[Finding]:
    """Return what opening the parts tells; where the workspace file is too broken for that, say so."""
    try:
        with session.room(broken=True) as room:
            return list(check_room(room, known))
    except ConfigError as problem:
        if known:
            return [Finding("connections", "not tried: mend the workspace first", tried=False)]
        return [Finding("connections", problems=[str(problem)])]


def _print(findings: Sequence[Finding], problems: int) -> None:
    width = max(len(one.what) for one in findings) + 2
    for one in findings:
        if not one.tried:
            click.secho(f"· {one.what:{width}}{one.detail}", dim=True)
        elif one.fine:
            click.echo(f"{click.style('✓', fg='green')} {one.what:{width}}{click.style(redact(one.detail), dim=True)}")
        for problem in one.problems:
            click.echo(indented(f"{click.style('✗', fg='red')} {one.what:{width}}", redact(problem)))
    click.echo()
    click.echo(f"{count(problems, 'problem')}." if problems else "Everything is fine.")


def _record(one: Finding) -> Mapping[str, object]:
    return {
        "what": one.what,
        "ok": one.fine,
        "tried": one.tried,
        "detail": redact(one.detail),
        "problems": [redact(problem) for problem in one.problems],
    }
