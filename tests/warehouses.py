"""Warehouses to test with; one is opened for many tests, since opening costs more than merging."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from signalroom.warehouse.base import Warehouse
from signalroom.warehouse.duckdb import DuckDBWarehouse
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret


@contextmanager
def duckdb_warehouse(folder: Path) -> Iterator[DuckDBWarehouse]:
    """Yield a warehouse in a file below ``folder``; on one thread, which is faster for a few rows."""
    warehouse = DuckDBWarehouse(path=str(folder / "warehouse.duckdb"), threads=1)
    yield warehouse
    warehouse.close()


@contextmanager
def postgres_warehouse(server: Any, folder: Path) -> Iterator[Warehouse]:
    """Yield a warehouse in a database of its own."""
    dsn = server.create_database()
    warehouse = PostgresWarehouse(url=Secret("env:WAREHOUSE_URL", dsn))
    yield warehouse
    warehouse.close()
    server.drop_database(dsn)
