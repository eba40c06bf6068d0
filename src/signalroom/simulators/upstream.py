"""One simulated server: an ASGI app that logs requests, commits scripted faults and answers the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from signalroom.simulators.faults import Fault, Faults

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SECRETS = frozenset({"api_key"})
_PAGE = b"<!doctype html>\n<html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n"


class CutError(Exception):
    """Raised after half an answer, so that the server closes the connection."""


class RefusedError(Exception):
    """Raised while reading a request that does not keep to the contract."""

    def __init__(self, text: str, status: int = 400) -> None:
        """Say what is wrong with the request, and with which HTTP status it is refused."""
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """A request; header names are in lower case, a query parameter may come more than once."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """A request that was answered; secrets in the query are masked, `fault` is what was done on purpose."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: bytes
    status: int
    fault: Fault | None

    def json(self) -> Any:
        """Return the body read as JSON."""
        import orjson

        return orjson.loads(self.body)


def json_reply(payload: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a JSON answer."""
    import orjson

    return Reply(status, orjson.dumps(payload), headers=headers or {})


def error_reply(status: int, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an error in the form these vendors use: `{"error": text}`."""
    return json_reply({"error": text}, status, headers)


def form_of(call: Call) -> dict[str, str]:
    """Return the fields of a form; raises RefusedError for one that comes twice or is no text."""
    try:
        pairs = parse_qsl(call.body.decode(), keep_blank_values=True, strict_parsing=bool(call.body))
    except ValueError:
        raise RefusedError("the body is no form") from None
    if len(dict(pairs)) != len(pairs):
        raise RefusedError("a field comes twice")
    return dict(pairs)


class Upstream:
    """An ASGI app around `answer`; give it to uvicorn, httpx.ASGITransport or a test client.

    Attributes:
        name: Which upstream this is.
        faults: What goes wrong next.
        calls: Every request so far, oldest first.
        crowd: How many requests may be under way at once on paths that start with `crowded`.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[Call], Reply],
        *,
        crowded: str = "/",
        crowd: int | None = None,
    ) -> None:
        """Begin without faults and with an empty log."""
        self.name = name
        self.faults = Faults()
        self.calls: list[LoggedCall] = []
        self.crowd = crowd
        self._crowded = crowded
        self._under_way = 0
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        call = _call(scope, await _read(receive))
        counted = call.path.startswith(self._crowded)
        self._under_way += counted
        try:
            await self._serve(call, receive, send)
        finally:
            self._under_way -= counted

    async def _serve(self, call: Call, receive: Receive, send: Send) -> None:
        fault = self.faults.take(call.path)
        if fault is not None and fault.kind == "stall" and await _left(receive, fault.stall_s):
            self._log(call, 0, fault)
            return
        nothing = fault is not None and fault.kind == "cut"
        reply = Reply(200, b"{}") if nothing else self._reply(call, fault)
        if fault is not None and fault.kind == "late" and await _left(receive, fault.stall_s):
            self._log(call, 0, fault)
            return
        self._log(call, reply.status, fault)
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [
                    (b"content-type", reply.content_type.encode()),
                    (b"content-length", str(len(reply.body)).encode()),
                    *((name.lower().encode(), value.encode()) for name, value in reply.headers.items()),
                ],
            }
        )
        if fault is not None and fault.kind in ("half body", "cut"):
            half = reply.body[: len(reply.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            raise CutError(f"{self.name}: cut after {len(half)} of {len(reply.body)} bytes, as scripted")
        await send({"type": "http.response.body", "body": reply.body})

    def _reply(self, call: Call, fault: Fault | None) -> Reply:
        if fault is not None and fault.kind == "status":
            wait = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            return error_reply(fault.status, "as scripted", wait)
        if fault is not None and fault.kind == "html":
            return Reply(200, _PAGE, "text/html; charset=utf-8")
        kept = self.faults.repeating.get(call.path)
        if isinstance(kept, Reply):
            return kept
        if self.crowd is not None and call.path.startswith(self._crowded) and self._under_way > self.crowd:
            return error_reply(429, "Too Many Concurrent Requests")
        reply = self._answer(call)
        if fault is not None and fault.kind == "hidden":
            return error_reply(fault.status, "as scripted")
        if fault is not None and fault.kind == "repeat":
            self.faults.repeating[call.path] = reply
        return reply

    def _log(self, call: Call, status: int, fault: Fault | None) -> None:
        query = tuple((name, "***" if name in _SECRETS else value) for name, value in call.query)
        self.calls.append(LoggedCall(call.method, call.path, query, call.body, status, fault))


def _call(scope: Scope, body: bytes) -> Call:
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    return Call(
        method=scope["method"],
        path=scope["path"],
        query=tuple(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers},
        body=body,
    )


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return b"".join(parts)


async def _left(receive: Receive, wait_s: float) -> bool:
    """Wait, and tell whether the client hung up meanwhile."""
    try:
        message = await asyncio.wait_for(receive(), wait_s)
    except TimeoutError:
        return False
    return message["type"] == "http.disconnect"
