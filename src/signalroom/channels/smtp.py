"""One mail over SMTP, step by step: only what happens after the last byte can leave it in doubt."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError, UnknownOutcomeError
from signalroom.failpoints import failpoint
from signalroom.telemetry import redact

if TYPE_CHECKING:
    from smtplib import SMTP

Security: TypeAlias = Literal["starttls", "tls", "none"]

_PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}
_LINE_OF_DOTS = re.compile(rb"(?m)^\.")
_CERTIFICATE_MENDS = {  # by OpenSSL's numbers
    10: "Let whoever runs the server renew it.",
    62: "Use the name that is on it.",
    64: "Use the name that is on it, not the server's number.",
}
_UNKNOWN_AUTHORITY = "Name the file of the authority that signed it in SSL_CERT_FILE."
_NOBODY_GOT_IT = "Nothing was sent; it is tried again with the next attempt."


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server.

    Attributes:
        host: Its name.
        port: Its port.
        user: Who signs in; empty for nobody.
        password: With what; never shown.
        security: How the connection is encrypted.
        timeout_s: How long it may be silent.
    """

    host: str
    port: int
    user: str
    password: str
    security: Security
    timeout_s: float

    def __repr__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, url: str, security: Security | None, timeout_s: float) -> Server:
        """Return the server behind ``smtp://`` (STARTTLS) or ``smtps://`` (TLS); raises ConfigError for no address."""
        wrong = ConfigError(
            "The address of the mail server cannot be read.",
            mend="Write it as smtp://user:password@host:587, or smtps:// for TLS, with what is special %-encoded.",
        )
        try:
            parts: SplitResult = urlsplit(url)
            port = parts.port
        except ValueError:
            raise wrong from None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/"):
            raise wrong
        how: Security = security or ("tls" if parts.scheme == "smtps" else "starttls")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, port or _PORTS[how], user, password, how, timeout_s)

    def send(self, mail: bytes, sender: str, recipient: str) -> str:
        """Hand over one mail and return what the server said to it.

        Args:
            mail: The whole mail, its lines ended by CRLF.
            sender: Envelope address that bounces go to.
            recipient: Envelope address of the one reader.

        Raises:
            RetryableError: The server is away, or refused for now; it has nothing.
            ConfigError: It refuses us or the sender, or cannot encrypt.
            DataError: It refuses the recipient or the mail for good.
            UnknownOutcomeError: The connection ended after the whole mail had left.
        """
        session = self._open()
        try:
            self._ask(lambda: session.mail(sender), f"the sender {sender}", ConfigError)
            self._ask(lambda: session.rcpt(recipient), f"the recipient {recipient}", DataError)
            self._ask(lambda: session.docmd("DATA"), "the mail", DataError, expected=354)
            told = self._hand_over(session, mail)
        finally:
            session.close()
        return told

    def probe(self) -> None:
        """Connect and sign in, and send nothing; raises as :meth:`send` does."""
        self._open().close()

    def _open(self) -> SMTP:
        from smtplib import SMTP, SMTP_SSL, SMTPAuthenticationError, SMTPException, SMTPNotSupportedError

        failpoint("channels.smtp.connect")
        session: SMTP | None = None
        try:
            if self.security == "tls":
                context = ssl.create_default_context()
                session = SMTP_SSL(self.host, self.port, _own_name(), timeout=self.timeout_s, context=context)
            else:
                session = SMTP(self.host, self.port, _own_name(), timeout=self.timeout_s)
            session.ehlo_or_helo_if_needed()
            if self.security == "starttls":
                session.starttls(context=ssl.create_default_context())
            if self.user:
                session.login(self.user, self.password)
        except SMTPNotSupportedError:
            _close(session)
            raise ConfigError(
                f"The mail server {self} offers no STARTTLS or no sign-in that we know.",
                mend='Use smtps://, or security = "none" on a network that you trust.',
            ) from None
        except SMTPAuthenticationError as error:
            _close(session)
            if error.smtp_code < 500:
                raise RetryableError(f"The mail server {self} could not sign us in now.", mend=_NOBODY_GOT_IT) from None
            raise ConfigError(f"The mail server {self} refused the user or the password.", mend="Mend them.") from None
        except ssl.SSLCertVerificationError as error:
            _close(session)
            raise ConfigError(
                f"The certificate of the mail server {self} does not hold: {error.verify_message.rstrip('.')}.",
                mend=_CERTIFICATE_MENDS.get(error.verify_code, _UNKNOWN_AUTHORITY),
            ) from None
        except (OSError, SMTPException) as error:
            _close(session)
            raise RetryableError(
                f"The mail server {self} cannot be reached: {_said(error)}.", mend=_NOBODY_GOT_IT
            ) from None
        return session

    def _ask(
        self, ask: Callable[[], tuple[int, bytes]], what: str, refusal: type[SignalRoomError], *, expected: int = 250
    ) -> str:
        """Return the server's words for yes; before the mail is handed over every failure means no."""
        from smtplib import SMTPException

        try:
            code, told = ask()
        except (OSError, SMTPException) as error:
            raise RetryableError(f"The mail server {self} hung up: {_said(error)}.", mend=_NOBODY_GOT_IT) from None
        return self._judge(code, told, what, refusal, expected)

    def _hand_over(self, session: SMTP, mail: bytes) -> str:
        from smtplib import SMTPException

        failpoint("channels.smtp.data")
        body = _LINE_OF_DOTS.sub(b"..", mail)
        ended = b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n"
        try:
            session.send(body + ended)
        except (OSError, SMTPException) as error:
            # The last byte did not leave, and without the dot a server has no mail.
            raise RetryableError(f"The mail server {self} hung up: {_said(error)}.", mend=_NOBODY_GOT_IT) from None
        try:
            code, told = session.getreply()
        except (OSError, SMTPException) as error:
            raise UnknownOutcomeError(
                f"The mail server {self} had the whole mail and did not say whether it took it: {_said(error)}.",
                mend="Look into the server's log, or ask the recipient.",
            ) from None
        failpoint("channels.smtp.sent")
        return self._judge(code, told, "the mail", DataError, 250)

    def _judge(self, code: int, told: bytes, what: str, refusal: type[SignalRoomError], expected: int) -> str:
        words = redact(" ".join(told.decode("utf-8", "replace").split()))[:200]
        if code == expected or (expected == 250 and code == 251):
            return words
        if code == -1:
            raise RetryableError(f"The mail server {self} hung up.", mend=_NOBODY_GOT_IT)
        sentence = f"The mail server {self} refused {what} with {code} {words}".rstrip(".") + "."
        if 400 <= code < 500:
            raise RetryableError(sentence, mend=_NOBODY_GOT_IT)
        raise refusal(sentence, mend="Mend the address, or what the server may send for us.")


def _own_name() -> str:
    """Return what we call ourselves; the library would look it up, which takes seconds where names do not resolve."""
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _close(session: SMTP | None) -> None:
    if session is not None:
        session.close()


def _said(error: Any) -> str:
    return redact(str(error)).rstrip(".")[:200] or type(error).__name__
