"""Who may do what with an agency's rows: roles and barrier views, made once and mended where they are not right.

For each agency one role owns its views and one may log in. The owner cannot log in: Postgres refreshes a materialized
view with its owner's rights, in an operation that can change neither role nor settings, and reads a plain view's table
with them. The other may log in once somebody has given it a password, reads what its agency may see, and writes
nothing. Neither may read a table: what binds a row to an agency is who asks, never a setting that the asker can change.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError
from signalroom.view import AGENCY_COLUMN, ViewLimits
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.quoting import ident, literal, qualified
from signalroom.warehouse.view_state import schema_of

if TYPE_CHECKING:
    import psycopg

READERS = "agency_reader"
"""Role that may read every agency's views: for a front end that keeps its users apart itself."""

SHARES = "signalroom_shares"
"""Schema of the tables that hold a report of several agencies."""

_LOCK = 7348
_CONNECTIONS = 8
_COLUMNS = """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""


def role_of(slug: str) -> str:
    """Return the role that owns an agency's views."""
    return f"signalroom_agency_{slug}"


def login_of(slug: str) -> str:
    """Return the role that an agency may log in as."""
    return f"signalroom_login_{slug}"


def rows_of(slug: str) -> str:
    """Return the schema, quoted, that holds the barrier views an agency's queries read."""
    return ident(f"{schema_of(slug)}_rows")


