"""A view's query tried out on Postgres: built aside as its agency, compared, and taken back with its transaction."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from signalroom.view import Pending, Preview, ViewLimits
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse import view_preview
from signalroom.warehouse.postgres_limits import bound_spill, limited
from signalroom.warehouse.postgres_roles import prepare, role_of, rows_of
from signalroom.warehouse.quoting import ident, qualified
from signalroom.warehouse.view_state import schema_of

if TYPE_CHECKING:
    import psycopg

_COLUMNS = """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""

_READY = """SELECT coalesce(b.columns = t.columns AND starts_with(b.note, ?), false) FROM
    (SELECT array_agg(attname ORDER BY attnum) AS columns, max(obj_description(attrelid, 'pg_class')) AS note
        FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped) b,
    (SELECT array_agg(attname ORDER BY attnum) AS columns FROM pg_attribute
        WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped) t"""


def preview(
    connection: psycopg.Connection[tuple[Any, ...]], pending: Pending, limits: ViewLimits, samples: int
) -> Preview:
    """Return what a refresh would make of a view.

    All of it happens in one transaction that is rolled back: the roles of an agency that has none yet, the view built
    aside, everything. The query runs as it does in a refresh: as the agency's role, in an operation that can change
    neither role nor settings, with the limits of views.

    Raises:
        DataError: The query is wrong, or takes too long.
        ConfigError: It reads what is not its agency's.
    """
    view = pending.view
    place, aside = (
        f"{ident(schema_of(view.agency_slug))}.{ident(name)}"
        for name in (view.name, f"signalroom_preview_{secrets.token_hex(8)}")
    )
    with session.explained(f"try out {view.name}"), connection.transaction(force_rollback=True):
        _prepare(connection, pending, limits)
        with limited(connection, limits):
            began = time.monotonic()
            _build(connection, pending, limits, aside)
            took_s = time.monotonic() - began
            now, then = (_columns(connection, name) for name in (place, aside))
            execute = partial(session.execute, connection)
            return view_preview.compare(execute, view, (place, now), (aside, then), samples, took_s)


def _prepare(connection: psycopg.Connection[tuple[Any, ...]], pending: Pending, limits: ViewLimits) -> None:
    """Make what the agency's queries stand on, unless it is as it should be: making it keeps refreshes waiting."""
    view = pending.view
    mine = f"agency {view.agency_id} of "
    held = [
        session.execute(connection, _READY, [mine, f"{rows_of(view.agency_slug)}.{ident(name)}", qualified(table)])
        for name, table in limits.tables.items()
    ]
    if not all(ready for ((ready,),) in held):
        prepare(connection, view.agency_id, view.agency_slug, limits)


def _build(connection: psycopg.Connection[tuple[Any, ...]], pending: Pending, limits: ViewLimits, aside: str) -> None:
    session.execute(connection, f"SET LOCAL search_path = {rows_of(pending.view.agency_slug)}", [])
    session.execute(connection, f"SET LOCAL ROLE {ident(role_of(pending.view.agency_slug))}", [])
    with connection.pipeline():  # the extended protocol: one statement, whatever the text holds
        session.execute(connection, f"CREATE MATERIALIZED VIEW {aside} AS\n{pending.query.text}\nWITH NO DATA", [])
    session.execute(connection, "RESET ROLE", [])
    bound_spill(connection, limits)
    session.execute(connection, f"REFRESH MATERIALIZED VIEW {aside}", [])


def _columns(connection: psycopg.Connection[tuple[Any, ...]], place: str) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(kind)) for name, kind in session.execute(connection, _COLUMNS, [place]))
