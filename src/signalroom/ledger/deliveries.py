"""Deliveries: one row per report, due time, channel and recipient, claimed by exactly one sender at a time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from signalroom.errors import ConfigError, DataError
from signalroom.failpoints import failpoint
from signalroom.ledger.store import Store, clean
from signalroom.message import Delivery, DeliveryState

Settled: TypeAlias = Literal["pending", "sent", "unknown", "failed"]
"""How a claim may end; ``pending`` gives it back untried."""

_LOOK_EVERY_S = 0.5


class Deliveries:
    """The deliveries of a ledger.

    ::

        (none) | pending | failed ──claim──► inflight ──settle──► sent | failed | unknown | pending
        unknown | inflight past its lease ──claim──► inflight, handed out as ``unknown``: ask the channel first
        unknown | failed | pending ──decide──► sent | failed, by a person

    ``sent`` is terminal.
    """

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._table = store.tables.deliveries
        self._lease = timedelta(seconds=lease_s)

    def plan(self, deliveries: Iterable[Delivery]) -> int:
        """Record deliveries that are due as ``pending`` and return how many were new; known ones stay as they are."""
        rows = [self._row(delivery, "pending") for delivery in deliveries]
        if not rows:
            return 0
        failpoint("ledger.plan.before")
        with self._store.write() as connection:
            new = sum(connection.execute(self._insert(connection, row)).first() is not None for row in rows)
        failpoint("ledger.plan.after")
        return new

    def claim(self, delivery: Delivery, *, patience_s: float = 0.0) -> Delivery | None:
        """Take a delivery for sending; exactly one of any number of concurrent callers gets it.

        Args:
            delivery: What is to be sent; its key decides. Its digest is recorded unless the row must be reconciled.
            patience_s: How long to wait, in seconds, for the end of what another sender has under way.

        Returns:
            The delivery to send, ``inflight``. Or, ``unknown``: an earlier sender may have got through, so ask
            ``channel.find`` before sending again. None when it was sent or another sender has it.
        """
        until = self._store.clock.monotonic() + patience_s
        while (claimed := self._claim(delivery)) is None and self._store.clock.monotonic() < until:
            known = self.get(delivery.key)
            if known is None or known.state != "inflight":
                break
            self._store.clock.sleep(_LOOK_EVERY_S)
        return claimed

    def _claim(self, delivery: Delivery) -> Delivery | None:
        table, now = self._table, self._store.clock.now()
        failpoint("ledger.claim.before")
        with self._store.write() as connection:
            connection.execute(self._insert(connection, self._row(delivery, "pending")))
            row = connection.execute(sa.select(table).where(table.c.key == delivery.key).with_for_update()).one()
            if row.state == "sent" or (row.lease_until is not None and row.lease_until >= now):
                return None
            ambiguous = row.state in {"unknown", "inflight"}
            values = {
                "state": "inflight",
                "attempt": row.attempt + 1,
                "fence": row.fence + 1,
                "lease_until": now + self._lease,
                # What an earlier sender may have delivered is what it rendered, not what we would.
                "digest": row.digest if ambiguous else delivery.digest or row.digest,
                "error": row.error if ambiguous else "",
                "updated_at": now,
            }
            connection.execute(table.update().where(table.c.key == delivery.key).values(values))
            claimed = self._found(connection, delivery.key, "unknown" if ambiguous else "inflight")
        failpoint("ledger.claim.after")
        return claimed

    def settle(
        self, delivery: Delivery, state: Settled, receipt: str = "", error: str = "", *, ask_in_s: float = 0.0
    ) -> Delivery:
        """Record how a claim ended and return the delivery as the ledger has it now.

        A claim that was taken over no longer counts, with one exception: ``sent`` always lands, because a receipt
        proves that the message left. A second receipt does not replace the first; it is told in ``error``.

        Args:
            delivery: What :meth:`claim` returned, with another digest if another message was sent.
            state: How it ended.
            receipt: What the channel gave back.
            error: One sentence, when it failed or is unknown.
            ask_in_s: Seconds for which an unknown one cannot be claimed: what is still on its way cannot be found yet.

        Raises:
            DataError: The ledger has no such delivery.
        """
        table, now = self._table, self._store.clock.now()
        failpoint("ledger.settle.before")
        with self._store.write() as connection:
            row = connection.execute(
                sa.select(table).where(table.c.key == delivery.key).with_for_update()
            ).one_or_none()
            if row is None:
                raise DataError(
                    f"The ledger has no delivery of {delivery.report} to {delivery.recipient} by {delivery.channel}.",
                    mend="Claim it before it is sent.",
                )
            ours = row.state == "inflight" and row.fence == delivery.fence
            values: dict[str, Any] = {}
            if row.state == "sent":
                if state == "sent" and receipt != row.receipt:
                    values = {"error": clean(f"It was also accepted as {receipt}: the recipient may have two.")}
            elif ours or state == "sent":
                until = now + timedelta(seconds=ask_in_s) if state == "unknown" and ask_in_s > 0 else None
                values = {"state": state, "receipt": receipt, "error": clean(error), "lease_until": until}
                values["digest"] = delivery.digest or row.digest
            if values:
                where = table.c.key == delivery.key
                connection.execute(table.update().where(where).values(values | {"updated_at": now}))
            settled = self._found(connection, delivery.key)
        failpoint("ledger.settle.after")
        return settled

    def decide(self, key: str, state: Literal["sent", "failed"], reason: str) -> Delivery:
        """Record what a person found out about a delivery, and return it; a later ``failed`` one may be sent again.

        Args:
            key: Its key.
            state: Whether it arrived.
            reason: One sentence for whoever reads the ledger.

        Raises:
            ConfigError: There is no such delivery, it was sent, or somebody is sending it.
        """
        table, now = self._table, self._store.clock.now()
        with self._store.write() as connection:
            row = connection.execute(sa.select(table).where(table.c.key == key).with_for_update()).one_or_none()
            if row is None:
                raise ConfigError(f"There is no delivery {key!r}.", mend="`signalroom deliveries` lists them.")
            if row.state == "sent":
                raise ConfigError(f"The delivery {key} was sent: {row.receipt}.", mend="Leave it as it is.")
            if row.state == "inflight" and row.lease_until >= now:
                raise ConfigError(f"The delivery {key} is being sent.", mend="Wait until that has ended.")
            told = (
                {"receipt": clean(reason), "error": ""} if state == "sent" else {"receipt": "", "error": clean(reason)}
            )
            values = {**told, "state": state, "fence": row.fence + 1, "lease_until": None, "updated_at": now}
            connection.execute(table.update().where(table.c.key == key).values(values))
            return self._found(connection, key)

    def get(self, key: str) -> Delivery | None:
        """Return one delivery, or None; one that a crash left behind shows as ``inflight`` until it is claimed."""
        with self._store.read() as connection:
            row = connection.execute(sa.select(self._table).where(self._table.c.key == key)).one_or_none()
        return None if row is None else _delivery(row)

    def free_in_s(self, key: str) -> float:
        """Return for how many seconds a delivery cannot be claimed: it is being sent, or may still be arriving."""
        table = self._table
        with self._store.read() as connection:
            query = sa.select(table.c.lease_until).where(table.c.key == key, table.c.state != "sent")
            until = connection.execute(query).scalar_one_or_none()
        return 0.0 if until is None else max(0.0, (until - self._store.clock.now()).total_seconds())

    def digests(self, report: str, since: datetime) -> tuple[str, ...]:
        """Return the messages of a report that somebody has of what was due after ``since``, the latest due first."""
        table = self._table
        had = (table.c.report == report, table.c.state == "sent", table.c.due_at > since, table.c.digest != "")
        query = sa.select(table.c.digest).where(*had).group_by(table.c.digest)
        with self._store.read() as connection:
            newest_first = query.order_by(sa.func.max(table.c.due_at).desc(), table.c.digest)
            return tuple(connection.execute(newest_first).scalars())

    def list(
        self, report: str | None = None, *, state: DeliveryState | None = None, since: datetime | None = None,
        limit: int = 100,
    ) -> tuple[Delivery, ...]:  # fmt: skip
        """Return deliveries, the latest due first; of a report, in a state, due after ``since``, where one is given."""
        table = self._table
        query = sa.select(table).order_by(table.c.due_at.desc(), table.c.channel, table.c.recipient).limit(limit)
        for column, value in ((table.c.report, report), (table.c.state, state)):
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(table.c.due_at > since)
        with self._store.read() as connection:
            return tuple(_delivery(row) for row in connection.execute(query))

    def _row(self, delivery: Delivery, state: DeliveryState) -> dict[str, Any]:
        now = self._store.clock.now()
        return {
            "key": delivery.key,
            "report": delivery.report,
            "due_at": delivery.due_at,
            "channel": delivery.channel,
            "recipient": delivery.recipient,
            "state": state,
            "attempt": 0,
            "fence": 0,
            "receipt": "",
            "error": "",
            "digest": delivery.digest,
            "created_at": now,
            "updated_at": now,
        }

    def _insert(self, connection: sa.Connection, row: dict[str, Any]) -> Any:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        return insert(self._table).values(row).on_conflict_do_nothing().returning(self._table.c.key)

    def _found(self, connection: sa.Connection, key: str, state: DeliveryState | None = None) -> Delivery:
        return _delivery(connection.execute(sa.select(self._table).where(self._table.c.key == key)).one(), state)


def _delivery(row: sa.Row[Any], state: DeliveryState | None = None) -> Delivery:
    return Delivery(
        key=row.key,
        report=row.report,
        due_at=row.due_at,
        channel=row.channel,
        recipient=row.recipient,
        state=state or row.state,
        receipt=row.receipt,
        error=row.error,
        digest=row.digest,
        attempt=row.attempt,
        fence=row.fence,
        created_at=row.created_at,
    )
