"""A request on its way: what is sent, what of it may be shown, and what becomes of it when no answer comes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlencode

from signalroom.position import Json

Effect: TypeAlias = Literal["none", "once", "keyed"]
"""What asking does: nothing, something that must not be done twice, or something the upstream knows by its key."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    Attributes:
        method: GET, POST…
        path: What errors and logs name.
        target: The path it is sent to; more than ``path`` where the address is a secret.
        params: Query parameters that may be shown.
        secret: Query parameters nobody may see.
        body: The bytes that are sent.
        headers: What is sent with them beside the client's own.
        json: The body where it is JSON.
        expect_json: Whether an answer that is no JSON is an upstream's mistake.
        effect: What asking does.
        answers: Statuses outside 2xx that are answers.
    """

    method: str
    path: str
    target: str
    params: Mapping[str, str]
    secret: Mapping[str, str]
    body: bytes | None
    headers: Mapping[str, str]
    json: Json
    expect_json: bool
    effect: Effect
    answers: frozenset[int]

    @property
    def title(self) -> str:
        """The request as errors name it."""
        return f"{self.method} {self.path}" if self.path else self.method

    @property
    def fingerprint(self) -> str:
        """The same for the same question, whoever asks it."""
        asked: list[Json] = [dict(self.params), self.json]
        if self.body is not None and self.json is None:
            asked.append(hashlib.sha256(self.body).hexdigest())
        canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return f"{self.title} {hashlib.sha256(canonical.encode()).hexdigest()}"

    def record(self) -> dict[str, Json]:
        """Return what was asked, as it is recorded beside what came back."""
        found: dict[str, Json] = {"method": self.method, "path": self.path}
        if self.params:
            found["params"] = dict(self.params)
        if self.json is not None:
            found["json"] = self.json
        return found


class FailedError(Exception):
    """An attempt failed that may be repeated.

    Args:
        cause: What happened, as the middle of a sentence.
        retry_after_s: Seconds the upstream asked for, when it did.
        crowded: Whether it was one request too many.
        untaken: Whether the upstream certainly did nothing.
    """

    def __init__(
        self, cause: str, retry_after_s: float | None = None, *, crowded: bool = False, untaken: bool = False
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.retry_after_s = retry_after_s
        self.crowded = crowded
        self.untaken = untaken


def body_of(
    document: Mapping[str, Json] | None, form: Mapping[str, str] | None, content: bytes | None
) -> tuple[bytes | None, dict[str, str]]:
    """Return the bytes of a body and the header that says what they are."""
    if document is not None:
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode(), {"Content-Type": "application/json"}
    if form is not None:
        return urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    return content, {} if content is None else {"Content-Type": "application/octet-stream"}
