"""A first load's bytes go to Postgres as they are, or, where Postgres would read them otherwise, as typed values."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from handmade_loads import Loads
from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.warehouse import postgres, postgres_bytes
from signalroom.warehouse.duckdb import DuckDBWarehouse
from warehouses import postgres_warehouse

pytestmark = pytest.mark.slow

COLUMNS = (
    Column("id", "bigint"), Column("total", "decimal(18,2)"), Column("at", "timestamp"), Column("seen", "timestamptz"),
    Column("on_day", "date"), Column("ok", "boolean"), Column("ratio", "double"), Column("note", "text"),
)  # fmt: skip
HEADER = "id,total,at,seen,on_day,ok,ratio,note\n"
GOOD = '{},{}.50,2026-01-02 03:04:05.123456,2026-01-02T03:04:05-05:00,2026-01-02,true,1.5e3,"a ""quoted"", note\nof two lines"\n'
_sources = itertools.count(1)


@pytest.fixture(scope="module")
def engines(postgres_server, tmp_path_factory):
    with postgres_warehouse(postgres_server, tmp_path_factory.mktemp("postgres")) as shared:
        yield shared, DuckDBWarehouse(path=str(tmp_path_factory.mktemp("duckdb") / "w.duckdb"))


@pytest.fixture
def paths(monkeypatch):
    """Count which way the rows went."""
    taken = []

    def spy(name):
        real = getattr(postgres, name)

        def call(*arguments, **options):
            taken.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(postgres, name, call)

    spy("ship_bytes")
    spy("ship")
    return taken


def merge(engines, tmp_path, bodies, *, columns=COLUMNS, order=("_file_time", "_row"), encoding="utf-8"):
    """Merge files into a new table on both engines; return their results and checksums."""
    source = f"bytes{next(_sources)}"
    stream = Stream(source, "s", (Table("t", columns, key=("id",), order=order, disposition="merge"),), client="713")
    lake = Loads(tmp_path / source)
    batches = [
        Batch(
            "t", Raw([body.encode(encoding)], "csv"), position={key: {"etag": key, "size": len(body)}}, object_key=key,
            file_time=datetime(2026, 1, 1 + number, tzinfo=UTC), source_ref=key,
        )
        for number, (key, body) in enumerate(bodies.items())
    ]  # fmt: skip
    loads = [lake.add(stream, *batches)]
    found = [(engine.merge(stream, loads, lake), engine.checksum(f"{source}.t")) for engine in engines]
    assert found[0][1] == found[1][1]
    assert found[0][0] == found[1][0]
    return found[0][0], f"{source}.t"


def test_what_fits_is_copied_byte_for_byte(engines, tmp_path, paths):
    files = {
        "a.csv": HEADER + "".join(GOOD.format(n, n) for n in range(1, 400)),
        "b/b.csv": "\ufeff"
        + HEADER
        + GOOD.format(7, "+7")
        + '8, .5 ,"2026-01-02","2026-01-02 00:00Z","",T,"",""\n'
        + "9,,,,,,,\n",
        "empty.csv": HEADER,
    }
    result, table = merge(engines, tmp_path, files)
    assert paths == ["ship_bytes"]
    assert (result.rows_in, result.rows_merged, result.rows_superseded) == (402, 399, 3)
    rows = engines[0].query(f"SELECT * FROM {table} WHERE id IN (7, 8, 9) ORDER BY id").to_pylist()
    assert [row["_source_ref"] for row in rows] == ["b/b.csv#1", "b/b.csv#2", "b/b.csv#3"]
    assert [row["_row"] for row in rows] == [1, 2, 3]
    assert [row["note"] for row in rows] == ['a "quoted", note\nof two lines', None, None]
    assert {row["_client_id"] for row in rows} == {"713"}


def test_the_table_is_left_without_defaults(engines, tmp_path):
    _, table = merge(engines, tmp_path, {"a.csv": HEADER + GOOD.format(1, 1)})
    schema, name = table.split(".")
    left = engines[0].query(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = :schema AND table_name = :name"
        " AND column_default IS NOT NULL",
        {"schema": schema, "name": name},
    )
    assert left.num_rows == 0


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1.0,1,,,,,,\n", "a whole number with a point is none to Postgres"),
        ("1,1,,,,,1e-400,\n", "too small to be told from zero"),
        ('1,1,2026-01-02 03:04:05.1234560000,,,,,"x"\n', "more digits, all of them zero"),
    ],
)
def test_what_postgres_reads_otherwise_goes_the_typed_way_or_means_the_same(engines, tmp_path, line, why):
    result, _ = merge(engines, tmp_path, {"a.csv": HEADER + GOOD.format(2, 2), "b.csv": HEADER + line})
    assert (result.rows_in, result.rows_merged, result.rows_rejected) == (2, 2, 0), why


def test_what_postgres_refuses_is_typed(engines, tmp_path, paths):
    merge(engines, tmp_path, {"a.csv": HEADER + GOOD.format(2, 2) + "3.0,1,,,,,,\n"})
    assert paths == ["ship_bytes", "ship"]


@pytest.mark.parametrize(
    "line",
    [
        "1,1.005,,,,,,\n",  # Postgres rounds
        "1,1,2026-01-02 03:04:05+05,,,,,\n",  # Postgres drops the zone
        "1,1,2026-01-02 03:04:60,,,,,\n",  # Postgres takes it for the next minute
        "1,1,,,today,,,\n",
        "1,1,,,01/02/2026,,,\n",
        "1,NaN,,,,,,\n",
        "1,1,infinity,,,,,\n",
        "1,1,,,,on,,\n",
        "1,1,,,,,Infinity,\n",
        ",1,,,,,,\n",
    ],
)
def test_what_postgres_would_forgive_is_a_reject(engines, tmp_path, paths, line):
    result, _ = merge(engines, tmp_path, {"a.csv": HEADER + GOOD.format(2, 2) + line})
    assert paths == ["ship"]
    assert (result.rows_in, result.rows_merged, result.rows_rejected) == (2, 1, 1)


def test_fields_that_no_column_takes_and_columns_without_a_field(engines, tmp_path, paths):
    few = (COLUMNS[0], COLUMNS[1], Column("later", "text"))
    merge(engines, tmp_path, {"a.csv": "id,total\n1,2.00\n"}, columns=few)
    assert paths == ["ship_bytes"]


def test_other_encodings_and_delimiters(engines, tmp_path, paths):
    merge(engines, tmp_path, {"a.csv": HEADER + GOOD.format(1, 1).replace("note", "café")}, encoding="cp1252")
    assert paths == ["ship"]


def test_losers_are_those_of_their_own_load(engines, tmp_path):
    files = {f"{n}.csv": HEADER + "".join(GOOD.format(k, n) for k in range(1, 50)) for n in range(1, 6)}
    result, table = merge(engines, tmp_path, files)
    assert (result.rows_merged, result.rows_superseded) == (49, 196)
    assert engines[0].query(f"SELECT DISTINCT _source_ref LIKE '5.csv#%' AS newest FROM {table}").to_pylist() == [
        {"newest": True}
    ]


def test_a_row_that_is_not_found_again_is_never_guessed(engines, tmp_path, monkeypatch, paths):
    # Postgres counting rows otherwise than DuckDB must lead to the typed way, not to another row's deletion
    monkeypatch.setattr(postgres_bytes, "_lineage", broken(postgres_bytes._lineage))
    result, _ = merge(engines, tmp_path, {"a.csv": HEADER + GOOD.format(1, 1) + GOOD.format(1, 2)})
    assert paths == ["ship_bytes", "ship"]
    assert (result.rows_merged, result.rows_superseded) == (1, 1)


def broken(real):
    return lambda part: real(part) | {"_source_ref": "elsewhere#"}
