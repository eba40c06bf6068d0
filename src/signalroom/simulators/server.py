"""All upstreams of a world on loopback ports, in one background thread."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from signalroom.simulators.everflow import EverflowOptions, everflow_app
from signalroom.simulators.redtrack import RedtrackOptions, redtrack_app
from signalroom.simulators.upstream import Call, Reply, Upstream, error_reply, json_reply
from signalroom.simulators.world import World

if TYPE_CHECKING:
    from uvicorn import Server

_START_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The servers that are up; addresses are `http://127.0.0.1:PORT` without a path.

    Each handle has `faults` (what goes wrong next) and `calls` (the requests so far).
    """

    world: World
    everflow_url: str
    redtrack_url: str
    truth_url: str
    everflow: Upstream
    redtrack: Upstream
    truth: Upstream


@contextmanager
def serve(
    world: World,
    everflow: EverflowOptions | None = None,
    redtrack: RedtrackOptions | None = None,
) -> Generator[Upstreams]:
    """Serve a world until the block is left.

    Raises:
        RuntimeError: The servers did not come up.
    """
    apps = (everflow_app(world, everflow), redtrack_app(world, redtrack), truth_app(world))
    with serve_apps(*apps) as urls:
        yield Upstreams(world, urls[0], urls[1], urls[2], *apps)


@contextmanager
def serve_apps(*apps: Upstream) -> Generator[tuple[str, ...]]:
    """Serve each app on a port of its own until the block is left; yields their addresses in order.

    Raises:
        RuntimeError: The servers did not come up.
    """
    sockets = [_listen() for _ in apps]
    thread = _Thread(apps, sockets)
    thread.start()
    try:
        if not thread.ready.wait(_START_TIMEOUT_S):
            raise RuntimeError(f"the simulators did not come up within {_START_TIMEOUT_S:.0f} s")
        yield tuple(f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in sockets)
    finally:
        thread.stop()


def truth_app(world: World) -> Upstream:
    """Return the server that knows the right answers: GET /truth/daily?project=CCW&date=YYYY-MM-DD.

    `as_of` (ISO 8601 with an offset) asks for another moment than now.
    """

    def answer(call: Call) -> Reply:
        if (call.method, call.path) != ("GET", "/truth/daily"):
            return error_reply(404, "not found; ask for /truth/daily?project=CCW&date=YYYY-MM-DD")
        query = dict(call.query)
        if not query.keys() <= {"project", "date", "as_of"} or not {"project", "date"} <= query.keys():
            return error_reply(400, "project and date are required, as_of may be given, nothing else")
        try:
            as_of = datetime.fromisoformat(query["as_of"]) if "as_of" in query else None
            return json_reply(world.truth_daily(query["project"], date.fromisoformat(query["date"]), as_of))
        except ValueError as error:
            return error_reply(400, str(error))

    return Upstream("truth", answer)


class _Thread:
    """One thread with one event loop and a web server for each app."""

    def __init__(self, apps: tuple[Upstream, ...], sockets: list[socket.socket]) -> None:
        self.ready = threading.Event()
        self._apps = apps
        self._sockets = sockets
        self._servers: list[Server] = []
        self._thread = threading.Thread(target=self._run, name="simulators", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        for server in self._servers:
            server.should_exit = server.force_exit = True
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _run(self) -> None:
        # The web server reports to loggers the whole process shares; what it says here (a cut connection
        # was scripted) is nobody's business, what another server in this process says is.
        quiet = _NotFrom(threading.get_ident())
        loggers = [logging.getLogger(f"uvicorn.{name}") for name in ("error", "access")]
        for logger in loggers:
            logger.addFilter(quiet)
        try:
            asyncio.run(self._serve())
        finally:
            for logger in loggers:
                logger.removeFilter(quiet)

    async def _serve(self) -> None:
        from uvicorn import Config, Server

        started = asyncio.Semaphore(0)

        class Announcing(Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                started.release()

        for app in self._apps:
            config = Config(app, lifespan="off", log_config=None, http="h11", ws="none")
            self._servers.append(Announcing(config))
        serving = [
            asyncio.create_task(server.serve([sock])) for server, sock in zip(self._servers, self._sockets, strict=True)
        ]
        for _ in serving:
            await started.acquire()
        self.ready.set()
        await asyncio.gather(*serving)


class _NotFrom(logging.Filter):
    """Drops what one thread logs."""

    def __init__(self, thread_id: int) -> None:
        super().__init__()
        self._thread_id = thread_id

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread_id


def _listen() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock
