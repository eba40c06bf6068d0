"""Runs remember how their earlier attempts failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalroom.ledger.tables import place

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    schema, prefix = place(op.get_context().dialect.name)
    op.add_column(f"{prefix}runs", sa.Column("failures", sa.JSON(), nullable=False, server_default="[]"), schema=schema)
