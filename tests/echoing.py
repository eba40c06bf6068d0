"""An upstream that says back whatever it was told: address, headers and body, keys and all."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def echoing() -> Iterator[tuple[str, list[int]]]:
    """Yield the address of such a server and the statuses it answers with, used up in order; 500 when none is left."""
    statuses: list[int] = []

    class Echo(BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            told = f"{self.command} {self.path} {dict(self.headers)} {self.rfile.read(size).decode(errors='replace')}"
            status = statuses.pop(0) if statuses else 500
            body = json.dumps({"error": told}).encode()
            if "s3" in self.headers.get("authorization", "").lower():
                body = f"<Error><Code>AccessDenied</Code><Message>{told}</Message></Error>".encode()
            self.send_response(status)
            if status in {301, 302, 307}:
                self.send_header("location", f"http://localhost:1{self.path}")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_POST = do_PUT = do_HEAD = answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Say nothing: what it would print is what must not be found."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", statuses
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
