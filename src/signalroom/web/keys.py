"""The API of keys: an admin makes, lists and takes back what callers send."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError
from signalroom.web.endpoint import Answer, Call, Endpoint, Param, Refusal, Told, missing, read_object
from signalroom.web.shapes import Field, Shape

if TYPE_CHECKING:
    from signalroom.ledger.keys import ApiKey

_ROLES = ("admin", "operator")
_MOST_DAYS = 3650
_LONGEST_NAME = 200
_DAYS = 365

WANTED = Shape(
    "WantedKey",
    "What a key is for: one agency, or a role of the team's.",
    (
        Field("agency", "string", "Slug of the agency that it is for; it sees that agency's things only.",
              optional=True),
        Field("role", "string", "Or what it may do across all agencies.", choices=_ROLES, optional=True),
        Field("name", "string", "What it is for, for the list.", optional=True),
        Field("expiresInDays", "integer", f"When it ends, {_DAYS} days from now when left out; null for never.",
              null=True, optional=True),
    ),
)  # fmt: skip
_FIELDS = (
    Field("id", "string", "The part of it that is no secret.", "key_id"),
    Field("name", "string", "What it is for.", "name"),
    Field("role", "string", "What it may do.", "role", choices=("admin", "operator", "agency")),
    Field("agency", "string", "Slug of the agency that it is for; null for the team's.", "agency", null=True),
    Field("state", "string", "Whether it holds; `orphaned` where its agency is gone.", "state",
          choices=("valid", "revoked", "expired", "orphaned")),
    Field("createdAt", "moment", "When it was made, UTC.", "created_at"),
    Field("expiresAt", "moment", "From when on it is refused; null for never.", "expires_at", null=True),
    Field("lastUsedAt", "moment", "When it was last used, to the minute; null for not yet.", "last_used_at", null=True),
    Field("revokedAt", "moment", "When it was taken back; null while it holds.", "revoked_at", null=True),
)  # fmt: skip
KEY = Shape("Key", "An API key without its secret.", _FIELDS)
MADE = Shape(
    "MadeKey", "A key that was just made.", (Field("key", "string", "The key itself: shown this once."), *_FIELDS)
)


def _list(call: Call) -> Answer:
    now = call.site.room.clock.now()
    return Answer([_told(one, now) for one in call.site.room.ledger.keys.list(call.query["limit"])])


def _create(call: Call) -> Answer:
    room = call.site.room
    given = read_object(call.body, {"agency": str, "role": str, "name": str, "expiresInDays": (int, type(None))})
    role, name, days = given.get("role"), given.get("name", ""), given.get("expiresInDays", _DAYS)
    if ("agency" in given) == (role is not None) or (role is not None and role not in _ROLES):
        raise Refusal(400, "bad_body", f"Name either an agency, or a role: {' or '.join(_ROLES)}.")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise Refusal(400, "bad_body", f"name: at most {_LONGEST_NAME} printable characters.")
    if isinstance(days, bool) or (days is not None and not 1 <= days <= _MOST_DAYS):
        raise Refusal(400, "bad_body", f"expiresInDays: a whole number from 1 to {_MOST_DAYS}, or null.")
    now, whose = room.clock.now(), None
    if "agency" in given:
        agencies = {one.slug: one.id for one in room.ledger.manifests.all().agencies}
        if given["agency"] not in agencies:
            raise Refusal(400, "bad_body", "There is no such agency.")
        whose = agencies[given["agency"]]
    until = None if days is None else now + timedelta(days=days)
    granted = "agency" if role is None else "admin" if role == "admin" else "operator"
    made, token = room.ledger.keys.create(granted, agency_id=whose, name=name, expires_at=until)
    return Answer({"key": token, **_told(made, now)}, 201)


def _revoke(call: Call) -> Answer:
    try:
        revoked = call.site.room.ledger.keys.revoke(call.path["keyId"])
    except ConfigError:
        raise missing() from None
    return Answer(_told(revoked, call.site.room.clock.now()))


def _told(key: ApiKey, now: datetime) -> Mapping[str, Any]:
    about = {one.column: getattr(key, one.column, None) for one in _FIELDS}
    return KEY.row({**about, "agency": key.agency_slug or None, "state": key.state(now)})


ENDPOINTS = (
    Endpoint(
        "GET", "/api/keys", "listKeys", "List the API keys, the newest first. None of them can be seen again.",
        "administer", _list, {200: Told("The keys.", KEY, many=True)},
        (Param("limit", "At most so many.", 5000, 1, 500),),
    ),
    Endpoint(
        "POST", "/api/keys", "createKey",
        "Make an API key. It is in the answer, this once: only its hash is kept.", "administer", _create,
        {201: Told("The key.", MADE)}, body=WANTED,
    ),
    Endpoint(
        "POST", "/api/keys/{keyId}/revoke", "revokeKey",
        "Take a key back, at once and for good; once more changes nothing.", "administer", _revoke,
        {200: Told("The key as it is now.", KEY)},
    ),
)  # fmt: skip
