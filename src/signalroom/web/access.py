"""Who calls: an API key, what its role may do, and how often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from signalroom.web.endpoint import ROLES, Access, Refusal, Site, missing
from signalroom.web.limits import Allowances

if TYPE_CHECKING:
    from signalroom.ledger.keys import ApiKey

_FAILURES_PER_MINUTE = 60


class Doorkeeper:
    """Asks every caller for its key."""

    def __init__(self, site: Site) -> None:
        clock = site.room.clock
        self._site = site
        self._callers = Allowances(site.room.workspace.web.requests_per_minute, clock)
        self._strangers = Allowances(_FAILURES_PER_MINUTE, clock)

    def admit(self, access: Access, authorization: str, address: str) -> ApiKey | None:
        """Return the key a request came with; None where none is asked for.

        Args:
            access: Who may call.
            authorization: The header, ``Bearer sr_…``.
            address: Where the request came from; only failures are counted by it.

        Raises:
            Refusal: 401 without a key that is valid now; 404 where its role may not know of the endpoint; 429 when it
                asks too often.
        """
        if access in {"open", "own"}:
            return None
        scheme, _, token = authorization.partition(" ")
        key = self._site.room.ledger.keys.verify(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            _wait(self._strangers.take(address))
            raise Refusal(
                401, "unauthorized", "Send a valid API key: Authorization: Bearer sr_…", {"WWW-Authenticate": "Bearer"}
            )
        _wait(self._callers.take(key.key_id))
        if key.role not in ROLES[access]:
            raise missing()
        return key


def _wait(seconds: float) -> None:
    if seconds > 0:
        whole = max(1, math.ceil(seconds))
        raise Refusal(429, "too_many_requests", f"Ask again in {whole} s.", {"Retry-After": str(whole)})
