"""The leader: the app's database with the kit in it, which keeps a reporting row for each entity in its own tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from signalroom.clients.postgres import connect, explained
from signalroom.errors import ConfigError
from signalroom.projections.leader_ddl import removal, script

if TYPE_CHECKING:
    import psycopg

    from signalroom.workspace.projections import ProjectionSettings

_LOCK_TIMEOUT: Final = "5s"
"""How long an installation waits for a table: while it waits, whoever wants the table after it waits too."""
_PURGED_AT_ONCE: Final = 5_000
"""Tombstones that one transaction locks."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row that changed: its entity, its id, and the version it has now."""

    entity: str
    entity_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Intentions:
    """What waits to be projected.

    Attributes:
        pending: Intentions not settled yet; several may be of one entity.
        oldest_at: When the oldest of them was written; None where there is none.
        failed: Entities set aside because they cannot be projected, each with its id and the reason, 100 at most.
    """

    pending: int
    oldest_at: datetime | None
    failed: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """What the leader holds of one entity: live rows, tombstones, and the greatest version given."""

    entity: str
    rows: int
    tombstones: int
    newest_version: int | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class FollowerSeen:
    """A follower as the leader knows it: its name, and when it last said how far it is, of its slowest entity."""

    name: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """How the kit is.

    Attributes:
        epoch: How often the server has become another one, from 1.
        intentions: What waits.
        entities: What is held, by name.
        followers: Whom tombstones wait for, by name.
        missing_triggers: ``table: event`` of each trigger that should be there, or should fire whoever writes.
    """

    epoch: int
    intentions: Intentions
    entities: tuple[EntityStatus, ...]
    followers: tuple[FollowerSeen, ...]
    missing_triggers: tuple[str, ...]


