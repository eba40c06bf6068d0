"""Parts of a remote lake, fetched once for as long as they are in use."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from signalroom.clients.objects import write_whole
from signalroom.failpoints import failpoint

if TYPE_CHECKING:
    from signalroom.clients.objects import ObjectStore

_KEPT_S = 3_600.0  # a merge reads its parts within minutes of asking for them


class Cache:
    """A folder of fetched parts, made at the first use; what nobody asked for in an hour is removed."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._lock = threading.Lock()

    def get(self, store: ObjectStore, key: str, stored_bytes: int) -> Path:
        """Return a local file with the ``stored_bytes`` bytes of ``key``; fetches them unless they are here."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="signalroom-lake-"))
        path = self._folder / key
        if not path.exists() or path.stat().st_size != stored_bytes:
            self._prune(self._folder)
            failpoint("lake.fetch")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, store.read(key))
        os.utime(path)
        return path

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _prune(self, folder: Path) -> None:
        limit = time.time() - _KEPT_S
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)
