"""Every warehouse keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signalroom.testing.warehouse import CHECKS, Bench, Check, name_of
from signalroom.warehouse.base import Warehouse
from warehouses import duckdb_warehouse, postgres_warehouse


@pytest.fixture(scope="module")
def duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with duckdb_warehouse(tmp_path_factory.mktemp("duckdb")) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def postgres_shared(postgres_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with postgres_warehouse(postgres_server, tmp_path_factory.mktemp("postgres")) as warehouse:
        yield warehouse


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_duckdb_keeps_the_contract(check: Check, duckdb: Warehouse, tmp_path) -> None:
    check(Bench(duckdb, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_postgres_keeps_the_contract(check: Check, postgres_shared: Warehouse, tmp_path) -> None:
    check(Bench(postgres_shared, tmp_path))
