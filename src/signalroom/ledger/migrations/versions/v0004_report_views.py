"""Report views: agencies, manifests, and what became of each refresh."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "reporting"
_NOW = sa.text("CURRENT_TIMESTAMP")
_TYPES = "report_type in ('custom', 'canned')"
_STATES = "status in ('pending', 'running', 'success', 'error')"


def upgrade() -> None:
    """Create the tables, their indexes and the view of the dashboard."""
    dialect = op.get_context().dialect
    # Asked first: IF NOT EXISTS wants the right to create even where there is nothing to create.
    there = dialect.name == "postgresql" and sa.inspect(op.get_bind()).has_schema(SCHEMA)
    for statement in statements(dialect):
        if not (there and statement.startswith("CREATE SCHEMA")):
            op.execute(statement)


def statements(dialect: sa.Dialect) -> list[str]:
    """Return the statements that make everything in an empty database of a dialect, in order."""
    schema = SCHEMA if dialect.name == "postgresql" else None
    metadata = sa.MetaData(schema=schema)
    _agencies(metadata)
    _manifests(metadata)
    _history(metadata)
    _status(metadata)
    made: list[Any] = [] if schema is None else [sa.schema.CreateSchema(schema, if_not_exists=True)]
    for table in metadata.sorted_tables:
        made += [sa.schema.CreateTable(table)]
        made += [sa.schema.CreateIndex(index) for index in sorted(table.indexes, key=lambda one: str(one.name))]
    text = [str(one.compile(dialect=dialect)).strip() for one in made]
    return [*text, _DASHBOARD.replace("PLACE.", f"{schema}." if schema else "")]


def _text(name: str, *, nullable: bool = False, **more: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, **more)


def _number(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable, server_default=default)


def _key(name: str = "id") -> sa.Column[int]:
    # People and front ends choose these ids; only history counts by itself.
    return sa.Column(name, sa.Integer(), primary_key=True, autoincrement=False)


def _moment(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[Any]:
    kind = sa.DateTime(timezone=True)
    return sa.Column(name, kind, nullable=nullable, server_default=_NOW if now else None)


def _agency(metadata: sa.MetaData) -> sa.ForeignKeyConstraint:
    """Return the key that holds an agency's id and its slug together."""
    prefix = f"{metadata.schema}." if metadata.schema else ""
    return sa.ForeignKeyConstraint(
        ["agency_id", "agency_slug"], [f"{prefix}agency.id", f"{prefix}agency.slug"], onupdate="CASCADE"
    )


def _manifest(metadata: sa.MetaData) -> sa.ForeignKeyConstraint:
    """Return the key from what happened to what it happened to, a custom report or a canned one."""
    registry = f"{metadata.schema}.seeder_manifest" if metadata.schema else "seeder_manifest"
    return sa.ForeignKeyConstraint(
        ["report_type", "manifest_id"], [f"{registry}.report_type", f"{registry}.manifest_id"]
    )


def _agencies(metadata: sa.MetaData) -> None:
    sa.Table(
        "agency", metadata,
        _key(), _text("slug", unique=True), _text("name"),
        sa.UniqueConstraint("id", "slug"),
    )  # fmt: skip


def _manifests(metadata: sa.MetaData) -> None:
    prefix = f"{metadata.schema}." if metadata.schema else ""
    sa.Table(
        "seeder_custom_report_manifest", metadata,
        _key(), _text("table_name", unique=True), _text("report_name"), _number("agency_id"), _text("agency_slug"),
        _text("query"), _number("database_id", default="1"),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        _agency(metadata),
    )  # fmt: skip
    sa.Table(
        "seeder_canned_report", metadata,
        _key(), _text("table_name", unique=True), _text("report_name"), _text("query"),
        _number("database_id", default="1"),
    )  # fmt: skip
    sa.Table(
        "seeder_canned_report_manifest", metadata,
        _key(), _number("agency_id"), _text("agency_slug"),
        sa.Column("canned_report_id", sa.Integer(), sa.ForeignKey(f"{prefix}seeder_canned_report.id"), nullable=False),
        sa.UniqueConstraint("agency_id", "canned_report_id"),
        _agency(metadata),
    )  # fmt: skip
    # Custom and canned reports number their manifests apart. Here each has one row, which outlives it: what history
    # and status refer to, what keeps public names unique across both kinds, and who is refreshing it just now.
    sa.Table(
        "seeder_manifest", metadata,
        sa.Column("report_type", sa.Text(), sa.CheckConstraint(_TYPES), primary_key=True),
        _key("manifest_id"), _text("table_name", unique=True), _text("origin"), _text("query_hash"),
        _number("fence", default="0"), _moment("lease_until", nullable=True),
    )  # fmt: skip


def _history(metadata: sa.MetaData) -> None:
    wide = sa.BigInteger()
    table = sa.Table(
        "seeder_run_history", metadata,
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        _text("run_id"), _number("manifest_id"), _text("table_name"), _text("report_name"), _number("agency_id"),
        _text("agency_slug"),
        sa.Column("report_type", sa.Text(), sa.CheckConstraint(_TYPES), nullable=False),
        sa.Column("status", sa.Text(), sa.CheckConstraint(_STATES), nullable=False),
        _moment("start_time", now=True), _moment("finish_time", nullable=True),
        _number("duration_seconds", nullable=True),
        sa.Column("records_processed", wide, server_default="0"),
        sa.Column("bytes_processed", wide, server_default="0"),
        _number("memory_usage_mb", nullable=True), _number("cpu_percentage", nullable=True),
        _number("consecutive_failures", nullable=True, default="0"), _text("errors", nullable=True),
        _moment("created_at", now=True), _moment("updated_at", now=True),
        _manifest(metadata),
    )  # fmt: skip
    sa.Index("seeder_run_history_table_name", table.c.table_name)
    sa.Index("seeder_run_history_agency_slug", table.c.agency_slug)
    sa.Index("seeder_run_history_start_time", table.c.start_time.desc())


def _status(metadata: sa.MetaData) -> None:
    table = sa.Table(
        "seeder_job_status", metadata,
        sa.Column("table_name", sa.Text(), primary_key=True),
        _number("manifest_id", nullable=True), _text("report_name", nullable=True),
        _text("report_type", nullable=True), _text("agency_slug", nullable=True), _number("agency_id", nullable=True),
        sa.Column("status", sa.Text(), sa.CheckConstraint(_STATES), nullable=False),
        _number("duration_seconds", nullable=True, default="0"), _moment("start_time", nullable=True),
        _number("consecutive_failures", nullable=True, default="0"), _text("last_run_id", nullable=True),
        _text("last_errors", nullable=True), _moment("updated_at", now=True),
        _manifest(metadata),
    )  # fmt: skip
    sa.Index("seeder_job_status_agency_slug", table.c.agency_slug)


# The job rows of the monitor's front end, under the names it knows them by.
_DASHBOARD = """CREATE VIEW PLACE.seeder_dashboard AS
SELECT s.manifest_id AS id, s.report_name AS "reportName", s.table_name AS "tableName", s.report_type AS "reportType",
    s.status, s.duration_seconds AS "durationSeconds", s.start_time AS "startTime",
    s.consecutive_failures AS "consecutiveFailures", s.agency_id AS "agencyId", a.name AS "agencyName",
    s.agency_slug AS "agencySlug"
FROM PLACE.seeder_job_status s LEFT JOIN PLACE.agency a ON a.id = s.agency_id"""
