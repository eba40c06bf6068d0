"""Hints as the leader's database gives them: one notification for each row that changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from signalroom.clients.postgres import connect, explained

if TYPE_CHECKING:
    import psycopg

_CHANNEL = "reporting_pulls"


class Hints:
    """A connection that listens; what is notified while there is none is lost, and is for the sweep to find.

    Args:
        url: Address of the app's database; not that of a pooler that shares sessions.
        timeout_s: How long connecting may take.
    """

    def __init__(self, url: str, *, timeout_s: int = 15) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._opened: psycopg.Connection[tuple[Any, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def wait(self, timeout_s: float) -> tuple[list[tuple[str, str, int]], bool]:
        """Return the hints that have come, waiting for the first; and whether some before them may be lost.

        Args:
            timeout_s: Longest wait; no hints are returned then.

        Raises:
            RetryableError: The database does not answer.
        """
        with explained("listen for changed rows"):
            is_new = self._opened is None or self._opened.closed
            if self._opened is None or is_new:
                self._opened = connect(self._url, timeout_s=self._timeout_s)
                self._opened.execute(f"LISTEN {_CHANNEL}")
            arrived = [one.payload for one in self._opened.notifies(timeout=timeout_s, stop_after=1)]
        return [hint for hint in map(parse_hint, arrived) if hint is not None], is_new


def parse_hint(payload: str) -> tuple[str, str, int] | None:
    """Return entity, id and version of ``entity:id:version``; None for what is none of the kit's.

    An id may hold colons; an entity and a version hold none.
    """
    entity, _, rest = payload.partition(":")
    name, _, version = rest.rpartition(":")
    return (entity, name, int(version)) if entity and name and version.isascii() and version.isdigit() else None
