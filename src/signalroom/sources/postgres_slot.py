"""The slot that keeps the WAL for us, and the publication that says what is in it.

A first snapshot is taken under a slot of its own, ``<slot>_new``; only once the snapshot is in the warehouse the slot
``<slot>`` is made, as a copy of it. So ``<slot>_new`` is never more than an unfinished snapshot and may be dropped by
whoever begins again, and ``<slot>`` is never touched by a workspace that has no position of its own in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from signalroom.clients.replication import Database, HeldUpError, Replication, address, quoted, spelt
from signalroom.errors import ConfigError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.position import Json
from signalroom.sources.postgres_catalog import Catalogue, table_sql

_SLOTS = """
    SELECT slot_name, plugin, database = current_database(), active, coalesce(wal_status, 'reserved'),
           confirmed_flush_lsn::text, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
           ELSE pg_current_wal_lsn() END, restart_lsn)::bigint
    FROM pg_replication_slots WHERE slot_name IN (%s, %s)"""
_PUBLISHED = """
    SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = %s
    UNION SELECT n.nspname::text, c.relname::text
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.pubname = %s AND c.relkind = 'p'"""  # the first shows these as their partitions
_HOLDERS = """
    SELECT l.pid, coalesce(a.usename, x.owner)::text, coalesce(a.datname, x.database)::text, a.application_name, x.gid,
           coalesce(a.xact_start, x.prepared)::timestamptz(0)::text, a.query_start::timestamptz(0)::text, a.state
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_prepared_xacts x ON l.pid IS NULL AND x.transaction = l.transactionid
    WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
        AND l.pid IS DISTINCT FROM pg_backend_pid()
    ORDER BY age(l.transactionid) DESC LIMIT 1"""
_WAITS = 50  # of a tenth of a second: a connection that died frees its slot as soon as the server notices


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot as the server shows it.

    Attributes:
        name: Its name.
        ours: Whether it is of this database and decodes by pgoutput.
        active: Whether somebody reads from it now.
        lost: Whether the server removed WAL it needs.
        confirmed: WAL address up to which it has forgotten.
        held_bytes: WAL that the server keeps for it.
    """

    name: str
    ours: bool
    active: bool
    lost: bool
    confirmed: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the capture stopped, and in what: the value of its position.

    Attributes:
        system: The system's identifier.
        timeline: Its timeline.
        lsn: WAL address up to which every transaction is in the lake.
        base: What is added to a WAL address to make ``_seq``, so that it grows even where addresses begin anew.
        snapshot: The setting under which the snapshot was taken.
        shapes: ``schema.table`` -> its columns when they were last seen.
        oids: ``schema.table`` -> the table's OID in the snapshot.
    """

    system: str
    timeline: int
    lsn: int
    base: int
    snapshot: int
    shapes: Mapping[str, Json]
    oids: Mapping[str, Json] = field(default_factory=dict[str, "Json"])

    @classmethod
    def of(cls, value: Json) -> Mark | None:
        """Return the mark that a position holds; None where there is none."""
        if not isinstance(value, Mapping):
            return None
        shapes, oids = value["shapes"], value.get("oids")
        return cls(
            str(value["system"]), int(str(value["timeline"])), address(str(value["lsn"])), int(str(value["base"])),
            int(str(value["snapshot"])), shapes if isinstance(shapes, Mapping) else {},
            oids if isinstance(oids, Mapping) else {},
        )  # fmt: skip

    def only(self, names: Collection[str]) -> Mark:
        """Return it with those of its tables that are among ``names``: another is new when it comes back."""
        shapes, oids = ({name: one for name, one in held.items() if name in names} for held in (self.shapes, self.oids))
        return replace(self, shapes=shapes, oids=oids)

    def json(self) -> dict[str, Json]:
        """Return it as a position holds it."""
        return {
            "system": self.system, "timeline": self.timeline, "lsn": spelt(self.lsn), "base": self.base,
            "snapshot": self.snapshot, "shapes": self.shapes, "oids": self.oids,
        }  # fmt: skip


def unfinished(slot: str) -> str:
    """Return the name of the slot under which a first snapshot is taken."""
    return f"{slot}_new"


def slots(database: Database, slot: str) -> dict[str, Slot]:
    """Return the slots called ``slot`` and its unfinished one, as far as they exist."""
    return {
        row[0]: Slot(
            row[0],
            row[1] == "pgoutput" and bool(row[2]),
            row[3],
            row[4] == "lost",
            address(row[5] or "0/0"),
            row[6] or 0,
        )
        for row in database.rows(_SLOTS, slot, unfinished(slot))
    }


def idle(database: Database, slot: str) -> dict[str, Slot]:
    """Return the slots once nobody reads from them.

    Raises:
        RetryableError: Somebody still does after five seconds.
        ConfigError: One belongs to another database or another kind of reader.
    """
    for _ in range(_WAITS):
        found = slots(database, slot)
        foreign = [one.name for one in found.values() if not one.ours]
        if foreign:
            raise ConfigError(
                f"The slot {foreign[0]!r} is another database's or another reader's.", mend="Choose another `slot`."
            )
        if not any(one.active for one in found.values()):
            return found
        database.rows("SELECT pg_sleep(0.1)")
    raise RetryableError(f"Another process reads from the slot {slot!r}.", mend="Let one process capture at a time.")


def gap(mark: Mark, found: Mapping[str, Slot], slot: str, system: str, timeline: int) -> str:
    """Return why the changes after ``mark`` are not all there any more, as half a sentence; empty where they are."""
    if mark.system != system:
        return "the database is another one: its system identifier differs"
    if mark.timeline != timeline:
        return "a standby was promoted since: transactions may be gone"
    one = found.get(slot) or found.get(unfinished(slot))
    if one is None:
        return f"the slot {slot!r} is gone"
    if one.lost:
        return f"the server has removed WAL that the slot {slot!r} needs"
    if one.confirmed > mark.lsn:
        return f"the slot {slot!r} was made anew or moved on to {spelt(one.confirmed)}, beyond {spelt(mark.lsn)}"
    return ""


def begin(
    database: Database, wire: Replication, slot: str, found: Mapping[str, Slot], *, known: bool
) -> tuple[int, int, str]:
    """Create the slot of a new snapshot.

    Args:
        database: An ordinary connection.
        wire: The connection whose snapshot it is.
        slot: The name of the slot.
        found: The slots there are.
        known: Whether this workspace has a position in it: only then ``slot`` itself is dropped.

    Returns:
        A WAL address below that of every change the slot will tell, its consistent point, and the snapshot's name.

    Raises:
        ConfigError: The slot exists and this workspace has no position in it.
        RetryableError: A transaction that is under way does not end; the sentence says whose it is.
    """
    if slot in found and not known:
        raise ConfigError(
            f"The slot {slot!r} exists, and this workspace has no position in it.",
            mend="If another deployment reads from it, choose another `slot`; if none does, run "
            f"SELECT pg_drop_replication_slot('{slot}') and sync again.",
        )
    for name in found:
        failpoint("capture.slot.drop")
        database.rows("SELECT pg_drop_replication_slot(%s)", name)
    made = moment(database, wire, unfinished(slot))
    failpoint("capture.slot.created")
    return made


def moment(database: Database, wire: Replication, slot: str = "") -> tuple[int, int, str]:
    """Create a slot and return what :func:`begin` returns; without a name it lasts as long as the connection.

    Raises:
        HeldUpError: A transaction that is under way does not end; the sentence says whose it is.
    """
    # A transaction that is under way now commits behind the consistent point but may have changed rows before it:
    # the rows of the snapshot must be older than any change that is told.
    (before,) = database.rows("SELECT pg_current_wal_insert_lsn()::text")[0]
    try:
        consistent, snapshot = wire.create_slot(slot)
    except HeldUpError as problem:
        raise _held_up(database) from problem
    return address(before), consistent, snapshot


def _held_up(database: Database) -> HeldUpError:
    """Return whose transaction keeps a slot from being made: it has to have seen the beginning of all it will tell."""
    found = database.rows(_HOLDERS)
    if not found:
        return HeldUpError("A transaction kept the slot from being made, and has ended.", mend="Sync again.")
    pid, user, name, program, prepared, since, asked, state = found[0]
    if prepared is not None:
        return HeldUpError(
            f"A slot cannot be made while transactions are open: {prepared!r} of {user} in {name} is prepared since "
            f"{since}.",
            mend=f"COMMIT PREPARED or ROLLBACK PREPARED {_text(prepared)} in {name}, then sync again.",
        )
    details = [f"{state}", f"query begun {asked}"] if state else ["of another user: pg_read_all_stats would say more"]
    opened = f" since {since}" if since else ""
    return HeldUpError(
        f"A slot cannot be made while transactions are open: pid {pid} ({user} in {name}"
        f"{f', {program}' if program else ''}; {', '.join(details)}) has one{opened}.",
        mend=f"Let it end, or run SELECT pg_terminate_backend({pid}); then sync again. timeout_s bounds the wait.",
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def settle(database: Database, slot: str, lsn: int) -> None:
    """Let the server forget what lies before ``lsn``, and give a snapshot's slot its name.

    Raises:
        RetryableError: Somebody reads from the slot.
    """
    found = idle(database, slot)
    early = unfinished(slot)
    if slot not in found and early in found:
        failpoint("capture.slot.copy")
        database.rows("SELECT pg_copy_logical_replication_slot(%s, %s, false)", early, slot)
        failpoint("capture.slot.copied")
        found = slots(database, slot)
    if slot in found and early in found:
        database.rows("SELECT pg_drop_replication_slot(%s)", early)
        failpoint("capture.slot.named")
    one = found.get(slot)
    if one is not None and not one.lost and one.confirmed < lsn:
        failpoint("capture.confirm")
        database.rows("SELECT pg_replication_slot_advance(%s, %s::pg_lsn)", slot, spelt(lsn))
        failpoint("capture.confirmed")


def publish(database: Database, publication: str, catalogue: Catalogue) -> None:
    """Create the publication, or add to it the tables it does not have.

    Raises:
        ConfigError: The user may not, with the statement its owner can run.
    """
    wanted = [table_sql(found.shape) for found in catalogue.tables.values()]
    statements = statements_to_publish(database, publication, catalogue)
    for statement in statements:
        try:
            database.run(statement)
        except ConfigError as problem:
            raise ConfigError(
                f"The publication {publication!r} of {len(wanted)} tables cannot be made: {problem.message}",
                mend=f"Let the tables' owner run: {statement};",
            ) from problem


def require_whole(database: Database, publication: str, catalogue: Catalogue) -> None:
    """Refuse what would keep rows or columns of a table from us without a word.

    Raises:
        ConfigError: Row security hides rows from this user, or the publication leaves rows or columns out.
    """
    oids = [found.shape.oid for found in catalogue.tables.values()]
    hidden = database.rows(
        "SELECT oid::regclass::text, current_user FROM pg_class WHERE oid = ANY(%s) AND relrowsecurity"
        " AND row_security_active(oid) ORDER BY 1", oids)  # fmt: skip
    for table, user in hidden:
        raise ConfigError(
            f"Row security hides rows of {table} from {user}: a copy would lack them.",
            mend=f"Run ALTER ROLE {user} BYPASSRLS, or capture as the table's owner.",
        )
    if catalogue.version < 150000:  # publications leave nothing out before
        return
    narrowed = database.rows(
        "SELECT r.prrelid::regclass::text, r.prqual IS NOT NULL FROM pg_publication_rel r"
        " JOIN pg_publication p ON p.oid = r.prpubid AND p.pubname = %s"
        " WHERE r.prqual IS NOT NULL OR r.prattrs IS NOT NULL ORDER BY 1", publication)  # fmt: skip
    for table, is_filtered in narrowed:
        raise ConfigError(
            f"The publication {publication!r} leaves out {'rows' if is_filtered else 'columns'} of {table}.",
            mend=f"Run ALTER PUBLICATION {quoted(publication)} DROP TABLE {table}; the next sync adds it whole.",
        )


def statements_to_publish(database: Database, publication: str, catalogue: Catalogue) -> Sequence[str]:
    """Return the SQL that makes the publication tell all changes of the tables; none where it does."""
    root = database.rows("SELECT pubviaroot, pubinsert AND pubupdate AND pubdelete AND pubtruncate, puballtables"
                         " FROM pg_publication WHERE pubname = %s", publication)  # fmt: skip
    every = ", ".join(table_sql(found.shape) for found in catalogue.tables.values())
    name = quoted(publication)
    if not root:
        return [f"CREATE PUBLICATION {name} FOR TABLE {every} WITH (publish_via_partition_root = true)"]
    needed: list[str] = []
    partitioned = any(found.partitioned for found in catalogue.tables.values())
    if partitioned and not root[0][0]:  # else a change is told as its partition's; of plain tables nothing differs
        needed.append(f"ALTER PUBLICATION {name} SET (publish_via_partition_root = true)")
    if not root[0][1]:
        needed.append(f"ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')")
    held = {f"{row[0]}.{row[1]}" for row in database.rows(_PUBLISHED, publication, publication)}
    if root[0][2]:
        held |= {title for title, found in catalogue.tables.items() if found.partitioned}
    missing = [table_sql(found.shape) for title, found in catalogue.tables.items() if title not in held]
    if missing:
        needed.append(f"ALTER PUBLICATION {name} ADD TABLE {', '.join(missing)}")
    return needed
