"""Indexes of what every watch, scrape and claim asks: deliveries by their state, refreshes that go on."""

from __future__ import annotations

from alembic import op

from signalroom.ledger.tables import place

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    dialect = op.get_context().dialect.name
    schema, prefix = place(dialect)
    op.create_index("signalroom_deliveries_state", f"{prefix}deliveries", ["state", "due_at"], schema=schema)
    for statement in statements(dialect):
        op.execute(statement)


def statements(dialect: str) -> list[str]:
    """Return the statements that make the index of history: the refreshes that go on, few among many."""
    place_of = "reporting." if dialect == "postgresql" else ""
    table = f"{place_of}seeder_run_history"
    return [f"CREATE INDEX seeder_run_history_running ON {table} (table_name) WHERE status = 'running'"]
