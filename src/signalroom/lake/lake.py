"""The lake: loads as they arrived, each a folder that its ``_load.json`` makes visible."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from signalroom.clients.objects import ObjectInfo, ObjectStore
from signalroom.clock import Clock, SystemClock
from signalroom.errors import DataError
from signalroom.lake import manifest
from signalroom.lake.writer import LoadWriter
from signalroom.load import Load, Part
from signalroom.stream import Stream
from signalroom.workspace.settings import Secret, injected, setting


@dataclass(frozen=True, slots=True)
class LakeSettings:
    """Where raw is kept."""

    url: str = setting(
        "A folder, relative to the workspace, or s3://bucket/prefix.", default=".signalroom/lake",
        example='url = "s3://raw/signalroom"',
    )  # fmt: skip
    endpoint: str = setting("Address of an S3-compatible server; AWS when left out.", default="")
    region: str = setting("Region of the bucket.", default="")
    access_key: Secret | None = setting("Access key.", default=None, example='access_key = "env:AWS_ACCESS_KEY_ID"')
    secret_key: Secret | None = setting("Secret key.", default=None, example='secret_key = "env:AWS_SECRET_ACCESS_KEY"')
    root: Path = injected(default=Path())
    clock: Clock = injected(factory=SystemClock)


@dataclass(slots=True)
class Lake:
    """Append, list, read back, sweep. Nothing in a committed load ever changes.

    Attributes:
        store: Where the loads are.
        clock: Where load ids and commit times come from.
    """

    store: ObjectStore
    clock: Clock = field(default_factory=SystemClock)
    _cache: Path | None = field(default=None, init=False)
    _last: str = field(default="", init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @classmethod
    def open(cls, settings: LakeSettings) -> Lake:
        """Return the lake; a local folder is made at the first load."""
        store = ObjectStore.open(
            settings.url,
            root=settings.root,
            endpoint=settings.endpoint,
            region=settings.region,
            access_key=settings.access_key.reveal() if settings.access_key else "",
            secret_key=settings.secret_key.reveal() if settings.secret_key else "",
        )
        folder = store.local_path("")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return cls(store, settings.clock)

    def begin(self, stream: Stream) -> LoadWriter:
        """Start a load of ``stream``; its id sorts after every id this process gave before."""
        return LoadWriter(self.store, stream, self._new_id(), self.clock)

    def _new_id(self) -> str:
        with self._lock:
            moment = f"{self.clock.now().astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
            if moment <= self._last:  # a clock that stands or steps back must not reorder loads
                digits = int(self._last[9:21]) + 1
                moment = f"{self._last[:9]}{digits:012d}Z"
            self._last = moment
        return f"{moment}-{secrets.token_hex(4)}"

    def committed(self, source: str, stream: str) -> list[str]:
        """Return the ids of the committed loads of a stream, oldest first."""
        tail = f"/{manifest.NAME}"
        found = self.store.list(f"{source}/{stream}/")
        return sorted(info.key.split("/")[-2] for info in found if info.key.endswith(tail))

    def pending(self, source: str, stream: str, merged: set[str]) -> list[str]:
        """Return the ids of the committed loads that are not among ``merged``, oldest first."""
        return [load_id for load_id in self.committed(source, stream) if load_id not in merged]

    def loads(self, source: str, stream: str, load_ids: Iterable[str] | None = None) -> Sequence[Load]:
        """Return loads of a stream, oldest first: all of them, or the named ones.

        Raises:
            DataError: A named load is gone, or its record is not one of ours.
        """
        wanted = self.committed(source, stream) if load_ids is None else sorted(load_ids)
        return [self._load(source, stream, load_id) for load_id in wanted]

    def _load(self, source: str, stream: str, load_id: str) -> Load:
        key = f"{source}/{stream}/{load_id}/{manifest.NAME}"
        found = self.store.head(key)
        if found is None:
            raise DataError(f"The load {key} is gone from {self.store.url}.", mend="Restore it from a copy.")
        load = manifest.decode(b"".join(self.store.read(found)), key)
        if (load.source, load.stream, load.load_id) != (source, stream, load_id):
            raise DataError(f"{key} is the record of {load.source}.{load.stream}.", mend="Move the folder back.")
        return load

    def local(self, load: Load, part: Part) -> Path:
        """Return a local file with a part's stored bytes; a remote one is fetched once.

        Raises:
            DataError: The part is gone or has another size than its load recorded.
        """
        key = f"{load.source}/{load.stream}/{load.load_id}/{part.name}"
        path = self.store.local_path(key) or self._fetch(key)
        if not path.is_file() or path.stat().st_size != part.stored_bytes:
            raise DataError(f"{key} is not the file its load recorded.", mend="Restore it from a copy of the lake.")
        return path

    def _fetch(self, key: str) -> Path:
        target = self._scratch() / key
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".tmp")
            with partial.open("wb") as sink:
                for chunk in self.store.read(key):
                    sink.write(chunk)
            partial.replace(target)
        return target

    def verify(self, load: Load) -> list[str]:
        """Return a sentence for each part whose bytes are no longer those that arrived."""
        return [
            f"{load.source}/{load.stream}/{load.load_id}/{part.name} was altered since it arrived."
            for part in load.parts
            if _digest(self.local(load, part), part) != part.sha256
        ]

    def sweep(self, older_than_s: float = 86_400) -> int:
        """Delete the parts of loads that were never committed and return how many; recent ones may be at work."""
        listed = self.store.list()
        committed = {info.key.rpartition("/")[0] for info in listed if info.key.endswith(f"/{manifest.NAME}")}
        now = self.clock.now()
        orphans = [info for info in listed if self._is_orphan(info, committed, now, older_than_s)]
        self.store.delete(info.key for info in orphans)
        return len(orphans)

    @staticmethod
    def _is_orphan(info: ObjectInfo, committed: set[str], now: datetime, older_than_s: float) -> bool:
        folder = info.key.rpartition("/")[0]
        in_load = folder.count("/") == 2 and not folder.startswith("_")
        return in_load and folder not in committed and (now - info.last_modified).total_seconds() > older_than_s

    def quarantine(self, stream: Stream, name: str, chunks: Iterable[bytes], reason: str) -> str:
        """Archive what cannot be read, whole, with its reason; return where."""
        folder = f"_unreadable/{stream.source}/{stream.name}/{self._new_id()}"
        note = f"{name}\n{reason}\nRetry: signalroom sync {stream.title}\n"
        self.store.put(f"{folder}/bytes", chunks)
        self.store.put(f"{folder}/reason.txt", [note.encode()])
        return folder

    def _scratch(self) -> Path:
        """Return a local folder for what is fetched from a remote lake; removed when the lake is closed."""
        if self._cache is None:
            self._cache = Path(tempfile.mkdtemp(prefix="signalroom-lake-"))
        return self._cache

    def close(self) -> None:
        """Remove what was fetched from a remote lake."""
        if self._cache is not None:
            shutil.rmtree(self._cache, ignore_errors=True)
            self._cache = None


def _digest(path: Path, part: Part) -> str:
    """Return the hash of the bytes as they arrived."""
    import zstandard

    arrived_packed = part.name.endswith(".parquet") or part.compression != "zstd" or part.stored_bytes == part.bytes
    digest = hashlib.sha256()
    with path.open("rb") if arrived_packed else zstandard.open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
