"""The lake: everything that ever arrived, as it arrived.

::

    <lake>/<source>/<stream>/<load_id>/part-00000.csv.zst
                                       part-00001.csv.zst
                                       _load.json            written last: without it the load does not exist
    <lake>/_unreadable/<source>/<stream>/…                   what could not be read, and why
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from signalroom.clients.objects import ObjectStore, make_folder, revealed, sync_folder, write_all
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.lake import archive, manifest
from signalroom.lake.cache import Cache
from signalroom.lake.compression import plain
from signalroom.lake.ids import is_id, new_id
from signalroom.lake.packing import Packing
from signalroom.lake.verifying import verify_part
from signalroom.lake.writer import LoadWriter
from signalroom.load import Load, Part
from signalroom.stream import Stream
from signalroom.workspace.settings import Secret, injected, setting


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
    """

    store: ObjectStore
    clock: Clock = field(default_factory=SystemClock)
    _cache: Cache = field(default_factory=Cache, init=False)

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
        self._cache.clear()

    # writing

    def begin(self, stream: Stream) -> LoadWriter:
        """Return the writer of a new load; writes nothing yet."""
        for name in (stream.source, stream.name):
            if not name or name[0] in "._" or set(name) & set('/\\:*?"<>|') or not name.isprintable():
                raise ConfigError(f"{stream.title!r} cannot name a folder.", mend="Use letters, digits, - and _.")
        return LoadWriter(self, stream, self.clock)

    def new_id(self, stream: Stream) -> str:
        """Return the id of the next load of ``stream``."""
        return new_id(self.clock.now(), max(self.committed(stream.source, stream.name), default=""))

    def folder(self, source: str, stream: str, load_id: str) -> str:
        """Return the key of a load's folder."""
        return f"{source}/{stream}/{load_id}"

    def store_part(self, key: str, packing: Packing) -> None:
        """Write a part's bytes and make them durable; its name is after ``settle_parts`` only."""
        path = self.store.local_path(key)
        if path is None:
            self.store.put(key, packing)
            return
        failpoint("lake.part.open")
        make_folder(path.parent)
        with path.open("xb", buffering=0) as sink:
            for chunk in packing:
                failpoint("lake.part.write")
                write_all(sink, chunk)
            failpoint("lake.part.fsync")
            os.fsync(sink.fileno())
        failpoint("lake.part.stored")

    def settle_parts(self, load: Load) -> None:
        """Make the names of a load's parts durable; raises RetryableError where one is gone or cut short."""
        folder = self.folder(load.source, load.stream, load.load_id)
        path = self.store.local_path(folder)
        if path is None:
            sizes = {info.key.rsplit("/", 1)[-1]: info.size for info in self.store.list(folder)}
        else:
            make_folder(path)  # a load may have slices and no parts
            sizes = {item.name: item.stat().st_size for item in path.iterdir()}
            failpoint("lake.folder.fsync")
            sync_folder(path)
        for part in load.parts:
            if sizes.get(part.name) != part.stored_bytes:
                raise RetryableError(
                    f"{folder}/{part.name} was removed or cut while its load was written.",
                    mend="Run the sync again; give `sweep` a longer age if it removed the part.",
                )

    def mark(self, load: Load) -> None:
        """Create a load's ``_load.json``; its parts are durable."""
        key = f"{self.folder(load.source, load.stream, load.load_id)}/{manifest.NAME}"
        data = manifest.encode(load)
        try:
            self.store.put(key, [data], create=True)
        except FileExistsError:
            # a remote store may have taken a request whose answer was lost, and refuse its repetition
            if b"".join(self.store.read(key)) != data:
                raise DataError(
                    f"{key} exists and describes another load.", mend="Look who else writes there."
                ) from None

    def remove(self, source: str, stream: str, load_id: str) -> None:
        """Remove a load that was never committed; raises DataError for one that was."""
        folder = self.folder(source, stream, load_id)
        if self.store.head(f"{folder}/{manifest.NAME}") is not None:
            raise DataError(f"{folder} is committed; a committed load is never removed.")
        path = self.store.local_path(folder)
        if path is None:
            self.store.delete([info.key for info in self.store.list(folder)])
        elif path.is_dir():
            for item in path.iterdir():
                failpoint("lake.remove")
                item.unlink(missing_ok=True)
            path.rmdir()

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
        folder = self.store.local_path(f"{source}/{stream}")
        if folder is not None:
            try:
                with os.scandir(folder) as found:
                    names = [item.name for item in found if is_id(item.name)]
            except FileNotFoundError:
                return []
            return sorted(name for name in names if (folder / name / manifest.NAME).exists())
        keys = (info.key.split("/") for info in self.store.list(f"{source}/{stream}"))
        return sorted(parts[2] for parts in keys if parts[3:] == [manifest.NAME] and is_id(parts[2]))

    def pending(self, source: str, stream: str, merged: Collection[str]) -> list[str]:
        """Return the ids of the committed loads that are not among ``merged``, in order."""
        return [load_id for load_id in self.committed(source, stream) if load_id not in merged]

    def loads(self, source: str, stream: str, load_ids: Iterable[str] | None = None) -> Sequence[Load]:
        """Return loads of one stream in order of their ids; all that are committed unless some are named.

        Raises:
            DataError: A named load is gone, or its ``_load.json`` cannot be read.
        """
        wanted = self.committed(source, stream) if load_ids is None else sorted(set(load_ids))
        return [self._read(source, stream, load_id) for load_id in wanted]

    def local(self, load: Load, part: Part) -> Path:
        """Return a local file that holds a part's stored bytes; a remote part is fetched once.

        Raises:
            DataError: The part is gone from the lake.
        """
        key = f"{self.folder(load.source, load.stream, load.load_id)}/{part.name}"
        try:
            return self.fetch(key, part.stored_bytes)
        except (FileNotFoundError, RetryableError) as problem:
            if isinstance(problem, RetryableError) and self.store.head(key) is not None:
                raise
            raise DataError(f"{key} is gone from the lake.", mend="Restore it from a copy of the lake.") from None

    def fetch(self, key: str, stored_bytes: int) -> Path:
        """Return a local file with the bytes of ``key``, fetched from a remote store unless the cache has it."""
        path = self.store.local_path(key)
        if path is not None:
            if not path.exists():
                raise FileNotFoundError(path)
            return path
        return self._cache.get(self.store, key, stored_bytes)

    def text(self, key: str, part: Part) -> Iterator[bytes]:
        """Yield the decompressed bytes of the part stored under ``key``."""
        return plain(self.store.read(key), part.compression)

    def verify(self, load: Load) -> list[str]:
        """Read every part of a load again and return what no longer matches ``_load.json``, a sentence each."""
        folder = self.folder(load.source, load.stream, load.load_id)
        return [found for part in load.parts if (found := verify_part(self.store, f"{folder}/{part.name}", part))]

    def sweep(self, older_than_s: float = 86_400) -> list[str]:
        """Remove loads that were begun and never committed, and return their folders.

        Args:
            older_than_s: Seconds since the last byte was written; longer than any sync takes, or a sync that still
                runs finds its parts gone and starts over.
        """
        limit = self.clock.now() - timedelta(seconds=older_than_s)
        newest: dict[str, datetime] = {}
        committed: set[str] = set()
        for key, moment in self._entries():
            source, _, rest = key.partition("/")
            stream, _, rest = rest.partition("/")
            load_id, _, name = rest.partition("/")
            if source == archive.FOLDER or not is_id(load_id):
                continue
            folder = self.folder(source, stream, load_id)
            newest[folder] = max(moment, newest.get(folder, moment))
            if name == manifest.NAME:
                committed.add(folder)
        swept = sorted(folder for folder, moment in newest.items() if folder not in committed and moment < limit)
        for folder in swept:
            failpoint("lake.sweep")
            source, stream, load_id = folder.split("/")
            self.remove(source, stream, load_id)
        return swept

    def _entries(self) -> Iterator[tuple[str, datetime]]:
        """Yield key and time of every object; of a local lake the folders as well, since an empty one is litter too."""
        root = self.store.local_path("")
        if root is None:
            yield from ((info.key, info.last_modified) for info in self.store.list())
            return
        for folder, _, names in os.walk(root):
            inner = Path(folder).relative_to(root).as_posix()
            for key in (inner, *(f"{inner}/{name}" for name in names)):
                try:
                    modified = (root / key).stat().st_mtime
                except FileNotFoundError:
                    continue
                yield key, datetime.fromtimestamp(modified, self.clock.now().tzinfo)

    def _read(self, source: str, stream: str, load_id: str) -> Load:
        key = f"{self.folder(source, stream, load_id)}/{manifest.NAME}"
        path = self.store.local_path(key)
        try:
            failpoint("lake.load.read")
            data = path.read_bytes() if path is not None else b"".join(self.store.read(key))
        except (FileNotFoundError, RetryableError) as problem:
            if isinstance(problem, RetryableError) and self.store.head(key) is not None:
                raise
            raise DataError(f"{key} is gone from the lake.", mend="Restore it from a copy of the lake.") from None
        load = manifest.decode(data, key)
        if (load.source, load.stream, load.load_id) != (source, stream, load_id):
            raise DataError(
                f"{key} describes another load ({load.source}/{load.stream}/{load.load_id}).",
                mend="Restore the file from a copy of the lake.",
            )
        return load
