"""Resend's API: mails taken once per idempotency key for a day, and refused in the words of its documentation."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from signalroom.simulators.limits import Clock, FixedWindow
from signalroom.simulators.upstream import Call, RefusedError, Reply, Upstream, json_reply

_FIELDS = frozenset(
    {"from", "to", "subject", "bcc", "cc", "reply_to", "html", "text", "headers", "attachments", "tags", "scheduled_at"}
)
_ATTACHED = frozenset({"content", "filename", "path", "content_type", "content_id"})
_ADDRESS = re.compile(r"(?:[^<>]*<)?[^<>@\s]+@(?P<domain>[^<>@\s]+\.[^<>@\s]+?)>?")
_REMEMBERED = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail that was taken; `fields` is the request."""

    id: str
    fields: dict[str, Any]
    key: str | None
    at: datetime


@dataclass
class ResendApp:
    """One account.

    Attributes:
        api_key: Its key.
        domains: Those it may send from.
        sending_only: Whether the key may only send.
        suppressed: Addresses it refuses to send to.
        per_second: Requests a second.
        clock: Seconds, for the limit.
        now: The moment, for the keys.
    """

    api_key: str = "re_simulated"
    domains: frozenset[str] = frozenset({"example.com"})
    sending_only: bool = False
    suppressed: set[str] = field(default_factory=set[str])
    per_second: int = 2
    clock: Clock = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        """Begin without mails."""
        self.app = Upstream("resend", self._answer)
        self.mails: list[Mail] = []
        self._limit = FixedWindow(self.per_second, 1.0, self.clock)
        self._keys: dict[str, tuple[str, Mail]] = {}

    def _answer(self, call: Call) -> Reply:
        given = call.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            return _refusal(401, "missing_api_key", "Missing API Key")
        if given != f"Bearer {self.api_key}":
            return _refusal(403, "invalid_api_key", "API key is invalid")
        allowance = self._limit.take()
        if not allowance.allowed:
            wait = {"Retry-After": str(allowance.retry_after_s), "ratelimit-limit": str(allowance.limit)}
            return _refusal(429, "rate_limit_exceeded", "Too many requests.", wait)
        match call.method, call.path:
            case "POST", "/emails":
                return self._take(call)
            case "GET", "/domains" if self.sending_only:
                return _refusal(401, "restricted_api_key", "This API key is restricted to only send emails")
            case "GET", "/domains":
                return json_reply({"object": "list", "data": [{"name": name} for name in sorted(self.domains)]})
            case _:
                return _refusal(404, "not_found", "The requested endpoint does not exist")

    def _take(self, call: Call) -> Reply:
        key = call.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 256:
            return _refusal(400, "invalid_idempotency_key", "The key must be between 1-256 chars")
        try:
            fields = json.loads(call.body)
            self._check(fields)
        except RefusedError as refused:
            return _refusal(refused.status, "validation_error", str(refused))
        except ValueError:
            return _refusal(400, "validation_error", "The body is no JSON")
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        known = self._keys.get(key or "")
        if known is not None and self.now() - known[1].at < _REMEMBERED:
            if known[0] != digest:
                return _refusal(409, "invalid_idempotent_request", "Same idempotency key used with a different request")
            return json_reply({"id": known[1].id})
        one = Mail(str(uuid.uuid5(uuid.NAMESPACE_URL, f"mail {len(self.mails)}")), fields, key, self.now())
        self.mails.append(one)
        if key:
            self._keys[key] = (digest, one)
        return json_reply({"id": one.id})

    def _check(self, fields: Any) -> None:
        """Raise RefusedError for a mail it would not take."""
        if not isinstance(fields, dict) or fields.keys() - _FIELDS:
            raise RefusedError("The body has fields that are not known.", 422)
        for name in ("from", "to", "subject"):
            if not fields.get(name):
                raise RefusedError(f"Missing `{name}` field.", 422)
        if not fields.get("html") and not fields.get("text"):
            raise RefusedError("Missing `html` or `text` field.", 422)
        sender = _ADDRESS.fullmatch(str(fields["from"]))
        if sender is None:
            raise RefusedError("Invalid `from` field.", 422)
        if sender["domain"] not in self.domains:
            raise RefusedError(f"The {sender['domain']} domain is not verified.", 403)
        to: list[str] = fields["to"] if isinstance(fields["to"], list) else [fields["to"]]
        if not 1 <= len(to) <= 50 or not all(_ADDRESS.fullmatch(str(one)) for one in to):
            raise RefusedError("Invalid `to` field.", 422)
        if self.suppressed.intersection(to):
            raise RefusedError("The recipient is on the suppression list.", 422)
        for one in fields.get("attachments", []):
            if not isinstance(one, dict) or one.keys() - _ATTACHED or not one.get("filename"):
                raise RefusedError("Invalid `attachments` field.", 422)
            try:
                base64.b64decode(one.get("content", ""), validate=True)
            except binascii.Error:
                raise RefusedError("`content` is no base64.", 422) from None


def _refusal(status: int, name: str, message: str, headers: dict[str, str] | None = None) -> Reply:
    return json_reply({"statusCode": status, "name": name, "message": message}, status, headers)
