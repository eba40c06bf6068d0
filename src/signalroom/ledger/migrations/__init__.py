"""How the ledger's tables came to be, one file a step; Alembic runs them when a ledger is opened."""
