"""The relay as a loop: it projects what is due, and sleeps in the database until somebody writes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Final, Self

from signalroom.clients.postgres import explained
from signalroom.clock import Clock, SystemClock
from signalroom.errors import RetryableError, SignalRoomError
from signalroom.projections.leader import Change, Leader

_log = logging.getLogger("signalroom.projections")
_SOON_S: Final = 0.002
"""Between two looks while a transaction is under way that will notify nobody."""
_LONGEST_WAIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Relay:
    """What keeps the reporting rows of an app current; any number of them may run beside one another.

    Attributes:
        url: Address of the app's database; not that of a pooler that shares sessions: the relay listens.
        schema: Schema that holds the kit.
        most: Intentions projected in one transaction.
        poll_s: Longest time between two looks, for what is due again after it failed.
        clock: Where time comes from.
    """

    url: str = field(repr=False)
    schema: str = "public"
    most: int = 500
    poll_s: float = 1.0
    clock: Clock = field(default_factory=SystemClock)

    def run(self, stop: Event, told: Callable[[list[Change]], None]) -> None:
        """Relay until ``stop`` is set, with a new connection whenever one is lost.

        Args:
            stop: Looked at between batches and at least every ``poll_s``.
            told: Called with the rows of each batch that changed, after its commit.

        Raises:
            ConfigError: The kit is not installed, or the user lacks the rights.
        """
        wait_s = 1.0
        with Relaying(self) as relaying:
            while not stop.is_set():
                try:
                    relaying.turn(told)
                    wait_s = 1.0
                except RetryableError as problem:
                    _log.warning("the relay of %s begins anew in %.0f s: %s", self.schema, wait_s, problem)
                    stop.wait(wait_s)
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _nobody(_: list[Change]) -> None:
    """Tell nobody: the rows are notified, here as anywhere."""


class Relaying:
    """A relay's session with the app's database: opened with its first turn, and anew after one that failed.

    Args:
        relay: What it does.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._opened: Leader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session; the next turn begins another."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def turn(self, told: Callable[[list[Change]], None] = _nobody) -> None:
        """Relay what is due, at most a batch, then wait for more where there is none, ``poll_s`` at most.

        Args:
            told: Called with the rows that changed, after their commit.

        Raises:
            ConfigError: The kit is not installed, or the user lacks the rights.
            RetryableError: A lock or the connection was lost; nothing was settled.
        """
        try:
            if self._opened is None:
                self._opened = Leader(self._relay.url, self._relay.schema)
                self._opened.listen()
            if changes := self._opened.relay(self._relay.most):
                told(changes)
            self._wait(self._opened)
        except SignalRoomError:
            self.close()
            raise

    def _wait(self, leader: Leader) -> None:
        match leader.next():
            case "wait":
                with explained("wait for an intention"):
                    for _ in leader.connection.notifies(timeout=self._relay.poll_s, stop_after=1):
                        pass
            case "soon":
                self._relay.clock.sleep(_SOON_S)
            case _:
                pass
