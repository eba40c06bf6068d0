"""The health page: `/health`, `/ready` and `/metrics`, on loopback, from a thread of the resident process."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from signalroom.errors import RetryableError, SignalRoomError
from signalroom.web.metrics import exposition

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from signalroom.room import Room

POLLER_SEEN_WITHIN = timedelta(minutes=1)
_START_TIMEOUT_S = 10.0
_log = logging.getLogger("signalroom.web")


class HealthPage:
    """The page of one workspace; it answers for as long as the block lasts.

    Args:
        room: The workspace's room.
        poller_seen_at: Returns when the scheduler last heard from our worker; None before the first time.
        port: Where to answer; another port is taken where this one is in use.
        host: On which of the machine's addresses.
    """

    def __init__(
        self, room: Room, poller_seen_at: Callable[[], datetime | None], port: int, host: str = "127.0.0.1"
    ) -> None:
        self._app = health_app(room, poller_seen_at)
        self._socket = _listen(host, port)
        self._ready = threading.Event()
        self._server: Any = None
        self._thread = threading.Thread(target=self._serve, name="health page", daemon=True)

    @property
    def address(self) -> str:
        """Where it answers."""
        host, port = self._socket.getsockname()
        return f"http://{host}:{port}"

    def _serve(self) -> None:
        from uvicorn import Config, Server

        config = Config(self._app, lifespan="off", log_config=None, access_log=False, http="h11", ws="none")
        self._server = Server(config)
        self._ready.set()
        asyncio.run(self._server.serve([self._socket]))

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT_S):
            raise RetryableError("The health page did not come up.", mend="Start again.")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()


def health_app(room: Room, poller_seen_at: Callable[[], datetime | None]) -> Starlette:
    """Return the page as an ASGI application; its endpoints run on threads, for the ledger is asked in them."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def health(request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok"})

    def ready(request: Request) -> Response:
        del request
        problems = unready(room, poller_seen_at())
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)

    def metrics(request: Request) -> Response:
        del request
        try:
            return Response(exposition(room), media_type="text/plain; version=0.0.4; charset=utf-8")
        except SignalRoomError as problem:
            return PlainTextResponse(f"{problem}\n", 503)

    pages = (("/health", health), ("/ready", ready), ("/metrics", metrics))
    return Starlette(routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in pages])


def unready(room: Room, poller_seen_at: datetime | None) -> list[str]:
    """Return why the process cannot do its work now, each a sentence; nothing when it can."""
    problems: list[str] = []
    try:
        room.ledger.pauses.notes()
    except SignalRoomError as problem:
        problems.append(str(problem))
    if poller_seen_at is None or room.clock.now() - poller_seen_at > POLLER_SEEN_WITHIN:
        problems.append("The scheduler has not heard from this worker in the last minute.")
    return problems


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the port, or, said in the log, on another that is free."""
    for wanted in (port, 0):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, wanted))
            sock.listen(128)
        except OSError as problem:
            sock.close()
            _log.warning("Port %d of [web] is in use (%s); another one is taken.", wanted, problem.strerror)
        else:
            return sock
    raise RetryableError("No port is free on this machine.", mend="Close something that listens, then start again.")
