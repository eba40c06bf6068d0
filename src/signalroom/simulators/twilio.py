"""Twilio's Messages resource: text messages taken, refused by the codes of its documentation, and listed again."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

from signalroom.simulators.limits import Clock, SlidingWindow
from signalroom.simulators.upstream import Call, RefusedError, Reply, Upstream, form_of, json_reply

_NUMBER = re.compile(r"\+[1-9]\d{6,14}")
_FIELDS = frozenset({"To", "From", "MessagingServiceSid", "Body", "StatusCallback", "ValidityPeriod"})
_FILTERS = frozenset({"To", "From", "DateSent", "DateSent>", "DateSent<", "PageSize", "Page", "PageToken"})
_MAX_BODY = 1_600


@dataclass(slots=True)
class TextMessage:
    """One message that was taken; `status` may be set to what the network made of it."""

    sid: str
    to: str
    sender: str
    body: str
    created: datetime
    status: str = "queued"
    error_code: int | None = None


@dataclass
class TwilioApp:
    """One account.

    Attributes:
        account_sid: Its name.
        auth_token: Its token.
        numbers: Those it may send from.
        services: Messaging services it may send from.
        opted_out: Numbers whose owners texted STOP.
        per_second: Requests a second.
        clock: Seconds, for the limit.
        now: The moment, for each message.
    """

    account_sid: str = "AC" + "0" * 32
    auth_token: str = "twilio-token"  # noqa: S105 - of a simulator
    numbers: frozenset[str] = frozenset({"+15005550006"})
    services: frozenset[str] = frozenset({"MG" + "0" * 32})
    opted_out: set[str] = field(default_factory=set[str])
    per_second: int = 100
    clock: Clock = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        """Begin without messages."""
        self.app = Upstream("twilio", self._answer)
        self.messages: list[TextMessage] = []
        self._limit = SlidingWindow(self.per_second, 1.0, self.clock)

    @property
    def path(self) -> str:
        """Where messages are posted and listed."""
        return f"/2010-04-01/Accounts/{self.account_sid}/Messages.json"

    def _answer(self, call: Call) -> Reply:
        given = call.headers.get("authorization", "")
        pair = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
        if given != f"Basic {pair}":
            return _refusal(401, 20003, "Authenticate")
        if call.path != self.path:
            return _refusal(404, 20404, f"The requested resource {call.path} was not found")
        if not self._limit.take().allowed:
            return _refusal(429, 20429, "Too Many Requests")
        try:
            if call.method == "POST":
                return self._take(form_of(call))
            return self._list(dict(call.query)) if call.method == "GET" else _refusal(405, 20004, "Method not allowed")
        except RefusedError as refused:
            return _refusal(400, 20001, str(refused))

    def _take(self, form: dict[str, str]) -> Reply:
        if unknown := form.keys() - _FIELDS:
            raise RefusedError(f"Unknown parameter {min(unknown)}")
        to, sender, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
        body = form.get("Body", "")
        if not to:
            return _refusal(400, 21604, "A 'To' phone number is required.")
        if not sender and not service:
            return _refusal(400, 21603, "A 'From' phone number is required.")
        if not body:
            return _refusal(400, 21602, "Message body is required.")
        if len(body) > _MAX_BODY:
            return _refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
        if not _NUMBER.fullmatch(to):
            return _refusal(400, 21211, f"Invalid 'To' Phone Number: {to}")
        if (sender and sender not in self.numbers) or (service and service not in self.services):
            return _refusal(400, 21606, f"The 'From' phone number {sender} is not a valid number for your account.")
        if to in self.opted_out:
            return _refusal(400, 21610, "Attempt to send to unsubscribed recipient")
        one = TextMessage(f"SM{len(self.messages):032x}", to, sender or "+15005550006", body, self.now())
        self.messages.append(one)
        return json_reply(self._shown(one), 201)

    def _list(self, query: dict[str, str]) -> Reply:
        if unknown := query.keys() - _FILTERS:
            raise RefusedError(f"Unknown parameter {min(unknown)}")
        size, page = int(query.get("PageSize", "50")), int(query.get("Page", "0"))
        if not 1 <= size <= 1000:
            raise RefusedError("PageSize is not between 1 and 1000")
        found = [one for one in reversed(self.messages) if query.get("To", one.to) == one.to]
        found = [one for one in found if query.get("From", one.sender) == one.sender]
        for name in ("DateSent", "DateSent>", "DateSent<"):
            if name in query:  # what still waits in the queue was not sent on any day
                found = [one for one in found if one.status != "queued" and _on(one.created, name, query[name])]
        onward = None
        if (page + 1) * size < len(found):
            onward = f"{self.path}?{urlencode({**query, 'PageSize': size, 'Page': page + 1})}"
        shown = [self._shown(one) for one in found[page * size : (page + 1) * size]]
        told = {"messages": shown, "page": page, "page_size": size, "next_page_uri": onward, "uri": self.path}
        return json_reply(told)

    def _shown(self, one: TextMessage) -> dict[str, Any]:
        sent = None if one.status == "queued" else format_datetime(one.created)
        return {
            "sid": one.sid,
            "account_sid": self.account_sid,
            "to": one.to,
            "from": one.sender,
            "body": one.body,
            "status": one.status,
            "error_code": one.error_code,
            "error_message": None,
            "direction": "outbound-api",
            "num_segments": "1",
            "date_created": format_datetime(one.created),
            "date_sent": sent,
            "date_updated": format_datetime(one.created),
            "api_version": "2010-04-01",
            "price": None,
            "price_unit": "USD",
            "uri": f"/2010-04-01/Accounts/{self.account_sid}/Messages/{one.sid}.json",
        }


def _on(moment: datetime, name: str, wanted: str) -> bool:
    day = moment.date().isoformat()
    limit = wanted[:10]
    return day >= limit if name.endswith(">") else day <= limit if name.endswith("<") else day == limit


def _refusal(status: int, code: int, message: str) -> Reply:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return json_reply({"code": code, "message": message, "more_info": more, "status": status}, status)
