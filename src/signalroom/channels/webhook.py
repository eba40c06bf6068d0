"""A webhook: the report as signed JSON to an address of the team's own."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from signalroom.clients.http import HttpClient, Timeouts
from signalroom.clock import Clock, SystemClock
from signalroom.errors import SignalRoomError
from signalroom.message import Message, Preview
from signalroom.position import Json
from signalroom.workspace.settings import Secret, injected, setting


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts each report as JSON with its delivery key, a timestamp and an HMAC over both.

    A receiver checks ``X-SignalRoom-Signature``: ``v1=`` and the hexadecimal HMAC-SHA256, under the secret, of the
    timestamp, a dot and the body's bytes. It answers 2xx once it has the report for good, 409 when it had it before.
    """

    url: Secret = setting("Address that is posted to; it may hold a token.", example='url = "env:WEBHOOK_URL"')
    secret: Secret = setting("What the signature is made with.", example='secret = "env:WEBHOOK_SECRET"')
    deduplicates: bool = setting(
        "The receiver takes a delivery key once only: a report that may have arrived is then posted again. Otherwise "
        "it stays `unknown` until a person decides.",
        default=False,
    )
    timeout_s: float = setting("How long the receiver may be silent.", default=30.0, unit="s")
    name: str = injected("webhook")
    clock: Clock = injected(factory=SystemClock)

    def recipients(self) -> Sequence[str]:
        """Return the one recipient: the channel's name, because the address is a secret."""
        return (self.name,)

    def send(self, message: Message, recipient: str, key: str) -> str:  # noqa: ARG002 - there is one
        """Post the report and return what the receiver calls it, else its status.

        Raises:
            RetryableError: Nothing was accepted.
            ConfigError: The address or the secret is refused.
            DataError: The receiver refuses the report.
            UnknownOutcomeError: It may have been accepted.
        """
        body = _body(message, key)
        stamp = str(int(self.clock.now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            "X-SignalRoom-Delivery": key,
            "X-SignalRoom-Timestamp": stamp,
            "X-SignalRoom-Signature": f"v1={signature(self.secret.reveal(), stamp, body)}",
        }
        effect = "keyed" if self.deduplicates else "once"
        with self._client() as client:
            answer = client.post("", content=body, headers=headers, effect=effect, answers=(409,), expect_json=False)
        if answer.status == 409:
            return "409: the receiver had it before"
        return _receipt(answer.body) or str(answer.status)

    def find(self, key: str, recipient: str, since: datetime) -> str | None:  # noqa: ARG002 - nobody is asked
        """Return None where the receiver drops what it has; raises NotImplementedError elsewhere: nobody can tell."""
        if self.deduplicates:
            return None
        raise NotImplementedError

    def check(self) -> Sequence[str]:
        """Return a sentence when the address or the secret is missing; posts nothing."""
        try:
            self.secret.reveal()
            with self._client():
                return []
        except SignalRoomError as problem:
            return [str(problem)]

    def preview(self, message: Message) -> Preview:
        """Return the document that would be posted, indented."""
        body = _body(message, "preview")
        shown = json.dumps(json.loads(body), ensure_ascii=False, indent=2)
        return Preview(shown, (f"{len(body) / 1024:.1f} kB of JSON",))

    def _client(self) -> HttpClient:
        return HttpClient(
            vendor=f"The webhook {self.name}",
            base_url=self.url,
            clock=self.clock,
            timeouts=Timeouts(read_s=self.timeout_s, deadline_s=120.0),
        )


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the hexadecimal HMAC-SHA256 of a timestamp (Unix seconds), a dot and a body."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _body(message: Message, key: str) -> bytes:
    document: dict[str, Json] = {
        "key": key,
        "report": message.report,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "sms": message.sms,
        "blocks": list(message.blocks),
        "data": message.data,
        "load_ids": list(message.load_ids),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _receipt(body: bytes) -> str:
    """Return the id a receiver gave, if it gave one."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return ""
    given = found.get("id") if isinstance(found, dict) else None
    return str(given)[:200] if isinstance(given, str | int) else ""
