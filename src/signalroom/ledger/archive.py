"""The archive: every delivered message as it was, with the data it showed and the loads behind them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from signalroom.errors import DataError
from signalroom.failpoints import failpoint
from signalroom.ledger.store import Store, dump_json
from signalroom.message import Image, Message


@dataclass(frozen=True, slots=True)
class Archived:
    """One archived message.

    Attributes:
        digest: Hash of everything it shows and when it was due; a delivery names it.
        due_at: When it was due (UTC).
        created_at: When it was archived (UTC).
        message: The message, whole.
    """

    digest: str
    due_at: datetime
    created_at: datetime
    message: Message


@dataclass(frozen=True, slots=True)
class ArchivedTitle:
    """What a list of the archive shows: everything but the message itself.

    Attributes:
        digest: Hash by which the message is opened.
        report: Name of the report.
        subject: Its one line.
        due_at: When it was due (UTC).
        created_at: When it was archived (UTC).
    """

    digest: str
    report: str
    subject: str
    due_at: datetime
    created_at: datetime


class Archive:
    """The archived messages of a ledger; one is written once and never changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.tables.archive
        self._images = store.tables.images

    def put(self, message: Message, due_at: datetime) -> str:
        """Keep a message and return its digest; the same message for the same moment is kept once.

        Raises:
            DataError: The message holds what JSON cannot carry.
        """
        body = {
            "subject": message.subject, "text": message.text, "html": message.html, "blocks": list(message.blocks),
            "sms": message.sms,
        }  # fmt: skip
        data, load_ids = dict(message.data), list(message.load_ids)
        try:
            digest = _digest(message, body, due_at)
        except (TypeError, ValueError) as problem:
            raise DataError(
                f"The message of report {message.report!r} cannot be archived: {problem}.",
                mend="Turn its data into JSON values before they are rendered.",
            ) from None
        row = {
            "digest": digest, "report": message.report, "due_at": due_at, "subject": message.subject, "message": body,
            "data": data, "load_ids": load_ids, "created_at": self._store.clock.now(),
        }  # fmt: skip
        failpoint("ledger.archive.before")
        with self._store.write() as connection:
            insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            fresh = insert(self._table).values(row).on_conflict_do_nothing().returning(self._table.c.digest)
            if connection.execute(fresh).first() is not None and message.images:
                connection.execute(
                    self._images.insert(),
                    [
                        {"digest": digest, "position": n, "name": image.name, "alt": image.alt, "png": image.png}
                        for n, image in enumerate(message.images)
                    ],
                )
        failpoint("ledger.archive.after")
        return digest

    def get(self, digest: str, *, with_images: bool = True) -> Archived | None:
        """Return the message kept under ``digest``, or None; its pictures are read only where they are wanted."""
        with self._store.read() as connection:
            row = connection.execute(sa.select(self._table).where(self._table.c.digest == digest)).one_or_none()
            if row is None:
                return None
            query = sa.select(self._images).where(self._images.c.digest == digest).order_by(self._images.c.position)
            found = connection.execute(query) if with_images else ()
            images = tuple(Image(image.name, image.png, image.alt) for image in found)
        body: dict[str, Any] = row.message
        message = Message(
            report=row.report,
            subject=body["subject"],
            text=body["text"],
            html=body["html"],
            blocks=tuple(body["blocks"]),
            sms=body["sms"],
            images=images,
            data=row.data,
            load_ids=tuple(row.load_ids),
        )
        return Archived(digest, row.due_at, row.created_at, message)

    def list(self, report: str | None = None, *, limit: int = 100) -> tuple[ArchivedTitle, ...]:
        """Return what the archive holds, the latest due first; only a report's where one is named."""
        columns = [self._table.c[name] for name in ("digest", "report", "subject", "due_at", "created_at")]
        query = sa.select(*columns).order_by(self._table.c.due_at.desc(), self._table.c.created_at.desc()).limit(limit)
        if report is not None:
            query = query.where(self._table.c.report == report)
        with self._store.read() as connection:
            return tuple(
                ArchivedTitle(row.digest, row.report, row.subject, row.due_at, row.created_at)
                for row in connection.execute(query)
            )


def _digest(message: Message, body: dict[str, Any], due_at: datetime) -> str:
    """Return the hash of a message and its moment, independent of the order of keys."""
    whole = {
        "report": message.report,
        "due_at": due_at.astimezone(UTC).isoformat(),
        "message": body,
        "data": dict(message.data),
        "load_ids": list(message.load_ids),
        "images": [[image.name, image.alt, hashlib.sha256(image.png).hexdigest()] for image in message.images],
    }
    canonical = json.dumps(json.loads(dump_json(whole)), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
