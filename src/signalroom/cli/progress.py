"""A long step's progress: one live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import click

from signalroom.cli.output import count, duration, size
from signalroom.run import OnProgress, Progress, ignore_progress

_LINE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Shown:
    """Progress that is on show: call it with each report of progress.

    Attributes:
        take: Shows one report.
        aside: Keeps the display out of the way while something else is printed.
    """

    take: OnProgress
    aside: Callable[[], AbstractContextManager[object]] = nullcontext

    def __call__(self, progress: Progress, /) -> None:
        """Show one report of progress."""
        self.take(progress)

    def say(self, text: str = "") -> None:
        """Print a line of the result to standard output, above the display."""
        with self.aside():
            click.echo(text)


@contextmanager
def nothing() -> Generator[Shown]:
    """Show nothing."""
    yield Shown(ignore_progress)


@dataclass(slots=True)
class Pace:
    """How fast a phase goes; a new phase starts anew.

    Attributes:
        monotonic: Where seconds come from.
        phase: What is being done.
        began: When it began.
    """

    monotonic: Callable[[], float] = time.monotonic
    phase: str = ""
    began: float = field(default=0.0)

    def describe(self, progress: Progress) -> str:
        """Return rows, bytes, rate and what is left, as far as they are known."""
        now = self.monotonic()
        if progress.phase != self.phase:
            self.phase, self.began = progress.phase, now
        elapsed = now - self.began
        parts = [count(progress.rows, "row")] if progress.rows else []
        if progress.bytes:
            of = f" of {size(progress.total_bytes)}" if progress.total_bytes else ""
            parts.append(f"{size(progress.bytes)}{of}")
            if elapsed >= 1:
                parts.append(f"{size(progress.bytes / elapsed)}/s")
        elif progress.total_bytes:
            parts.append(size(progress.total_bytes))
        if progress.bytes and progress.total_bytes and elapsed >= 1 and progress.total_bytes > progress.bytes:
            left = elapsed * (progress.total_bytes - progress.bytes) / progress.bytes
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


@contextmanager
def lines(*, logged: bool, monotonic: Callable[[], float] = time.monotonic) -> Generator[Shown]:
    """Write a line to standard error every ten seconds: a step that is done sooner writes none.

    Args:
        logged: Write them as log lines instead.
        monotonic: Where seconds come from.
    """
    pace = Pace(monotonic)
    last = monotonic()

    def show(progress: Progress, /) -> None:
        nonlocal last
        described = pace.describe(progress)
        if monotonic() - last < _LINE_EVERY_S:
            return
        last = monotonic()
        line = f"{progress.phase}: {described}" if described else progress.phase
        if logged:
            logging.getLogger("signalroom.progress").info(line)
        else:
            sys.stderr.write(f"{line}\n")

    yield Shown(show)


@contextmanager
def display() -> Generator[Shown]:
    """Show a spinner, the phase, what it has done, its rate and the time left, on one line that goes away."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    pace = Pace()
    columns = (
        SpinnerColumn(style="cyan"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24, pulse_style="bright_black"),
        TextColumn("[bright_black]{task.fields[described]}"),
        TimeElapsedColumn(),
    )
    # Results go to standard output, which may be a file: it is not the display's to redirect.
    shown = Display(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    task = shown.add_task("", total=None, described="", visible=False)

    def show(progress: Progress, /) -> None:
        changed = progress.phase != pace.phase
        described = pace.describe(progress)
        if changed:
            shown.reset(task, total=None, visible=True)
        total = progress.total_bytes if progress.bytes else None
        shown.update(task, description=progress.phase, total=total, completed=progress.bytes, described=described)

    @contextmanager
    def aside() -> Generator[None]:
        shown.stop()
        try:
            yield
        finally:
            shown.start()

    with shown:
        yield Shown(show, aside)
