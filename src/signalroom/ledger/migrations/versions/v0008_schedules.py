"""Schedules: what a scheduler had in hand, and until when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalroom.ledger.tables import place

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    schema, prefix = place(op.get_context().dialect.name)
    op.create_table(
        f"{prefix}schedules",
        sa.Column("job", sa.Text(), primary_key=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("line", "timezone")),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("since", "seen_at")),
        schema=schema,
    )
