"""A run's heartbeat: from a thread of its own, so that a step that says nothing for an hour is still known to live."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from signalroom.errors import RetryableError, SignalRoomError
from signalroom.run import Run

if TYPE_CHECKING:
    from signalroom.ledger.runs import Runs

_BEATS_PER_LEASE = 6
_log = logging.getLogger("signalroom.engine")


def no_pulse() -> None:
    """Tell nobody else."""


class Heartbeat:
    """Says that a run goes on for as long as the block lasts.

    Args:
        runs: The ledger's runs.
        run: The run.
        pulse: Called at each beat too, in the context of the thread that made this: a scheduler's own heartbeat.
    """

    def __init__(self, runs: Runs, run: Run, pulse: Callable[[], None] = no_pulse) -> None:
        self._runs, self._run, self._pulse = runs, run, pulse
        self._context = contextvars.copy_context()
        self._over = threading.Event()
        self._taken = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat {run.run_id}", daemon=True)

    def check(self) -> None:
        """Beat now if it is time, and raise RetryableError once the run belongs to somebody else."""
        if self._taken.is_set() or not self._runs.heartbeat(self._run):
            self._taken.set()
            raise RetryableError(
                f"Run {self._run.run_id} was given up for lost, or taken over, while this process had it.",
                mend="This attempt stops; what it committed is kept, and the run that took over goes on.",
            )

    def _beat(self) -> None:
        while not self._over.wait(self._runs.lease_s / _BEATS_PER_LEASE):
            self._context.run(self._pulse)
            try:
                self.check()
            except SignalRoomError as problem:
                if self._taken.is_set():
                    return  # the step hears of it at its next report of progress
                _log.warning("The heartbeat of run %s was not written: %s", self._run.run_id, problem)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
