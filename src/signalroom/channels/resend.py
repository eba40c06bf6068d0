"""One mail over Resend's API, which knows a repetition by its key for a day."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from signalroom.clients.http import HttpClient, Timeouts
from signalroom.clients.rate import RateLimit
from signalroom.clock import Clock
from signalroom.errors import UnknownOutcomeError
from signalroom.message import Message
from signalroom.position import Json
from signalroom.workspace.settings import Secret

_REMEMBERED = timedelta(hours=23)  # it keeps keys for 24 hours; clocks differ, and a request takes its time


@dataclass(frozen=True, slots=True)
class Resend:
    """An account at Resend.

    Attributes:
        api_key: Its key.
        base_url: Where the API is.
        rate: Its allowance, shared by all mails.
        clock: Where time comes from.
        timeout_s: How long it may be silent.
    """

    api_key: Secret
    base_url: str
    rate: RateLimit
    clock: Clock
    timeout_s: float

    def send(self, message: Message, sender: str, recipient: str, key: str, headers: Mapping[str, str]) -> str:
        """Send one mail and return its id; the same key and mail within a day are sent once.

        Raises:
            RetryableError: It took nothing.
            ConfigError: It refuses the key or the sender.
            DataError: It refuses the mail.
            UnknownOutcomeError: It may have taken it, or it took another mail under this key.
        """
        mail: dict[str, Json] = {
            "from": sender,
            "to": [recipient],
            "subject": " ".join(message.subject.split()),
            "text": message.text,
            "headers": {"X-Entity-Ref-ID": key, **headers},
        }
        if message.html:
            mail["html"] = message.html
            mail["attachments"] = [
                {
                    "content": base64.b64encode(image.png).decode(),
                    "filename": image.name,
                    "content_id": image.name,
                    "content_type": "image/png",
                }
                for image in message.images
            ]
        with self._client() as client:
            answer = client.post("/emails", json=mail, headers={"Idempotency-Key": key}, effect="keyed", answers=(409,))
        told: Mapping[str, Json] = answer.document if isinstance(answer.document, dict) else {}
        if answer.status == 409 or not isinstance(told.get("id"), str):
            raise UnknownOutcomeError(
                f"Resend has the key {key} already: {told.get('name') or 'it answered without an id'}.",
                mend="Look the mail up in its dashboard: what was sent first may differ from this.",
            )
        return str(told["id"])

    def remembers(self, since: datetime) -> bool:
        """Return whether a repetition of what was first sent after ``since`` is still known by its key."""
        return self.clock.now() - since < _REMEMBERED

    def probe(self) -> None:
        """Ask whether the key is good, and send nothing; a key that may only send is."""
        with self._client() as client:
            answer = client.get("/domains", answers=(401,), attempts=2)
            told: Mapping[str, Json] = answer.document if isinstance(answer.document, dict) else {}
            if answer.status == 401 and told.get("name") != "restricted_api_key":
                client.get("/domains", attempts=1)  # says in the usual words that the key was refused

    def _client(self) -> HttpClient:
        return HttpClient(
            vendor="Resend",
            base_url=self.base_url,
            token=self.api_key,
            rate=self.rate,
            clock=self.clock,
            timeouts=Timeouts(read_s=self.timeout_s, deadline_s=120.0),
        )
