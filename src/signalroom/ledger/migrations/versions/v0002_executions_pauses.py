"""Runs know their execution, the moment it was due and the run they repeat; paused jobs are remembered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalroom.ledger.tables import place

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, their index and the table."""
    schema, prefix = place(op.get_context().dialect.name)
    runs = f"{prefix}runs"
    for name in ("execution", "repeat_of"):
        op.add_column(runs, sa.Column(name, sa.Text(), nullable=False, server_default=""), schema=schema)
    op.add_column(runs, sa.Column("due_at", sa.DateTime(timezone=True), nullable=True), schema=schema)
    op.create_index("signalroom_runs_execution", runs, ["execution"], schema=schema)
    op.create_table(
        f"{prefix}pauses",
        sa.Column("job", sa.Text(), primary_key=True),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        schema=schema,
    )
