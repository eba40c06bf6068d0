"""The first ledger: runs, deliveries, archive."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

from signalroom.ledger.tables import place

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INDEXES = (
    ("runs", ["started_at"]),
    ("runs", ["job", "step", "started_at"]),
    ("runs", ["status", "lease_until"]),
    ("deliveries", ["report", "due_at"]),
    ("deliveries", ["due_at"]),
    ("archive", ["report", "due_at"]),
)


def upgrade() -> None:
    """Create the tables and their indexes."""
    schema, prefix = place(op.get_context().dialect.name)
    op.create_table(f"{prefix}runs", *_runs(), schema=schema)
    op.create_table(f"{prefix}deliveries", *_deliveries(), schema=schema)
    op.create_table(f"{prefix}archive", *_archive(), schema=schema)
    op.create_table(f"{prefix}archive_images", *_images(), schema=schema)
    for table, columns in _INDEXES:
        name = f"signalroom_{table}_{'_'.join(columns)}"
        op.create_index(name, f"{prefix}{table}", columns, schema=schema)


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    # Empty, not null: the code that reads them has one kind of nothing.
    return sa.Column(name, sa.Text(), primary_key=key, nullable=False, server_default=None if key else "")


def _number(name: str, default: str = "0") -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default=default)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _choice(name: str, choices: tuple[str, ...], constraint: str) -> tuple[sa.Column[str], sa.CheckConstraint]:
    allowed = ", ".join(f"'{choice}'" for choice in choices)
    return sa.Column(name, sa.Text(), nullable=False), sa.CheckConstraint(f"{name} in ({allowed})", name=constraint)


def _json(name: str) -> sa.Column[sa.JSON]:
    return sa.Column(name, sa.JSON(), nullable=False)


def _runs() -> list[SchemaItem]:
    status, known = _choice("status", ("running", "success", "error", "lost"), "runs_status")
    times = [_moment("started_at"), _moment("finished_at", nullable=True), _moment("heartbeat_at")]
    ending = [_moment("lease_until"), _number("fence", "1"), _text("error"), _json("result"), _number("repeats")]
    return [_text("run_id", key=True), _text("job"), _text("step"), status, *times, *ending, known]


def _deliveries() -> list[SchemaItem]:
    state, known = _choice("state", ("pending", "inflight", "sent", "unknown", "failed"), "deliveries_state")
    what = [_text("key", key=True), _text("report"), _moment("due_at"), _text("channel"), _text("recipient")]
    claim = [_number("attempt"), _number("fence"), _moment("lease_until", nullable=True)]
    ending = [_text("receipt"), _text("error"), _text("digest"), _moment("created_at"), _moment("updated_at")]
    return [*what, state, *claim, *ending, known]


def _archive() -> list[SchemaItem]:
    what = [_text("digest", key=True), _text("report"), _moment("due_at"), _text("subject")]
    return [*what, _json("message"), _json("data"), _json("load_ids"), _moment("created_at")]


def _images() -> list[SchemaItem]:
    position = sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False)
    png = sa.Column("png", sa.LargeBinary(), nullable=False)
    return [_text("digest", key=True), position, _text("name"), _text("alt"), png]
