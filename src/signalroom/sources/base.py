"""The role of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from signalroom.position import Position
from signalroom.stream import Batch, Stream, Window


@runtime_checkable
class Source(Protocol):
    """Reads an upstream. A plugin: a frozen dataclass whose fields are its settings.

    It keeps no state of its own: everything it needs to go on is in the position it is given.

    A class with ``continuous: ClassVar[bool] = True`` is one whose changes arrive all the time, each worth a sync at
    once, and whose sync of nothing costs little: the process that stays follows it. It is asked of the class, because
    a source whose settings are wrong cannot be made.
    """

    def streams(self) -> Sequence[Stream]:
        """Return the streams this source offers; talks to no upstream."""
        ...

    def read(self, stream: Stream, since: Position, window: Window | None) -> Iterator[Batch]:
        """Yield what arrived after ``since``, or what ``window`` asks for.

        Each batch is consumed (its bytes written to the lake) before the next is asked for. An upstream that
        misbehaves raises RetryableError or DataError; nothing that was yielded is lost.
        """
        ...

    def confirm(self, stream: Stream, position: Position) -> None:
        """Tell the upstream that ``position`` is safe in the warehouse; most upstreams need nothing."""
        ...

    def check(self) -> Sequence[str]:
        """Return each problem with the connection or its rights as one sentence with its mend."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """What an upstream keeps for us until we have read and confirmed it.

    Attributes:
        held_bytes: Its size, on the upstream's disk.
        allowed_bytes: How large it may grow.
        lost: Whether the upstream has thrown some of it away, so that it cannot be read any more.
    """

    held_bytes: int
    allowed_bytes: int
    lost: bool = False


@runtime_checkable
class Holding(Protocol):
    """What a source has besides where its upstream keeps changes for it: a slot that is not read fills a disk."""

    def backlog(self) -> Backlog | None:
        """Return what the upstream holds, None before the first sync; raises as ``read`` does."""
        ...
