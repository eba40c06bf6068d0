"""Keeping secrets out of what is said, and the HTTP library from saying them."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from signalroom.errors import ConfigError
from signalroom.workspace.settings import Secret

_SENDABLE = re.compile(r"[\x21-\x7e]+")
_USER = re.compile(r"//[^/@]*@")
_LONGEST = 200


@dataclass(slots=True, eq=False)
class Redaction:
    """The secrets of one upstream.

    Attributes:
        vendor: What errors call the upstream.
    """

    vendor: str
    _values: set[str] = field(default_factory=set[str], init=False, repr=False)

    def reveal(self, value: str | Secret) -> str:
        """Return the text to send, and remember it if it is a secret.

        Raises:
            ConfigError: The secret is not set, or no header could carry it.
        """
        if isinstance(value, str):
            return value
        text = value.reveal()
        if not _SENDABLE.fullmatch(text):
            raise ConfigError(
                f"{self.vendor}: the value of {value.reference.removeprefix('env:')} is empty or holds blanks, line "
                "breaks or characters that no key has.",
                mend="Copy the key again, without anything around it.",
            )
        self._values.add(text)
        return text

    def short(self, text: str) -> str:
        """Return a text in one line of at most 200 characters, without secrets an upstream may have echoed."""
        for value in sorted(self._values, key=len, reverse=True):
            for spelling in (value, quote(value, safe=""), quote_plus(value)):
                text = text.replace(spelling, "***")
        line = " ".join(_USER.sub("//***@", text).split())
        return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


class _Unlogged(logging.Filter):
    """Drops what the HTTP library logs of our requests: it writes whole addresses, keys in the query included."""

    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - all of ours, none of others'
        return not getattr(self.local, "ours", False)


_unlogged = _Unlogged()


@contextmanager
def unlogged() -> Generator[None]:
    """Keep the HTTP library from logging what this thread sends inside the block."""
    for name in ("httpx", "httpcore.http11"):
        logging.getLogger(name).addFilter(_unlogged)  # it is there once, however often it is added
    _unlogged.local.ours = True
    try:
        yield
    finally:
        _unlogged.local.ours = False
