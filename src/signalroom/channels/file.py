"""A channel that writes what would have been sent: a folder per delivery, for previews, tests and dry runs.

::

    .signalroom/outbox/daily_ccw/2026-11-19/6f0c…/
        slack.json  slack.txt  email.html  email.txt  email.eml  sms.txt  chart.png  message.json

A folder appears whole or not at all: it is written under ``.writing/``, synced, and renamed to its place. The first
writer of a delivery key decides that place, by a link in ``.keys/``; so a key has one folder whoever else writes it,
and is looked up without a look at the others. A crash before the rename left nothing that :meth:`FileChannel.find`
finds.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from signalroom.blocktext import as_text
from signalroom.channels.mail import to_email
from signalroom.clients.durable import sync_folder
from signalroom.clock import Clock, SystemClock
from signalroom.errors import DataError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.message import Message
from signalroom.position import Json
from signalroom.workspace.settings import injected, setting

_KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")
_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,99}")
_LOCAL = re.compile(r"\bcid:([\w.-]+)")
_WRITING = ".writing"
_KEYS = ".keys"
_SWEPT = "swept."
_STALE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class FileChannel:
    """Writes each message into a folder of its own instead of sending it."""

    path: str = setting(
        "Folder the deliveries are written to, relative to the workspace.",
        default=".signalroom/outbox",
        example='path = ".signalroom/outbox"',
    )
    root: Path = injected(factory=Path)
    clock: Clock = injected(factory=SystemClock)

    @property
    def folder(self) -> Path:
        """Where deliveries are written."""
        return self.root / self.path

    def recipients(self) -> Sequence[str]:
        """Return the one recipient: the folder, as the workspace file spells it."""
        return (self.path,)

    def send(self, message: Message, recipient: str, key: str) -> str:
        """Write ``message`` and return the path of its folder; a key that was written before keeps its first text.

        Raises:
            DataError: A name that is no file name.
            RetryableError: Nothing was written: a full disk, a folder that may not be written.
        """
        if (found := self._written(key)) is not None:
            return found
        final = self.folder / _safe(message.report) / _day(message, self.clock).isoformat() / key
        files = dict(_files(message, recipient, key, self.clock))
        try:
            return self._write(files, self._place(key, final))
        except OSError as error:
            if (found := self._written(key)) is not None:  # the rename was done; what failed came after it
                return found
            raise _trouble("written to", self.folder, error) from error

    def find(self, key: str, recipient: str, since: datetime) -> str | None:  # noqa: ARG002 - the key has it all
        """Return the path of the folder written under ``key``, or None; RetryableError where that cannot be seen."""
        return self._written(key)

    def _written(self, key: str) -> str | None:
        if not _KEY.fullmatch(key):
            raise DataError(f"{key!r} is no delivery key.", mend="Make it with delivery_key().")
        try:
            place = _placed(self.folder / _KEYS / key)
        except OSError as error:
            raise _trouble("looked for in", self.folder, error) from error
        return str(place) if place is not None and place.is_dir() else None

    def check(self) -> Sequence[str]:
        """Return a sentence when the folder cannot be written."""
        nearest = self.folder
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
            return []
        return [f"The outbox {self.folder} cannot be written: change `path` or the rights of {nearest}."]

    def _place(self, key: str, wanted: Path) -> Path:
        """Return where the delivery of ``key`` belongs: what its first writer wanted."""
        link = self.folder / _KEYS / key
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(Path("..", wanted.relative_to(self.folder)))
        except FileExistsError:
            return _placed(link) or wanted
        sync_folder(link.parent)
        return wanted

    def _write(self, files: Mapping[str, bytes], final: Path) -> str:
        staged = self.folder / _WRITING / f"{final.name}.{uuid.uuid4().hex}"
        staged.mkdir(parents=True)
        try:
            self._sweep(staged)
            for name, body in files.items():
                failpoint("channels.file.write")
                _write_synced(staged / name, body)
            sync_folder(staged)
            final.parent.mkdir(parents=True, exist_ok=True)
            failpoint("channels.file.rename.before")
            try:
                staged.rename(final)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                return str(final)  # another scheduler wrote it first; a folder with files in it is never replaced
            failpoint("channels.file.rename.after")
            for folder in (final.parent, final.parent.parent, self.folder):
                sync_folder(folder)
            return str(final)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _sweep(self, mine: Path) -> None:
        """Remove what crashed writers left behind a day ago and longer, beside ``mine``."""
        now = self.clock.now().timestamp()
        for left in mine.parent.iterdir():
            # Others write, rename and sweep here: what is listed may be gone. What is swept takes another name first,
            # so that its writer, should it wake up, cannot rename half a folder into place.
            with contextlib.suppress(FileNotFoundError):
                if left != mine and now - left.stat().st_mtime > _STALE_S:
                    swept = left.with_name(f"{_SWEPT}{uuid.uuid4().hex}")
                    shutil.rmtree(left.rename(swept), ignore_errors=True)


def _files(message: Message, recipient: str, key: str, clock: Clock) -> Iterator[tuple[str, bytes]]:
    if message.blocks:
        yield "slack.json", _json({"text": message.subject, "blocks": message.blocks})
        yield "slack.txt", as_text(message.blocks).encode()
    if message.html:
        # On disk the pictures lie beside the page: a browser shows it as a mail program would.
        yield "email.html", _LOCAL.sub(r"\1", message.html).encode()
        yield "email.txt", message.text.encode()
        mail = to_email(message, sender="signalroom@localhost", recipient="outbox@localhost", key=key, clock=clock)
        yield "email.eml", mail.as_bytes()
    if message.sms:
        yield "sms.txt", f"{message.sms}\n".encode()
    for image in message.images:
        yield _safe(image.name), image.png
    yield (
        "message.json",
        _json(
            {
                "key": key,
                "recipient": recipient,
                "report": message.report,
                "subject": message.subject,
                "text": message.text,
                "sms": message.sms,
                "images": [
                    {"name": image.name, "alt": image.alt, "sha256": hashlib.sha256(image.png).hexdigest()}
                    for image in message.images
                ],
                "data": message.data,
                "load_ids": message.load_ids,
            }
        ),
    )


def _day(message: Message, clock: Clock) -> date:
    """Return the day the message is about; the day of writing when it does not say."""
    about = message.data.get("_report")
    told = about.get("report_date") if isinstance(about, Mapping) else None
    try:
        return date.fromisoformat(told) if isinstance(told, str) else clock.now().date()
    except ValueError:
        return clock.now().date()


def _safe(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DataError(f"{name!r} is no file name.", mend="Use letters, digits, dots, hyphens and underscores.")
    return name


def _json(value: Mapping[str, Json]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False).encode() + b"\n"


def _placed(link: Path) -> Path | None:
    """Return the place that a key's link names, spelt as the outbox is; None where there is no link."""
    try:
        return link.parent.parent.joinpath(*Path(link.readlink()).parts[1:])
    except (FileNotFoundError, NotADirectoryError):
        return None


def _trouble(what: str, folder: Path, error: OSError) -> RetryableError:
    return RetryableError(
        f"The delivery could not be {what} {folder}: {error.strerror or error}.",
        mend="Free disk space, or mend the folder's permissions.",
    )


def _write_synced(path: Path, body: bytes) -> None:
    with path.open("xb") as sink:
        sink.write(body)
        sink.flush()
        os.fsync(sink.fileno())
