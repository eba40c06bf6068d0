"""The tables of report views as queries name them: in the schema ``reporting`` on Postgres, bare on SQLite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from signalroom.ledger.tables import Moment

SCHEMA = "reporting"
"""Their schema on Postgres."""


@dataclass(frozen=True, slots=True)
class ViewTables:
    """The tables of one database.

    Attributes:
        agency: One row an agency.
        custom: One row a report written for one agency.
        canned: One row a report that agencies share.
        assigned: One row an agency and a canned report it uses.
        registry: One row a manifest of either kind: its public name, its last query, who is refreshing it.
        history: One row a refresh.
        status: One row a view: its last refresh.
    """

    agency: sa.Table
    custom: sa.Table
    canned: sa.Table
    assigned: sa.Table
    registry: sa.Table
    history: sa.Table
    status: sa.Table


@cache
def view_tables(dialect: str) -> ViewTables:
    """Return the tables as they are in a kind of database (``sqlite`` or ``postgresql``)."""
    metadata = sa.MetaData(schema=SCHEMA if dialect == "postgresql" else None)

    def table(name: str, key: str, columns: str, moments: str = "", **kinds: Any) -> sa.Table:
        keys = key.split()
        listed = [
            sa.Column(one, kinds.get(one, Moment() if one in moments.split() else None), primary_key=one in keys)
            for one in columns.split()
        ]
        return sa.Table(name, metadata, *listed)

    return ViewTables(
        table("agency", "id", "id slug name"),
        table(
            "seeder_custom_report_manifest", "id",
            "id table_name report_name agency_id agency_slug query database_id enabled", enabled=sa.Boolean(),
        ),
        table("seeder_canned_report", "id", "id table_name report_name query database_id"),
        table("seeder_canned_report_manifest", "id", "id agency_id agency_slug canned_report_id"),
        table(
            "seeder_manifest", "report_type manifest_id",
            "report_type manifest_id table_name origin query_hash fence lease_until", "lease_until",
        ),
        table(
            "seeder_run_history", "id",
            "id run_id manifest_id table_name report_name agency_id agency_slug report_type status start_time "
            "finish_time duration_seconds records_processed bytes_processed memory_usage_mb cpu_percentage "
            "consecutive_failures errors created_at updated_at",
            "start_time finish_time created_at updated_at", id=sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        ),
        table(
            "seeder_job_status", "table_name",
            "table_name manifest_id report_name report_type agency_slug agency_id status duration_seconds start_time "
            "consecutive_failures last_run_id last_errors updated_at",
            "start_time updated_at",
        ),
    )  # fmt: skip


def upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or bring those whose key is there to the same values; all rows have the same columns."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as dialect_insert
    else:
        from sqlalchemy.dialects.sqlite import insert as dialect_insert
    statement: Any = dialect_insert(table)
    keys = [column.name for column in table.primary_key]
    values = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), rows)


def ddl(dialect: str) -> tuple[str, ...]:
    """Return the statements that make these tables in an empty database, for a team with a schema of its own."""
    from sqlalchemy.dialects import postgresql, sqlite

    from signalroom.ledger.migrations.versions import v0004_report_views, v0005_api, v0009_indexes

    made = v0004_report_views.statements(postgresql.dialect() if dialect == "postgresql" else sqlite.dialect())
    return (*made, *v0005_api.statements(dialect), *v0009_indexes.statements(dialect))
