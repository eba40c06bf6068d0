"""The Postgres source against a server, with types and values that are hard to carry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from handmade_loads import Loads
from signalroom.engine.inline import run_step
from signalroom.errors import ConfigError
from signalroom.position import Position
from signalroom.room import Room
from signalroom.sources.postgres import Postgres, PostgresStream
from signalroom.warehouse.duckdb import DuckDBWarehouse
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret
from warehouses import duckdb_warehouse

pytestmark = pytest.mark.slow

UGLY = """
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE place AS (street text, number int);
    CREATE DOMAIN cents AS numeric(12,2);
    CREATE TABLE ugly (id bigint PRIMARY KEY, code text, flag boolean, price cents, any_number numeric, paid money,
        ratio double precision, at timestamptz, local timestamp, day date, tags text[], lives place, doc jsonb,
        feels mood, raw bytea, lasts interval, "Crème x" text);
    INSERT INTO ugly VALUES
        (1, '007', true, 12.50, 0.123456789, '$3.99', 0.1, '2026-03-08 01:30:00.123456+05', '2026-03-08 02:30:00',
         '2026-03-08', '{a,"b,c",NULL}', '("Main St, 1",7)', '{"a": [1, null]}', 'ok', '\\x00ff', '1 day 02:00', E'a\nb'),
        (2, 'say "hi", O''Brien', false, -0.01, 1e20, '-$1,234.50', 1e300, '1999-12-31 23:59:59+00', NULL, NULL, '{}',
         NULL, NULL, NULL, NULL, NULL, '\\N'), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
         'null', NULL, '', NULL, E'\\\\.')"""


class Scene:
    """A database, a source that reads it, and a warehouse."""

    def __init__(self, dsn: str, warehouse: DuckDBWarehouse, folder: Path, **spec: Any) -> None:
        self.dsn, self.warehouse, self.lake = dsn, warehouse, Loads(folder)
        self.source = Postgres(Secret("env:APP", dsn), {"t": PostgresStream(**spec)}, name="app")

    def run(self, sql: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql)

    def sync(self) -> int:
        """Read and merge what is new; return how many rows were read, -1 when nothing was."""
        (stream,) = self.source.streams()
        since = Position(self.warehouse.positions("app", "t").partitions)
        batches = self.source.read(stream, since, None)
        loads = [self.lake.add(stream, batch) for batch in batches]
        if not loads:
            return -1
        return self.warehouse.merge(stream, loads, self.lake).rows_in

    def rows(self, what: str) -> list[dict[str, object]]:
        return self.warehouse.query(f"SELECT {what} FROM app.t ORDER BY 1").to_pylist()


@pytest.fixture
def scene(postgres: Callable[[], str], tmp_path: Path):
    with duckdb_warehouse(tmp_path) as warehouse:
        yield lambda **spec: Scene(postgres(), warehouse, tmp_path / "lake", **spec)


def test_every_value_means_what_it_meant(scene) -> None:
    one = scene(table="public.ugly", key=("id",))
    one.run(UGLY)
    one.run("ALTER DATABASE " + one.dsn.rpartition("/")[2] + " SET datestyle = 'German'")
    assert one.sync() == 3
    first, second, third = one.rows("*")
    assert (first["code"], first["flag"], first["price"], first["paid"]) == (
        "007",
        True,
        Decimal("12.50"),
        Decimal("3.99"),
    )
    assert (first["any_number"], first["ratio"]) == (Decimal("0.123456789"), 0.1)
    assert first["at"].isoformat() == "2026-03-07T20:30:00.123456+00:00"
    assert (first["local"].isoformat(), first["day"].isoformat()) == ("2026-03-08T02:30:00", "2026-03-08")
    assert (first["tags"], first["lives"]) == ('["a","b,c",null]', '{"street":"Main St, 1","number":7}')
    assert (first["doc"], first["feels"], first["raw"]) == ('{"a": [1, null]}', "ok", "\\x00ff")
    assert (first["lasts"], first["creme_x"]) == ("P1DT2H", "a\nb")
    assert (second["code"], second["price"], second["paid"]) == (
        'say "hi", O\'Brien',
        Decimal("-0.01"),
        Decimal("-1234.50"),
    )
    assert (second["any_number"], second["ratio"], second["creme_x"]) == (Decimal("1e20"), 1e300, "\\N")
    assert (third["code"], third["doc"], third["creme_x"]) == (None, "null", "\\.")
    assert one.warehouse.query("SELECT * FROM signalroom.rejects").num_rows == 0


def test_an_empty_text_is_no_null_on_either_warehouse(scene, postgres, tmp_path) -> None:
    one = scene(table="words", key=("id",))
    one.run("""CREATE TABLE words (id int PRIMARY KEY, word text, code varchar(9), blank char(3));
        INSERT INTO words VALUES (1, '', '', ''), (2, NULL, NULL, NULL), (3, ' ', 'NULL', E'\\N'), (4, '""', ',', 'x')""")
    wanted = [(1, "", ""), (2, None, None), (3, " ", "NULL"), (4, '""', ",")]
    assert one.sync() == 4
    assert [tuple(row.values()) for row in one.rows("id, word, code")] == wanted
    other = PostgresWarehouse(url=Secret("env:WAREHOUSE", postgres()), memory_mb=256)
    two = Scene(one.dsn, other, tmp_path / "other", table="words", key=("id",))
    assert two.sync() == 4
    assert [tuple(row.values()) for row in two.rows("id, word, code")] == wanted
    one.run("UPDATE words SET word = CASE WHEN word = '' THEN NULL ELSE '' END")
    for place in (one, two):
        assert place.sync() == 4
        assert [row["word"] for row in place.rows("id, word")] == [None, "", "", ""]
    assert one.warehouse.checksum("app.t", exclude=("_load_id", "_loaded_at")) == other.checksum(
        "app.t", exclude=("_load_id", "_loaded_at")
    )
    other.close()


def test_a_row_that_commits_late_is_found_by_the_lookback(scene) -> None:
    one = scene(table="t", key=("id",), cursor="id", lookback=5)
    one.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    assert one.sync() == -1
    one.run("INSERT INTO t SELECT n, 'first' FROM generate_series(1, 100) n WHERE n <> 98")
    assert one.sync() == 99
    assert one.sync() == -1, "nothing new is no load"
    one.run("INSERT INTO t VALUES (98, 'late')")
    assert one.sync() == 6
    one.run("INSERT INTO t VALUES (101, 'new'); UPDATE t SET v = 'changed' WHERE id = 97")
    assert one.sync() == 7
    assert one.rows("id, v")[96:] == [
        {"id": n, "v": v} for n, v in [(97, "changed"), (98, "late"), (99, "first"), (100, "first"), (101, "new")]
    ]


def test_a_time_is_a_cursor_too(scene) -> None:
    one = scene(query="SELECT id, at, v FROM t;", key=("id",), cursor="at", lookback=60)
    one.run("CREATE TABLE t (id int, at timestamptz, v text)")
    one.run("INSERT INTO t VALUES (1, '2026-01-01 00:00+00', 'a'), (2, '2026-01-01 00:10+00', 'b')")
    assert one.sync() == 2
    one.run("INSERT INTO t VALUES (3, '2026-01-01 00:09:30+00', 'late'); UPDATE t SET v = 'c' WHERE id = 1")
    assert one.sync() == 2
    one.run("UPDATE t SET v = 'd', at = '2026-01-01 01:00+00' WHERE id = 1")
    assert one.sync() == 3
    assert [(row["id"], row["v"]) for row in one.rows("id, v")] == [(1, "d"), (2, "b"), (3, "late")]


def test_a_replaced_table_forgets_what_is_gone_and_takes_new_columns_with_their_types(scene) -> None:
    one = scene(table="t", write="replace")
    one.run("CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, '1'), (2, '2')")
    assert one.sync() == 2
    one.run("DELETE FROM t WHERE id = 1; ALTER TABLE t ADD COLUMN price numeric(10,2) DEFAULT 5")
    assert one.sync() == 1
    assert one.rows("id, v, price") == [{"id": 2, "v": "2", "price": Decimal("5.00")}]
    one.run("TRUNCATE t")
    assert one.sync() == 0
    assert one.rows("id") == []


def test_what_cannot_be_read_is_said_with_its_mend(scene) -> None:
    one = scene(table="t", key=("v",), cursor="v", lookback=5)
    one.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
    assert one.source.check() == ['app.t: The key of t does not tell its rows apart. Set key = ["id"].']
    spec = {"table": "t", "key": ("id",)}
    one.run("INSERT INTO t VALUES (1, NULL)")
    for more, said in (
        ({"cursor": "v"}, "A cursor of type text has no lookback"),
        ({"cursor": "w"}, "t has no column 'w'"),
        ({"cursor": "v", "lookback": 0}, "rows without 'v' are never read"),
        ({"table": "absent"}, "does not exist"),
    ):
        source = Postgres(one.source.url, {"t": PostgresStream(**spec | more)}, name="app")
        (problem,) = source.check()
        assert said in problem
    assert Postgres(one.source.url, {"t": PostgresStream(**spec, cursor="id")}).check() == []


def test_the_settings_of_the_how_to_read_a_database(scene, tmp_path, monkeypatch) -> None:
    one = scene(table="t", key=("id",))
    one.run("""CREATE SCHEMA shop; CREATE TABLE shop.countries (code text, name text);
        CREATE TABLE shop.orders (id int PRIMARY KEY, day date, shop_id int, total numeric(10,2), updated_at timestamptz);
        INSERT INTO shop.countries VALUES ('AU', 'Australia');
        INSERT INTO shop.orders VALUES (1, '2026-01-01', 7, 2.50, now()), (2, '2026-01-01', 7, 0.75, now())""")
    page = (Path(__file__).parents[2] / "docs/how-to/read-postgres.md").read_text(encoding="utf-8")
    settings = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "how").mkdir()
    (tmp_path / "how" / "signalroom.toml").write_text(f'name = "how"\ntimezone = "UTC"\n{settings}')
    monkeypatch.setenv("APP_DATABASE", one.dsn)
    with Room.open(tmp_path / "how") as room:
        run_step(room, "sync app")
        again = {sync.stream: sync.merge.rows_in for sync in run_step(room, "sync app").streams}
        revenue = room.warehouse.query("SELECT day, shop_id, total FROM app.revenue").to_pylist()
    assert again == {"app.orders": 0, "app.countries": 1, "app.revenue": 1}
    assert revenue == [{"day": date(2026, 1, 1), "shop_id": 7, "total": Decimal("3.25")}]


@pytest.mark.parametrize(
    "spec",
    [{"table": "t", "query": "SELECT 1"}, {}, {"write": "replace", "cursor": "id"}, {"write": "append", "cursor": "id"},
     {"write": "replace_slice"}, {"key": ("id",), "lookback": -1}],
)  # fmt: skip
def test_settings_that_would_lose_or_double_rows_are_refused(spec) -> None:
    with pytest.raises(ConfigError) as refused:
        PostgresStream(**spec)
    assert refused.value.mend
