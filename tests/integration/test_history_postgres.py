"""A history on Postgres: a merge of few keys finds their rows by an index, however many there are."""

import psycopg
import pytest

from handmade_loads import Loads
from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret

pytestmark = pytest.mark.slow

COLUMNS = (Column("shop", "text"), Column("k", "bigint"), Column("at", "timestamptz"), Column("v"))
STREAM = Stream(
    "app", "rows", (Table("rows", COLUMNS, key=("shop", "k"), order=("at",), disposition="history"),)
)  # fmt: skip
INDEXED = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'app' ORDER BY tablename"


def page(day, keys, value):
    rows = "".join(f"a,{k},2026-01-{day:02d}T00:00Z,{value}\n" for k in keys)
    return Batch("rows", Raw([f"shop,k,at,v\n{rows}".encode()], "csv"), source_ref="page")


def test_a_merge_of_few_keys_reads_by_the_index(postgres, tmp_path):
    dsn, lake = postgres(), Loads(tmp_path)
    warehouse = PostgresWarehouse(url=Secret("env:WAREHOUSE_URL", dsn), memory_mb=256)

    def take(*batches):
        return warehouse.merge(STREAM, [lake.add(STREAM, *batches)], lake)

    take(page(1, range(20_000), "x"))
    with psycopg.connect(dsn, autocommit=True) as connection:

        def asked(sql):
            return [row[0] for row in connection.execute(sql)]

        made = asked(INDEXED)
        assert [one.rpartition(" USING ")[2] for one in made] == ["btree (shop, k)"] * 2
        connection.execute(
            "CREATE TEMP TABLE keys AS SELECT 'a'::text AS shop, i::bigint AS k FROM generate_series(1, 9) i"
        )
        connection.execute("ANALYZE keys")
        for table in ("app.rows", "app.rows__seen"):
            touched = "EXISTS (SELECT 1 FROM keys k WHERE k.shop = t.shop AND k.k = t.k)"
            plan = "\n".join(asked(f"EXPLAIN DELETE FROM {table} AS t WHERE {touched}"))
            assert "Index" in plan, plan
            assert f"Seq Scan on {table.split('.')[1]}" not in plan, plan
        for definition in made:  # a table of before there was one
            connection.execute(f"DROP INDEX app.{definition.split()[2]}")
        assert take(page(2, [5], "y")).rows_merged == 1
        assert asked(INDEXED) == made
        assert take(page(3, [5], "y"), page(3, [6], "z")).rows_superseded == 1
        assert asked("SELECT count(*) FROM app.rows WHERE k IN (5, 6)") == [4]
    warehouse.close()
