"""Objects in a local folder or an S3-compatible store, behind one small class."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from signalroom.clients.durable import TEMPORARY, make_folder, sync_folder, write_whole, writing
from signalroom.clients.s3 import bucket_at, refused
from signalroom.errors import ConfigError, RetryableError, SignalRoomError
from signalroom.failpoints import failpoint
from signalroom.workspace.settings import Secret

if TYPE_CHECKING:
    import obstore

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing.

    Attributes:
        key: Its name below the store's address, with ``/`` between folders.
        size: Bytes.
        etag: Changes when its bytes do; a local file's is its modification time (ns) and size.
        last_modified: Aware, UTC.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A folder of objects; use ``open``.

    Attributes:
        url: Where it is, for messages.
    """

    url: str
    _root: Path | None = field(repr=False)
    _remote: Any = field(repr=False, default=None)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        root: Path | None = None,
        endpoint: str = "",
        region: str = "",
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> ObjectStore:
        """Return the store at ``url``; connects to nothing yet.

        Args:
            url: ``s3://bucket/prefix``, ``file:///folder`` or a folder.
            root: Where a relative folder starts; the working folder when left out.
            endpoint: Address of an S3-compatible store; empty means AWS.
            region: Region of the bucket; empty means ``AWS_REGION``, else ``us-east-1``.
            access_key: Access key; None lets the environment or the machine's role decide.
            secret_key: Its secret.

        Raises:
            ConfigError: The address is of a kind we do not read.
        """
        parts = urlsplit(url)
        if parts.scheme == "s3" and parts.netloc:
            given = {"access_key_id": access_key, "secret_access_key": secret_key}
            return cls(url, None, bucket_at(parts.netloc, parts.path.strip("/"), endpoint, region, given))
        if parts.scheme == "file":
            return cls(url, Path(unquote(parts.path)))
        if not url or "://" in url:
            raise ConfigError(f"{url!r} is no address of objects.", mend="Use s3://bucket/prefix or a folder.")
        return cls(url, Path(root or "", url).absolute())

    @property
    def local(self) -> bool:
        """Whether the objects are files of this machine."""
        return self._root is not None

    def local_path(self, key: str) -> Path | None:
        """Return the file that holds ``key`` (it need not exist), or None for a remote store."""
        if self._root is None:
            return None
        if key.startswith("/") or ".." in key.split("/"):
            raise ConfigError(f"The key {key!r} leads out of {self.url}.", mend="Keys are relative and go down only.")
        return self._root / key

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """Return every object in the folder ``prefix`` and below, sorted by key; the store's order is not trusted.

        Raises:
            ConfigError: The folder or bucket does not exist, or may not be read.
        """
        failpoint("objects.list")
        prefix = prefix.strip("/")
        if self._root is not None:
            return sorted(_walk(self._root, prefix, self.url), key=lambda info: info.key)
        import obstore

        with self._translated(prefix):
            pages = obstore.list(self._remote, prefix=prefix or None)
            return sorted((_info(meta) for page in pages for meta in page), key=lambda info: info.key)

    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of ``key``, or None where there is no such object."""
        path = self.local_path(key)
        try:
            if path is not None:
                return _local_info(key, path.stat())
            import obstore

            with self._translated(key):
                return _info(obstore.head(self._remote, key))
        except FileNotFoundError:
            return None

    def read(self, item: ObjectInfo | str, *, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield an object's bytes in chunks of about ``chunk_bytes``.

        Args:
            item: An object of a listing, whose version is insisted on, or a key.
            chunk_bytes: How much to hand over at once.

        Raises:
            RetryableError: The object is gone, or changed between the listing and the end of the reading.
        """
        key = item if isinstance(item, str) else item.key
        expected = None if isinstance(item, str) else item
        failpoint("objects.read.open")
        try:
            path = self.local_path(key)
            chunks = self._read_file(path, expected, chunk_bytes) if path else self._read_remote(key, expected)
            yield from chunks
        except FileNotFoundError:
            raise RetryableError(
                f"{key} is no longer in {self.url}.", mend="Run the sync again: it lists the objects afresh."
            ) from None
        except IsADirectoryError:
            raise ConfigError(f"{key} in {self.url} is a folder, not an object.") from None
        except PermissionError:
            raise ConfigError(
                f"{key} in {self.url} may not be read.", mend="Give this user the right to read it."
            ) from None
        except OSError as problem:
            raise RetryableError(f"{key} in {self.url} cannot be read: {problem.strerror or problem}.") from problem

    def _read_file(self, path: Path, expected: ObjectInfo | None, chunk_bytes: int) -> Iterator[bytes]:
        with path.open("rb", buffering=0) as source:
            before = expected.etag if expected else _local_etag(os.fstat(source.fileno()))
            if _local_etag(os.fstat(source.fileno())) != before:
                raise self._changed(path.name)
            while chunk := source.read(chunk_bytes):
                yield chunk
            # the file may have been replaced under its name, or written to, while we read
            if _local_etag(os.fstat(source.fileno())) != before or _local_etag(path.stat()) != before:
                raise self._changed(path.name)

    def _read_remote(self, key: str, expected: ObjectInfo | None) -> Iterator[bytes]:
        import obstore
        from obstore.exceptions import PreconditionError

        with self._translated(key):
            try:
                options: obstore.GetOptions = {"if_match": expected.etag} if expected else {}
                found = obstore.get(self._remote, key, options=options)
            except PreconditionError:
                raise self._changed(key) from None
            info = _info(found.meta)
            if expected and (info.etag, info.size) != (expected.etag, expected.size):
                raise self._changed(key)
            seen = 0
            for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                seen += len(chunk)
                yield bytes(chunk)
        if seen != info.size:
            raise RetryableError(f"{key} of {self.url} broke off after {seen:,} of {info.size:,} bytes.")

    def put(self, key: str, chunks: Iterable[bytes], *, create: bool = False) -> int:
        """Store an object whole or not at all, durably, and return its size in bytes.

        Args:
            key: Its name.
            chunks: Its bytes.
            create: Fail where the key exists, decided by the store. Then the bytes are sent in one request.

        Raises:
            FileExistsError: ``create`` was asked for and the key exists.
        """
        counted = _Counted(chunks)
        failpoint("objects.put.before")
        path = self.local_path(key)
        if path is not None:
            with writing(path):
                make_folder(path.parent)
                write_whole(path, counted, create=create)
        else:
            import obstore
            from obstore.exceptions import AlreadyExistsError

            with self._translated(key):
                try:
                    if create:
                        obstore.put(self._remote, key, b"".join(counted), mode="create")
                    else:
                        obstore.put(self._remote, key, iter(counted))
                except AlreadyExistsError:
                    raise FileExistsError(key) from None
        failpoint("objects.put.after")
        return counted.size

    def move(self, key: str, to: str) -> None:
        """Give an object another key, durably."""
        failpoint("objects.move")
        old, new = self.local_path(key), self.local_path(to)
        if old is not None and new is not None:
            with writing(new):
                make_folder(new.parent)
                with old.open("rb") as source:
                    os.fsync(source.fileno())
                old.replace(new)
                sync_folder(new.parent)
                sync_folder(old.parent)
            return
        import obstore

        with self._translated(key):
            obstore.rename(self._remote, key, to)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error."""
        if self._root is None:
            import obstore

            found = list(keys)
            if found:
                with self._translated(found[0]):
                    obstore.delete(self._remote, found)
            return
        for key in keys:
            path = self.local_path(key)
            failpoint("objects.delete")
            if path is not None:
                path.unlink(missing_ok=True)

    def _changed(self, key: str) -> RetryableError:
        return RetryableError(
            f"{key} of {self.url} changed while it was read.", mend="Run the sync again when its writer is done."
        )

    @contextmanager
    def _translated(self, key: str) -> Generator[None]:
        """Turn what the store's library raises into our errors; a missing object stays FileNotFoundError."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (SignalRoomError, FileNotFoundError, FileExistsError):
            raise
        except PermissionError as problem:
            raise refused(self.url, key, str(problem)) from None
        except (BaseError, TimeoutError, ConnectionError) as problem:
            text = str(problem)
            if isinstance(problem, BaseError) and type(problem).__name__ == "AlreadyExistsError":
                raise
            raise refused(self.url, key, text) from None


