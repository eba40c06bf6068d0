"""What came back over HTTP, and what an upstream means by it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, cast

from signalroom.position import Json

_SECONDS = re.compile(r"\d{1,9}")
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<!--")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        status: 2xx, or another that the request called an answer.
        body: The exact bytes, decompressed.
        document: The body read as JSON, its fractions as Decimal; None when no JSON was expected.
        elapsed_s: Seconds the attempt that succeeded took.
        fingerprint: Method, path and sha256 of the parameters and the body, without secrets.
        request: What was asked, without secrets: ``method``, ``path``, ``params`` and ``json`` where there are any.
    """

    status: int
    body: bytes
    document: Any
    elapsed_s: float
    fingerprint: str
    request: Mapping[str, Json]


def read_json(body: bytes) -> Any:
    """Return a body read as JSON, fractions as Decimal.

    Raises:
        ValueError: It is none, or not all of it; the text says what it is instead and quotes nothing.
    """
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError):
        start = body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith(_PAGES):
            raise ValueError("an HTML page instead of JSON") from None
        what = f"{len(body):,} bytes that are not JSON, or not all of it" if body else "an empty body"
        raise ValueError(what) from None


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds a Retry-After header asks for, given as seconds or as a date; None when it cannot be read."""
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def complaint(body: bytes) -> str:
    """Return what an error answer says for itself: its error message, else its text; nothing for a page."""
    text = body[: 1 << 16].decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        named = cast("dict[str, Any]", found)
        told = next((named[name] for name in ("error", "message", "Error", "detail") if name in named), None)
        text = told if isinstance(told, str) else text
    return "" if text.startswith("<") else text


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
