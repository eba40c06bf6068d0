"""API keys: shown once when they are made, kept as hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa

from signalroom.errors import ConfigError, nearest
from signalroom.ledger.store import Store
from signalroom.ledger.view_tables import view_tables

Role: TypeAlias = Literal["admin", "operator", "agency"]

_PREFIX = "sr"
_USED_AGAIN_AFTER = timedelta(minutes=1)  # when it was last used is told to the minute: a read need not write


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret.

    Attributes:
        key_id: Its public part.
        name: What it is for.
        role: ``admin``, ``operator``, or ``agency``: one that sees one agency's things and nothing else.
        agency_id: That agency; None for the others.
        agency_slug: Its short name; empty for the others, and where the agency is gone.
        created_at: When it was made, UTC.
        expires_at: From when on it is refused; None for never.
        last_used_at: When it was last used, to the minute; None for not yet.
        revoked_at: When it was taken back; None while it holds.
    """

    key_id: str
    name: str
    role: Role
    agency_id: int | None
    agency_slug: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """Return ``valid``, ``revoked``, ``expired``, or ``orphaned`` where its agency is gone."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "orphaned" if self.agency_id is not None and not self.agency_slug else "valid"


class Keys:
    """The API keys of a ledger. The secret is 256 random bits, so one fast hash is all that guessing leaves."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table, self._agency = store.tables.keys, view_tables(store.dialect).agency

    def create(
        self, role: Role, *, agency_id: int | None = None, name: str = "", expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key; return it with its text, which is nowhere kept.

        Raises:
            ConfigError: The role wants an agency and has none, or the other way round, or there is no such agency.
        """
        if (role == "agency") != (agency_id is not None):
            raise ConfigError(
                "A key is either an agency's or has a role.", mend="Give it --agency SLUG, or --role operator or admin."
            )
        key_id = secrets.token_hex(6)
        token = f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
        row = {
            "key_id": key_id, "name": name, "role": role, "agency_id": agency_id, "hash": _hash(token),
            "created_at": self._store.clock.now(), "expires_at": expires_at,
        }  # fmt: skip
        with self._store.write() as connection:
            known = sa.select(self._agency.c.id).where(self._agency.c.id == agency_id)
            if agency_id is not None and connection.execute(known).first() is None:
                raise ConfigError(f"There is no agency {agency_id}.", mend="`signalroom views` lists them.")
            connection.execute(self._table.insert(), row)
            made = connection.execute(self._select().where(self._table.c.key_id == key_id)).one()
        return _key(made), token

    def verify(self, token: str) -> ApiKey | None:
        """Return the key of a text that a caller sent; None when it is not one that holds now."""
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != _PREFIX or not secret or not token.isascii():
            return None
        now = self._store.clock.now()
        with self._store.read() as connection:
            row = connection.execute(self._select().where(self._table.c.key_id == key_id)).first()
        # Compared where there is no such key too: how long it takes tells nobody which ids there are.
        same = hmac.compare_digest(_hash(token), row.hash if row is not None else _hash(""))
        if row is None or not same or (key := _key(row)).state(now) != "valid":
            return None
        if key.last_used_at is None or now - key.last_used_at >= _USED_AGAIN_AFTER:
            self._change(key_id, last_used_at=now)
        return key

    def list(self, limit: int | None = None) -> list[ApiKey]:
        """Return the keys, the newest first: all of them, or ``limit`` at most."""
        query = self._select().order_by(self._table.c.created_at.desc(), self._table.c.key_id).limit(limit)
        with self._store.read() as connection:
            return [_key(row) for row in connection.execute(query)]

    def revoke(self, key_id: str) -> ApiKey:
        """Take a key back, at once and for good; once more changes nothing.

        Raises:
            ConfigError: There is no such key.
        """
        known = {one.key_id: one for one in self.list()}
        if key_id not in known:
            mend = nearest(key_id, known) or "`signalroom keys list` lists them."
            raise ConfigError(f"There is no key {key_id!r}.", mend=mend)
        if known[key_id].revoked_at is None:
            self._change(key_id, revoked_at=self._store.clock.now())
        return next(one for one in self.list() if one.key_id == key_id)

    def _change(self, key_id: str, **values: Any) -> None:
        with self._store.write() as connection:
            connection.execute(self._table.update().where(self._table.c.key_id == key_id).values(**values))

    def _select(self) -> sa.Select[Any]:
        table, agency = self._table, self._agency
        return sa.select(table, agency.c.slug).join(agency, agency.c.id == table.c.agency_id, isouter=True)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row.key_id, row.name, row.role, row.agency_id, row.slug or "", row.created_at, row.expires_at,
        row.last_used_at, row.revoked_at,
    )  # fmt: skip
