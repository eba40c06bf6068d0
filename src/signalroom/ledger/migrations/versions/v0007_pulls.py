"""Pulls: rows of an app that are to be fetched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalroom.ledger.tables import place

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and its index."""
    schema, prefix = place(op.get_context().dialect.name)
    op.create_table(
        f"{prefix}pulls",
        *(
            sa.Column(name, sa.Text(), primary_key=True, nullable=False)
            for name in ("projection", "entity", "entity_id")
        ),
        sa.Column("wanted", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("since", "not_before")),
        schema=schema,
    )
    op.create_index("signalroom_pulls_not_before", f"{prefix}pulls", ["projection", "not_before"], schema=schema)
