"""The lake: everything that ever arrived, as it arrived.

::

    <lake>/<source>/<stream>/<load_id>/part-00000.csv.zst
                                       part-00001.csv.zst
                                       _load.json            written last: without it the load does not exist
    <lake>/_unreadable/<source>/<stream>/…                   what could not be read, and why
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from signalroom.clients.durable import make_folder
from signalroom.clients.objects import ObjectStore, revealed
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError
from signalroom.lake import archive
from signalroom.lake.layout import Layout
from signalroom.lake.sweeping import sweep, sweep_stream
from signalroom.lake.verifying import verify_part
from signalroom.lake.writer import LoadWriter
from signalroom.load import Load, Part
from signalroom.stream import Stream
from signalroom.workspace.settings import Secret, injected, setting

_ABANDONED_S = 86_400.0
_log = logging.getLogger("signalroom.lake")


@dataclass(frozen=True, slots=True)
class LakeSettings:
    """Where raw is kept."""

    url: str = setting(
        "A folder of the workspace or a prefix of an S3-compatible bucket. Everything can be rebuilt from it.",
        default=".signalroom/lake",
        example='"s3://acme-lake/raw"',
    )
    endpoint: str = setting(
        "Address of an S3-compatible store; empty means AWS.", default="", example='"https://minio.example.com"'
    )
    region: str = setting("Region of the bucket.", default="", example='"eu-west-1"')
    access_key: Secret | None = setting(
        "Access key of the bucket; without one the machine's own role is used.",
        default=Secret("env:AWS_ACCESS_KEY_ID"),
        example='"env:LAKE_ACCESS_KEY"',
    )
    secret_key: Secret | None = setting(
        "Secret of the access key.", default=Secret("env:AWS_SECRET_ACCESS_KEY"), example='"env:LAKE_SECRET_KEY"'
    )
    root: Path = injected(default=Path())
    clock: Clock = injected(factory=SystemClock)


@dataclass(slots=True)
class Lake:
    """Append-only loads in a store of objects; nothing in a committed load ever changes.

    Attributes:
        store: Where it is.
        clock: Where load ids and commit times come from.
        layout: Its folders.
    """

    store: ObjectStore
    clock: Clock = field(default_factory=SystemClock)
    layout: Layout = field(init=False)
    _swept: dict[str, float] = field(default_factory=dict[str, float], init=False, repr=False)

    def __post_init__(self) -> None:
        """Lay the folders out."""
        self.layout = Layout(self.store)

    @classmethod
    def open(cls, settings: LakeSettings) -> Lake:
        """Return the lake; a local one is created where it does not exist."""
        store = ObjectStore.open(
            settings.url,
            root=settings.root,
            endpoint=settings.endpoint,
            region=settings.region,
            access_key=revealed(settings.access_key),
            secret_key=revealed(settings.secret_key),
        )
        folder = store.local_path("")
        if folder is not None:
            try:
                make_folder(folder)
            except OSError as problem:
                raise ConfigError(
                    f"The lake {settings.url} cannot be made: {problem.strerror}.",
                    mend="Give this user the right to write there, or set [lake] url.",
                ) from None
        return cls(store, settings.clock)

    def close(self) -> None:
        """Remove what was fetched from a remote lake."""
        self.layout.cache.clear()

    # writing

    def begin(self, stream: Stream) -> LoadWriter:
        """Return the writer of a new load; writes nothing yet.

        Once a day what crashed syncs of the stream left behind goes first; a store that lets nobody delete keeps it.
        """
        for name in (stream.source, stream.name):
            if not name or name[0] in "._" or set(name) & set('/\\:*?"<>|') or not name.isprintable():
                raise ConfigError(f"{stream.title!r} cannot name a folder.", mend="Use letters, digits, - and _.")
        self._sweep_now_and_then(stream)
        return LoadWriter(self.layout, stream, self.clock)

    def _sweep_now_and_then(self, stream: Stream) -> None:
        now_s = self.clock.monotonic()
        if now_s - self._swept.get(stream.title, float("-inf")) < _ABANDONED_S:
            return
        self._swept[stream.title] = now_s
        limit = self.clock.now() - timedelta(seconds=_ABANDONED_S)
        try:
            for folder in sweep_stream(self.layout, stream.source, stream.name, limit):
                _log.info("%s was begun and never committed: removed.", folder)
        except SignalRoomError as problem:  # litter is no reason to load nothing
            _log.warning("What a sync of %s left behind is still there: %s", stream.title, problem)

    def quarantine(self, stream: Stream, name: str, chunks: Iterable[bytes], reason: str) -> str:
        """Archive a page, file or message that cannot be read, whole, and return its key.

        Args:
            stream: Where it came from.
            name: What it is: an object key, or a request without secrets.
            chunks: Its bytes as they arrived.
            reason: One sentence.
        """
        return archive.keep(self.store, stream, chunks, {"source_ref": name, "reason": reason}, self.clock.now())

    # reading

    def committed(self, source: str, stream: str) -> list[str]:
        """Return the ids of a stream's committed loads, in order; reads no ``_load.json``."""
        return self.layout.committed(source, stream)

    def pending(self, source: str, stream: str, merged: Collection[str]) -> list[str]:
        """Return the ids of the committed loads that are not among ``merged``, in order."""
        return [load_id for load_id in self.committed(source, stream) if load_id not in merged]

    def loads(self, source: str, stream: str, load_ids: Iterable[str] | None = None) -> Sequence[Load]:
        """Return loads of one stream in order of their ids; all that are committed unless some are named.

        Raises:
            DataError: A named load is gone, or its ``_load.json`` cannot be read.
        """
        wanted = self.committed(source, stream) if load_ids is None else sorted(set(load_ids))
        return [self.layout.read(source, stream, load_id) for load_id in wanted]

    def local(self, load: Load, part: Part) -> Path:
        """Return a local file that holds a part's stored bytes; a remote part is fetched once.

        Raises:
            DataError: The part is gone from the lake.
        """
        key = f"{self.layout.folder(load.source, load.stream, load.load_id)}/{part.name}"
        try:
            return self.layout.fetch(key, part.stored_bytes)
        except (FileNotFoundError, RetryableError) as problem:
            if isinstance(problem, RetryableError) and self.store.head(key) is not None:
                raise
            raise DataError(f"{key} is gone from the lake.", mend="Restore it from a copy of the lake.") from None

    def verify(self, load: Load) -> list[str]:
        """Read every part of a load again and return what no longer matches ``_load.json``, a sentence each."""
        folder = self.layout.folder(load.source, load.stream, load.load_id)
        return [found for part in load.parts if (found := verify_part(self.store, f"{folder}/{part.name}", part))]

    def sweep(self, older_than_s: float = _ABANDONED_S) -> list[str]:
        """Remove loads that were begun and never committed, and return their folders.

        Args:
            older_than_s: Seconds since the last byte was written; longer than any sync takes, or a sync that still
                runs finds its parts gone and starts over.
        """
        return sweep(self.layout, self.clock.now() - timedelta(seconds=older_than_s))
