"""The ledger's tables: a schema of their own on Postgres, a prefix on SQLite."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

SCHEMA = "signalroom"
"""Their schema on Postgres; with an underscore, their prefix on SQLite."""


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware moment in UTC; SQLite, which has no such type, keeps it as sortable text."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the moment in UTC, as the database stores it."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=_stored_zone(dialect))

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Return the stored moment, aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if _stored_zone(dialect) is None else value.astimezone(UTC)


def _stored_zone(dialect: sa.Dialect) -> Any:
    return UTC if dialect.name == "postgresql" else None


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one database.

    Attributes:
        runs: One row a run.
        deliveries: One row per report, due time, channel and recipient.
        archive: One row a delivered message, without its pictures.
        images: The pictures, one row each.
        pauses: One row a job that an operator paused.
        alerts: One row a cause.
        keys: One row an API key.
        pulls: One row for each row of an app that is wanted.
        schedules: One row a job with a schedule.
    """

    runs: sa.Table
    deliveries: sa.Table
    archive: sa.Table
    images: sa.Table
    pauses: sa.Table
    alerts: sa.Table
    keys: sa.Table
    pulls: sa.Table
    schedules: sa.Table


def place(dialect: str) -> tuple[str | None, str]:
    """Return the schema and the prefix that the ledger's tables have in a kind of database."""
    return (SCHEMA, "") if dialect == "postgresql" else (None, f"{SCHEMA}_")


@cache
def tables(dialect: str) -> Tables:
    """Return the tables as they are in a kind of database (``sqlite`` or ``postgresql``)."""
    schema, prefix = place(dialect)
    metadata = sa.MetaData(schema=schema)
    text, moment = sa.Text(), Moment()
    runs = _runs(prefix, metadata)
    deliveries = sa.Table(
        f"{prefix}deliveries", metadata,
        sa.Column("key", text, primary_key=True),
        sa.Column("report", text),
        sa.Column("due_at", moment),
        sa.Column("channel", text),
        sa.Column("recipient", text),
        sa.Column("state", text),
        sa.Column("attempt", sa.Integer()),
        sa.Column("fence", sa.Integer()),
        sa.Column("lease_until", moment),
        sa.Column("receipt", text),
        sa.Column("error", text),
        sa.Column("digest", text),
        sa.Column("created_at", moment),
        sa.Column("updated_at", moment),
    )  # fmt: skip
    archive = sa.Table(
        f"{prefix}archive", metadata,
        sa.Column("digest", text, primary_key=True),
        sa.Column("report", text),
        sa.Column("due_at", moment),
        sa.Column("subject", text),
        sa.Column("message", sa.JSON()),
        sa.Column("data", sa.JSON()),
        sa.Column("load_ids", sa.JSON()),
        sa.Column("created_at", moment),
    )  # fmt: skip
    images = sa.Table(
        f"{prefix}archive_images", metadata,
        sa.Column("digest", text, primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("name", text),
        sa.Column("alt", text),
        sa.Column("png", sa.LargeBinary()),
    )  # fmt: skip
    pauses = sa.Table(
        f"{prefix}pauses", metadata,
        sa.Column("job", text, primary_key=True),
        sa.Column("note", text),
        sa.Column("paused_at", moment),
    )  # fmt: skip
    others = (
        _alerts(metadata, prefix),
        _keys(metadata, prefix),
        _pulls(metadata, prefix),
        _schedules(metadata, prefix),
    )
    return Tables(runs, deliveries, archive, images, pauses, *others)


def _runs(prefix: str, metadata: sa.MetaData) -> sa.Table:
    text, moment = sa.Text(), Moment()
    return sa.Table(
        f"{prefix}runs", metadata,
        sa.Column("run_id", text, primary_key=True),
        sa.Column("job", text),
        sa.Column("step", text),
        sa.Column("status", text),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("heartbeat_at", moment),
        sa.Column("lease_until", moment),
        sa.Column("fence", sa.Integer()),
        sa.Column("error", text),
        sa.Column("result", sa.JSON()),
        sa.Column("repeats", sa.Integer()),
        sa.Column("execution", text),
        sa.Column("repeat_of", text),
        sa.Column("due_at", moment),
        sa.Column("failures", sa.JSON()),
    )  # fmt: skip


def _alerts(metadata: sa.MetaData, prefix: str) -> sa.Table:
    text, moment = sa.Text(), Moment()
    return sa.Table(
        f"{prefix}alerts", metadata,
        sa.Column("key", text, primary_key=True),
        sa.Column("kind", text),
        sa.Column("level", text),
        sa.Column("title", text),
        sa.Column("details", text),
        sa.Column("mend", text),
        sa.Column("channel", text),
        sa.Column("note", text),
        sa.Column("state", text),
        sa.Column("episode", sa.Integer()),
        sa.Column("since", moment),
        sa.Column("opened_at", moment),
        sa.Column("seen_at", moment),
        sa.Column("quiet_at", moment),
        sa.Column("snoozed_until", moment),
        sa.Column("resolved_at", moment),
    )  # fmt: skip


def _pulls(metadata: sa.MetaData, prefix: str) -> sa.Table:
    text, moment = sa.Text(), Moment()
    return sa.Table(
        f"{prefix}pulls", metadata,
        sa.Column("projection", text, primary_key=True),
        sa.Column("entity", text, primary_key=True),
        sa.Column("entity_id", text, primary_key=True),
        sa.Column("wanted", sa.BigInteger()),
        sa.Column("attempts", sa.Integer()),
        sa.Column("since", moment),
        sa.Column("not_before", moment),
    )  # fmt: skip


def _schedules(metadata: sa.MetaData, prefix: str) -> sa.Table:
    text, moment = sa.Text(), Moment()
    return sa.Table(
        f"{prefix}schedules", metadata,
        sa.Column("job", text, primary_key=True),
        sa.Column("line", text),
        sa.Column("timezone", text),
        sa.Column("since", moment),
        sa.Column("seen_at", moment),
    )  # fmt: skip


def _keys(metadata: sa.MetaData, prefix: str) -> sa.Table:
    text, moment = sa.Text(), Moment()
    return sa.Table(
        f"{prefix}api_keys", metadata,
        sa.Column("key_id", text, primary_key=True),
        sa.Column("name", text),
        sa.Column("role", text),
        sa.Column("agency_id", sa.Integer()),
        sa.Column("hash", text),
        sa.Column("created_at", moment),
        sa.Column("expires_at", moment),
        sa.Column("last_used_at", moment),
        sa.Column("revoked_at", moment),
    )  # fmt: skip
