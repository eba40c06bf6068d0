"""Alerts: one row a cause, opened when it is found, resolved when it is found no more or a person says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from signalroom.alert import Alert, Finding, Kind
from signalroom.errors import ConfigError, nearest
from signalroom.failpoints import failpoint
from signalroom.ledger.store import Store, clean

_LOCK = 0x51674C66  # any number no other program would lock; not that of the ledger's upgrade
_SETTLES_AFTER: Final = timedelta(minutes=10)
_COLUMNS: Final = tuple(item.name for item in fields(Alert))


class Alerts:
    """The alerts of a ledger.

    ::

        (none) | resolved ──found──► open ──acknowledge──► acknowledged
                                      ▲ └────snooze─────► snoozed ──its time has passed──► open
        open | acknowledged | snoozed ──not found for ten minutes, or resolve──► resolved
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.tables.alerts

    def note(self, found: Iterable[Finding], looked: Collection[Kind]) -> None:
        """Record what a watch found, one finding a cause.

        A cause that is not resolved keeps its state and its episode; its level only rises. One that was not found is
        resolved once that has been so for ten minutes, unless its check did not run this time.

        Args:
            found: One finding a cause.
            looked: The checks that ran: what others found before stays as it is.
        """
        now = self._store.clock.now()
        findings = {one.cause: one for one in found}
        failpoint("ledger.alerts.note.before")
        with self._store.write() as connection:
            if connection.dialect.name == "postgresql":  # on SQLite writers take turns anyway
                # Rows that are not there yet cannot be locked: two watches would open one cause twice.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            # Of those that are over only what is found again: they add up over the years.
            wanted = sa.or_(self._table.c.state != "resolved", self._table.c.key.in_(list(findings)))
            rows = connection.execute(sa.select(self._table).where(wanted)).all()
            known = {row.key: row for row in rows}
            for cause, finding in findings.items():
                row = known.get(cause)
                values = self._values(finding, row, now)
                if row is None:
                    connection.execute(self._table.insert().values(key=cause, **values))
                else:
                    connection.execute(self._update(cause).values(values))
            for row in rows:
                if row.key in findings or row.kind not in looked:
                    continue
                quiet = row.quiet_at or now
                over = now - quiet >= _SETTLES_AFTER
                ended = {"state": "resolved", "resolved_at": now} if over else {}
                connection.execute(self._update(row.key).values({"quiet_at": quiet} | ended))
        failpoint("ledger.alerts.note.after")

    def acknowledge(self, key: str, note: str = "") -> Alert:
        """Say that somebody is at it: it says nothing more until it is over. Raises ConfigError for no such alert."""
        return self._change(key, {"state": "acknowledged"}, note)

    def snooze(self, key: str, until: datetime, note: str = "") -> Alert:
        """Let it be silent until ``until``; raises ConfigError for no such alert."""
        return self._change(key, {"state": "snoozed", "snoozed_until": until}, note)

    def resolve(self, key: str, note: str = "") -> Alert:
        """Say that it is over; found again it is a new episode. Raises ConfigError for no such alert."""
        return self._change(key, {"state": "resolved", "resolved_at": self._store.clock.now()}, note)

    def get(self, key: str) -> Alert | None:
        """Return one alert, or None."""
        with self._store.read() as connection:
            row = connection.execute(sa.select(self._table).where(self._table.c.key == key)).one_or_none()
        return None if row is None else _alert(row)

    def list(self, *, since: datetime | None = None) -> tuple[Alert, ...]:
        """Return the alerts that are not resolved, and those resolved after ``since``; critical ones first."""
        table = self._table
        wanted = table.c.state != "resolved"
        if since is not None:
            wanted = sa.or_(wanted, table.c.resolved_at > since)
        # "critical" sorts before "warning".
        query = sa.select(table).where(wanted).order_by(table.c.level, table.c.since, table.c.key)
        with self._store.read() as connection:
            return tuple(_alert(row) for row in connection.execute(query))

    def _values(self, finding: Finding, row: sa.Row[Any] | None, now: datetime) -> dict[str, Any]:
        seen: dict[str, Any] = {
            "kind": finding.kind,
            "level": finding.level,
            "title": clean(finding.title),
            "details": clean(finding.details),
            "mend": clean(finding.mend),
            "since": finding.since,
            "channel": finding.channel,
            "seen_at": now,
            "quiet_at": None,
        }
        if row is None or row.state == "resolved":
            begun: dict[str, Any] = {"state": "open", "opened_at": now, "snoozed_until": None, "resolved_at": None}
            return seen | begun | {"note": "", "episode": 1 if row is None else row.episode + 1}
        if row.level == "critical":
            seen["level"] = "critical"
        seen["since"] = min(row.since, finding.since)
        if row.state == "snoozed" and row.snoozed_until <= now:
            seen["state"] = "open"
        return seen

    def _change(self, key: str, values: dict[str, Any], note: str) -> Alert:
        with self._store.write() as connection:
            rows = connection.execute(sa.select(self._table).where(self._table.c.state != "resolved")).all()
            known = [row.key for row in rows]
            if key not in known:
                mend = nearest(key, known) or (f"Open are: {', '.join(known)}." if known else "None is open.")
                raise ConfigError(f"There is no open alert {key!r}.", mend=mend)
            said: dict[str, Any] = {"note": clean(note)} if note else {}
            connection.execute(self._update(key).values(values | said))
            return _alert(connection.execute(sa.select(self._table).where(self._table.c.key == key)).one())

    def _update(self, key: str) -> sa.Update:
        return self._table.update().where(self._table.c.key == key)


def _alert(row: sa.Row[Any]) -> Alert:
    return Alert(**{name: getattr(row, name) for name in _COLUMNS})
