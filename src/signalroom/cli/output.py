"""How commands print: tables, sizes and times for people, one JSON document for programs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import click

from signalroom.blocktext import aligned

_LEAST_OF_A_REMARK = 20
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def print_json(value: object) -> None:
    """Print one JSON document and nothing else; exact decimals and moments are texts."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def table_text(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return rows as aligned columns under quiet headers.

    Args:
        headers: Names of the columns.
        rows: Cells.
        right: Numbers of the columns set flush right.
    """
    first, *others = aligned([headers, *rows], right).split("\n")
    return "\n".join([click.style(first, dim=True), *others])


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> None:
    """Print what :func:`table_text` returns."""
    click.echo(table_text(headers, rows, right))


def print_remarked(headers: Sequence[str], rows: Iterable[Sequence[str]], remarks: Iterable[str]) -> None:
    """Print rows, each with a sentence after it; a terminal shows as much of it as the line has room for.

    Args:
        headers: Names of the columns.
        rows: Cells.
        remarks: A sentence for each row, or an empty text. Where there is next to no room, none is shown: the command
            that shows one row whole has them.
    """
    found, said = list(rows), list(remarks)
    widths = [max(map(len, column)) for column in zip(headers, *found, strict=True)]
    room_left = columns() - sum(widths) - 2 * len(widths) if sys.stdout.isatty() else 80
    if room_left < _LEAST_OF_A_REMARK or not any(said):
        print_table(headers, found)
        return
    short = (text if len(text) <= room_left else f"{text[: room_left - 1]}…" for text in said)
    print_table((*headers, ""), [(*row, text) for row, text in zip(found, short, strict=True)])


def columns() -> int:
    """Return how wide the terminal is, in characters."""
    return shutil.get_terminal_size().columns


def indented(first: str, text: str) -> str:
    """Return a long sentence after ``first``, broken under its own beginning where a terminal's line ends.

    Args:
        first: What stands before it; colours do not count.
        text: The sentence.
    """
    margin = len(click.unstyle(first))
    if not sys.stdout.isatty():
        return first + text
    broken = click.wrap_text(text, max(margin + 30, columns()), " " * margin, " " * margin)
    return first + broken[margin:]


def note(text: str) -> None:
    """Print a sentence the reader should know, set apart from the results."""
    click.echo(click.style("note: ", fg="yellow") + text)


def count(number: int, noun: str = "") -> str:
    """Return a number with separators, and the noun it counts: ``1 row``, ``1,204 rows``."""
    if not noun:
        return f"{number:,}"
    many = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else many}"


def size(number: float) -> str:
    """Return bytes as people read them: ``812 bytes``, ``3.4 MB``, ``218 MB``."""
    step = 0
    while number >= 999.5 and step < len(_UNITS) - 1:
        number, step = number / 1000, step + 1
    return f"{number:.1f} {_UNITS[step]}" if step and number < 9.95 else f"{number:.0f} {_UNITS[step]}"


def duration(seconds: float) -> str:
    """Return a duration in its two greatest units: ``0.4 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, next_s, next_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            rest = whole % unit_s // next_s
            return f"{whole // unit_s} {unit} {rest} {next_unit}" if rest else f"{whole // unit_s} {unit}"
    return f"{whole} s"


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was, in its greatest unit."""
    seconds = (now - moment).total_seconds()
    if seconds < 0:
        return "in the future"
    if seconds < 60:
        return "just now"
    return " ".join(duration(seconds).split()[:2]) + " ago"


def cell(value: object) -> str:
    """Return a value of a query as a cell of a table: null is empty, line breaks are shown."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat(sep=" ")
        case Mapping() | list():
            return json.dumps(value, ensure_ascii=False, default=_plain)
        case _:
            return str(value).replace("\r", "␍").replace("\n", "␤").replace("\t", " ")


def _plain(value: Any) -> object:
    """Return what JSON cannot carry as text; called for such values only."""
    match value:
        case date():  # datetime too
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case _:
            return str(value)
