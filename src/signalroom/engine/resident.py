"""The process that stays: it keeps a workspace's server, worker and schedules going until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from signalroom.engine.connection import connect, connect_soon, explained, register_attributes, workers_of
from signalroom.engine.schedules import Reconciled, mirror_pauses, reconcile, remember
from signalroom.engine.worker import make_worker, task_queue
from signalroom.errors import RetryableError, SignalRoomError

if TYPE_CHECKING:
    from temporalio.client import Client

    from signalroom.engine.server import DevServer, Running
    from signalroom.room import Room

_SERVER_UP_WITHIN_S = 20.0
_INTERRUPTED = 130  # as the shell counts a process that SIGINT ended
_LOOK_EVERY_S = 2.0
_REMEMBER_EVERY_S = 30.0
_HEARD_WITHIN = timedelta(minutes=1)
_SILENCE_IS_NEWS_S = 30.0  # a server that was killed is back sooner
_POLLER_MAY_BE_SILENT_S = 300.0
_RELEASE_S = 2.0  # a step that hangs may hold the ledger's door
_UNWINDING_S = 5.0  # for a step that was told to stop: a transaction is rolled back, a file closed
_log = logging.getLogger("signalroom.engine")


@dataclass(slots=True)
class Pulse:
    """What the resident process knows of itself; read by its health page.

    Attributes:
        poller_seen_at: When the server last heard from our worker, UTC; None before the first time.
        unheard: Why the last look at the server failed, a sentence; empty when it did not.
        stopping: Whether it has been told to stop.
    """

    poller_seen_at: datetime | None = None
    unheard: str = ""
    stopping: bool = False

    def problem(self, now: datetime) -> str:
        """Return why the worker cannot take steps now, a sentence; empty when it can."""
        if self.stopping:
            return "The worker was told to stop."
        if self.unheard:
            return self.unheard
        if self.poller_seen_at is None or now - self.poller_seen_at > _HEARD_WITHIN:
            return "The scheduler has not heard from this worker in the last minute."
        return ""


@dataclass(frozen=True, slots=True)
class Ready:
    """What is up.

    Attributes:
        address: Of the Temporal server.
        schedules: What the reconciliation did.
        server: The server of our own; None where ``TEMPORAL_ADDRESS`` named one.
    """

    address: str
    schedules: Reconciled
    server: Running | None


@dataclass(slots=True)
class Resident:
    """One workspace's worker, with or without a server of its own.

    Attributes:
        room: The workspace's room; every part of it opened before.
        server: The server to keep going; None connects to the one that ``TEMPORAL_*`` names.
        pulse: What it knows of itself.
    """

    room: Room
    server: DevServer | None = None
    pulse: Pulse = field(default_factory=Pulse)
    _interrupted: bool = field(default=False, repr=False)
    _remembered: float = field(default=float("-inf"), repr=False)

    async def run(
        self,
        ready: Callable[[Ready], None],
        alongside: AbstractContextManager[object] | None = None,
        running: Running | None = None,
    ) -> bool:
        """Run until SIGTERM or SIGINT; a step that runs then has ``engine.stop_grace_s`` to end.

        A little later, or at the next of these signals, it is cut off; what was goes on at the next start, as after a
        kill.

        Args:
            ready: Called once everything is up.
            alongside: Entered before ``ready`` and left at the end, e.g. a health page.
            running: The server of our own, which may not answer yet.

        Returns:
            Whether it was SIGINT.

        Raises:
            ConfigError: The server refuses us.
            RetryableError: It does not answer; or it has not heard from our worker for five minutes.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told, number, stop)
        client = await self._client(running)
        await register_attributes(client)
        with explained(client):
            schedules = await reconcile(client, self.room, task_queue(self.room))
        with alongside or nullcontext(), self._cutting_off(stop) as cut_off:
            async with make_worker(client, self.room):
                ready(Ready(client.service_client.config.target_host, schedules, running))
                try:
                    await self._watch(client, stop)
                finally:
                    self.pulse.stopping = True
                    cut_off.start()  # leaving the worker waits for its steps
        return self._interrupted

    def _told(self, number: int, stop: asyncio.Event) -> None:
        """Take a signal: the first asks everything to end, the next one cuts off what has not."""
        self._interrupted |= number == signal.SIGINT
        if stop.is_set():
            threading.Thread(target=self._cut_off, args=(self._code(stop),), daemon=True).start()
        stop.set()

    def _code(self, stop: asyncio.Event) -> int:
        return _INTERRUPTED if self._interrupted else 0 if stop.is_set() else 1

    @contextmanager
    def _cutting_off(self, stop: asyncio.Event) -> Generator[threading.Timer]:
        """Yield what, once started, ends the process unless the block ends in time."""
        after_s = self.room.workspace.engine.stop_grace_s + _UNWINDING_S
        timer = threading.Timer(after_s, lambda: self._cut_off(self._code(stop)))
        timer.daemon = True
        try:
            yield timer
        finally:
            timer.cancel()

    def _cut_off(self, code: int) -> None:
        """End the process though a step goes on: one that reports nothing cannot be told to stop."""
        try:
            releasing = threading.Thread(target=self._release, daemon=True)
            releasing.start()
            releasing.join(_RELEASE_S)
            if self.server:
                self.server.stop()
            logging.shutdown()
        finally:
            os._exit(code)  # whatever the ledger says of it

    def _release(self) -> None:
        """Let go of the runs that are cut off, so that nobody waits for the end of their leases."""
        cut = self.room.ledger.runs.release("It was cut off: its process was told to stop.")
        steps = ", ".join(run.step for run in cut)
        _log.warning("Cut off, to go on at the next start: %s.", steps or "a step that would not end")

    async def _client(self, running: Running | None) -> Client:
        environ = self.room.workspace.environ
        if running is None:
            return await connect(environ)
        return await connect_soon(environ, running.address, self.room.clock, _SERVER_UP_WITHIN_S)

    async def _watch(self, client: Client, stop: asyncio.Event) -> None:
        """Look after everything every two seconds until told to stop."""
        began = self.room.clock.monotonic()
        while not stop.is_set():
            if self.server and self.server.died():
                _log.warning("The Temporal server ended (%s); it is started again.", self.server.said())
                self.server.start()
            try:
                with explained(client):
                    await self._look(client)
                began, self.pulse.unheard = self.room.clock.monotonic(), ""
            except SignalRoomError as problem:
                self.pulse.unheard = str(problem)
                silent_s = self.room.clock.monotonic() - began
                _log.log(logging.WARNING if silent_s > _SILENCE_IS_NEWS_S else logging.DEBUG, "%s", problem)
                if silent_s > _POLLER_MAY_BE_SILENT_S:
                    raise RetryableError(
                        "The Temporal server has not heard from this worker for five minutes.",
                        mend="The process ends, so that whoever watches it starts a new one.",
                    ) from problem
            try:
                await asyncio.wait_for(stop.wait(), _LOOK_EVERY_S)
            except TimeoutError:
                continue

    async def _look(self, client: Client) -> None:
        """Note that our poller was seen, give up silent runs for lost, and write pauses down."""
        if client.identity not in await workers_of(client, task_queue(self.room)):
            raise RetryableError(
                f"The Temporal server has not heard from this worker on its queue {task_queue(self.room)!r}.",
                mend="It asks by itself again; if this stays, look at the server's log.",
            )
        self.pulse.poller_seen_at = self.room.clock.now()
        for lost in await asyncio.to_thread(self.room.ledger.runs.sweep):
            _log.warning("Run %s (%s) was lost.", lost.run_id, lost.step)
        await mirror_pauses(client, self.room)
        if self.room.clock.monotonic() - self._remembered > _REMEMBER_EVERY_S:
            await asyncio.to_thread(remember, self.room)
            self._remembered = self.room.clock.monotonic()
