"""The one way this package talks HTTP: patient within bounds, and silent about secrets.

An upstream that is busy, broken or cut off is asked again a few times; what it answers in the end is either whole or
an error of the kind that says what to do next. Secrets travel in headers or in the query as `Secret` values; they are
in no error, no log and no fingerprint.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from random import SystemRandom
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlencode

from signalroom.clients.answers import Answer, complaint, read_json, retry_after_s
from signalroom.clients.calls import Call, Effect, FailedError, body_of
from signalroom.clients.rate import RateLimit
from signalroom.clients.redaction import Redaction, unlogged
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, DataError, RetryableError, UnknownOutcomeError
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
_PASSING = frozenset({408, 425, 429})
_UNTAKEN = frozenset({425, 429})  # what was refused so did nothing; a 408 or 500 may have come after it was done
_ONWARD = frozenset({301, 302, 303, 307, 308})
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


@dataclass(slots=True, eq=False)
class HttpClient:
    """One upstream; open it as a context manager.

    Attributes:
        vendor: What errors call the upstream.
        base_url: Scheme, host and perhaps a path; requests name what comes after it. Of a `Secret` only the host is
            ever shown.
        headers: Sent with each request; a `Secret` is never shown.
        params: Query parameters of each request; a `Secret` is never shown.
        token: Sent as a bearer token; or as the password of ``user`` where that is given.
        user: Name that goes with the token, where the upstream wants both.
        rate: Places among requests; share it between clients of one key.
        clock: Where time and waiting come from.
        timeouts: How long the upstream may take.
        attempts: How often a request is tried.
        max_bytes: Largest answer that is read, decompressed.
        transport: Stands in for the network in tests.
        jitter: Draws a wait from 0 to the seconds it is given.
    """

    vendor: str
    base_url: str | Secret
    headers: Mapping[str, str | Secret] = field(default_factory=dict[str, "str | Secret"], repr=False)
    params: Mapping[str, str | Secret] = field(default_factory=dict[str, "str | Secret"], repr=False)
    token: Secret | None = None
    user: str = ""
    rate: RateLimit | None = None
    clock: Clock = field(default_factory=SystemClock)
    timeouts: Timeouts = field(default_factory=Timeouts)
    attempts: int = ATTEMPTS
    max_bytes: int = MAX_BYTES
    transport: httpx.BaseTransport | None = None
    jitter: Callable[[float], float] = full_jitter
    _redaction: Redaction = field(init=False, repr=False)
    _client: httpx.Client | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin without a connection."""
        self._redaction = Redaction(self.vendor)

    def __enter__(self) -> Self:
        """Check the address and the secrets and make the client; nothing is sent yet.

        Raises:
            ConfigError: No address, a secret that is not set, or one that no header can carry.
        """
        import httpx

        scheme = self._base().scheme
        headers = {name: self._redaction.reveal(value) for name, value in self.headers.items()}
        for value in self.params.values():
            self._redaction.reveal(value)
        if self.token is not None:
            token = self._redaction.reveal(self.token)
            pair = base64.b64encode(f"{self.user}:{token}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}" if self.user else f"Bearer {token}"
        self._client = httpx.Client(
            headers={"User-Agent": "signalroom", "Accept-Encoding": "gzip", **headers},
            transport=self.transport,
            follow_redirects=False,
            verify=scheme == "https",  # without TLS there is nothing to verify, and no need to load roots
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
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        expect_json: bool = True,
        attempts: int = 0,
        effect: Effect = "none",
        answers: Collection[int] = (),
    ) -> Answer:
        """Ask until a whole answer is in, or until the attempts or the time for them are used up.

        Args:
            method: GET, POST…
            path: What comes after the base address; it begins with a slash.
            params: Query parameters beside the client's own.
            json: Body, sent as JSON.
            form: Body, sent as a form; only one of the three may be given.
            content: Body, sent as it is.
            headers: Sent beside the client's own.
            expect_json: Whether an answer that is no JSON is an upstream's mistake, to be asked again.
            attempts: How often to try instead of the client's own number.
            effect: What asking does. ``none``: it may be asked again at will. ``once``: asked again only after a
                refusal that did nothing. ``keyed``: the upstream knows a repetition by its key.
            answers: Statuses outside 2xx that are answers, not errors.

        Raises:
            RetryableError: Busy, broken, cut off or too slow, each time; it names the last cause.
            UnknownOutcomeError: The same, of a request with an effect that the upstream may have taken.
            ConfigError: The key was refused, the request was, or it was sent elsewhere.
            DataError: The answer is larger than may be read, or the upstream cannot take the body.
        """
        asked = {**self.params, **(params or {})}
        base = self._base().path.rstrip("/")
        body, kind = body_of(json, form, content)
        call = Call(
            method=method,
            path=path if isinstance(self.base_url, Secret) else base + path,
            target=base + path,
            params={name: value for name, value in asked.items() if isinstance(value, str)},
            secret={name: self._redaction.reveal(value) for name, value in asked.items() if isinstance(value, Secret)},
            body=body,
            headers={**kind, **(headers or {})},
            json=json,
            expect_json=expect_json,
            effect=effect,
            answers=frozenset(answers),
        )
        return self._persist(call, attempts or self.attempts)

    def _persist(self, call: Call, attempts: int) -> Answer:
        """Try, wait and try again; the time a rate limit costs before the first attempt is not the upstream's."""
        deadline_s: float | None = None
        attempt = 0
        doubt = ""  # why an attempt that had an effect, if any, did not tell so
        while True:
            attempt += 1
            with self.rate.turn(self.clock) if self.rate else nullcontext():
                began_s = self.clock.monotonic()
                deadline_s = deadline_s if deadline_s is not None else began_s + self.timeouts.deadline_s
                try:
                    return self._attempt(call, began_s, deadline_s)
                except FailedError as error:
                    failed = error
                except (ConfigError, DataError) as error:
                    if doubt:
                        raise self._unknown(call, doubt) from error
                    raise
            if call.effect != "none" and not failed.untaken:
                doubt = doubt or failed.cause
            _log.debug("%s %s: %s (attempt %d of %d)", self.vendor, call.title, failed.cause, attempt, attempts)
            wait_s = self._wait(failed, attempt)
            over = attempt >= attempts or self.clock.monotonic() + wait_s >= deadline_s
            if doubt and (over or call.effect == "once"):
                raise self._unknown(call, doubt)
            if over:
                self._give_up(call, failed, attempt)
            self.clock.sleep(wait_s)

    def _wait(self, failed: FailedError, attempt: int) -> float:
        """Return the seconds until the next attempt: never less than the upstream asked for."""
        base_s = _CROWDED_BACKOFF_S if failed.crowded and failed.retry_after_s is None else _BACKOFF_S
        spread_s = self.jitter(min(_MAX_BACKOFF_S, base_s * 2 ** (attempt - 1)))
        return spread_s + (failed.retry_after_s or 0.0)

    def _unknown(self, call: Call, doubt: str) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{self.vendor} may or may not have taken {call.title}: {doubt}.",
            mend="Ask it what arrived before anything is sent again.",
        )

    def _give_up(self, call: Call, failed: FailedError, attempt: int) -> NoReturn:
        mend = "Nothing was taken from it; ask again later."
        if failed.retry_after_s is not None:
            mend = f"It asked to be left alone for {failed.retry_after_s:g} s; ask again after that."
        tries = f"{attempt} attempts" if attempt > 1 else "1 attempt"
        raise RetryableError(
            f"{self.vendor} did not answer {call.title} in {tries}: {failed.cause}.",
            mend=mend,
            retry_after_s=failed.retry_after_s,
        ) from None

    def _attempt(self, call: Call, began_s: float, deadline_s: float) -> Answer:
        """Send a request once and return its answer; raises FailedError where another attempt may help."""
        failpoint("http.request")
        status, headers, body = self._exchange(call, min(deadline_s, began_s + self.timeouts.attempt_s))
        failpoint("http.response")
        elapsed_s = self.clock.monotonic() - began_s
        shown = f"{call.path}?{urlencode(call.params)}" if call.params else call.path
        _log.debug("%s %s %s: %d in %.3f s, %d bytes", self.vendor, call.method, shown, status, elapsed_s, len(body))
        if not 200 <= status < 300 and status not in call.answers:
            self._refused(call, status, headers, body)
        try:
            document = read_json(body) if call.expect_json else None
        except ValueError as error:
            # It was cut short, or it comes from something in between: a login wall, a proxy.
            raise FailedError(f"it answered {status} with {error}") from None
        return Answer(status, body, document, elapsed_s, call.fingerprint, call.record())

    def _exchange(self, call: Call, ends_s: float) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body, with redirects followed that stay on the same host."""
        import httpx

        client = self._client
        if client is None:
            raise RuntimeError(f"The client for {self.vendor} is not open.")
        url = self._base().copy_with(path=call.target, params={**call.params, **call.secret})
        for _ in range(_MAX_HOPS):
            left_s = max(0.001, ends_s - self.clock.monotonic())
            timeout = httpx.Timeout(min(self.timeouts.read_s, left_s), connect=min(self.timeouts.connect_s, left_s))
            request = client.build_request(call.method, url, content=call.body, headers=call.headers, timeout=timeout)
            status, headers, body = self._send(client, request, ends_s)
            if status not in _ONWARD or "location" not in headers:
                return status, headers, body
            url = self._onward(call, url, status, headers["location"])
        raise ConfigError(
            f"{self.vendor} sends {call.title} from one address to the next without end.", mend="Check its base_url."
        )

    def _send(
        self, client: httpx.Client, request: httpx.Request, ends_s: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request; what the library says of a failure is quoted short, and its own traceback is not kept."""
        import httpx

        try:
            with unlogged():
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
            raise FailedError(f"no connection within {_allowed_s(request, 'connect'):.3g} s", untaken=True) from None
        except httpx.TimeoutException:
            raise FailedError(f"silent for {_allowed_s(request, 'read'):.3g} s") from None
        except httpx.RequestError as error:
            told = self._redaction.short(str(error)) or type(error).__name__
            untaken = isinstance(error, httpx.ConnectError)
            raise FailedError(f"the connection failed ({told})", untaken=untaken) from None

    def _body(self, response: httpx.Response, ends_s: float) -> bytes:
        """Read an answer, as long as it is neither too large nor too slow."""
        parts: list[bytes] = []
        size, began_s = 0, self.clock.monotonic()
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > self.max_bytes:
                raise DataError(
                    f"{self.vendor} answered with more than {self.max_bytes:,} bytes, the most that is read at once.",
                    mend="Ask for less at once, for example for fewer days.",
                )
            now_s = self.clock.monotonic()
            if now_s > ends_s:
                raise FailedError(f"still not done after {now_s - began_s:.3g} s and {size:,} bytes")
        return b"".join(parts)

    def _onward(self, call: Call, url: httpx.URL, status: int, location: str) -> httpx.URL:
        """Return where a redirect leads; another host never gets our key."""
        target = url.join(location)
        same = (target.scheme, target.host, target.port) == (url.scheme, url.host, url.port)
        if same and (call.method == "GET" or status in (307, 308)):
            return target
        raise ConfigError(
            f"{self.vendor} redirects {call.title} to {self._redaction.short(target.host)}, which is not followed.",
            mend="Check its base_url.",
        )

    def _refused(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
        """Raise what an answer other than 2xx means."""
        told = self._redaction.short(complaint(body))
        said = f"{status} ({told})" if told else str(status)
        if status in _PASSING or status >= 500:
            retry_s = retry_after_s(headers, self.clock.now())
            raise FailedError(f"it answered {said}", retry_s, crowded=status == 429, untaken=status in _UNTAKEN)
        if status in (401, 403):
            given = (self.token, *self.headers.values(), *self.params.values())
            names = [value.reference.removeprefix("env:") for value in given if isinstance(value, Secret)]
            raise ConfigError(
                f"{self.vendor} refused the key for {call.title} with {said}.",
                mend=f"Put a key that may read this into {' or '.join(names) or 'the settings'}.",
            )
        message = f"{self.vendor} refused {call.title} with {said}."
        if status in (413, 422):
            raise DataError(message, mend="Nothing was taken; look at what was asked.")
        mend = "Check its base_url." if status in (404, 405, 410) else "Check the settings this request is made of."
        raise ConfigError(message, mend=mend)

    def _base(self) -> httpx.URL:
        """Return the base address; raises ConfigError for what is none."""
        import httpx

        try:
            url = httpx.URL(self._redaction.reveal(self.base_url))
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme in ("http", "https") and url.host and not url.query:
            return url
        raise ConfigError(
            f"{self.vendor}: the base_url {self._redaction.short(str(self.base_url))!r} is no address.",
            mend="Write it as https://host or https://host/path.",
        )


def _allowed_s(request: httpx.Request, phase: str) -> float:
    """Return how long a request was allowed to wait: less than usual near the end of its time."""
    return float(request.extensions["timeout"][phase])
