"""The one way this package talks HTTP: patient within bounds, and silent about secrets.

An upstream that is busy, broken or cut off is asked again a few times; what it answers in the end is either whole or
an error of the kind that says what to do next. Secrets travel in headers or in the query as `Secret` values; they are
in no error, no log and no fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime
from random import SystemRandom
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, quote_plus, urlencode, urlsplit

from signalroom.clients.rate import RateLimit
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.position import Json
from signalroom.workspace.settings import Secret

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger("signalroom.http")

ATTEMPTS = 5
MAX_BYTES = 64 << 20

_BACKOFF_S, _CROWDED_BACKOFF_S, _MAX_BACKOFF_S = 1.0, 5.0, 40.0
_MAX_HOPS = 5
_QUOTED = 200
_PASSING = frozenset({408, 425, 429})
_ONWARD = frozenset({301, 302, 303, 307, 308})
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_SECONDS = re.compile(r"\d{1,9}")
_random = SystemRandom()


def full_jitter(most_s: float) -> float:
    """Return a random wait from 0 to ``most_s`` seconds, so that clients that failed together come back apart."""
    return _random.uniform(0.0, most_s)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an upstream may take; seconds.

    Attributes:
        connect_s: Until a connection stands.
        read_s: Between two pieces of an answer.
        attempt_s: For one whole answer, however steadily it drips.
        deadline_s: For all attempts of a request and the waits between them.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    attempt_s: float = 120.0
    deadline_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        status: 2xx.
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


@dataclass(frozen=True, slots=True)
class _Call:
    """A request on its way; ``secret`` holds the query parameters nobody may see."""

    method: str
    path: str
    params: Mapping[str, str]
    secret: Mapping[str, str]
    body: bytes | None
    json: Json
    expect_json: bool

    @property
    def title(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def fingerprint(self) -> str:
        canonical = json.dumps([dict(self.params), self.json], sort_keys=True, separators=(",", ":"))
        return f"{self.title} {hashlib.sha256(canonical.encode()).hexdigest()}"

    def record(self) -> dict[str, Json]:
        found: dict[str, Json] = {"method": self.method, "path": self.path}
        if self.params:
            found["params"] = dict(self.params)
        if self.json is not None:
            found["json"] = self.json
        return found


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt failed that may be repeated; ``retry_after_s`` when the upstream said so."""

    cause: str
    retry_after_s: float | None = None
    crowded: bool = False


class _FailedError(Exception):
    """Carries a failure out of an attempt."""

    def __init__(self, failure: _Failure) -> None:
        super().__init__(failure.cause)
        self.failure = failure


class _Unlogged(logging.Filter):
    """Keeps the HTTP library from logging our requests: it would write query parameters, secrets included."""

    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - all of ours, none of others'
        return not getattr(self.local, "ours", False)


_unlogged = _Unlogged()


