"""Errors, typed by what the catcher should do.

::

    SignalRoomError
    ├── ConfigError       a person must edit something; retrying is pointless
    ├── RetryableError    the same call may work later
    │   └── UnknownOutcomeError   it may have worked already: ask before it is made again
    └── DataError         set these rows aside; the rest may go on

Every message is one sentence that says what is wrong, where, and the mend.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SignalRoomError(Exception):
    """The base of every error this package raises on purpose.

    Args:
        message: One sentence: what is wrong and where.
        mend: What a person can do about it; printed after the message.
    """

    def __init__(self, message: str, *, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()


class ConfigError(SignalRoomError):
    """A person must edit the workspace, the environment or the upstream's rights."""


class RetryableError(SignalRoomError):
    """The same call may succeed later: a timeout, a 429, a lock, a server restarting.

    Args:
        retry_after_s: Seconds the other side asked us to wait, when it did.
    """

    def __init__(self, message: str, *, mend: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, mend=mend)
        self.retry_after_s = retry_after_s


class UnknownOutcomeError(RetryableError):
    """The call may have taken effect or not, and only the other side knows: ask it before the call is made again.

    Args:
        retry_after_s: Seconds until what is still under way will have arrived, and asking makes sense.
    """


class DataError(SignalRoomError):
    """The data cannot be taken as they are; nothing was moved and no position advanced."""


def interrupted(problem: BaseException) -> bool:
    """Return whether Ctrl-C is behind an error: DuckDB raises one of its own instead, and others are made of that."""
    seen: BaseException | None = problem
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt) or (type(seen) is RuntimeError and str(seen) == "Query interrupted"):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for a misspelt name, or an empty string when nothing is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {found[0]!r}?" if found else ""
