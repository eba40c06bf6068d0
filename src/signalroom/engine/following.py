"""What a process that stays follows: the rows of apps, and every stream that changes all the time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

from signalroom import steps
from signalroom.engine.loops import Loop, Loops
from signalroom.errors import ConfigError, SignalRoomError
from signalroom.projections.follower import Follower
from signalroom.projections.listening import Hints
from signalroom.workspace.plugins import find
from signalroom.workspace.projections import ProjectionSettings

if TYPE_CHECKING:
    from signalroom.room import Room
    from signalroom.stream import Stream

_T = TypeVar("_T", bound="_Closed")
_LISTEN_S: Final = 1.0
_IDLE_S: Final = 0.1  # hints that another process queued are seen this soon; those of this one at once
_STREAM_IDLE_S: Final = 0.5
_log = logging.getLogger("signalroom.engine")


def projection(room: Room, name: str) -> ProjectionSettings:
    """Return an app that the workspace follows; raises ConfigError where a setting is wrong."""
    return room.workspace.configure(ProjectionSettings, room.workspace.projections[name], room.clock)


def projections(room: Room) -> list[ProjectionSettings]:
    """Return the apps that the workspace follows; raises ConfigError where a setting is wrong."""
    return [projection(room, name) for name in room.workspace.projections]


def follower(room: Room, settings: ProjectionSettings) -> Follower:
    """Return a follower of one app; it has connected to nothing of the app's yet."""
    return Follower(settings, room.warehouse.projections(), room.ledger.pulls, room.clock, room.workspace.name)


def continuous_sources(room: Room) -> list[str]:
    """Return the sources whose changes arrive all the time; whether their settings are right is not asked."""
    found: list[str] = []
    for name, part in room.workspace.sources.items():
        try:
            shape = find("source", part.kind, room.workspace.root, part.path)
        except ConfigError as problem:
            _log.debug("Not followed: %s", problem)  # the jobs that read it say so, and so does `check`
            continue
        if getattr(shape, "continuous", False):
            found.append(name)
    return found


class _Closed(Protocol):
    def close(self) -> None: ...


class Following:
    """Follows everything there is to follow, for as long as the block lasts.

    Args:
        room: The workspace's room; its ledger, lake and warehouse opened before.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._open = ExitStack()
        self._pulls: list[Loop] = []
        loops = [loop for name in room.workspace.projections for loop in self._sound(name, self._projection)]
        loops += [loop for name in continuous_sources(room) for loop in self._sound(name, self._streams)]
        self.loops = Loops(loops, room.clock)

    def __enter__(self) -> Self:
        self.loops.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.loops.__exit__()
        self._open.close()

    def wake(self) -> None:
        """Pull now: a row was asked for."""
        for one in self._pulls:
            one.wake()

    @staticmethod
    def _sound(name: str, make: Callable[[str], Iterable[Loop]]) -> list[Loop]:
        """Return what ``make`` makes; where its settings are wrong, one loop that says so: jobs run without it."""
        try:
            return list(make(name))
        except ConfigError as problem:
            said = problem

            def complain(stop: threading.Event) -> float:
                del stop
                raise said

            return [Loop(name, complain)]

    def _projection(self, name: str) -> Iterator[Loop]:
        settings = projection(self._room, name)
        made = partial(follower, self._room, settings)
        pulling, sweeping = self._kept(made()), self._kept(made())
        pull = Loop(
            f"{name} pull", lambda _: 0.0 if pulling.pull().wanted else _IDLE_S,
            ailing=lambda: tuple(pulling.ailing.values()),
        )  # fmt: skip
        sweep = Loop(f"{name} sweep", lambda stop: sweep_all(sweeping, stop))
        self._pulls.append(pull)
        yield from (pull, sweep)
        if settings.follow.listen:
            yield self._listener(settings, self._kept(made()), pull, sweep)
        if settings.follow.relay:
            yield self._relay(settings)

    def _listener(self, settings: ProjectionSettings, hinted: Follower, pull: Loop, sweep: Loop) -> Loop:
        hints = self._kept(Hints(settings.url.reveal()))

        def listen(stop: threading.Event) -> float:
            del stop
            arrived, is_new = hints.wait(_LISTEN_S)
            if hinted.hint(arrived):
                pull.wake()
            if is_new:
                sweep.wake()
            return 0.0

        return Loop(f"{settings.name} listen", listen)

    def _relay(self, settings: ProjectionSettings) -> Loop:
        from signalroom.projections.leader_relay import Relay, Relaying

        relaying = self._kept(Relaying(Relay(settings.url.reveal(), settings.schema, clock=self._room.clock)))

        def relay(stop: threading.Event) -> float:
            del stop
            relaying.turn()
            return 0.0

        return Loop(f"{settings.name} relay", relay)

    def _streams(self, source: str) -> Iterator[Loop]:
        yield from map(self._stream, self._room.streams(source))

    def _stream(self, stream: Stream) -> Loop:
        def turn(stop: threading.Event) -> float:
            del stop
            return 0.0 if steps.sync(self._room, stream).merge.load_ids else _STREAM_IDLE_S

        return Loop(f"{stream.title} sync", turn)

    def _kept(self, opened: _T) -> _T:
        self._open.callback(opened.close)
        return opened


def sweep_all(one: Follower, stop: threading.Event | None = None) -> float:
    """Sweep every entity of an app, and compare those whose comparison is due; return the seconds until the next.

    Raises:
        SignalRoomError: What the first entity that failed raised, once the others were swept.
    """
    failed: list[SignalRoomError] = []
    for name in one.entities:
        if stop is not None and stop.is_set():
            break
        try:
            one.sweep(name)
            if one.is_comparison_due(name):
                one.reconcile(name)
            if one.is_purge_due(name):
                one.purge(name)
        except SignalRoomError as problem:
            failed.append(problem)
    if failed:
        raise failed[0]
    return one.settings.follow.sweep_s
