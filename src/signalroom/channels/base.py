"""The role of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from signalroom.message import Message, Preview


@runtime_checkable
class Channel(Protocol):
    """Sends messages. A plugin: a frozen dataclass whose fields are its settings."""

    def recipients(self) -> Sequence[str]:
        """Return who receives a message sent to this channel; one delivery row each."""
        ...

    def send(self, message: Message, recipient: str, key: str) -> str:
        """Send and return the receipt (a message id, a file).

        Raises:
            RetryableError: Nothing was accepted, and the same call may work later.
            ConfigError: Nothing was accepted, and a person must edit something.
            DataError: The recipient or the message is refused for good.
            UnknownOutcomeError: It may have been accepted. So may it have been after any other exception: the
                delivery is then ``unknown``, and :meth:`find` is asked before anything is sent again.
        """
        ...

    def find(self, key: str, recipient: str, since: datetime) -> str | None:
        """Return the receipt of a message already accepted under ``key``; None when a new one would be the only one.

        Args:
            key: The delivery key.
            recipient: Whom it was sent to.
            since: Nothing was sent before this moment (aware).

        Raises:
            NotImplementedError: This channel cannot be asked: a person must find out.
            RetryableError: It could not be asked now, or could not tell.
            DataError: It knows that the message was refused for good after it had been accepted.
        """
        ...

    def check(self) -> Sequence[str]:
        """Return each problem with the connection or its rights as one sentence with its mend."""
        ...


@runtime_checkable
class Previews(Protocol):
    """What a channel may do beside its role: show a message as it would send it."""

    def preview(self, message: Message) -> Preview:
        """Return the message as this channel would send it, with its limits checked; sends nothing."""
        ...
