"""Warehouses that the examples of a whole module share: opening one costs more than merging into it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signalroom.warehouse.duckdb import DuckDBWarehouse


@pytest.fixture(scope="module")
def shared_duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBWarehouse]:
    """One DuckDB file for a module; every example uses a source of its own."""
    warehouse = DuckDBWarehouse(path=str(tmp_path_factory.mktemp("duckdb") / "warehouse.duckdb"), threads=1)
    yield warehouse
    warehouse.close()
