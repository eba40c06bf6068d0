"""API keys; refreshes that were asked for and wait; and the order in which a view's history is read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalroom.ledger.tables import place

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MOMENTS = ("expires_at", "last_used_at", "revoked_at")


def upgrade() -> None:
    """Create the table of keys and the indexes of history."""
    dialect = op.get_context().dialect.name
    schema, prefix = place(dialect)
    moment = sa.DateTime(timezone=True)
    op.create_table(
        f"{prefix}api_keys",
        sa.Column("key_id", sa.Text(), primary_key=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("agency_id", sa.Integer()),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        *(sa.Column(name, moment) for name in _MOMENTS),
        sa.CheckConstraint("role in ('admin', 'operator', 'agency')", name="api_keys_role"),
        sa.CheckConstraint("(role = 'agency') = (agency_id is not null)", name="api_keys_agency"),
        schema=schema,
    )
    for statement in statements(dialect):
        op.execute(statement)


def statements(dialect: str) -> list[str]:
    """Return the statements that make the indexes of history: its newest rows of a view, and the one that waits."""
    place_of = "reporting." if dialect == "postgresql" else ""
    table = f"{place_of}seeder_run_history"
    return [
        f"CREATE INDEX seeder_run_history_newest ON {table} (table_name, start_time DESC, id DESC)",
        f"CREATE UNIQUE INDEX seeder_run_history_waiting ON {table} (table_name) WHERE status = 'pending'",
    ]
