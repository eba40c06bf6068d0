"""What an agency's views stand on: a role that cannot log in, and barrier views of the rows that are the agency's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError
from signalroom.view import AGENCY_COLUMN
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.quoting import ident, literal, qualified
from signalroom.warehouse.view_state import schema_of

if TYPE_CHECKING:
    import psycopg

_LOCK = 7348
_COLUMNS = """SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum"""


def role_of(slug: str) -> str:
    """Return the role that owns an agency's views."""
    return f"signalroom_agency_{slug}"


def rows_of(slug: str) -> str:
    """Return the schema, quoted, that holds the barrier views an agency's queries read."""
    return ident(f"{schema_of(slug)}_rows")


def prepare(
    connection: psycopg.Connection[tuple[Any, ...]], agency_id: int, slug: str, tables: Mapping[str, str]
) -> None:
    """Make the role, the schemas and the barrier views of an agency, or find them there.

    Raises:
        ConfigError: We may not, or a table is not there or does not say whose its rows are.
    """
    with session.explained("prepare the agency's role and views"), connection.transaction():
        session.execute(connection, f"SELECT pg_advisory_xact_lock({_LOCK})", [])
        _make_role(connection, slug)
        for name, table in tables.items():
            wanted = [row[0] for row in session.execute(connection, _COLUMNS, [qualified(table)])]
            if AGENCY_COLUMN not in wanted:
                raise ConfigError(
                    f"[views] tables: {table} is not there, or has no column {AGENCY_COLUMN}.",
                    mend="Mend the name, or build a model that has it.",
                )
            barrier = f"{rows_of(slug)}.{ident(name)}"
            # The note says whose rows it shows: a slug that went to another agency must not keep the rows of the first.
            note = f"agency {agency_id} of {table}"
            held = [row[0] for row in session.execute(connection, _COLUMNS, [barrier])]
            noted = session.execute(connection, "SELECT obj_description(to_regclass(?), 'pg_class')", [barrier])[0][0]
            if held != wanted or noted != note:
                whose = f"{ident(AGENCY_COLUMN)} = {literal(agency_id)}"
                made = f"SELECT * FROM {qualified(table)} WHERE {whose}"
                _run(connection, f"CREATE OR REPLACE VIEW {barrier} WITH (security_barrier) AS {made}")
                _run(connection, f"COMMENT ON VIEW {barrier} IS {literal(note)}")
                _run(connection, f"GRANT SELECT ON {barrier} TO {ident(role_of(slug))}")


def _make_role(connection: psycopg.Connection[tuple[Any, ...]], slug: str) -> None:
    name, role = role_of(slug), ident(role_of(slug))
    if not session.execute(connection, "SELECT 1 FROM pg_roles WHERE rolname = ?", [name]):
        _run(connection, f"CREATE ROLE {role} NOLOGIN NOINHERIT")
        # From Postgres 16 on, who makes a role may give it to anybody but not act as it: that has to be given too.
        _run(connection, f"GRANT {role} TO CURRENT_USER")
    elif not session.execute(connection, "SELECT 1 WHERE pg_has_role(current_user, ?, 'MEMBER')", [name]):
        _run(connection, f"GRANT {role} TO CURRENT_USER")
    for schema, rights in ((ident(schema_of(slug)), "USAGE, CREATE"), (rows_of(slug), "USAGE")):
        made = session.execute(connection, "SELECT 1 WHERE to_regnamespace(?) IS NOT NULL", [schema])
        if not made:
            _run(connection, f"CREATE SCHEMA {schema}")
        allowed = "SELECT 1 WHERE has_schema_privilege(?, ?, ?)"
        if not session.execute(connection, allowed, [name, schema.strip('"'), rights.rpartition(" ")[2]]):
            _run(connection, f"GRANT {rights} ON SCHEMA {schema} TO {role}")


def _run(connection: psycopg.Connection[tuple[Any, ...]], sql: str) -> None:
    session.execute(connection, sql, [])
