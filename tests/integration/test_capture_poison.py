"""A captured row that does not fit is set aside with its reason and its place in the log; the others go on."""

import json

import psycopg
import pytest

from captured import captured
from handmade_loads import Loads
from signalroom.clients.replication import address
from signalroom.sources.postgres_cdc import CapturedTable
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret
from warehouses import duckdb_warehouse

pytestmark = pytest.mark.slow

_REJECTS = "SELECT column_name, value, reason, raw FROM signalroom.rejects WHERE source = 'app'"


def run(dsn, *statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request, postgres, tmp_path):
    if request.param == "duckdb":
        with duckdb_warehouse(tmp_path) as one:
            yield one
    else:
        one = PostgresWarehouse(url=Secret("env:WAREHOUSE", postgres()), memory_mb=256)
        yield one
        one.close()


def test_a_row_that_does_not_fit_is_set_aside_and_a_newer_version_heals_it(warehouse, postgres, tmp_path):
    dsn = postgres()
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY, price numeric)", "INSERT INTO t VALUES (1, 1), (2, 'NaN'), (3, 3)")
    tables = {"t": CapturedTable(columns={"id": "bigint", "price": "decimal(12,2)"})}
    source, lake = captured(dsn, tmp_path, tables=tables), Loads(tmp_path / "lake")
    (stream,) = source.streams()

    def sync():
        loads = [lake.add(stream, one) for one in source.read(stream, warehouse.positions("app", "changes"), None)]
        done = warehouse.merge(stream, loads, lake)
        source.confirm(stream, warehouse.positions("app", "changes"))
        return done

    def held():
        rows = warehouse.query("SELECT id, price FROM app.t ORDER BY id").to_pylist()
        return {row["id"]: str(row["price"]) for row in rows}

    assert sync().rows_rejected == 1
    assert held() == {1: "1.00", 3: "3.00"}
    with psycopg.connect(dsn, autocommit=True) as connection:
        (before,) = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        connection.execute("BEGIN; UPDATE t SET price = 10 WHERE id = 1; UPDATE t SET price = 'Infinity' WHERE id = 3; "
                           "INSERT INTO t VALUES (4, 4); COMMIT")  # fmt: skip
        (after,) = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert sync().rows_rejected == 1
    assert held() == {1: "10.00", 3: "3.00", 4: "4.00"}
    rejects = warehouse.query(_REJECTS).to_pylist()
    assert {(one["column_name"], one["value"]) for one in rejects} == {("price", "NaN"), ("price", "Infinity")}
    assert all(one["reason"] for one in rejects)
    raw = next(json.loads(one["raw"]) for one in rejects if one["value"] == "Infinity")
    assert (raw["id"], raw["_op"]) == ("3", "upsert")
    assert address(before) <= int(raw["_seq"]) < address(after), "its place in the log"
    run(
        dsn,
        "UPDATE t SET price = 30 WHERE id = 3",
        "UPDATE t SET price = 20 WHERE id = 2",
        "DELETE FROM t WHERE id = 4",
    )
    assert sync().rows_rejected == 0
    assert held() == {1: "10.00", 2: "20.00", 3: "30.00"}
    warehouse.retry(stream, lake)
    assert held() == {1: "10.00", 2: "20.00", 3: "30.00"}, "what was set aside is older than what healed it"