class Leader:
    """A connection to an app's database.

    Args:
        url: Address of the database.
        schema: Schema that holds the kit.
        timeout_s: How long connecting may take.
    """

    def __init__(self, url: str, schema: str = "public", *, timeout_s: int = 15) -> None:
        self.schema = schema
        self._relay = f"select entity, entity_id, version from {schema}.reporting_relay(%s)"
        self.connection: psycopg.Connection[tuple[Any, ...]] = connect(url, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def install(self, settings: ProjectionSettings) -> None:
        """Bring the database up with what a workspace declares, in one transaction; again is harmless.

        Raises:
            ConfigError: The user lacks the rights, or the file of a query cannot be read.
            DataError: A query, a table or a column is not as declared.
            RetryableError: A table was in use for longer than is waited.
        """
        with explained("install the leader kit"), self.connection.transaction():
            self.connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
            self._execute(script(settings))

    def uninstall(self) -> None:
        """Remove triggers, functions, views and tables of the kit; the app's own tables keep their uuids.

        Raises:
            ConfigError: It is not installed.
            DataError: Something of the team's own hangs on what would be removed.
        """
        self._require()
        with explained("remove the leader kit"), self.connection.transaction():
            self.connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
            self._execute(removal(self.schema))

    def relay(self, most: int = 500) -> list[Change]:
        """Project what is due, ``most`` intentions at a time, and return the rows that changed.

        Raises:
            ConfigError: The kit is not installed.
            RetryableError: A lock or the connection was lost; nothing was settled.
        """
        with explained("relay"):
            return [Change(*row) for row in self._rows(self._relay, [most])]

    def listen(self) -> None:
        """Have this session told of intentions from here on.

        Raises:
            ConfigError: The kit is not installed.
        """
        self._require()
        with explained("listen for intentions"):
            self.connection.execute("listen reporting_intentions")

    def next(self) -> Literal["again", "wait", "soon"]:
        """Return what a relay does next: work that is there, wait to be notified, or look again in a moment.

        From ``wait`` on, and as long as this session relays no backlog, whoever writes an intention notifies.
        """
        return self._rows(f"select {self.schema}.reporting_next()")[0][0]

    def drain(self, most: int = 500) -> list[Change]:
        """Relay until nothing is due, and return the rows that changed."""
        changes: list[Change] = []
        self._require()
        while self._rows(f"select {self.schema}.reporting_is_due()")[0][0]:
            changes += self.relay(most)
        return changes

    def touch_all(self, entity: str) -> int:
        """Have every row of an entity computed again; returns how many intentions were written."""
        with explained(f"touch {entity}"):
            return int(self._rows(f"select {self.schema}.reporting_touch_all(%s)", [entity])[0][0])

    def status(self) -> Status:
        """Return how the kit is.

        Raises:
            ConfigError: It is not installed.
        """
        self._require()
        with explained("read the state of the leader kit"), self.connection.transaction():
            names = [name for (name,) in self._rows(f"select entity from {self.schema}.reporting_entities order by 1")]
            (counted,) = self._rows(
                "select count(*) filter (where state = 'pending'), min(created_at) filter (where state = 'pending')"
                f" from {self.schema}.reporting_intentions"
            )
            failed = self._rows(
                f"select entity, entity_id, error from {self.schema}.reporting_intentions where state = 'failed'"
                " order by id limit 100"
            )
            missing = self._rows(
                f"select coalesce(member::text, relation || ', which is gone or renamed'), event"
                f" from {self.schema}.reporting_triggers() where not (is_there and fires_always)"
            )
            (state,) = self._rows(f"select epoch from {self.schema}.reporting_state")
            return Status(
                epoch=state[0],
                intentions=Intentions(counted[0], counted[1], tuple((one[0], one[1], one[2]) for one in failed)),
                entities=tuple(self._entity(name) for name in names),
                followers=tuple(FollowerSeen(*row) for row in self._followers()),
                missing_triggers=tuple(f"{table}: {event}" for table, event in missing),
            )

    def purge(self, follower: str, entity: str, cursor: str, keep: timedelta) -> int:
        """Say how far a follower is, and forget what is gone, was so for ``keep``, and every follower has passed.

        Returns:
            How many tombstones were purged; 0 where the kit is from before it could.

        Raises:
            ConfigError: The user may not write the kit's tables.
        """
        if not self._purges():
            return 0
        with explained("purge tombstones"):
            self._rows(f"select {self.schema}.reporting_acknowledge(%s, %s, %s)", [follower, entity, cursor])
            asked, purged = f"select {self.schema}.reporting_purge(%s, %s, %s)", 0
            while rows := int(self._rows(asked, [entity, keep, _PURGED_AT_ONCE])[0][0]):
                purged += rows
            return purged

    def _purges(self) -> bool:
        return bool(self._rows("select to_regclass(%s) is not null", [f"{self.schema}.reporting_pulls"])[0][0])

    def _followers(self) -> list[tuple[Any, ...]]:
        asked = f"select follower, min(seen_at) from {self.schema}.reporting_pulls group by 1 order by 1"
        return self._rows(asked) if self._purges() else []

    def _entity(self, name: str) -> EntityStatus:
        (row,) = self._rows(
            "select count(*) filter (where not _deleted), count(*) filter (where _deleted), max(_version),"
            f" max(_updated_at) from {self.schema}.reporting_{name}"
        )
        return EntityStatus(name, *row)

    def _require(self) -> None:
        if self._rows("select to_regclass(%s) is null", [f"{self.schema}.reporting_intentions"])[0][0]:
            raise ConfigError(
                f"The leader kit is not installed in the schema {self.schema}.",
                mend="Run `signalroom leader install`, or run its SQL as a migration of the app's.",
            )

    def _execute(self, statements: str) -> None:
        text: Any = statements  # not a literal: it is made from the kit and the workspace's own SQL
        self.connection.execute(text)

    def _rows(self, statement: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        text: Any = statement
        with explained("read the leader kit"):
            return self.connection.execute(text, list(params) or None).fetchall()
