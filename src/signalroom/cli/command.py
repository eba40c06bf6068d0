"""Commands that take the global options too, and groups that import a command when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from signalroom.cli.session import Session
from signalroom.errors import nearest

_F = TypeVar("_F", bound=Callable[..., Any])

LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Entry:
    """A command before it is imported.

    Attributes:
        module: Where it is.
        help: Its one line in the list of commands.
        section: The heading it stands under.
    """

    module: str
    help: str
    section: str = "Commands"


class Command(click.Command):
    """A command that understands the global options after its name as well as before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=True)


class Group(click.Group):
    """A group whose commands are named in a table and imported when one is called."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = dict(entries or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return [*self.entries, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None when there is none of that name."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        return getattr(importlib.import_module(entry.module), cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with; a misspelt one is told the nearest."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            mend = nearest(args[0], known) or f"`{ctx.command_path} --help` lists them."
            raise click.UsageError(f"There is no command {args[0]!r}. {mend}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings from the table alone: help imports none of them."""
        if not self.entries:
            super().format_commands(ctx, formatter)
            return
        widest = max(map(len, self.entries))
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name.ljust(widest), one.help) for name, one in self.entries.items() if one.section == section]
                )


def global_options(*, hidden: bool = False) -> list[click.Parameter]:
    """Return the options every command understands; each writes into the session.

    Args:
        hidden: Leave them out of the help: the group's shows them.
    """
    shared: dict[str, Any] = {"expose_value": False, "hidden": hidden, "callback": _remember}
    return [
        click.Option(
            ["--workspace"],
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="The workspace, or a folder in it; the current folder when left out.",
            **shared,
        ),
        click.Option(["--debug"], is_flag=True, help="Show a traceback after an error.", **shared),
        click.Option(
            ["--log-level"],
            type=click.Choice(LEVELS, case_sensitive=False),
            metavar="LEVEL",
            help="Show log lines from this level on: debug, info, warning or error.",
            **shared,
        ),
        click.Option(["--log-json"], is_flag=True, help="Write log lines as JSON objects.", **shared),
    ]


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session = ctx.ensure_object(Session)
    if value:
        setattr(session, str(param.name), value)


def json_option(function: _F) -> _F:
    """Give a command ``--json``, as its argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(function)


def command(name: str | None = None, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Return a decorator that makes a function a :class:`Command`."""
    return click.command(name, cls=Command, **settings)


def with_default(group_args: Sequence[str], default: str) -> list[str]:
    """Return a group's arguments with the name of its default command put in where none is named."""
    args = list(group_args)
    if not args or (args[0].startswith("-") and args[0] not in {"--help", "-h"}):
        return [default, *args]
    return args
