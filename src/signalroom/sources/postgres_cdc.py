"""Postgres, change by change: a snapshot of the tables, then every insert, update, delete and truncate from the WAL.

One slot is one stream, so that a transaction over several tables is loaded whole. What was read is confirmed to the
server only once it is in the warehouse; where the server no longer has what comes next, a new snapshot is taken.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, SignalRoomError
from signalroom.failpoints import failpoint
from signalroom.position import Json, Position
from signalroom.sources.base import Backlog
from signalroom.stream import Batch, Column, Disposition, Stream, Table, Window, column_name
from signalroom.workspace.settings import Secret, injected, setting

if TYPE_CHECKING:
    import pyarrow as pa

    from signalroom.clients.replication import Database
    from signalroom.sources.postgres_catalog import Catalogue
    from signalroom.sources.postgres_slot import Mark

Mode: TypeAlias = Literal["stream", "poll"]

_log = logging.getLogger("signalroom.sources.postgres_cdc")
_STREAM, _PARTITION = "changes", "slot"
_SLOT_NAME = re.compile(r"[a-z0-9_]{1,59}")  # Postgres takes 63, and an unfinished snapshot's slot is called <slot>_new
_PART_BYTES = 8 << 20
_IDLE_BYTES = 16 << 20  # one WAL segment: what may go by, none of it ours, before the position is written anew
_END = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text"


@dataclass(frozen=True, slots=True)
class CapturedTable:
    """One table of the database."""

    table: str = setting(
        "The table in the database, as schema.table; of the same name in public when left out.",
        default="",
        example='"shop.orders"',
    )
    key: tuple[str, ...] = setting(
        "Columns that tell rows apart: the primary key, or those of the replica identity.",
        default=("id",),
        example='["tenant_id", "id"]',
    )
    write: Disposition = setting(
        "How changes meet the table: merge, the rows as they are. Versions of rows are a model's: a dbt snapshot.",
        default="merge",
        example='"merge"',
    )
    columns: dict[str, str] = setting(
        "Types of columns in the warehouse, where they should not be those of the database.",
        factory=dict,
        example='{ rate = "decimal(38,12)", born = "text" }',
    )

    def __post_init__(self) -> None:
        """Refuse what no stream of changes can be loaded by."""
        if self.write != "merge":  # in a history, a truncate and a value left out have no meaning
            raise ConfigError(
                f'write = "{self.write}" cannot take changes: truncates, and rows that come without large values.',
                mend="Leave it out; for versions of rows, put a dbt snapshot on the table.",
            )
        if not self.key:
            raise ConfigError("A captured table needs a key.", mend='Name the primary key: key = ["id"].')


@dataclass(frozen=True, slots=True)
class PostgresChanges:
    """Captures tables of a Postgres database (12 or later) by logical replication."""

    continuous: ClassVar[bool] = True

    url: Secret = setting(
        "The database; the user needs REPLICATION and SELECT on the tables.", example='"env:APP_DATABASE"'
    )
    tables: dict[str, CapturedTable] = setting("The tables to capture, by their name in the warehouse.", factory=dict)
    slot: str = setting(
        "The replication slot; each deployment needs its own. signalroom_ and the source's name when left out.",
        default="",
        example='"signalroom_app"',
    )
    publication: str = setting(
        "The publication; it is made, and tables are added to it, where the user may. The slot's name when left out.",
        default="",
        example='"signalroom_app"',
    )
    mode: Mode = setting(
        "stream reads by the replication protocol; poll asks by SQL, where only a pooler can be reached.",
        default="stream",
        example='"poll"',
    )
    snapshot: int = setting("Raise it to have a new snapshot taken.", default=1, example="2")
    connections: int = setting("How many connections copy a snapshot.", default=2, example="4")
    most_mb: int = setting(
        "Size of the changes after which a load ends with the next transaction; 0 reads to the WAL's end of now.",
        default=0,
        unit="MB",
        example="1024",
    )
    held_mb: int = setting(
        "WAL that the server may keep for the slot before `check` complains: it is on the database's disk.",
        default=4_096,
        unit="MB",
        example="20000",
    )
    timeout_s: int = setting(
        "How long the server may be silent, and how long a snapshot waits for open transactions to end.",
        default=60,
        unit="s",
    )
    name: str = injected("postgres_cdc")
    root: Path = injected(Path())
    clock: Clock = injected(factory=SystemClock)

    def __post_init__(self) -> None:
        """Refuse settings that the server would refuse later."""
        if not _SLOT_NAME.fullmatch(self.slot_name):
            raise ConfigError(
                f"{self.slot_name!r} cannot name a slot.", mend="Use up to 59 lower case letters, digits and _."
            )
        if self.connections < 1 or self.most_mb < 0 or self.timeout_s < 1:
            raise ConfigError("connections, most_mb or timeout_s is too small.", mend="Leave them out.")

    @property
    def slot_name(self) -> str:
        """The slot's name."""
        return self.slot or f"signalroom_{re.sub('[^a-z0-9_]', '_', self.name.lower())}"

    def streams(self) -> Sequence[Stream]:
        """Return one stream that feeds every table; talks to no server."""
        tables = tuple(_table(name, one) for name, one in self.tables.items())
        return [Stream(self.name, _STREAM, tables)]

    def read(self, stream: Stream, since: Position, window: Window | None) -> Iterator[Batch]:  # noqa: ARG002 - see below
        """Yield a snapshot, or the changes that committed since ``since``; a window means nothing here.

        Changes end with the WAL of the moment the call began. The last batch alone has the position, so a load holds
        whole transactions or does not exist.

        Raises:
            ConfigError: A table cannot be captured, a right is missing, or its shape needs a new snapshot.
            RetryableError: The connection was lost, somebody reads from the slot, or a transaction stays open.
            DataError: The server sent what cannot be read.
        """
        from signalroom.clients.replication import Database, Replication
        from signalroom.sources.postgres_slot import Mark, gap, idle, publish, require_whole, unfinished

        mark, first = Mark.of(since.get(_PARTITION)), next(iter(self.tables), "")
        with Database(self.url.reveal(), timeout_s=self.timeout_s) as database:
            catalogue = self._catalogue(database)
            self._require_wal(database)
            require_whole(database, self.publication_name, catalogue)
            found = idle(database, self.slot_name)
            with Replication(self.url.reveal(), timeout_s=self.timeout_s) as wire:
                system, timeline = wire.identify()
                why = self._new_snapshot(mark, catalogue, database) or (
                    gap(mark, found, self.slot_name, system, timeline) if mark else "it is the first"
                )
                if mark and why:
                    _log.warning("%s: a new snapshot of all tables is taken: %s.", self.name, why)
                publish(database, self.publication_name, catalogue)
                slot = self.slot_name if self.slot_name in found else unfinished(self.slot_name)
                if mark is None or why:
                    fresh = Mark(system, timeline, 0, 0, self.snapshot, {})
                    yield from _last_with(self._snapshot(database, wire, catalogue, found, fresh, mark), first)
                    return
                if not catalogue.tables.keys() <= mark.shapes.keys():
                    yield from _last_with(self._joined(database, wire, catalogue, mark, slot), first)
                    return
            yield from _last_with(self._changes(database, catalogue, mark, slot, self.most_mb), first)

    def confirm(self, stream: Stream, position: Position) -> None:  # noqa: ARG002 - there is one
        """Let the server forget what is in the warehouse.

        Raises:
            RetryableError: Somebody reads from the slot.
        """
        from signalroom.clients.replication import Database
        from signalroom.sources.postgres_slot import Mark, settle

        mark = Mark.of(position.get(_PARTITION))
        if mark is not None:
            failpoint("capture.confirm.before")
            with Database(self.url.reveal(), timeout_s=self.timeout_s) as database:
                settle(database, self.slot_name, mark.lsn)

    def check(self) -> Sequence[str]:
        """Return what keeps the tables from being captured, and a slot for which the server keeps too much WAL."""
        from signalroom.clients.replication import Database
        from signalroom.sources.postgres_checks import Asked, problems

        asked = Asked(self.name, self.keys(), self.slot_name, self.publication_name, self.held_mb)
        try:
            with Database(self.url.reveal(), timeout_s=self.timeout_s) as database:
                return problems(asked, database)
        except SignalRoomError as problem:
            return [str(problem)]

    def backlog(self) -> Backlog | None:
        """Return the WAL that the server keeps for the slot; None where there is no slot yet.

        Raises:
            SignalRoomError: The server does not answer, or refuses us.
        """
        from signalroom.clients.replication import Database
        from signalroom.sources.postgres_slot import slots

        with Database(self.url.reveal(), timeout_s=self.timeout_s) as database:
            found = slots(database, self.slot_name).values()
        if not found:
            return None
        held = max(one.held_bytes for one in found)
        return Backlog(held, self.held_mb * 1024 * 1024, any(one.lost for one in found))

    @property
    def publication_name(self) -> str:
        """The publication's name."""
        return self.publication or self.slot_name

    def upstream(self, name: str) -> str:
        """Return ``schema.table`` of a table of the warehouse."""
        table = self.tables[name].table or name
        return table if "." in table else f"public.{table}"

    def keys(self) -> dict[str, tuple[str, ...]]:
        """Return ``schema.table`` -> its key columns."""
        return {self.upstream(name): one.key for name, one in self.tables.items()}

    def _catalogue(self, database: Database) -> Catalogue:
        from signalroom.sources.postgres_catalog import Catalogue, require_capturable

        if not self.tables:
            raise ConfigError(
                f"Source {self.name!r} names no table.", mend=f"Add [sources.{self.name}.tables.orders] with its key."
            )
        catalogue = Catalogue.read(database, list(self.keys()))
        for title, key in self.keys().items():
            require_capturable(catalogue.tables[title], key)
        return catalogue

    def _require_wal(self, database: Database) -> None:
        level = database.rows("SHOW wal_level")[0][0]
        if level != "logical":
            raise ConfigError(
                f"The database's wal_level is {level}: it does not keep what changes are read from.",
                mend="Set wal_level = logical in postgresql.conf and restart it.",
            )

    def _new_snapshot(self, mark: Mark | None, catalogue: Catalogue, database: Database) -> str:
        """Return why the settings or the tables ask for a new snapshot; empty where they do not."""
        from signalroom.sources.postgres_slot import statements_to_publish

        if mark is None:
            return ""
        if mark.snapshot != self.snapshot:
            return f"snapshot is {self.snapshot}, and was {mark.snapshot}"
        catalogue = catalogue.only(mark.shapes)  # of a table that is new nothing was missed
        other = [
            title for title, one in catalogue.tables.items() if mark.oids.get(title, one.shape.oid) != one.shape.oid
        ]
        if other:
            return f"{other[0]} is another table than before: it was made anew, or renamed"
        if statements_to_publish(database, self.publication_name, catalogue):
            return f"the publication {self.publication_name!r} did not tell every change"
        return ""

    def _snapshot(
        self, database: Database, wire: Any, catalogue: Catalogue, found: Any, fresh: Mark, old: Mark | None
    ) -> Iterator[Batch | Mark]:
        from signalroom.sources.postgres_slot import begin

        before, consistent, exported = begin(database, wire, self.slot_name, found, known=old is not None)
        base = max(0, old.base + old.lsn + 1 - before) if old else 0
        seq = base + before
        if old is not None:
            yield from (self._emptied(catalogue, title, seq) for title in catalogue.tables)
        yield from self._copied(database, catalogue, exported, seq)
        yield replace(fresh, lsn=consistent, base=base, shapes=catalogue.shapes(), oids=catalogue.oids())

    def _joined(
        self, database: Database, wire: Any, catalogue: Catalogue, mark: Mark, slot: str
    ) -> Iterator[Batch | Mark]:
        """Yield the changes of the tables there were, and a snapshot of those that are new, all up to one moment.

        What was under way when a table was published may be told without it, and by servers before May 2025 all that
        the same connection tells after it. So the stream is first read to where nothing of that time is open any more,
        without the new tables. Their snapshot follows, and a new connection that goes on where the first ended.
        """
        from signalroom.clients.replication import HeldUpError
        from signalroom.sources.postgres_slot import moment

        known = catalogue.only(mark.shapes)
        new = catalogue.only(catalogue.tables.keys() - mark.shapes.keys())
        _log.info("%s: %s joins the stream by a snapshot of its own.", self.name, ", ".join(new.tables))
        try:
            _, settled, _ = moment(database, wire)
            wire.drop_passing_slot()
            for one in self._changes(database, known, mark, slot, self.most_mb, settled):
                if isinstance(one, Batch):
                    yield one
                else:
                    mark = one
            if mark.lsn < settled:  # most_mb ended it: the next sync goes on
                yield mark
                return
            failpoint("capture.join.settled")
            before, consistent, exported = moment(database, wire)
        except HeldUpError as problem:  # the tables there are do not wait for it
            _log.warning("%s: %s cannot join yet. %s", self.name, ", ".join(new.tables), problem)
            yield from self._changes(database, known, mark, slot, self.most_mb, mark.lsn)
            return
        seq = mark.base + before
        yield from (self._emptied(new, title, seq) for title in new.tables)  # it may have been captured long ago
        yield from self._copied(database, new, exported, seq)
        failpoint("capture.join.copied")
        mark = replace(mark, shapes={**mark.shapes, **new.shapes()}, oids={**mark.oids, **new.oids()})
        yield from self._changes(database, catalogue, mark, slot, 0, consistent)

    def _copied(self, database: Database, catalogue: Catalogue, exported: str, seq: int) -> Iterator[Batch]:
        from signalroom.sources.postgres_snapshot import Snapshot, pieces

        todo = pieces(database, catalogue)
        snapshot = Snapshot(self.url.reveal(), self.timeout_s, exported, todo, seq, self.connections, _PART_BYTES)
        try:
            for shape, rows in snapshot:
                yield self._batch(catalogue, shape.title, rows, f"{self.slot_name}/snapshot")
        finally:
            snapshot.close()

    def _changes(
        self, database: Database, catalogue: Catalogue, mark: Mark, slot: str, most_mb: int, least: int = 0
    ) -> Iterator[Batch | Mark]:
        """Yield what follows ``mark``, up to ``least`` and to the WAL's end of now, and where it ended."""
        from signalroom.clients.replication import address, spelt
        from signalroom.sources.postgres_stream import Changes

        folder = self.root / ".signalroom" / "spool"
        folder.mkdir(parents=True, exist_ok=True)
        target = max(least, address(database.rows(_END)[0][0]))
        keys = {title: key for title, key in self.keys().items() if title in catalogue.tables}
        changes = Changes(
            self.url.reveal(), slot, self.publication_name, catalogue, keys, mark, self.clock, folder, self.mode,
            self.timeout_s, _PART_BYTES, most_mb << 20,
        )  # fmt: skip
        any_rows = False
        for title, rows in changes.read(target):
            any_rows = True
            yield self._batch(catalogue, title, rows, f"{slot}/{spelt(mark.lsn)}")
        if any_rows or least or changes.reached - mark.lsn >= _IDLE_BYTES:
            yield replace(mark, lsn=changes.reached, shapes=changes.shapes).only(keys)

    def _batch(self, catalogue: Catalogue, title: str, rows: pa.Table, ref: str) -> Batch:
        name = next(name for name in self.tables if self.upstream(name) == title)
        types: dict[str, Json] = {**catalogue.tables[title].types}
        return Batch(name, rows, source_ref=ref, request={"types": types})

    def _emptied(self, catalogue: Catalogue, title: str, seq: int) -> Batch:
        import pyarrow as pa

        from signalroom.capture.rows import truncation

        row = pa.Table.from_batches([truncation(catalogue.tables[title].shape, seq)])
        return self._batch(catalogue, title, row, f"{self.slot_name}/snapshot")


def _table(name: str, one: CapturedTable) -> Table:
    columns = tuple(Column(column_name(column), kind, path=column) for column, kind in one.columns.items())
    key = tuple(map(column_name, one.key))
    return Table(name, columns, key=key, order=("_seq",), disposition=one.write)


def _last_with(found: Iterator[Batch | Mark], table: str) -> Iterator[Batch]:
    """Yield batches as they come, each held back until it is known whether it is the last, which gets the position.

    The mark comes last. Where it comes alone, it travels with no rows.
    """
    held: Batch | None = None
    for one in found:
        if isinstance(one, Batch):
            if held is not None:
                yield held
            held = one
        else:
            yield replace(held or Batch(table, _no_rows()), position={_PARTITION: one.json()})


def _no_rows() -> pa.Table:
    import pyarrow as pa

    return pa.table({"_op": pa.array([], pa.string())})