@dataclass(slots=True, eq=False)
class HttpClient:
    """One upstream; open it as a context manager.

    Attributes:
        vendor: What errors call the upstream.
        base_url: Scheme, host and perhaps a path; requests name what comes after it.
        headers: Sent with each request; a `Secret` is never shown.
        params: Query parameters of each request; a `Secret` is never shown.
        rate: Places among requests; share it between clients of one key.
        clock: Where time and waiting come from.
        timeouts: How long the upstream may take.
        attempts: How often a request is tried.
        max_bytes: Largest answer that is read, decompressed.
        transport: Stands in for the network in tests.
        jitter: Draws a wait from 0 to the seconds it is given.
    """

    vendor: str
    base_url: str
    headers: Mapping[str, str | Secret] = field(default_factory=dict[str, "str | Secret"], repr=False)
    params: Mapping[str, str | Secret] = field(default_factory=dict[str, "str | Secret"], repr=False)
    rate: RateLimit | None = None
    clock: Clock = field(default_factory=SystemClock)
    timeouts: Timeouts = field(default_factory=Timeouts)
    attempts: int = ATTEMPTS
    max_bytes: int = MAX_BYTES
    transport: httpx.BaseTransport | None = None
    jitter: Callable[[float], float] = full_jitter
    _client: httpx.Client | None = field(default=None, init=False, repr=False)
    _secrets: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __enter__(self) -> Self:
        """Check the address and the secrets and open the client; nothing is sent yet.

        Raises:
            ConfigError: No address, a secret that is not set, or one that no header can carry.
        """
        import httpx

        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{self.vendor}: {self.base_url!r} is not an address.",
                mend="Write it as https://host or https://host/path.",
            )
        headers = {name: self._known(value) for name, value in self.headers.items()}
        for value in self.params.values():
            self._known(value)
        for name in ("httpx", "httpcore.http11"):
            logging.getLogger(name).addFilter(_unlogged)
        self._client = httpx.Client(
            headers={"User-Agent": "signalroom", "Accept-Encoding": "gzip", **headers},
            transport=self.transport,
            follow_redirects=False,
            verify=parts.scheme == "https",  # without TLS there is nothing to verify, and no need to load roots
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def get(self, path: str, **request: Any) -> Answer:
        """Ask with GET; see `request`."""
        return self.request("GET", path, **request)

    def post(self, path: str, **request: Any) -> Answer:
        """Ask with POST; see `request`."""
        return self.request("POST", path, **request)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | Secret] | None = None,
        json: Mapping[str, Json] | None = None,
        expect_json: bool = True,
        attempts: int = 0,
    ) -> Answer:
        """Ask until a whole answer is in, or until the attempts or the time for them are used up.

        Args:
            method: GET, POST…
            path: What comes after the base address; it begins with a slash.
            params: Query parameters beside the client's own.
            json: Body, sent as JSON.
            expect_json: Whether an answer that is no JSON is an upstream's mistake, to be asked again.
            attempts: How often to try instead of the client's own number; 1 for what must not be sent twice.

        Raises:
            RetryableError: Busy, broken, cut off or too slow, each time; it names the last cause.
            ConfigError: The key was refused, the request was, or it was sent elsewhere.
            DataError: The answer is larger than may be read, or the upstream cannot take the body.
        """
        asked = {**self.params, **(params or {})}
        call = _Call(
            method=method,
            path=urlsplit(self.base_url).path.rstrip("/") + path,
            params={name: value for name, value in asked.items() if isinstance(value, str)},
            secret={name: self._known(value) for name, value in asked.items() if isinstance(value, Secret)},
            body=None if json is None else _canonical(json),
            json=json,
            expect_json=expect_json,
        )
        return self._persist(call, attempts or self.attempts)

    def _persist(self, call: _Call, attempts: int) -> Answer:
        deadline_s: float | None = None
        attempt = 0
        while True:
            attempt += 1
            with self.rate.turn(self.clock) if self.rate else nullcontext():
                began_s = self.clock.monotonic()
                deadline_s = deadline_s or began_s + self.timeouts.deadline_s
                try:
                    return self._attempt(call, began_s, deadline_s)
                except _FailedError as failed:
                    failure = failed.failure
            _log.debug("%s %s: %s (attempt %d of %d)", self.vendor, call.title, failure.cause, attempt, attempts)
            if attempt >= attempts:
                self._give_up(call, failure, f"after {attempt} attempt{'s' * (attempt > 1)}")
            wait_s = self._wait(failure, attempt)
            if self.clock.monotonic() + wait_s >= deadline_s:
                self._give_up(
                    call, failure, f"within {self.timeouts.deadline_s:g} s ({attempt} of {attempts} attempts)"
                )
            self.clock.sleep(wait_s)

    def _wait(self, failure: _Failure, attempt: int) -> float:
        """Return the seconds until the next attempt: never less than the upstream asked for."""
        base_s = _CROWDED_BACKOFF_S if failure.crowded and failure.retry_after_s is None else _BACKOFF_S
        spread_s = self.jitter(min(_MAX_BACKOFF_S, base_s * 2 ** (attempt - 1)))
        return spread_s + (failure.retry_after_s or 0.0)

    def _give_up(self, call: _Call, failure: _Failure, how: str) -> NoReturn:
        mend = "Nothing was taken from it; ask again later."
        if failure.retry_after_s is not None:
            mend = f"It asked to be left alone for {failure.retry_after_s:g} s; ask again after that."
        raise RetryableError(
            f"{self.vendor} did not answer {call.title} {how}: {failure.cause}.",
            mend=mend,
            retry_after_s=failure.retry_after_s,
        )

    def _attempt(self, call: _Call, began_s: float, deadline_s: float) -> Answer:
        """Send a request once and return its answer; raises _FailedError where another attempt may help."""
        ends_s = min(deadline_s, began_s + self.timeouts.attempt_s)
        failpoint("http.request")
        status, headers, body = self._exchange(call, ends_s)
        failpoint("http.response")
        elapsed_s = self.clock.monotonic() - began_s
        shown = f"{call.path}?{urlencode(call.params)}" if call.params else call.path
        _log.debug("%s %s %s: %d in %.3f s, %d bytes", self.vendor, call.method, shown, status, elapsed_s, len(body))
        if not 200 <= status < 300:
            self._refused(call, status, headers, body)
        document = self._document(status, body) if call.expect_json else None
        return Answer(status, body, document, elapsed_s, call.fingerprint, call.record())

    def _exchange(self, call: _Call, ends_s: float) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body, with redirects followed that stay on the same host."""
        import httpx

        if self._client is None:
            raise RuntimeError("the client is not open")
        parts = urlsplit(self.base_url)
        url = httpx.URL(f"{parts.scheme}://{parts.netloc}{call.path}", params={**call.params, **call.secret})
        typed = {"Content-Type": "application/json"} if call.body is not None else {}
        for _ in range(_MAX_HOPS):
            left_s = ends_s - self.clock.monotonic()
            timeout = httpx.Timeout(
                max(0.001, min(self.timeouts.read_s, left_s)), connect=min(self.timeouts.connect_s, max(0.001, left_s))
            )
            request = self._client.build_request(call.method, url, content=call.body, headers=typed, timeout=timeout)
            status, headers, body = self._send(request, ends_s)
            if status not in _ONWARD or "location" not in headers:
                return status, headers, body
            url = self._onward(call, url, status, headers["location"])
        raise ConfigError(
            f"{self.vendor} sends {call.title} from one address to the next without end.", mend="Check its base_url."
        )

    def _send(self, request: httpx.Request, ends_s: float) -> tuple[int, Mapping[str, str], bytes]:
        import httpx

        client = self._client
        if client is None:
            raise RuntimeError("the client is not open")
        try:
            _unlogged.local.ours = True
            response = client.send(request, stream=True)
            try:
                return response.status_code, response.headers, self._body(response, ends_s)
            finally:
                response.close()
        except httpx.LocalProtocolError:
            # Its text would quote the header: say which kind of mistake it is and no more.
            raise ConfigError(
                f"{self.vendor}: a setting cannot be sent in a request header.", mend="Check the key and the base_url."
            ) from None
        except httpx.ConnectTimeout:
            self._fail(f"no connection within {self.timeouts.connect_s:g} s")
        except httpx.TimeoutException:
            self._fail(f"silent for {self.timeouts.read_s:g} s")
        except httpx.RequestError as error:
            self._fail(f"the connection failed ({self._redacted(str(error)) or type(error).__name__})")
        finally:
            _unlogged.local.ours = False

    def _body(self, response: httpx.Response, ends_s: float) -> bytes:
        """Read an answer, as long as it is neither too large nor too slow."""
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > self.max_bytes:
                raise DataError(
                    f"{self.vendor} answered with more than {self.max_bytes:,} bytes, which is more than is read at once.",
                    mend="Ask for fewer days.",
                )
            if self.clock.monotonic() > ends_s:
                self._fail(f"not done after {self.timeouts.attempt_s:g} s, {size:,} bytes into its answer")
        return b"".join(parts)

    def _onward(self, call: _Call, url: httpx.URL, status: int, location: str) -> httpx.URL:
        """Return where a redirect leads; another host never gets our key."""
        import httpx

        try:
            target = url.join(location)
        except httpx.InvalidURL:
            target = httpx.URL("http://nowhere.invalid")
        same = (target.scheme, target.host, target.port) == (url.scheme, url.host, url.port)
        if same and (call.method == "GET" or status in (307, 308)):
            return target
        raise ConfigError(
            f"{self.vendor} redirects {call.title} to {self._redacted(target.host) or 'another address'}, "
            "which is not followed.",
            mend="Check its base_url.",
        )

    def _refused(self, call: _Call, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
        """Raise what an answer other than 2xx means."""
        said = self._quoted(body)
        if status in _PASSING or status >= 500:
            self._fail(f"it answered {status}{said}", self._retry_after(headers), crowded=status == 429)
        if status in (401, 403):
            names = ", ".join(
                value.reference.removeprefix("env:")
                for value in (*self.headers.values(), *self.params.values())
                if isinstance(value, Secret)
            )
            raise ConfigError(
                f"{self.vendor} refused the key with {status}{said} for {call.title}.",
                mend=f"Put a key that may read this into {names or 'the settings'}.",
            )
        message = f"{self.vendor} refused {call.title} with {status}{said}."
        if status in (413, 422):
            raise DataError(message, mend="Nothing was taken from it; look at what was asked.")
        mend = "Check its base_url." if status in (404, 405, 410) else "Check the settings this request is made of."
        raise ConfigError(message, mend=mend)

    def _document(self, status: int, body: bytes) -> Any:
        """Read JSON; what is none was cut short or comes from something in between, so it is asked again."""
        try:
            return json.loads(body, parse_float=Decimal, parse_constant=_no_number)
        except (ValueError, RecursionError):
            start = body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
            if start.startswith((b"<!doctype html", b"<html", b"<!--")):
                self._fail(f"it answered {status} with an HTML page instead of JSON")
            what = f"{len(body):,} bytes that are not JSON, or not all of it" if body else "nothing"
            self._fail(f"it answered {status} with {what}")

    def _retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Return the seconds a Retry-After header asks for; None when it says nothing that can be read."""
        text = headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(text):
            return float(text)
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - self.clock.now()).total_seconds())

    def _fail(self, cause: str, retry_after_s: float | None = None, *, crowded: bool = False) -> NoReturn:
        raise _FailedError(_Failure(cause, retry_after_s, crowded)) from None

    def _known(self, value: str | Secret) -> str:
        """Return a header's or parameter's text, and remember it if it is a secret."""
        if isinstance(value, str):
            return value
        text = value.reveal()
        if not _SENDABLE.fullmatch(text):
            raise ConfigError(
                f"{self.vendor}: the value of {value.reference.removeprefix('env:')} is empty or holds blanks, line "
                "breaks or characters that no key has.",
                mend="Copy the key again, without anything around it.",
            )
        if text not in self._secrets:
            self._secrets = (*self._secrets, text)
        return text

    def _redacted(self, text: str) -> str:
        """Return a text in one line, short, and without the secrets an upstream may have echoed."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            for spelling in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(spelling, "***")
        line = " ".join(text.split())
        return line if len(line) <= _QUOTED else f"{line[: _QUOTED - 1]}…"

    def _quoted(self, body: bytes) -> str:
        """Return what an error answer says, in brackets; nothing for a page or an empty body."""
        text = body[: 1 << 16].decode("utf-8", "replace").strip()
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            named: dict[str, Any] = found
            told = next((named[name] for name in ("error", "message", "Error", "detail") if name in named), None)
            text = told if isinstance(told, str) else text
        line = "" if text.startswith("<") else self._redacted(text)
        return f" ({line})" if line else ""


def _canonical(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
