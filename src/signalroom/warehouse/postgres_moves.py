"""An agency's views on Postgres follow it to its new slug: the same views, with their grants, under another name.

Schemas and views are renamed, so whoever was granted them keeps them. Roles are the cluster's, and another database of
it may know the agency by the old slug: so the agency gets the roles of its new slug, and those of the old one lose
every right in this database, before another agency may be given that slug.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError
from signalroom.view import ManifestSet, ViewLimits
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.postgres_roles import SHARES, grant_reading, login_of, prepare, role_of
from signalroom.warehouse.postgres_swap import exists, in_turns, kind_of
from signalroom.warehouse.quoting import ident
from signalroom.warehouse.view_moves import Move, Moves, moves_of, write_slugs
from signalroom.warehouse.view_state import schema_of

if TYPE_CHECKING:
    import psycopg

_OWNED = """SELECT relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
    WHERE relnamespace = to_regnamespace(?) AND relkind IN ('m', 'v') AND rolname = ? ORDER BY 1"""
_POLICIES = """SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_policy p
    JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ? AND p.polname = ? ORDER BY 1"""


def settle(
    connection: psycopg.Connection[tuple[Any, ...]], manifests: ManifestSet, limits: ViewLimits
) -> dict[str, ConfigError]:
    """Move what has to; return view -> why it cannot be refreshed.

    Raises:
        SignalRoomError: It could not be done, and nothing has moved.
    """
    moves = _planned(connection, manifests)
    if moves.due or moves.noted:
        in_turns(connection, partial(_Moving(connection, limits).run, manifests))
    return moves.refused(manifests.views())


def _planned(connection: psycopg.Connection[tuple[Any, ...]], manifests: ManifestSet) -> Moves:
    schemas = {str(row[0]) for row in session.execute(connection, "SELECT nspname FROM pg_namespace", [])}
    return moves_of(partial(session.execute, connection), manifests, schemas)


class _Moving:
    """The moves of some agencies, in one transaction."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], limits: ViewLimits) -> None:
        self._connection, self._limits = connection, limits

    def run(self, manifests: ManifestSet) -> None:
        """Make them all, or none."""
        self._run("SELECT pg_advisory_xact_lock(7348)")  # who waited here finds them made
        moves = _planned(self._connection, manifests)
        for move in moves.due:  # every slug is given back before any is taken: agencies may have exchanged theirs
            self._rename_schemas(schema_of(move.before), f"signalroom_moving_{move.agency_id}")
        for move in moves.due:
            self._rename_schemas(f"signalroom_moving_{move.agency_id}", schema_of(move.after))
            self._rename_views(move)
            prepare(self._connection, move.agency_id, move.after, self._limits)
            self._give_views(move)
            self._take_rights(move)
        shared = [(move, self._shared(move)) for move in moves.due]
        for move, tables in shared:
            if self._is_role(before := role_of(move.before)):
                self._run(f"REVOKE ALL ON SCHEMA {ident(SHARES)} FROM {ident(before)}")
                for table in tables:
                    self._run(f"REVOKE ALL ON {table} FROM {ident(before)}")
        for move, tables in shared:
            self._give_shares(move, tables)
        write_slugs(partial(session.execute, self._connection), moves)

    def _rename_schemas(self, before: str, after: str) -> None:
        for one in ("", "_rows"):
            if self._ask("SELECT 1 WHERE to_regnamespace(?) IS NOT NULL", ident(before + one)):
                self._run(f"ALTER SCHEMA {ident(before + one)} RENAME TO {ident(after + one)}")

    def _rename_views(self, move: Move) -> None:
        schema = schema_of(move.after)
        for before, after in move.names:
            if exists(self._connection, schema, before):
                place = f"{ident(schema)}.{ident(before)}"
                self._run(f"ALTER {kind_of(self._connection, place)} {place} RENAME TO {ident(after)}")

    def _give_views(self, move: Move) -> None:
        """Let the views belong to the role of the new slug, and its login read them instead of the old one."""
        schema, role, login = schema_of(move.after), ident(role_of(move.after)), login_of(move.before)
        for (name,) in self._ask(_OWNED, ident(schema), role_of(move.before)):
            place = f"{ident(schema)}.{ident(name)}"
            self._run(f"ALTER {kind_of(self._connection, place)} {place} OWNER TO {role}")
            grant_reading(self._connection, move.after, place)
            if self._is_role(login):
                self._run(f"SET LOCAL ROLE {role}")  # rights are taken back by who gave them
                self._run(f"REVOKE ALL ON {place} FROM {ident(login)}")
                self._run("RESET ROLE")

    def _take_rights(self, move: Move) -> None:
        """Take from the roles of the old slug what they may in the agency's schemas."""
        own, rows = ident(schema_of(move.after)), ident(f"{schema_of(move.after)}_rows")
        for role in filter(self._is_role, (role_of(move.before), login_of(move.before))):
            self._run(f"REVOKE ALL ON SCHEMA {own}, {rows} FROM {ident(role)}")
            self._run(f"REVOKE ALL ON ALL TABLES IN SCHEMA {rows} FROM {ident(role)}")

    def _give_shares(self, move: Move, tables: Sequence[str]) -> None:
        """Let the role of the new slug see the agency's rows in tables of shared reports."""
        role = ident(role_of(move.after))
        self._run(f"GRANT USAGE ON SCHEMA {ident(SHARES)} TO {role}")
        before, after = (ident(f"agency_{move.agency_id}_{slug}") for slug in (move.before, move.after))
        for table in tables:
            self._run(f"ALTER POLICY {before} ON {table} TO {role}")
            self._run(f"ALTER POLICY {before} ON {table} RENAME TO {after}")
            self._run(f"GRANT SELECT ON {table} TO {role}")

    def _is_role(self, name: str) -> bool:
        return bool(self._ask("SELECT 1 FROM pg_roles WHERE rolname = ?", name))

    def _shared(self, move: Move) -> list[str]:
        """Return the tables, quoted, of shared reports in which the agency sees its rows under its old slug."""
        return [str(row[0]) for row in self._ask(_POLICIES, SHARES, f"agency_{move.agency_id}_{move.before}")]

    def _ask(self, sql: str, *params: str) -> list[tuple[Any, ...]]:
        return session.execute(self._connection, sql, list(params))

    def _run(self, sql: str) -> None:
        session.execute(self._connection, sql, [])
