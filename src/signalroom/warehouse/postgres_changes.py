"""Which days of a table changed, told by the statements that changed it.

Triggers on a table that views read note each day of the rows that a statement inserted, updated or deleted, in the
statement's own transaction, whoever ran it: a merge, dbt, a person. What is not visible in the snapshot that a view
was computed from is what has changed since, exactly, whatever the order of commits. A table without its triggers (it is
new, was swapped by dbt, or is not ours) tells nothing, and its views are computed in full.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.quoting import ident, literal, qualified

if TYPE_CHECKING:
    import psycopg

DDL = (
    """CREATE TABLE IF NOT EXISTS signalroom.view_changes (
        relation oid NOT NULL, column_name text NOT NULL, day date, everything boolean NOT NULL,
        xid xid8 NOT NULL, noted_at timestamptz NOT NULL DEFAULT now())""",
    "CREATE INDEX IF NOT EXISTS view_changes_by_relation ON signalroom.view_changes (relation, column_name)",
    # As its owner: whoever writes to the table need not have rights on ours.
    """CREATE OR REPLACE FUNCTION signalroom.note_changed_days() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                INSERT INTO signalroom.view_changes VALUES (TG_RELID, TG_ARGV[0], NULL, true, pg_current_xact_id());
            ELSE
                EXECUTE format('INSERT INTO signalroom.view_changes SELECT $1, $2, d.day, false, pg_current_xact_id()
                    FROM (SELECT DISTINCT %I AS day FROM changed) AS d', TG_ARGV[0]) USING TG_RELID, TG_ARGV[0];
            END IF;
            RETURN NULL;
        EXCEPTION WHEN undefined_column OR datatype_mismatch OR undefined_function THEN
            -- The column was renamed, dropped or typed anew: that is nothing to keep a writer from its rows.
            INSERT INTO signalroom.view_changes VALUES (TG_RELID, TG_ARGV[0], NULL, true, pg_current_xact_id());
            RETURN NULL;
        END $$""",
)
"""The log, and the function behind each trigger."""

_EVENTS = {
    "inserted": "INSERT ON {} REFERENCING NEW TABLE AS changed",
    "deleted": "DELETE ON {} REFERENCING OLD TABLE AS changed",
    "left": "UPDATE ON {} REFERENCING OLD TABLE AS changed",
    "came": "UPDATE ON {} REFERENCING NEW TABLE AS changed",
    "emptied": "TRUNCATE ON {}",
}
_TABLE = """SELECT c.oid, c.relfilenode FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.oid = to_regclass(?) AND c.relkind = 'r' AND NOT c.relhassubclass AND NOT c.relispartition
        AND a.attname = ? AND a.atttypid = CAST('date' AS regtype) AND NOT a.attisdropped"""
_TRIGGERS = """SELECT oid, tgname FROM pg_trigger
    WHERE tgrelid = ? AND starts_with(tgname, ?) AND tgenabled IN ('O', 'A') ORDER BY oid"""
_LOCK_MS = 2_000
_KEPT = "1 day"  # longer than any refresh: one that runs now may need what all those before it have seen
_KEPT_FOR_ONE = "30 days"


def holds_days(connection: psycopg.Connection[tuple[Any, ...]], table: str, column: str) -> bool:
    """Tell whether a column of ``schema.table`` holds dates, of a table whose changes can be noted."""
    return bool(session.execute(connection, _TABLE, [qualified(table), column]))


def watched(connection: psycopg.Connection[tuple[Any, ...]], table: str, column: str) -> str:
    """Put the triggers on ``schema.table`` where they are missing and may be put.

    Returns:
        What the table is known by: another text whenever rows may have changed without being noted. Empty where
        nothing is noted: the column holds no dates, the table is none of ours, or somebody holds it just now.
    """
    import psycopg

    found = _identity(connection, table, column)
    if found or not holds_days(connection, table, column):
        return found
    try:
        with connection.transaction():
            _run(connection, f"SET LOCAL lock_timeout = {_LOCK_MS}")
            for event, when in _EVENTS.items():
                name = ident(_prefix(column) + event)
                _run(connection, f"DROP TRIGGER IF EXISTS {name} ON {qualified(table)}")
                calls = f"FOR EACH STATEMENT EXECUTE FUNCTION signalroom.note_changed_days({literal(column)})"
                _run(connection, f"CREATE TRIGGER {name} AFTER {when.format(qualified(table))} {calls}")
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        return ""
    return _identity(connection, table, column)


def _identity(connection: psycopg.Connection[tuple[Any, ...]], table: str, column: str) -> str:
    """Return the table, its file and its triggers as one text; empty where a trigger is missing."""
    held = session.execute(connection, _TABLE, [qualified(table), column])
    if not held:
        return ""
    triggers = session.execute(connection, _TRIGGERS, [held[0][0], _prefix(column)])
    if {str(name) for _, name in triggers} != {_prefix(column) + event for event in _EVENTS}:
        return ""
    return ":".join(str(one) for one in (*held[0], *(oid for oid, _ in triggers)))


def identity(connection: psycopg.Connection[tuple[Any, ...]], table: str, column: str) -> str:
    """Return what a watched table is known by now; empty where it is not watched."""
    return _identity(connection, table, column) if column else ""


def changed_days(
    connection: psycopg.Connection[tuple[Any, ...]], table: str, column: str, snapshot: str
) -> set[date | None] | None:
    """Return the days whose rows changed since a snapshot (``pg_current_snapshot()`` as text); None for all of them."""
    sql = """SELECT DISTINCT day, everything FROM signalroom.view_changes WHERE relation = to_regclass(?)
        AND column_name = ? AND NOT pg_visible_in_snapshot(xid, CAST(? AS pg_snapshot))"""
    found = session.execute(connection, sql, [qualified(table), column, snapshot])
    return None if any(everything for _, everything in found) else {day for day, _ in found}


def forget(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Remove what every view has seen, and what tables left that are no more."""
    run = partial(session.execute, connection)
    # An agency that left, or whose view rests, has not seen them: it is computed in full if it ever comes back.
    run(
        f"""UPDATE signalroom.view_shares s SET base = '' WHERE base <> '' AND EXISTS (
            SELECT 1 FROM signalroom.view_changes c WHERE c.relation = s.base_oid
                AND noted_at < now() - interval '{_KEPT_FOR_ONE}' AND NOT pg_visible_in_snapshot(c.xid, s.snapshot))""",
        [],
    )
    run(
        f"""DELETE FROM signalroom.view_changes c WHERE noted_at < now() - interval '{_KEPT}'
            AND NOT EXISTS (SELECT 1 FROM signalroom.view_shares s WHERE s.base_oid = c.relation AND s.base <> ''
                AND NOT pg_visible_in_snapshot(c.xid, s.snapshot))""",
        [],
    )


def _prefix(column: str) -> str:
    # a trigger's name holds 63 bytes, and so does a column's
    import hashlib

    return f"signalroom_{hashlib.sha256(column.encode()).hexdigest()[:8]}_"


def _run(connection: psycopg.Connection[tuple[Any, ...]], sql: str) -> None:
    session.execute(connection, sql, [])
