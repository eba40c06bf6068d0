"""The server: the application on a port of this machine, from a thread of its process."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any, Self

from signalroom.errors import ConfigError, RetryableError
from signalroom.web.app import make_app
from signalroom.web.endpoint import Site

_START_TIMEOUT_S = 10.0
_MOST_CONNECTIONS = 500
_log = logging.getLogger("signalroom.web")


class WebServer:
    """Answers for as long as the block lasts.

    Args:
        site: What its endpoints may ask.
        port: Where to answer; unless told to insist, another is taken where this one is in use.
        host: On which of the machine's addresses.
        insist: Rather raise ConfigError than take another port.
    """

    def __init__(self, site: Site, port: int, host: str = "127.0.0.1", *, insist: bool = False) -> None:
        self._app = make_app(site)
        self._wanted = host, port, insist
        self._socket: socket.socket
        self._ready = threading.Event()
        self._server: Any = None
        self._thread = threading.Thread(target=self._serve, name="web server", daemon=True)

    @property
    def address(self) -> str:
        """Where it answers, within the block."""
        host, port = self._socket.getsockname()
        return f"http://{host}:{port}"

    def _serve(self) -> None:
        from uvicorn import Config, Server

        config: Any = Config(
            self._app, lifespan="off", log_config=None, access_log=False, http="h11", ws="none", server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
        )  # fmt: skip
        self._server = Server(config)
        self._ready.set()
        asyncio.run(self._server.serve([self._socket]))

    def __enter__(self) -> Self:
        host, port, insist = self._wanted
        self._socket = _listen(host, port, insist=insist)
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT_S):
            raise RetryableError("The web server did not come up.", mend="Start again.")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()


def _listen(host: str, port: int, *, insist: bool) -> socket.socket:
    """Return a socket that listens on the port, or, said in the log, on another that is free."""
    for wanted in (port, 0):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, wanted))
            sock.listen(128)
        except OSError as problem:
            sock.close()
            if insist:
                raise ConfigError(
                    f"{host}:{port} cannot be listened on: {problem.strerror}.", mend="Name another with --port."
                ) from problem
            _log.warning("Port %d of [web] is in use (%s); another one is taken.", wanted, problem.strerror)
        else:
            return sock
    raise RetryableError("No port is free on this machine.", mend="Close something that listens, then start again.")