def revealed(secret: Secret | None) -> str | None:
    """Return a key of a store, or None where nobody gave one: then the environment or the machine's role decides.

    Raises:
        ConfigError: A variable that the workspace file names is not set; the one that deployments use may be unset.
    """
    if secret is None or (secret.value is None and secret.reference.startswith("env:AWS_")):
        return None
    return secret.reveal()


class _Counted:
    """Chunks whose bytes are counted as they go by."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk


def _walk(root: Path, prefix: str, url: str) -> Iterator[ObjectInfo]:
    if not root.is_dir():
        raise ConfigError(f"The folder {url} does not exist.", mend="Create it, or correct `url`.")

    def refuse(problem: OSError) -> None:
        if not isinstance(problem, FileNotFoundError):
            raise ConfigError(
                f"{problem.filename} may not be listed.", mend="Give this user the right to read it."
            ) from None

    base = str(root)
    for folder, _, names in os.walk(root / prefix if prefix else root, onerror=refuse):
        inner = folder[len(base) :].strip("/")
        for name in names:
            if TEMPORARY.fullmatch(name):
                continue
            try:
                found = os.stat(f"{folder}/{name}")  # noqa: PTH116 - a Path a file would double the listing's cost
            except FileNotFoundError:
                continue  # went away while we looked
            yield _local_info(f"{inner}/{name}" if inner else name, found)


def _local_info(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, found.st_size, _local_etag(found), datetime.fromtimestamp(found.st_mtime_ns / 1e9, UTC))


def _local_etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns}-{found.st_size}"


def _info(meta: obstore.ObjectMeta) -> ObjectInfo:
    modified = meta["last_modified"].astimezone(UTC)
    etag = meta["e_tag"] or f"{modified.isoformat()}-{meta['size']}"  # a store without etags still has a clock
    return ObjectInfo(meta["path"], meta["size"], etag, modified)
