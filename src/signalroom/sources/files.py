"""Files: each stream the objects of one glob, in a folder or an S3-compatible bucket.

The state of a stream is what it has seen of each object (etag and size), never a date of a file's content: a late file
is an ordinary new one, a corrected upload replaces its earlier version's rows, and an object that did not change is not
read again. The same bytes put under the same name once more are a new version only where the object's time is that of
its last change: who puts the old mapping back wants it to be the newest file. A time in its name stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from signalroom.clients.objects import ObjectInfo, ObjectStore, revealed
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, SignalRoomError, nearest
from signalroom.position import Json, Position, Slice
from signalroom.stream import Batch, Compression, Contract, Disposition, Format, Raw, Stream, Table, Window
from signalroom.workspace.settings import Secret, injected, setting

FileFormat: TypeAlias = Literal["auto", "csv", "tsv", "json", "jsonl", "ndjson", "parquet"]

_FORMATS: Mapping[str, Format] = {
    "csv": "csv", "tsv": "csv", "json": "json", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet",
}  # fmt: skip
_PACKED: Mapping[str, Compression] = {"gz": "gzip", "gzip": "gzip", "zst": "zstd", "zstd": "zstd"}
_TIME_PARTS = {
    "Y": r"\d{4}", "m": r"\d{2}", "d": r"\d{2}", "H": r"\d{2}", "I": r"\d{2}", "M": r"\d{2}", "S": r"\d{2}",
    "f": r"\d{1,6}", "y": r"\d{2}", "j": r"\d{3}", "p": r"[AaPp][Mm]", "b": r"[A-Za-z]{3}", "B": r"[A-Za-z]+",
    "z": r"(?:Z|[+-]\d{2}:?\d{2})",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileStream:
    """The objects of one glob; they feed one table with the stream's name."""

    path: str = setting(
        "Which objects, below the source's url: * and ? stay in a folder, ** goes down.",
        example='"orders-create/*.csv"',
    )
    write: Disposition = setting(
        "How rows meet the table: append, merge (latest of a key wins), history (each version of a key with its time), "
        "replace_slice or replace (the newest file is the table).",
        default="append",
        example='"merge"',
    )
    key: tuple[str, ...] = setting(
        "Primary key columns; merge and history need them.", default=(), example='["orders_id"]'
    )
    order: tuple[str, ...] = setting(
        "Columns whose greatest value wins a key; ties go to the later file, then the later row. A history begins with "
        "the time of a version.",
        default=(),
        example='["_file_time", "_row"]',
    )
    contract: Contract = setting(
        "What to do with a column nobody declared: evolve adds it as text, freeze refuses the load, discard leaves it "
        "in the lake.",
        default="evolve",
        example='"freeze"',
    )
    nulls: tuple[str, ...] = setting(
        "Spellings that mean null, besides the empty one.", default=(), example='["NA", "N/A", "None"]'
    )
    format: FileFormat = setting(
        "What the files are; auto goes by the extension (.csv, .tsv, .json, .jsonl, .ndjson, .parquet, the text ones "
        "also with .gz or .zst).",
        default="auto",
        example='"csv"',
    )
    delimiter: str = setting(
        "Field separator of csv, one character; a tab for tsv, else a comma.", default="", example='";"'
    )
    encoding: str = setting(
        "Text encoding; when left out a byte order mark decides, else UTF-8, else cp1252.",
        default="",
        example='"cp1252"',
    )
    records: str = setting("JSON path of the array of records in a json document.", default="$", example='"$.data"')
    file_time: str = setting(
        "The time within a file's name, as strptime writes it, in the workspace's zone; a name without one, or no "
        "pattern at all, means the time of the last change.",
        default="",
        example='"report_%Y-%m-%dT%H%M_"',
    )
    client: str = setting("Tag of every row of this stream, instead of the source's.", default="", example='"713"')

    def __post_init__(self) -> None:
        """Refuse settings that cannot be read by."""
        if self.write in ("merge", "history") and not self.key:
            raise ConfigError(f'write = "{self.write}" needs a key.', mend='Name the primary key: key = ["id"].')
        if self.delimiter and (len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n'):
            raise ConfigError(f"The delimiter {self.delimiter!r} is not one plain character.", mend='Use ";" or "\\t".')
        if self.encoding:
            from signalroom.records.encoding import canonical

            canonical(self.encoding)
        if not re.fullmatch(r"\$(\.\w+)*", self.records):
            raise ConfigError(f"records is {self.records!r}, not a path of names.", mend='Write "$" or "$.data".')
        _time_pattern(self.file_time)
        glob_pattern(self.path)


@dataclass(frozen=True, slots=True)
class Files:
    """Reads objects from a folder or an S3-compatible bucket, each version once."""

    url: str = setting("A bucket with an optional prefix, or a folder.", example='"s3://acme-exports"')
    streams_: dict[str, FileStream] = setting("The streams, by name.", factory=dict)
    client: str = setting("Tag stamped on every row as _client_id.", default="", example='"713"')
    endpoint: str = setting(
        "Address of an S3-compatible store; empty means AWS.", default="", example='"https://minio.example.com"'
    )
    region: str = setting("Region of the bucket.", default="", example='"us-east-1"')
    access_key: Secret | None = setting(
        "Access key; without one the machine's own role is used.",
        default=Secret("env:AWS_ACCESS_KEY_ID"),
        example='"env:EXPORTS_ACCESS_KEY"',
    )
    secret_key: Secret | None = setting(
        "Secret of the access key.", default=Secret("env:AWS_SECRET_ACCESS_KEY"), example='"env:EXPORTS_SECRET_KEY"'
    )
    name: str = injected("files")
    root: Path = injected(Path())
    timezone: str = injected("UTC")
    clock: Clock = injected(factory=SystemClock)

    def streams(self) -> Sequence[Stream]:
        """Return one stream, with one table of its name, for each that is configured."""
        return [
            Stream(self.name, name, (_table(name, spec),), client=spec.client or self.client)
            for name, spec in self.streams_.items()
        ]

    def read(self, stream: Stream, since: Position, window: Window | None) -> Iterator[Batch]:  # noqa: ARG002 - see below
        """Yield each object that is new or changed since ``since``, in order of file time; a window means nothing here.

        The bytes are read while a batch is consumed. An object that vanished is no batch: its rows stay.

        Raises:
            ConfigError: The folder or bucket cannot be listed, or a file's format cannot be told.
            RetryableError: An object changed between the listing and its reading, or the store does not answer.
        """
        spec = self._spec(stream.name)
        observed_at = self.clock.now()
        store = self._store()
        found = [(self._time(spec, info), info) for info in _matching(store, spec.path)]
        changed = [(moment, info) for moment, info in found if _changed(info, moment, since)]
        for file_time, info in sorted(changed, key=lambda pair: (pair[0], pair[1].key)):
            kind, compression, delimiter = _kind(spec, info.key)
            seen: dict[str, Json] = {"etag": info.etag, "size": info.size, "file_time": file_time.isoformat()}
            yield Batch(
                table=stream.tables[0].name,
                content=Raw(
                    store.read(info),
                    kind,
                    compression,
                    delimiter=delimiter,
                    encoding=spec.encoding,
                    records=spec.records,
                ),
                position={info.key: seen},
                replaces=(Slice(observed_at, object_key=info.key),),
                object_key=info.key,
                file_time=file_time,
                source_ref=info.key,
                request={"url": f"{self.url.rstrip('/')}/{info.key}", "etag": info.etag},
            )

    def confirm(self, stream: Stream, position: Position) -> None:
        """Do nothing: files stay where they are."""

    def check(self) -> Sequence[str]:
        """Return what is wrong with the zone, the rights to list, or the formats; reads no object."""
        found: list[str] = []
        try:
            zone = _zone(self.timezone)
            store = self._store()
            for name, spec in self.streams_.items():
                infos = _matching(store, spec.path)
                if not infos:
                    found.append(f"{self.name}.{name}: nothing in {self.url} matches {spec.path!r}; correct `path`.")
                for info in infos[:1]:
                    _kind(spec, info.key)
                    file_time(spec.file_time, info, zone)
        except SignalRoomError as problem:
            found.append(str(problem))
        return found

    def _spec(self, name: str) -> FileStream:
        spec = self.streams_.get(name)
        if spec is None:
            mend = nearest(name, self.streams_) or f"Its streams are: {', '.join(self.streams_) or 'none'}."
            raise ConfigError(f"Source {self.name!r} has no stream {name!r}.", mend=mend)
        return spec

    def _store(self) -> ObjectStore:
        return ObjectStore.open(
            self.url,
            root=self.root,
            endpoint=self.endpoint,
            region=self.region,
            access_key=revealed(self.access_key),
            secret_key=revealed(self.secret_key),
        )

    def _time(self, spec: FileStream, info: ObjectInfo) -> datetime:
        return file_time(spec.file_time, info, _zone(self.timezone))


def file_time(pattern: str, info: ObjectInfo, zone: ZoneInfo) -> datetime:
    """Return an object's time, aware: the one in its name by ``pattern``, else its last change.

    A local time that a clock change skips or repeats is read as its first pass, before the change.
    """
    shape = _time_pattern(pattern)
    found = shape.search(info.key.rpartition("/")[2]) if shape else None
    if not found:
        return info.last_modified
    try:
        moment = datetime.strptime(found.group(0), pattern)  # noqa: DTZ007 - the zone is set below
    except ValueError:
        return info.last_modified  # digits that are no date: 2025-13-45
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def glob_pattern(path: str) -> re.Pattern[str]:
    """Return the expression that keys matching a glob fulfil; raises ConfigError for a glob that leads nowhere."""
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise ConfigError(f"The path {path!r} leads out of the source's url.", mend='Write it below: "orders/*.csv".')
    out, at = "", 0
    while at < len(path):
        if path.startswith("**/", at):
            out, at = out + "(?:[^/]+/)*", at + 3
        elif path.startswith("**", at):
            out, at = out + ".*", at + 2
        else:
            out, at = out + {"*": "[^/]*", "?": "[^/]"}.get(path[at], re.escape(path[at])), at + 1
    return re.compile(out)


def _matching(store: ObjectStore, path: str) -> list[ObjectInfo]:
    """Return the objects that match a glob; lists no more than the folder above its first wildcard."""
    folder = re.split(r"[*?]", path, maxsplit=1)[0].rpartition("/")[0]
    pattern = glob_pattern(path)
    return [info for info in store.list(folder) if pattern.fullmatch(info.key)]


def _changed(info: ObjectInfo, moment: datetime, since: Position) -> bool:
    """Return whether this version of an object, of the time ``moment``, was neither loaded nor found unreadable before.

    A store's etag is that of the bytes: where the time is the last change's, it tells an upload of the same bytes.
    """
    for partition in (info.key, f"unreadable|{info.key}"):
        seen = since.get(partition)
        if not isinstance(seen, Mapping) or (seen.get("etag"), seen.get("size")) != (info.etag, info.size):
            continue
        if moment != info.last_modified or datetime.fromisoformat(str(seen["file_time"])) == moment:
            return False
    return True


def _kind(spec: FileStream, key: str) -> tuple[Format, Compression, str]:
    """Return format, compression and delimiter of an object; raises ConfigError where nothing says."""
    *rest, last = key.rpartition("/")[2].lower().split(".")
    compression = _PACKED.get(last, "none")
    extension = (rest[-1] if len(rest) > 1 else "") if compression != "none" else last
    name = extension if spec.format == "auto" else spec.format
    if name not in _FORMATS:
        raise ConfigError(f"Nothing says what {key} is.", mend='Set format = "csv" on the stream, or narrow its path.')
    if name == "parquet" and compression != "none":
        raise ConfigError(f"{key} is Parquet inside {last}.", mend="Parquet compresses by itself: export it plain.")
    return _FORMATS[name], compression, spec.delimiter or ("\t" if name == "tsv" else ",")


def _table(name: str, spec: FileStream) -> Table:
    return Table(
        name=name, key=spec.key, order=spec.order, disposition=spec.write, contract=spec.contract, nulls=spec.nulls
    )


def _time_pattern(pattern: str) -> re.Pattern[str] | None:
    """Return the expression that finds a strptime pattern inside a name; None for no pattern."""
    if not pattern:
        return None
    out, at = "", 0
    while at < len(pattern):
        if pattern[at] != "%":
            out, at = out + re.escape(pattern[at]), at + 1
            continue
        code = pattern[at + 1 : at + 2]
        if code != "%" and code not in _TIME_PARTS:
            known = " ".join(f"%{one}" for one in _TIME_PARTS)
            raise ConfigError(f"file_time has %{code}, which names no part of a time.", mend=f"Use {known}.")
        out, at = out + ("%" if code == "%" else _TIME_PARTS[code]), at + 2
    return re.compile(out)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"There is no time zone {name!r}.", mend='Use a name such as "America/New_York".') from None
