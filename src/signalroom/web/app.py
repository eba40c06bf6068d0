"""The application: endpoints of several modules behind one gate, one doorkeeper and one kind of error body."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from signalroom.errors import RetryableError, SignalRoomError
from signalroom.web import health, keys, openapi, previews, projections, seeder
from signalroom.web.access import Doorkeeper
from signalroom.web.endpoint import Answer, Call, Endpoint, Refusal, Site, missing
from signalroom.web.gate import App, Gate

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MAX_BODY_BYTES = 256 * 1024
_MAX_NAME_CHARS = 255
_log = logging.getLogger("signalroom.web")

_MODULES: tuple[Endpoint, ...] = (
    *seeder.ENDPOINTS,
    *previews.ENDPOINTS,
    *projections.ENDPOINTS,
    *keys.ENDPOINTS,
    *health.ENDPOINTS,
)
ENDPOINTS = (*_MODULES, openapi.endpoint(_MODULES))
"""Every endpoint there is; a module that has some is added above, in one line."""


def endpoints_of(site: Site) -> tuple[Endpoint, ...]:
    """Return the endpoints as a process offers them: its figures may ask for a key."""
    guarded = {} if site.open_metrics else {health.GUARDED.path: health.GUARDED}
    return tuple(guarded.get(one.path, one) for one in ENDPOINTS)


def make_app(site: Site) -> App:
    """Return the ASGI application of a process; endpoints run on threads, for the ledger is asked in them."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware.cors import CORSMiddleware
    from starlette.routing import Route

    doorkeeper = Doorkeeper(site)
    routes = [
        Route(one.path, _handler(one, site, doorkeeper), methods=[one.method], name=one.name)
        for one in endpoints_of(site)
    ]
    handlers: Mapping[Any, Any] = {HTTPException: _unrouted}
    app = Starlette(routes=routes, exception_handlers=handlers)
    # A redirect would name a scheme and a host that we only know by hearsay, and clients send their key after it.
    app.router.redirect_slashes = False
    origins = list(site.room.workspace.web.origins)
    if not origins:
        return Gate(app)
    crossing = CORSMiddleware(
        app, allow_origins=origins, allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
        expose_headers=["Link", "Retry-After", "X-Request-Id"], max_age=600,
    )  # fmt: skip
    return Gate(crossing)


def _handler(endpoint: Endpoint, site: Site, doorkeeper: Doorkeeper) -> Callable[[Request], Any]:
    """Return the function that answers an endpoint's requests."""
    from starlette.concurrency import run_in_threadpool

    async def handle(request: Request) -> Response:
        began_s = site.room.clock.monotonic()
        body = b""
        try:
            address = request.client.host if request.client else ""
            authorization = request.headers.get("authorization", "")
            key = await run_in_threadpool(doorkeeper.admit, endpoint.access, authorization, address)
            query = _query(endpoint, request.query_params.multi_items())
            if endpoint.method == "POST":
                body = await _body(request)
            if any(len(text) > _MAX_NAME_CHARS or not text.isprintable() for text in request.path_params.values()):
                raise missing()
            call = Call(site, dict(request.path_params), query, dict(request.headers), body, key)
            answer = await run_in_threadpool(endpoint.answer, call)
        except Refusal as refusal:
            answer = refused(refusal, request.state.request_id)
        except SignalRoomError as problem:
            answer = _failed(problem, request.state.request_id)
        except Exception as problem:  # noqa: BLE001 - the outermost border: a caller gets a body, the log the rest
            _log.exception("Request %s failed.", request.state.request_id)
            answer = _failed(problem, request.state.request_id)
        took_ms = (site.room.clock.monotonic() - began_s) * 1000
        _log.info(
            "%s %s %d in %.1f ms, request %s",
            endpoint.method, endpoint.path, answer.status, took_ms, request.state.request_id,
        )  # fmt: skip
        return _response(answer)

    return handle


def _query(endpoint: Endpoint, given: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return an endpoint's parameters with their defaults; raises Refusal for unknown, repeated or wrong ones."""
    params = {one.name: one for one in endpoint.params}
    found: dict[str, Any] = {name: one.default for name, one in params.items()}
    seen: set[str] = set()
    for name, text in given:
        if name not in params or name in seen:
            known = ", ".join(params) or "none"
            raise Refusal(400, "bad_parameter", f"The parameters are, once each: {known}.")
        seen.add(name)
        one = params[name]
        if one.least is None:
            if len(text) > one.most or not text.isprintable():
                raise Refusal(400, "bad_parameter", f"{name}: at most {one.most} printable characters.")
            found[name] = text
        elif not (text.isascii() and text.isdigit() and len(text) <= 18 and one.least <= int(text) <= one.most):
            raise Refusal(400, "bad_parameter", f"{name}: a whole number from {one.least} to {one.most}.")
        else:
            found[name] = int(text)
    return found


async def _body(request: Request) -> bytes:
    """Return a request's body; raises Refusal for one that is too long, as soon as that can be told."""
    held = bytearray()
    async for piece in request.stream():
        held += piece
        if len(held) > MAX_BODY_BYTES:
            raise Refusal(413, "too_large", f"A body has at most {MAX_BODY_BYTES:,} bytes.")
    return bytes(held)


def refused(refusal: Refusal, request_id: str) -> Answer:
    """Return the answer of a request that is refused."""
    told = {"code": refusal.code, "message": refusal.message, "requestId": request_id}
    return Answer({"error": told}, refusal.status, headers=refusal.headers)


def _failed(problem: Exception, request_id: str) -> Answer:
    """Return the answer of a request that failed here: what failed is for the log, a caller may be anybody."""
    if isinstance(problem, RetryableError):
        _log.warning("Request %s: %s", request_id, problem)
        after_s = {"Retry-After": f"{max(1, round(problem.retry_after_s or 5))}"}
        return refused(Refusal(503, "unavailable", "This cannot be answered now: try again.", after_s), request_id)
    if isinstance(problem, SignalRoomError):
        _log.error("Request %s: %s", request_id, problem)
    sentence = "The server failed; its log says why, under this request id."
    return refused(Refusal(500, "failed", sentence), request_id)


async def _unrouted(request: Request, problem: Any) -> Response:
    """Return the answer where no endpoint is: its body looks like any other error's."""
    if problem.status_code == 405:
        refusal = Refusal(405, "method_not_allowed", "This is called in another way.", problem.headers)
    else:
        refusal = missing()
    return _response(refused(refusal, request.state.request_id))


def _response(answer: Answer) -> Response:
    import orjson
    from starlette.responses import Response

    content = answer.content if isinstance(answer.content, bytes) else orjson.dumps(answer.content)
    return Response(content, answer.status, dict(answer.headers), answer.media_type)
