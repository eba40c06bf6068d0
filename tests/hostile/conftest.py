"""The warehouses that hostile files are loaded into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signalroom.warehouse.base import Warehouse
from warehouses import duckdb_warehouse, postgres_warehouse


@pytest.fixture(scope="module")
def duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with duckdb_warehouse(tmp_path_factory.mktemp("duckdb")) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def opened_postgres(postgres_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with postgres_warehouse(postgres_server, tmp_path_factory.mktemp("postgres")) as warehouse:
        yield warehouse


@pytest.fixture(params=["duckdb", pytest.param("opened_postgres", marks=pytest.mark.slow)])
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    return request.getfixturevalue(request.param)
