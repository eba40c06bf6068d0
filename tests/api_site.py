"""The API over a ledger with the views of two agencies, and one key for each kind of caller."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from ledger_laws import HandClock
from signalroom.ledger.ledger import Ledger
from signalroom.room import Room
from signalroom.view import Refreshed
from signalroom.web.app import make_app
from signalroom.web.endpoint import Site
from signalroom.workspace.workspace import Workspace
from view_laws import GIVEN

CALLERS = ("nobody", "stranger", "revoked", "expired", "acme", "bolt", "operator", "admin")
TOML = 'name = "t"\ntimezone = "UTC"\n'


@functools.cache
def blank_ledger() -> bytes:
    """Return the file of a new ledger: making it takes longer than most tests of the API."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.sqlite"
        Ledger.open(str(file)).close()
        return file.read_bytes()


class ApiSite:
    """A workspace at ``root`` with its API, to be called as one of :data:`CALLERS`."""

    def __init__(self, root: Any, more: str = "", environ: dict[str, str] | None = None, **site: Any) -> None:
        (root / "signalroom.toml").write_text(TOML + more)
        if not environ:
            (root / ".signalroom").mkdir()
            (root / ".signalroom/ledger.sqlite").write_bytes(blank_ledger())
        self.clock = HandClock()
        self.room = Room(Workspace.load(root, environ or {}), self.clock)
        self.ledger = self.room.ledger
        self.ledger.manifests.bring(GIVEN)
        self.woken = 0
        self.site = Site(self.room, wake=self._wake, **site)
        self.app: Any = make_app(self.site)
        self.loop = asyncio.Runner()
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://api")
        self.keys = self._keys()

    def _wake(self) -> None:
        self.woken += 1

    def _keys(self) -> dict[str, str]:
        made = {
            "acme": self.ledger.keys.create("agency", agency_id=7),
            "bolt": self.ledger.keys.create("agency", agency_id=8),
            "operator": self.ledger.keys.create("operator"),
            "admin": self.ledger.keys.create("admin"),
            "revoked": self.ledger.keys.create("admin"),
            "expired": self.ledger.keys.create("admin", expires_at=self.clock.now() - timedelta(seconds=1)),
        }
        self.ledger.keys.revoke(made["revoked"][0].key_id)
        return {name: token for name, (_, token) in made.items()} | {"stranger": "sr_000000000000_" + "x" * 43}

    def call(self, path: str, caller: str = "operator", method: str = "GET", **more: Any) -> Any:
        headers = more.pop("headers", {})
        if caller != "nobody":
            headers = {"Authorization": f"Bearer {self.keys[caller]}", **headers}
        return self.loop.run(self.client.request(method, path, headers=headers, **more))

    def run(self, name: str, **result: Any) -> str:
        """Refresh a view on paper: claim it and record how it ended; return its run."""
        view = {one.name: one for one in self.ledger.manifests.all().views()}[name]
        (run,) = self.ledger.views.claim([view], 60)
        seconds = result.get("seconds", 0.0)
        self.clock.advance(seconds)
        self.ledger.views.finish([(run, Refreshed(view, **result))])
        return run.run_id

    def disable(self, name: str) -> None:
        custom = tuple(dataclasses.replace(one, enabled=one.name != name) for one in GIVEN.custom)
        self.ledger.manifests.bring(dataclasses.replace(GIVEN, custom=custom))

    def close(self) -> None:
        self.loop.run(self.client.aclose())
        self.loop.close()
        self.room.close()
