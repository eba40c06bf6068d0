"""Refreshes that somebody asked for, done one after the other by a thread of a process that stays."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Self

from signalroom.engine.inline import run_step
from signalroom.errors import RetryableError, SignalRoomError
from signalroom.workspace.jobs import StepCall

if TYPE_CHECKING:
    from signalroom.ledger.view_requests import Waiting
    from signalroom.room import Room

_LOOK_EVERY_S = 2.0  # another process may have taken the request; in this one it wakes us
_AFTER_TROUBLE_S = 30.0
_log = logging.getLogger("signalroom.engine")


class RequestedRefreshes:
    """Does what waits, for as long as the block lasts. Several processes may: a view is refreshed by one at a time.

    Args:
        room: The workspace's room; its ledger and warehouse opened before.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._news, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="requested refreshes", daemon=True)

    def wake(self) -> None:
        """Look now: something was asked for."""
        self._news.set()

    def once(self) -> int:
        """Do everything that waits; return how much that was.

        Raises:
            RetryableError: The ledger or the warehouse does not answer; what waits goes on waiting.
        """
        waiting = self._room.ledger.requests.waiting()
        for one in waiting:
            if self._stopping.is_set():
                break
            self._refresh(one)
        return len(waiting)

    def _refresh(self, one: Waiting) -> None:
        reason = "The view is disabled, or there is none of that name any more."
        try:
            done = run_step(self._room, StepCall("refresh", one.name, {"force": True})).views
        except RetryableError:
            raise
        except SignalRoomError as problem:  # most often the view's own SQL: the history has it
            _log.info("The refresh of %s that was asked for failed: %s", one.name, problem)
            reason = str(problem)
        else:
            if done is not None and one.name in done.busy:
                return  # another process has it just now; it is looked at again
        self._room.ledger.requests.give_up(one, reason)  # nothing, where it ran

    def _serve(self) -> None:
        while not self._stopping.is_set():
            wait_s = _LOOK_EVERY_S
            self._news.clear()
            try:
                self.once()
            except SignalRoomError as problem:
                _log.warning("Refreshes that were asked for wait: %s", problem)
                wait_s = _AFTER_TROUBLE_S
            self._news.wait(wait_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._news.set()
        self._thread.join()
