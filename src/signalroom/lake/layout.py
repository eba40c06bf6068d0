"""How loads lie in a store: their folders, their parts, and the marker that makes a load exist."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from signalroom.clients.durable import make_folder, sync_folder, write_all, writing
from signalroom.clients.objects import ObjectStore
from signalroom.errors import DataError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.lake import manifest
from signalroom.lake.cache import Cache
from signalroom.lake.compression import plain
from signalroom.lake.ids import Ids, is_id
from signalroom.load import Load, Part


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of a lake; every durable step of a load is taken here.

    Attributes:
        store: Where they are.
        cache: Parts of a remote store, fetched.
        ids: Where load ids come from.
    """

    store: ObjectStore
    cache: Cache = field(default_factory=Cache)
    ids: Ids = field(default_factory=Ids)

    def folder(self, source: str, stream: str, load_id: str) -> str:
        """Return the key of a load's folder."""
        return f"{source}/{stream}/{load_id}"

    def store_part(self, key: str, stored: Iterable[bytes]) -> None:
        """Write a part's bytes and make them durable; its name is after ``settle_parts`` only."""
        path = self.store.local_path(key)
        if path is None:
            self.store.put(key, stored)
            return
        failpoint("lake.part.open")
        with writing(path):
            make_folder(path.parent)
            with path.open("xb", buffering=0) as sink:
                for chunk in stored:
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
            with writing(path):
                make_folder(path)  # a load may have positions and no parts
                sizes = {item.name: item.stat().st_size for item in path.iterdir()}
                for above in (path, *path.parents[:3]):  # a process that died may have made one and not synced it
                    failpoint("lake.folder.fsync")
                    sync_folder(above)
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
            with writing(path):
                for item in path.iterdir():
                    failpoint("lake.remove")
                    item.unlink(missing_ok=True)
                path.rmdir()

    def begun(self, source: str, stream: str) -> list[str]:
        """Return the ids of a stream's loads, in order, those without a marker too."""
        folder = self.store.local_path(f"{source}/{stream}")
        if folder is not None:
            try:
                with os.scandir(folder) as found:
                    return sorted(item.name for item in found if is_id(item.name))
            except FileNotFoundError:
                return []
        keys = (info.key.split("/") for info in self.store.list(f"{source}/{stream}"))
        return sorted({parts[2] for parts in keys if is_id(parts[2])})

    def committed(self, source: str, stream: str) -> list[str]:
        """Return the ids of a stream's committed loads, in order; reads no ``_load.json``."""
        folder = self.store.local_path(f"{source}/{stream}")
        if folder is not None:
            return [name for name in self.begun(source, stream) if (folder / name / manifest.NAME).exists()]
        keys = (info.key.split("/") for info in self.store.list(f"{source}/{stream}"))
        return sorted(parts[2] for parts in keys if parts[3:] == [manifest.NAME] and is_id(parts[2]))

    def read(self, source: str, stream: str, load_id: str) -> Load:
        """Return a committed load; raises DataError where it is gone or its record cannot be read."""
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

    def fetch(self, key: str, stored_bytes: int) -> Path:
        """Return a local file with the bytes of ``key``, fetched from a remote store unless the cache has it."""
        path = self.store.local_path(key)
        if path is not None:
            if not path.exists():
                raise FileNotFoundError(path)
            return path
        return self.cache.get(self.store, key, stored_bytes)

    def text(self, key: str, part: Part) -> Iterator[bytes]:
        """Yield the decompressed bytes of the part stored under ``key``."""
        return plain(self.store.read(key), part.compression)
