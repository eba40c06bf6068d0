"""Text messages over Twilio, in the cheap alphabet where possible and never longer than one allows."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from signalroom.clients.http import HttpClient, Timeouts
from signalroom.clients.rate import RateLimit
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError
from signalroom.message import Message, Preview
from signalroom.smstext import Segments, fit, segments
from signalroom.workspace.settings import Secret, injected, setting

_NUMBER: Final = re.compile(r"\+[1-9]\d{6,14}")
_LOST: Final = frozenset({"failed", "undelivered", "canceled"})
_MARGIN: Final = timedelta(hours=1)
_PAGE_ROWS: Final = 200
_MAX_PAGES: Final = 25
# Codes of a refusal that no edit of ours mends: the number cannot be reached, or its owner said STOP.
_RECIPIENT: Final = frozenset({21211, 21214, 21217, 21408, 21610, 21612, 21614, 21617, 21602, 21635})
_FULL: Final = 21611


@dataclass(frozen=True, slots=True)
class Sms:
    """Sends the SMS form of a report, a message to each number."""

    to: tuple[str, ...] = setting("Numbers with country code.", example='to = ["env:OWNER_PHONE"]')
    account_sid: str = setting("The Twilio account.", example='account_sid = "env:TWILIO_ACCOUNT_SID"')
    auth_token: Secret = setting("Its token.", example='auth_token = "env:TWILIO_AUTH_TOKEN"')
    from_: str = setting("Number it comes from.", default="", example='from = "env:TWILIO_FROM_NUMBER"')
    messaging_service: str = setting(
        "Messaging service that chooses the number, instead of `from`.", default="", example='"MG..."'
    )
    max_segments: int = setting(
        "Most parts a message may be cut into, each billed as one; a longer report is refused.", default=3
    )
    tag: bool = setting(
        "End each message with a mark (9 characters) by which one that may have been sent is found again; without it "
        "such a message stays `unknown` until a person decides.",
        default=True,
    )
    base_url: str = setting(
        "Address of the API; change it for a proxy or a test.",
        default="https://api.twilio.com",
        example='"https://api.twilio.com"',
    )
    timeout_s: float = setting("How long the API may be silent.", default=30.0, unit="s")
    clock: Clock = injected(factory=SystemClock)
    _rate: RateLimit = field(default_factory=lambda: RateLimit(1, 1.0), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse numbers that no network knows."""
        if bool(self.from_) == bool(self.messaging_service):
            raise ConfigError("it needs either from or messaging_service.", mend='Write from = "+1…".')
        for number in (*self.to, *([self.from_] if self.from_ else [])):
            if not _NUMBER.fullmatch(number):
                raise ConfigError("a number has no country code.", mend="Write it as +15551234567, without blanks.")
        if not self.to:
            raise ConfigError("to names nobody.", mend='Write to = ["+15551234567"].')
        if not 1 <= self.max_segments <= 10:
            raise ConfigError("max_segments is not between 1 and 10.", mend="Leave it out for 3.")

    def recipients(self) -> Sequence[str]:
        """Return the numbers, each once."""
        return tuple(dict.fromkeys(self.to))

    def send(self, message: Message, recipient: str, key: str) -> str:
        """Send one message and return Twilio's id of it.

        Raises:
            RetryableError: Nothing was accepted.
            ConfigError: The account, its token or its number must be mended.
            DataError: The number is refused for good, or the text is too long.
            UnknownOutcomeError: It may have been accepted.
        """
        body = self._body(message, key)
        parts = segments(body).parts
        if parts > self.max_segments:
            raise DataError(
                f"The SMS of report {message.report} is {parts} messages long, and {self.max_segments} are allowed.",
                mend="Shorten its template, or raise max_segments.",
            )
        origin = {"From": self.from_} if self.from_ else {"MessagingServiceSid": self.messaging_service}
        with self._client() as client:
            answer = client.post(
                self._path, form={"To": recipient, **origin, "Body": body}, effect="once", answers=(400,)
            )
        if answer.status == 400:
            raise _refused(_mapping(answer.document), recipient)
        return str(_mapping(answer.document).get("sid"))

    def find(self, key: str, recipient: str, since: datetime) -> str | None:
        """Return the id of the message to ``recipient`` that ends with the delivery's mark, or None.

        Raises:
            NotImplementedError: Messages carry no mark (``tag = false``).
            RetryableError: Twilio could not be asked, or has too many messages to look through.
            DataError: Twilio accepted it, and the network then refused it.
        """
        if not self.tag:
            raise NotImplementedError
        mark = _mark(key)
        with self._client() as client:
            for one in self._messages(client, recipient, since - _MARGIN):
                if not str(one.get("body", "")).endswith(mark):
                    continue
                if one.get("status") in _LOST:
                    raise DataError(
                        f"Twilio took the message to {recipient} and lost it: {one.get('status')}, error "
                        f"{one.get('error_code')}.",
                        mend="Look the code up in Twilio's console, then run the report again.",
                    )
                return str(one.get("sid"))
        return None

    def check(self) -> Sequence[str]:
        """Return what is wrong with the account or its token; sends nothing."""
        try:
            with self._client() as client:
                client.get(self._path, params={"PageSize": "1"}, attempts=2)
        except SignalRoomError as problem:
            return [str(problem)]
        return []

    def preview(self, message: Message) -> Preview:
        """Return the SMS, its alphabet and how many messages it is billed as."""
        try:
            body = self._body(message, "preview")
        except DataError as problem:
            return Preview("", (), (str(problem),))
        found: Segments = segments(body)
        facts = (
            f"to {len(self.recipients())}",
            f"{found.encoding}, {found.units} units",
            f"{found.parts} of {self.max_segments} segments",
        )
        long = f"It is {found.parts} messages long: shorten it, or raise max_segments."
        return Preview(body, facts, (long,) if found.parts > self.max_segments else ())

    @property
    def _path(self) -> str:
        return f"/2010-04-01/Accounts/{self.account_sid}/Messages.json"

    def _body(self, message: Message, key: str) -> str:
        if not message.sms:
            raise DataError(
                f"Report {message.report} has no SMS form.", mend=f"Add {message.report}.sms.j2 to its folder."
            )
        return fit(f"{message.sms}{_mark(key)}" if self.tag else message.sms, f"{message.report}.sms.j2")

    def _messages(self, client: HttpClient, recipient: str, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield what was sent to a number, the newest first, back to a moment."""
        # No filter by DateSent: what still waits in a queue has none.
        params = {"To": recipient, "PageSize": str(_PAGE_ROWS)}
        for _ in range(_MAX_PAGES):
            page = _mapping(client.get(self._path, params=params).document)
            for one in page.get("messages", []):
                created = _moment(one.get("date_created"))
                if created is not None and created < since:
                    return
                yield one
            onward = page.get("next_page_uri")
            if not onward:
                return
            params = dict(parse_qsl(urlsplit(str(onward)).query))
        raise RetryableError(
            f"Twilio has more than {_MAX_PAGES * _PAGE_ROWS} messages to {recipient}; ours was not among the newest.",
            mend="Look it up in Twilio's console and settle the delivery by hand.",
        )

    def _client(self) -> HttpClient:
        return HttpClient(
            vendor="Twilio",
            base_url=self.base_url,
            user=self.account_sid,
            token=self.auth_token,
            rate=self._rate,
            clock=self.clock,
            timeouts=Timeouts(read_s=self.timeout_s, deadline_s=120.0),
        )


def _mark(key: str) -> str:
    """Return what a delivery's message ends with: 35 bits of its key are enough among one number's messages."""
    return " #" + base64.b32encode(hashlib.sha256(key.encode()).digest())[:7].decode().lower()


def _refused(told: Mapping[str, Any], recipient: str) -> SignalRoomError:
    code, words = told.get("code"), str(told.get("message", "")).rstrip(".")[:200]
    sentence = f"Twilio refused the message to {recipient} with {code} ({words})."
    if code == _FULL:
        return RetryableError(sentence, mend="Its queue is full; nothing was sent, try again later.")
    if code in _RECIPIENT:
        return DataError(sentence, mend="Take the number out, or ask its owner to text START.")
    return ConfigError(sentence, mend="Mend the channel's number or the account.")


def _moment(text: object) -> datetime | None:
    try:
        return parsedate_to_datetime(str(text))
    except (ValueError, TypeError):
        return None


def _mapping(document: Any) -> Mapping[str, Any]:
    return document if isinstance(document, dict) else {}