def reports_role(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """Return the role that computes reports of several agencies: one for each database, as roles are the cluster's."""
    return str(
        session.execute(connection, "SELECT 'signalroom_reports_' || left(md5(current_database()), 12)", [])[0][0]
    )


def prepare(connection: psycopg.Connection[tuple[Any, ...]], agency_id: int, slug: str, limits: ViewLimits) -> None:
    """Make the roles, the schemas and the barrier views of an agency, or find them there.

    Raises:
        ConfigError: We may not, or a table is not there or does not say whose its rows are.
    """
    with _preparing(connection):
        _make_role(connection, role_of(slug))
        _make_group(connection, READERS)
        _make_login(connection, slug, limits)
        own, rows = ident(schema_of(slug)), rows_of(slug)
        _make_schema(connection, own, {role_of(slug): "USAGE, CREATE", login_of(slug): "USAGE", READERS: "USAGE"})
        _make_schema(connection, ident(SHARES), {role_of(slug): "USAGE"})
        _make_schema(connection, rows, {role_of(slug): "USAGE", login_of(slug): "USAGE"})
        for name, table in limits.tables.items():
            _make_barrier(connection, f"{rows}.{ident(name)}", table, agency_id, (role_of(slug), login_of(slug)))


def prepare_reports(connection: psycopg.Connection[tuple[Any, ...]], tables: Mapping[str, str]) -> str:
    """Make what computes reports of several agencies: a role that cannot log in and the views it reads; return it."""
    with _preparing(connection):
        role = reports_role(connection)
        _make_role(connection, role)
        _make_schema(connection, ident(SHARES), {role: "USAGE"})
        _make_schema(connection, all_rows(), {role: "USAGE"})
        for name, table in tables.items():
            _make_barrier(connection, f"{all_rows()}.{ident(name)}", table, None, (role,))
    return role


def all_rows() -> str:
    """Return the schema, quoted, that holds the views of every agency's rows."""
    return ident(f"{SHARES}_rows")


def grant_reading(connection: psycopg.Connection[tuple[Any, ...]], slug: str, place: str) -> None:
    """Let the agency's login and the readers' role read a view of ``place``, quoted; its owner says so."""
    _run(connection, f"SET LOCAL ROLE {ident(role_of(slug))}")
    _run(connection, f"GRANT SELECT ON {place} TO {ident(login_of(slug))}, {ident(READERS)}")
    _run(connection, "RESET ROLE")


@contextmanager
def _preparing(connection: psycopg.Connection[tuple[Any, ...]]) -> Generator[None]:
    import psycopg

    try:
        with session.explained("prepare the agencies' roles and views"), connection.transaction():
            session.execute(connection, f"SELECT pg_advisory_xact_lock({_LOCK})", [])
            yield
    except ConfigError as problem:
        if isinstance(problem.__cause__, psycopg.errors.InsufficientPrivilege):
            user = ident(connection.info.user)
            raise ConfigError(
                problem.message,
                mend=f"As an administrator: ALTER ROLE {user} CREATEROLE; GRANT CREATE ON DATABASE"
                f" {ident(connection.info.dbname)} TO {user}; and GRANT {user} a signalroom_ role that another made.",
            ) from problem
        raise


def _make_barrier(
    connection: psycopg.Connection[tuple[Any, ...]], barrier: str, table: str, agency_id: int | None,
    roles: tuple[str, ...],
) -> None:  # fmt: skip
    """Make one view of a table's rows, of one agency or of all, or find it there as it should be."""
    wanted = session.execute(connection, _COLUMNS, [qualified(table)])
    if AGENCY_COLUMN not in [name for name, _ in wanted]:
        raise ConfigError(
            f"[views] tables: {table} is not there, or has no column {AGENCY_COLUMN}.",
            mend="Mend the name, or build a model that has it.",
        )
    # The note says whose rows it shows: a slug that went to another agency must not keep the rows of the first.
    note = f"{'every agency' if agency_id is None else f'agency {agency_id}'} of {table}"
    held = session.execute(connection, _COLUMNS, [barrier])
    noted = session.execute(connection, "SELECT obj_description(to_regclass(?), 'pg_class')", [barrier])[0][0]
    if held != wanted or noted != note:
        whose = "" if agency_id is None else f" WHERE {ident(AGENCY_COLUMN)} = {literal(agency_id)}"
        kept = "WITH (security_barrier) " if agency_id is not None else ""
        if held != wanted[: len(held)]:  # a view takes more columns, and no other change of them
            session.execute(connection, "SELECT signalroom.step_aside(to_regclass(?))", [barrier])
        _run(connection, f"CREATE OR REPLACE VIEW {barrier} {kept}AS SELECT * FROM {qualified(table)}{whose}")
        _run(connection, f"COMMENT ON VIEW {barrier} IS {literal(note)}")
    for role in roles:
        if not session.execute(connection, "SELECT 1 WHERE has_table_privilege(?, ?, 'SELECT')", [role, barrier]):
            _run(connection, f"GRANT SELECT ON {barrier} TO {ident(role)}")


def _make_role(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> None:
    """Make a role that cannot log in and that we may act as."""
    if not _is_role(connection, name):
        _run(connection, f"CREATE ROLE {ident(name)} NOLOGIN NOINHERIT")
        # From Postgres 16 on, who makes a role may give it to anybody but not act as it: that has to be given too.
        _run(connection, f"GRANT {ident(name)} TO CURRENT_USER")
    elif not session.execute(connection, "SELECT 1 WHERE pg_has_role(current_user, ?, 'MEMBER')", [name]):
        _run(connection, f"GRANT {ident(name)} TO CURRENT_USER")


def _make_group(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> None:
    if not _is_role(connection, name):
        _run(connection, f"CREATE ROLE {ident(name)} NOLOGIN")


def _make_login(connection: psycopg.Connection[tuple[Any, ...]], slug: str, limits: ViewLimits) -> None:
    """Make the role an agency may log in as: it has no password until somebody gives it one."""
    name = login_of(slug)
    role = ident(name)
    if not _is_role(connection, name):
        _run(connection, f"CREATE ROLE {role} LOGIN NOINHERIT CONNECTION LIMIT {_CONNECTIONS}")
    wanted = {
        "default_transaction_read_only": "on", "statement_timeout": f"{limits.timeout_s}s",
        "work_mem": f"{work_mem_mb(limits)}MB", "search_path": f"{schema_of(slug)}, {schema_of(slug)}_rows",
    }  # fmt: skip
    if session.execute(connection, "SELECT 1 FROM pg_roles WHERE rolname = current_user AND rolsuper", []):
        wanted["temp_file_limit"] = f"{limits.memory_mb}MB"  # only a superuser may bound what spills
    found = session.execute(connection, "SELECT unnest(rolconfig) FROM pg_roles WHERE rolname = ?", [name])
    held = dict(str(row[0]).split("=", 1) for row in found)
    for setting, value in wanted.items():
        if held.get(setting) != value:
            spelt = value if setting == "search_path" else literal(value)
            _run(connection, f"ALTER ROLE {role} SET {setting} = {spelt}")


def work_mem_mb(limits: ViewLimits) -> int:
    """Return the memory one operation of a query may use; a query has a few."""
    return max(1, limits.memory_mb // 8)


def _make_schema(connection: psycopg.Connection[tuple[Any, ...]], schema: str, rights: Mapping[str, str]) -> None:
    if not session.execute(connection, "SELECT 1 WHERE to_regnamespace(?) IS NOT NULL", [schema]):
        _run(connection, f"CREATE SCHEMA {schema}")
    for role, right in rights.items():
        allowed = "SELECT 1 WHERE has_schema_privilege(?, ?, ?)"
        if not session.execute(connection, allowed, [role, schema.strip('"'), right.rpartition(" ")[2]]):
            _run(connection, f"GRANT {right} ON SCHEMA {schema} TO {ident(role)}")


def _is_role(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> bool:
    return bool(session.execute(connection, "SELECT 1 FROM pg_roles WHERE rolname = ?", [name]))


def _run(connection: psycopg.Connection[tuple[Any, ...]], sql: str) -> None:
    session.execute(connection, sql, [])
