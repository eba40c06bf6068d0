"""Alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalroom.ledger.tables import place

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXTS = ("title", "details", "mend", "channel", "note")


def upgrade() -> None:
    """Create the table and its index."""
    schema, prefix = place(op.get_context().dialect.name)
    states = "state in ('open', 'acknowledged', 'snoozed', 'resolved')"
    op.create_table(
        f"{prefix}alerts",
        sa.Column("key", sa.Text(), primary_key=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False, server_default="") for name in _TEXTS),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False, server_default="1"),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("since", "opened_at", "seen_at")),
        *(sa.Column(name, sa.DateTime(timezone=True)) for name in ("quiet_at", "snoozed_until", "resolved_at")),
        sa.CheckConstraint(states, name="alerts_state"),
        sa.CheckConstraint("level in ('warning', 'critical')", name="alerts_level"),
        schema=schema,
    )
    op.create_index("signalroom_alerts_state_resolved_at", f"{prefix}alerts", ["state", "resolved_at"], schema=schema)
