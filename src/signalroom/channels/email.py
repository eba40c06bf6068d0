"""E-mail: over SMTP, or over Resend's API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parseaddr

from signalroom.channels.mail import CLIPPED_BYTES, to_email, unsubscribe_headers
from signalroom.channels.resend import Resend
from signalroom.channels.smtp import Security, Server
from signalroom.clients.rate import RateLimit
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, DataError, SignalRoomError
from signalroom.message import Message, Preview
from signalroom.workspace.settings import Secret, injected, setting

_ADDRESS = re.compile(r"[\x21-\x3f\x41-\x7e]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Email:
    """Sends each reader a mail of their own: nobody sees the others, and one that bounces holds up nobody."""

    from_: str = setting("Who it comes from.", example='from = "Reports <reports@example.com>"')
    to: tuple[str, ...] = setting("Who gets it, an address each.", example='to = ["env:CLIENT_EMAILS"]')
    smtp: Secret | None = setting(
        "Address of a mail server: smtp:// encrypts by STARTTLS, smtps:// from the first byte.",
        default=None,
        example='smtp = "env:SMTP_URL"',
    )
    resend: Secret | None = setting(
        "Key of a Resend account, instead of a mail server.", default=None, example='resend = "env:RESEND_API_KEY"'
    )
    security: Security | None = setting(
        "How the connection to the mail server is encrypted: starttls, tls or none; the address decides when left out.",
        default=None,
        example='security = "starttls"',
    )
    unsubscribe: str = setting(
        "Address a mail program offers to unsubscribe at, https:// or mailto:; {recipient} stands for the reader.",
        default="",
        example='unsubscribe = "https://example.com/stop?who={recipient}"',
    )
    resend_url: str = setting(
        "Address of Resend's API; change it for a proxy or a test.",
        default="https://api.resend.com",
        example='resend_url = "https://api.resend.com"',
    )
    timeout_s: float = setting("How long the other side may be silent.", default=30.0, unit="s")
    clock: Clock = injected(factory=SystemClock)
    _rate: RateLimit = field(default_factory=lambda: RateLimit(2, 1.0), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a channel without a way or without an address."""
        if (self.smtp is None) == (self.resend is None):
            raise ConfigError("it needs either smtp or resend.", mend='Write smtp = "env:SMTP_URL", or resend = "...".')
        if not self.to:
            raise ConfigError("to names nobody.", mend='Write to = ["name@example.com"].')
        for address in (*self.to, parseaddr(self.from_)[1]):
            if not _ADDRESS.fullmatch(address):
                raise ConfigError(f"{address!r} is no e-mail address.", mend="Write it as name@example.com.")
        if self.unsubscribe and not self.unsubscribe.startswith(("https://", "mailto:")):
            raise ConfigError("unsubscribe is no address.", mend="Begin it with https:// or mailto:.")

    def recipients(self) -> Sequence[str]:
        """Return the addresses, each once."""
        return tuple(dict.fromkeys(self.to))

    def send(self, message: Message, recipient: str, key: str) -> str:
        """Send one mail and return the server's words for it, or Resend's id.

        Raises:
            RetryableError: Nothing was accepted.
            ConfigError: The server, the key or the sender must be mended.
            DataError: The recipient or the mail is refused for good.
            UnknownOutcomeError: It may have been accepted.
        """
        headers = unsubscribe_headers(self.unsubscribe, recipient)
        if self.resend is not None:
            return self._resend(self.resend).send(message, self.from_, recipient, key, headers)
        mail = to_email(message, sender=self.from_, recipient=recipient, key=key, clock=self.clock, headers=headers)
        told = self._server().send(mail.as_bytes(), parseaddr(self.from_)[1], recipient)
        return f"{mail['Message-ID']} {told}".strip()

    def find(self, key: str, recipient: str, since: datetime) -> str | None:  # noqa: ARG002 - the key has it all
        """Return None while Resend still knows the key: the same mail under it is then sent once, however often.

        Raises:
            NotImplementedError: A mail server cannot be asked, nor can Resend after a day.
        """
        if self.resend is not None and self._resend(self.resend).remembers(since):
            return None
        raise NotImplementedError

    def check(self) -> Sequence[str]:
        """Return what is wrong with the server or the key; connects, and sends nothing."""
        try:
            if self.resend is not None:
                self._resend(self.resend).probe()
            else:
                self._server().probe()
        except SignalRoomError as problem:
            return [str(problem)]
        return []

    def preview(self, message: Message) -> Preview:
        """Return the mail's text, its size and what Gmail would hide of it."""
        html = len(message.html.encode())
        pictures = sum(len(image.png) for image in message.images)
        facts = [f"to {len(self.recipients())}", f"subject of {len(message.subject)} characters"]
        problems: list[str] = []
        if message.html:
            facts.append(f"{html / 1024:.1f} of {CLIPPED_BYTES // 1024} kB before Gmail clips it")
            facts.append(f"{len(message.images)} pictures of {pictures / 1024:.0f} kB")
        else:
            facts.append("no HTML: text only")
        if html > CLIPPED_BYTES:
            problems.append(f"Gmail would clip its {html / 1024:.0f} kB of HTML: show fewer rows.")
        if not message.text.strip():
            problems.append("It has no text for readers without HTML: add a text template.")
        return Preview(f"Subject: {message.subject}\n\n{message.text}", tuple(facts), tuple(problems))

    def _server(self) -> Server:
        if self.smtp is None:
            raise DataError("This channel has no mail server.", mend='Write smtp = "env:SMTP_URL".')
        return Server.of(self.smtp.reveal(), self.security, self.timeout_s)

    def _resend(self, api_key: Secret) -> Resend:
        return Resend(api_key, self.resend_url, self._rate, self.clock, self.timeout_s)
