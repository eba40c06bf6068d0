"""What `check` says of a capture: rights, settings, keys, and how much WAL the server keeps for the slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signalroom.clients.replication import Database
from signalroom.errors import SignalRoomError
from signalroom.sources.postgres_catalog import Catalogue, require_capturable, table_sql
from signalroom.sources.postgres_slot import require_whole, slots, statements_to_publish

_MB = 1 << 20
_RIGHTS = "SELECT rolreplication OR rolsuper, current_user FROM pg_roles WHERE rolname = current_user"
_SETTINGS = """
    SELECT name, setting::bigint FROM pg_settings
    WHERE name IN ('max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size')"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be captured, as the settings say.

    Attributes:
        source: The source's name.
        keys: ``schema.table`` -> its key columns.
        slot: The slot's name.
        publication: The publication's name.
        held_mb: WAL in MB that the server may keep for the slot.
    """

    source: str
    keys: Mapping[str, Sequence[str]]
    slot: str
    publication: str
    held_mb: int


def problems(asked: Asked, database: Database) -> Sequence[str]:
    """Return each problem with a capture as one sentence with its mend; changes nothing on the server.

    Raises:
        SignalRoomError: The server does not answer.
    """
    return [*_server(asked, database), *_tables(asked, database), *_slot(asked, database)]


def _server(asked: Asked, database: Database) -> list[str]:
    found: list[str] = []
    level = database.rows("SHOW wal_level")[0][0]
    if level != "logical":
        found.append(
            f"{asked.source}: wal_level is {level}, and changes are read from logical; set wal_level = logical in "
            "postgresql.conf and restart the server."
        )
    may, user = database.rows(_RIGHTS)[0]
    if not may:
        found.append(f"{asked.source}: {user} may not replicate; run ALTER ROLE {user} REPLICATION.")
    numbers: dict[str, int] = dict(database.rows(_SETTINGS))  # pyright: ignore[reportArgumentType] - rows of two
    (used,) = database.rows("SELECT count(*) FROM pg_replication_slots")[0]
    taken = slots(database, asked.slot)
    if not taken and used >= numbers["max_replication_slots"]:
        found.append(
            f"{asked.source}: all {used} replication slots are taken; raise max_replication_slots, or drop one that "
            "nobody reads."
        )
    if numbers["max_slot_wal_keep_size"] < 0:
        found.append(
            f"{asked.source}: nothing bounds the WAL that the server keeps for a slot, so its disk may fill while "
            f"nothing is read; set max_slot_wal_keep_size = '{2 * asked.held_mb}MB'."
        )
    return found


def _tables(asked: Asked, database: Database) -> list[str]:
    found: list[str] = []
    keys = asked.keys
    try:
        catalogue = Catalogue.read(database, list(keys))
    except SignalRoomError as problem:
        return [f"{asked.source}: {problem}"]
    try:
        require_whole(database, asked.publication, catalogue)
    except SignalRoomError as problem:
        found.append(f"{asked.source}: {problem}")
    for title, key in keys.items():
        table = catalogue.tables[title]
        try:
            require_capturable(table, key)
        except SignalRoomError as problem:
            found.append(f"{asked.source}: {problem}")
        (may, owner) = database.rows(
            "SELECT has_table_privilege(oid, 'SELECT'), pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s",
            table.shape.oid,
        )[0]
        if not may:
            name = table_sql(table.shape)
            found.append(f"{asked.source}: {title} cannot be read; run GRANT SELECT ON {name} TO the user.")
        if not owner:
            missing = statements_to_publish(database, asked.publication, catalogue)
            if missing:
                found.append(f"{asked.source}: only the owner of {title} can publish it; let it run {missing[0]};")
    return found


def _slot(asked: Asked, database: Database) -> list[str]:
    found: list[str] = []
    for slot in slots(database, asked.slot).values():
        if not slot.ours:
            found.append(
                f"{asked.source}: the slot {slot.name!r} is another database's or reader's; choose another `slot`."
            )
        elif slot.lost:
            found.append(
                f"{asked.source}: the server removed WAL that the slot {slot.name!r} needs; the next sync takes a new "
                "snapshot; raise max_slot_wal_keep_size or sync more often."
            )
        elif slot.held_bytes > asked.held_mb * _MB:
            found.append(
                f"{asked.source}: the server keeps {slot.held_bytes // _MB} MB of WAL for the slot {slot.name!r}, more "
                f"than held_mb = {asked.held_mb}; run `signalroom sync {asked.source}`, or end transactions that have "
                "been open for long."
            )
    return found
