"""The role of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from signalroom.message import Message


@runtime_checkable
class Channel(Protocol):
    """Sends messages. A plugin: a frozen dataclass whose fields are its settings."""

    def recipients(self) -> Sequence[str]:
        """Return who receives a message sent to this channel; one delivery row each."""
        ...

    def send(self, message: Message, recipient: str, key: str) -> str:
        """Send and return the receipt (a message id, a file).

        Raises RetryableError when nothing was accepted, DataError when the recipient or message is refused for
        good; any other failure leaves the delivery ``unknown``, to be reconciled by :meth:`find`.
        """
        ...

    def find(self, key: str, recipient: str) -> str | None:
        """Return the receipt of a message already accepted under ``key``, or None.

        Asked before any resend. A channel that cannot be asked raises NotImplementedError.
        """
        ...

    def check(self) -> Sequence[str]:
        """Return each problem with the connection or its rights as one sentence with its mend."""
        ...
