"""Warehouses that the examples of a whole module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signalroom.warehouse.base import Warehouse
from warehouses import duckdb_warehouse, postgres_warehouse


@pytest.fixture(scope="module")
def shared_duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """One DuckDB file for a module; every example uses a source of its own."""
    with duckdb_warehouse(tmp_path_factory.mktemp("duckdb")) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def shared_postgres(postgres_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """One Postgres database for a module; every example uses a source of its own."""
    with postgres_warehouse(postgres_server, tmp_path_factory.mktemp("postgres")) as warehouse:
        yield warehouse
