"""`signalroom` itself: the list of commands, the global options, and what becomes of an error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from signalroom.cli.command import Entry, Group, global_options
from signalroom.cli.exits import CONFIG, DATA, EPILOG, INTERRUPTED, OK, as_error, exit_code
from signalroom.cli.handover import HandOverError, hand_over
from signalroom.cli.session import Session
from signalroom.errors import SignalRoomError, interrupted
from signalroom.telemetry import redact

_START, _WORK, _LOOK = "Start", "Work", "Look"

ENTRIES = {
    "demo": Entry("signalroom.cli.demo", "Show the whole product on this machine, checked to the cent.", _START),
    "init": Entry("signalroom.cli.init", "Make a workspace.", _START),
    "check": Entry("signalroom.cli.check", "Name every problem of the workspace at once, each with its mend.", _START),
    "sync": Entry("signalroom.cli.sync", "Bring what is new upstream into the lake and the warehouse.", _WORK),
    "build": Entry("signalroom.cli.build", "Build the models and run their tests.", _WORK),
    "refresh": Entry("signalroom.cli.refresh", "Compute the report views whose query or inputs changed.", _WORK),
    "report": Entry("signalroom.cli.report", "Show a report, or send it once.", _WORK),
    "run": Entry("signalroom.cli.run", "Run a job's steps in order.", _WORK),
    "up": Entry("signalroom.cli.up", "Run the jobs on time, with everything they need, on this machine.", _WORK),
    "worker": Entry("signalroom.cli.worker", "Run the jobs for a Temporal server elsewhere.", _WORK),
    "leader": Entry("signalroom.cli.leader", "Have an app's own database keep its reporting rows.", _WORK),
    "serve": Entry("signalroom.cli.serve", "Answer the API of report views, beside workers elsewhere.", _WORK),
    "watch": Entry("signalroom.cli.watch", "Look for what is wrong, and tell it once to who must know.", _WORK),
    "follow": Entry("signalroom.cli.follow", "Keep the rows of apps current, seconds after they change.", _WORK),
    "replay": Entry("signalroom.cli.replay", "Rebuild warehouse tables from the lake.", _WORK),
    "status": Entry("signalroom.cli.status", "Show how fresh each stream is, and each report's last delivery.", _LOOK),
    "jobs": Entry("signalroom.cli.jobs", "Show when each job runs; pause, resume or start one.", _LOOK),
    "runs": Entry("signalroom.cli.runs", "List what ran and how it ended.", _LOOK),
    "deliveries": Entry("signalroom.cli.deliveries", "List what was sent to whom; settle or send again.", _LOOK),
    "views": Entry("signalroom.cli.views", "List report views, check their manifests, show their history.", _LOOK),
    "keys": Entry("signalroom.cli.keys", "Make, list and revoke the keys of the API.", _LOOK),
    "rejects": Entry("signalroom.cli.rejects", "List the rows that were set aside, and why.", _LOOK),
    "alerts": Entry("signalroom.cli.alerts", "List what is wrong; acknowledge, snooze or resolve it.", _LOOK),
    "query": Entry("signalroom.cli.query", "Run one SELECT on the warehouse.", _LOOK),
}


class App(Group):
    """The root group: it turns every error into one sentence and an exit code."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride] - it always exits
        """Run a command and exit."""
        session = extra.pop("obj", None) or Session()
        extra.pop("standalone_mode", None)
        try:
            ended = super().main(args, prog_name or "signalroom", standalone_mode=False, obj=session, **extra)
            code = ended if isinstance(ended, int) else OK
            sys.stdout.flush()
        except HandOverError as elsewhere:
            code = _hand_over(elsewhere, sys.argv[1:] if args is None else args, session)
        except BrokenPipeError:
            code = _leave_quietly()
        except (click.Abort, KeyboardInterrupt):
            code = _interrupted()
        except Exception as problem:  # noqa: BLE001 - the outermost border: a person reads a sentence, not a traceback
            code = _interrupted() if interrupted(problem) else _ended_by(problem, session)
        sys.exit(code)


def _interrupted() -> int:
    _say("Interrupted. What was committed is kept: run it again to go on.")
    return INTERRUPTED


def _ended_by(problem: Exception, session: Session) -> int:
    """Say in one sentence what ended a command, and return its exit code."""
    match problem:
        case click.ClickException():
            _say(_with_mend(problem))
            return CONFIG
        case SignalRoomError():
            # What a database says may have lines of its own, with a pointer under the place.
            sentence = f"{problem.message}\n{problem.mend}" if "\n" in problem.message else str(problem)
            _tell(problem, sentence.rstrip(), session)
            return exit_code(problem)
        case OSError():
            return _refused(problem, session)
        case _:
            return _unexpected(problem, session)


def _hand_over(elsewhere: HandOverError, words: Sequence[str], session: Session) -> int:
    try:
        return hand_over(elsewhere.address, words)
    except BrokenPipeError:
        return _leave_quietly()
    except KeyboardInterrupt:
        _say("`signalroom up` goes on with it: `signalroom runs` shows how it ends.")
        return INTERRUPTED
    except SignalRoomError as problem:
        _tell(problem, str(problem), session)
        return exit_code(problem)


def _refused(problem: OSError, session: Session) -> int:
    """Say what the file system refuses, and what to do about it."""
    known = as_error(problem)
    if known is None:
        return _unexpected(problem, session)
    _tell(problem, str(known), session)
    return exit_code(known)


def _unexpected(problem: Exception, session: Session) -> int:
    mend = "" if session.debug else " Run it again with --debug, and report what it prints."
    _tell(problem, f"Something unexpected: {type(problem).__name__}: {problem}.{mend}", session)
    return DATA


def _with_mend(problem: click.ClickException) -> str:
    """Return a usage error with where to look it up, unless it tells already."""
    text = problem.format_message()
    ctx = getattr(problem, "ctx", None)
    if ctx is None or "?" in text or "`" in text:
        return text
    return f"{text.rstrip('.')}. `{ctx.command_path} --help` shows how it is written."


def _tell(problem: BaseException, sentence: str, session: Session) -> None:
    if session.debug:
        import traceback

        click.echo(redact("".join(traceback.format_exception(problem))), err=True)
    _say(sentence)


def _say(sentence: str) -> None:
    click.echo(click.style("Error: ", fg="red", bold=True) + redact(sentence), err=True)


def _leave_quietly() -> int:
    """Let the interpreter flush into nothing: the reader of our output has gone."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DATA


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if value and not ctx.resilient_parsing:
        from signalroom import __version__

        click.echo(f"signalroom {__version__}")
        ctx.exit()


app = App(
    name="signalroom",
    help="From scattered sources to the right number in the channel at 07:00, with every number explainable.",
    epilog=EPILOG,
    entries=ENTRIES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    params=[
        *global_options(),
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
        ),
    ],
)
"""The command line, to be run by :func:`signalroom.cli.main` or by a test."""
