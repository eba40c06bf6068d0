"""The first ledger: runs, deliveries, archive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalroom.ledger.tables import place

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and their indexes."""
    schema, prefix = place(op.get_context().dialect.name)
    moment = sa.DateTime(timezone=True)

    def text(name: str, *, key: bool = False) -> sa.Column[str]:
        # Empty, not null: the code that reads them has one kind of nothing.
        return sa.Column(name, sa.Text(), primary_key=key, nullable=False, server_default=None if key else "")

    def number(name: str, default: str = "0") -> sa.Column[int]:
        return sa.Column(name, sa.Integer(), nullable=False, server_default=default)

    op.create_table(
        f"{prefix}runs",
        text("run_id", key=True), text("job"), text("step"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("finished_at", moment),
        sa.Column("heartbeat_at", moment, nullable=False),
        sa.Column("lease_until", moment, nullable=False),
        number("fence", "1"), text("error"),
        sa.Column("result", sa.JSON(), nullable=False),
        number("repeats"),
        sa.CheckConstraint("status in ('running', 'success', 'error', 'lost')", name="runs_status"),
        schema=schema,
    )  # fmt: skip
    op.create_table(
        f"{prefix}deliveries",
        text("key", key=True), text("report"),
        sa.Column("due_at", moment, nullable=False),
        text("channel"), text("recipient"),
        sa.Column("state", sa.Text(), nullable=False),
        number("attempt"), number("fence"),
        sa.Column("lease_until", moment),
        text("receipt"), text("error"), text("digest"),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.CheckConstraint(
            "state in ('pending', 'inflight', 'sent', 'unknown', 'failed')", name="deliveries_state"
        ),
        schema=schema,
    )  # fmt: skip
    op.create_table(
        f"{prefix}archive",
        text("digest", key=True), text("report"),
        sa.Column("due_at", moment, nullable=False),
        text("subject"),
        sa.Column("message", sa.JSON(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("load_ids", sa.JSON(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        schema=schema,
    )  # fmt: skip
    op.create_table(
        f"{prefix}archive_images",
        text("digest", key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        text("name"), text("alt"),
        sa.Column("png", sa.LargeBinary(), nullable=False),
        schema=schema,
    )  # fmt: skip
    for table, columns in (
        ("runs", ["started_at"]),
        ("runs", ["job", "step", "started_at"]),
        ("runs", ["status", "lease_until"]),
        ("deliveries", ["report", "due_at"]),
        ("deliveries", ["due_at"]),
        ("archive", ["report", "due_at"]),
    ):
        name = f"signalroom_{table}_{'_'.join(columns)}"
        op.create_index(name, f"{prefix}{table}", columns, schema=schema)
