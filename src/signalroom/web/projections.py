"""`POST /api/projections/{entity}/{id}/pull`: an app asks for a row of its own, in a request that it signed.

A request carries no data: to forge one would cost a read. It says when it was signed, so that an old one cannot be sent
again, and is answered once what it asks for is queued durably.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from signalroom.web.endpoint import Answer, Call, Endpoint, Refusal, Told, missing
from signalroom.web.limits import Allowances
from signalroom.web.shapes import Field, Shape

if TYPE_CHECKING:
    from signalroom.room import Room
    from signalroom.workspace.projections import ProjectionSettings

VALID_FOR_S = 300
"""How far a request's time may be from ours, either way."""

_KEPT = "projections"
_GREATEST = 2**63 - 1

PULL = Shape(
    "Pull",
    "Which version of the row is wanted.",
    (Field("version", "integer", "The version that must have arrived; any, where it is left out.", optional=True),),
)
QUEUED = Shape("Queued", "A row that will be fetched.", (Field("queued", "boolean", "Always true."),))


@dataclass(frozen=True, slots=True)
class _App:
    """An app that may ask: its settings, what it signs with, and how often it may."""

    settings: ProjectionSettings
    secret: bytes
    allowance: Allowances


def signature(secret: bytes, timestamp: str, entity: str, row: str, body: bytes) -> str:
    """Return what the header ``Signalroom-Signature`` of a request holds: ``v1=`` and HMAC-SHA256 in hexadecimal."""
    signed = f"{timestamp}.{entity}.{row}.".encode() + body
    return f"v1={hmac.new(secret, signed, hashlib.sha256).hexdigest()}"


def _pull(call: Call) -> Answer:
    named, row = call.path["entity"], call.path["id"]
    project, _, entity = named.rpartition(".")
    apps = [one for one in _apps(call).values() if _is_signed(call, one.secret, named, row)]
    if not apps:
        raise Refusal(401, "unauthorized", "Sign the request, with the time of now: Signalroom-Signature: v1=…")
    found = [one for one in apps if entity in one.settings.entities and project in ("", one.settings.name)]
    if len(found) != 1:
        raise missing()
    (app,) = found
    version = _version(call.body)
    if wait_s := app.allowance.take(app.settings.name):
        whole = max(1, math.ceil(wait_s))
        raise Refusal(429, "too_many_requests", f"Ask again in {whole} s.", {"Retry-After": str(whole)})
    call.site.room.ledger.pulls.want(app.settings.name, [(entity, row, version)])
    call.site.wake()
    return Answer({"queued": True}, 202)


def _apps(call: Call) -> Mapping[str, _App]:
    """Return the apps that have a secret; their settings are read once a process."""
    made = call.site.kept.get(_KEPT)
    if made is None:
        made = call.site.kept.setdefault(_KEPT, _opened(call.site.room))
    return cast("Mapping[str, _App]", made)


def _opened(room: Room) -> Mapping[str, _App]:
    from signalroom.engine.following import projections

    apps: dict[str, _App] = {}
    for settings in projections(room):
        if settings.follow.secret is not None:
            per_minute = max(1, round(settings.follow.requests_per_s * 60))
            secret = settings.follow.secret.reveal().encode()
            apps[settings.name] = _App(settings, secret, Allowances(per_minute, room.clock))
    return apps


def _is_signed(call: Call, secret: bytes, entity: str, row: str) -> bool:
    stamp, given = call.headers.get("signalroom-timestamp", ""), call.headers.get("signalroom-signature", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return False
    fresh = abs(call.site.room.clock.now().timestamp() - int(stamp)) <= VALID_FOR_S
    made = signature(secret, stamp, entity, row, call.body)
    return hmac.compare_digest(made.encode(), given.encode()) and fresh


def _version(body: bytes) -> int:
    """Return the version a body asks for; 0 for an empty one, or one that names none."""
    try:
        told: Any = json.loads(body) if body.strip() else {}
    except ValueError:
        told = None
    version = told.get("version", 0) if isinstance(told, dict) and set(told) <= {"version"} else None
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version <= _GREATEST:
        raise Refusal(400, "bad_body", 'The body is empty, or a JSON object such as {"version": 7}.')
    return version


ENDPOINTS = (
    Endpoint(
        "POST", "/api/projections/{entity}/{id}/pull", "pullRow",
        "Ask for one row of an app's entity to be fetched. The request is signed with the secret of [projections]: "
        "`Signalroom-Timestamp` holds the time in seconds since 1970, `Signalroom-Signature` is `v1=` and the "
        "hexadecimal HMAC-SHA256 of `TIMESTAMP.ENTITY.ID.BODY`. Where two apps have such an entity, it is called "
        "`APP.ENTITY`.",
        "own", _pull,
        {
            202: Told("It is queued durably and will be fetched.", QUEUED),
            400: Told("The body is not as described."),
            401: Told("It is not signed with a secret of this workspace, or its time is too far from now."),
            404: Told("There is no such entity, or two apps have one."),
            429: Told("The app asks more often than it may."),
        },
        body=PULL,
    ),
)  # fmt: skip
