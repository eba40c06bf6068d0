"""Capture from a real server's WAL equals the tables it was captured from, whatever happened to them in between."""

import threading
from datetime import date
from decimal import Decimal
from random import Random

import psycopg
import pytest

from captured import Follower, captured, rows_of
from signalroom.clients.replication import Database
from signalroom.engine.inline import run_step
from signalroom.errors import ConfigError
from signalroom.room import Room
from signalroom.sources.postgres_cdc import CapturedTable

pytestmark = pytest.mark.slow

TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE DOMAIN cents AS numeric(10,2);
    CREATE TYPE pair AS (a int, b text);
    CREATE TABLE t (id bigint PRIMARY KEY, i2 int2, i4 int4, f4 real, f8 double precision, n numeric, n2 numeric(12,2),
        n3 numeric(38,10), b boolean, tx text, vc varchar(20), ch char(5) NOT NULL DEFAULT 'q', by bytea, u uuid, d date,
        ts timestamp, tz timestamptz, j json, jb jsonb, m mood, c cents {exotic})"""
EXOTIC = ", tm time, iv interval, a int[], ta text[], r int4range, p pair, ip inet, twice bigint GENERATED ALWAYS AS (id * 2) STORED"
ROWS = """
    INSERT INTO t (id,i2,i4,f4,f8,n,n2,n3,b,tx,vc,ch,by,u,d,ts,tz,j,jb,m,c)
    SELECT g, g % 100, -g, g * 1.1, g / 3.0::float8, g * 1.10::numeric, g / 7.0, g * 123456789012345.123, g % 2 = 0,
        repeat('é', g % 30), 'x' || g, 'ab', decode(md5(g::text), 'hex'), md5(g::text)::uuid, date '2020-01-01' + g,
        timestamp '2020-01-01 10:00:00.5' + g * interval '1 s', now(), '{"a": 1}', '{"b": [1, 2]}', 'ok', g * 1.5
    FROM generate_series(1, 300) g;
    INSERT INTO t (id,f8,n,n2,d,ts,tz) VALUES
        (1001,'NaN','NaN',1,'infinity','-infinity','0044-03-15 10:00:00.25+00 BC'),
        (1002,'Infinity','Infinity','NaN','0001-03-15 BC','20000-01-01','infinity'),
        (1003,'-Infinity','-123456789012345678901234567890.00012',-0.01,'10000-01-01','0001-01-01',null),
        (1004,0,0,0,'0001-01-01','9999-12-31 23:59:59.999999',null), (1005,1,0.00001,0,null,null,null),
        (1006,1,10000.5,0,null,null,null), (1007,1,100000000,0,null,null,null), (1008,1,-0.0001000,null,null,null,null)"""


@pytest.fixture
def dsn(postgres):
    return postgres()


def run(dsn, *statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def assert_same(follower, dsn, table="t"):
    assert follower.tables[table] == rows_of(dsn, table, follower.source.tables[table].key)


@pytest.mark.parametrize("exotic", ["", EXOTIC])
@pytest.mark.parametrize("mode", ["stream", "poll"])
def test_every_type_arrives_as_the_table_has_it(dsn, tmp_path, mode, exotic):
    run(dsn, TYPES.format(exotic=exotic), ROWS)
    if exotic:
        run(dsn, """UPDATE t SET tm = '24:00', iv = '1 mon 2 days 03:04:05.6', a = '{1,null,3}', ta = '{"a b",NULL,""}',
            r = '[1,5)', p = row(1, 'x,y'), ip = '10.0.0.1/8'""")  # fmt: skip
    follower = Follower(captured(dsn, tmp_path, tables=["t"], mode=mode))
    assert follower.sync() == 308
    assert_same(follower, dsn)
    copy = "id+20000,i2,i4,f4,f8,n,n2,n3,b,tx,vc,ch,by,u,d,ts,tz,j,jb,m,c"
    run(dsn, "UPDATE t SET i4 = i4 + 1 WHERE id < 20", "DELETE FROM t WHERE id BETWEEN 50 AND 60",
        "UPDATE t SET id = id + 5000 WHERE id IN (70, 71)", f"INSERT INTO t SELECT {copy} FROM t")  # fmt: skip
    follower.sync(confirm=False)
    assert_same(follower, dsn)
    run(dsn, "TRUNCATE t; INSERT INTO t (id, tx) VALUES (1, '')", "ALTER TABLE t ADD extra text",
        "INSERT INTO t (id, extra) VALUES (2, 'e')", "ALTER TABLE t ADD tags text[]",
        "INSERT INTO t (id, tags) VALUES (3, '{a,b}')")  # fmt: skip
    follower.sync()
    before = follower.tables["t"]
    follower.tables["t"] = {key: {"extra": None, "tags": None} | row for key, row in before.items()}
    assert_same(follower, dsn)
    assert follower.sync() == 0


def test_a_type_without_a_binary_form_that_comes_and_goes_within_a_transaction(dsn, tmp_path):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")
    follower = Follower(captured(dsn, tmp_path, tables=["t"]))
    follower.sync()
    run(dsn, "INSERT INTO t VALUES (2, 'b')", "BEGIN; INSERT INTO t VALUES (3, 'c'); ALTER TABLE t ADD a int[]; "
        "INSERT INTO t VALUES (4, 'd', '{1}'); ALTER TABLE t DROP a; INSERT INTO t VALUES (5, 'e'); COMMIT")  # fmt: skip
    assert follower.sync() == 4
    assert sorted(row["id"] for row in follower.tables["t"].values()) == ["1", "2", "3", "4", "5"]
    assert follower.tables["t"]["4",]["a"] == "{1}"


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_text_that_did_not_change_is_kept(dsn, tmp_path, identity):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY, n int, long text)", "ALTER TABLE t ALTER long SET STORAGE EXTERNAL",
        f"ALTER TABLE t REPLICA IDENTITY {identity}",
        "INSERT INTO t SELECT g, g, repeat(g::text, 4000) FROM generate_series(1, 9) g")  # fmt: skip
    follower = Follower(captured(dsn, tmp_path, tables=["t"]))
    follower.sync()
    run(
        dsn,
        "UPDATE t SET n = n + 1 WHERE id < 5",
        "UPDATE t SET long = 'short' WHERE id = 2",
        "UPDATE t SET id = 70 WHERE id = 7",
    )
    follower.sync()
    unset = [one for batch in follower.batches for one in batch.content["_unset"].to_pylist() if one]
    assert unset == ([["long"]] * 4 if identity == "DEFAULT" else [])  # a row that moved is asked for
    assert_same(follower, dsn)


@pytest.mark.parametrize("mode", ["stream", "poll"])
def test_a_row_that_moves_brings_its_large_values(dsn, tmp_path, mode):
    run(dsn, r"""CREATE TABLE "T x" ("a'\b" text, day date, n numeric, "Lo""ng" text, arr text[], by bytea,
        PRIMARY KEY ("a'\b", day))""", *(f'ALTER TABLE "T x" ALTER {one} SET STORAGE EXTERNAL' for one in ('"Lo""ng"', "arr", "by")),
        r"""INSERT INTO "T x" SELECT 'k\' || g || '''', '2020-01-01', g, repeat(g::text, 3000), ARRAY[repeat('y', 4000)],
        decode(repeat('ab', 3000), 'hex') FROM generate_series(1, 9) g""")  # fmt: skip
    table = CapturedTable(table="public.T x", key=("a'\\b", "day"))
    follower = Follower(captured(dsn, tmp_path, tables={"t": table}, mode=mode))
    follower.sync()
    before = """UPDATE "T x" SET day = '2021-01-01' WHERE n = """
    run(dsn, before + "1", before + "2", """UPDATE "T x" SET day = '2022-01-01' WHERE n = 2""", before + "3",
        """DELETE FROM "T x" WHERE n = 3""", before + "4", """UPDATE "T x" SET "Lo""ng" = NULL WHERE n = 4""",
        """UPDATE "T x" SET day = '2021-01-01', by = NULL WHERE n > 5""")  # fmt: skip
    follower.sync()
    found = [row for batch in follower.batches for row in batch.content.to_pylist() if row["_unset"]]
    assert sorted(int(row["n"]) for row in found) == [2, 3, 4]  # where they were in between, and a later update
    assert follower.tables["t"] == rows_of(dsn, '"T x"', table.key)


def test_a_snapshot_under_way_joins_the_stream_without_gap_or_overlap(dsn, tmp_path):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY, v int, w text)",
        "INSERT INTO t SELECT g, 0, repeat('x', 300) FROM generate_series(1, 20000) g")  # fmt: skip
    stop = threading.Event()

    def write(number):
        random = Random(number)
        with psycopg.connect(dsn) as connection:
            while not stop.is_set():
                for _ in range(random.randint(1, 20)):
                    key = random.randint(1, 20_200) // 4 * 4 + number  # each writer has rows of its own
                    verb = random.choice(["INSERT INTO t VALUES (%s, 1, 'new') ON CONFLICT (id) DO UPDATE SET v = t.v + 1",
                                          "DELETE FROM t WHERE id = %s", "UPDATE t SET v = v + 1 WHERE id = %s"])  # fmt: skip
                    connection.execute(verb, [key])
                (connection.rollback if random.random() < 0.2 else connection.commit)()

    writers = [threading.Thread(target=write, args=[number]) for number in (0, 1)]
    for writer in writers:
        writer.start()
    follower = Follower(captured(dsn, tmp_path, tables=["t"]))
    try:
        follower.sync()
        follower.sync()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    follower.sync()
    assert_same(follower, dsn)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("SELECT pg_drop_replication_slot('signalroom_app')", "is gone"),
        (("SELECT pg_drop_replication_slot('signalroom_app'); DELETE FROM t WHERE id = 1; "
         "SELECT pg_create_logical_replication_slot('signalroom_app', 'pgoutput')"), "made anew"),
        ("DROP TABLE t; CREATE TABLE t (id bigint PRIMARY KEY, v int)", "another table"),
        ("ALTER TABLE t RENAME TO u; CREATE TABLE t (id bigint PRIMARY KEY, v int)", "another table"),
        ("DROP PUBLICATION signalroom_app; DELETE FROM t WHERE id = 1", "did not tell every change"),
        ("ALTER PUBLICATION signalroom_app DROP TABLE t; DELETE FROM t WHERE id = 1", "did not tell every change"),
        ("DELETE FROM t WHERE id = 1; SELECT pg_replication_slot_advance('signalroom_app', pg_current_wal_lsn())", "moved on"),
    ],
)  # fmt: skip
def test_a_gap_is_a_new_snapshot(dsn, tmp_path, caplog, harm, said):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY, v int)", "INSERT INTO t SELECT g, g FROM generate_series(1, 50) g")
    follower = Follower(captured(dsn, tmp_path, tables=["t"]))
    follower.sync()
    run(dsn, *harm.split("; "), "DELETE FROM t WHERE id = 2", "INSERT INTO t VALUES (60, 60)")
    follower.sync()
    assert_same(follower, dsn)
    assert said in caplog.text
    run(dsn, "UPDATE t SET v = 0")
    follower.sync()
    assert_same(follower, dsn)


def test_the_slot_of_another_reader_is_not_touched(dsn, tmp_path):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY)",
        "SELECT pg_create_logical_replication_slot('signalroom_app', 'pgoutput')")  # fmt: skip
    with pytest.raises(ConfigError, match="no position in it"):
        Follower(captured(dsn, tmp_path, tables=["t"])).sync()


def test_a_transaction_larger_than_memory_is_kept_in_a_file_without_what_was_rolled_back(dsn, tmp_path):
    run(dsn, "ALTER DATABASE " + dsn.rpartition("/")[2] + " SET logical_decoding_work_mem = '64kB'",
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (0, '')")  # fmt: skip
    follower = Follower(captured(dsn, tmp_path, tables=["t"], most_mb=1))
    follower.sync()
    with psycopg.connect(dsn) as connection, psycopg.connect(dsn) as aborted:
        aborted.execute("INSERT INTO t SELECT -g, 'never' FROM generate_series(1, 5000) g")
        connection.execute("INSERT INTO t SELECT g, repeat('v', 20) FROM generate_series(1, 50000) g")
        connection.execute("SAVEPOINT s")
        connection.execute("INSERT INTO t SELECT g, 'rolled back' FROM generate_series(50001, 60000) g")
        connection.execute("ROLLBACK TO s")
        connection.execute("UPDATE t SET v = 'late' WHERE id = 3")
        run(dsn, "INSERT INTO t VALUES (100000, 'meanwhile')")
        assert follower.sync() == 1
        aborted.rollback()
    assert follower.sync() == 50_001
    assert_same(follower, dsn)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "ALTER TABLE t ALTER v TYPE int", "wider"),
        ("", "ALTER TABLE t RENAME v TO w", "renamed"),
        ("", "ALTER TABLE t REPLICA IDENTITY NOTHING; ALTER TABLE t DROP CONSTRAINT t_pkey", "no primary key"),
    ],
)
def test_a_change_of_shape_that_needs_a_person_says_so(dsn, tmp_path, before, after, said):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY, v bigint)", "INSERT INTO t VALUES (1, 1)")
    follower = Follower(captured(dsn, tmp_path, tables=["t"]))
    follower.sync()
    run(dsn, *after.split("; "), "INSERT INTO t VALUES (2, 2)")
    with pytest.raises(ConfigError, match=said):
        follower.sync()
    if "PRIMARY" not in after and "CONSTRAINT" not in after:
        follower.source = captured(dsn, tmp_path, tables=["t"], snapshot=2)
        follower.tables, follower.seen = {"t": {}}, {"t": {}}
        follower.sync()
        assert_same(follower, dsn)


def test_what_cannot_be_captured_is_refused_before_the_application_would_notice(dsn, tmp_path):
    run(dsn, "CREATE TABLE bare (id int)", "CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY)",
        "CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, v int)", "ALTER TABLE late REPLICA IDENTITY FULL",
        "CREATE TABLE steered (id int PRIMARY KEY, _op text)", 'CREATE TABLE alike (id int PRIMARY KEY, "ID" int)',
        "CREATE TABLE t (a int, b int, PRIMARY KEY (a))")  # fmt: skip
    for table, said in (
        ("bare", "no primary key"),
        ("fleeting", "unlogged"),
        ("late", "deferrable"),
        ("none", "has no table"),
        ("steered", "a name that changes themselves use"),
        ("alike", "one name in the warehouse"),
    ):
        source = captured(dsn, tmp_path, tables=[table])
        with pytest.raises(ConfigError, match=said):
            Follower(source).sync()
        assert any(said in one for one in source.check())
    source = captured(dsn, tmp_path, tables={"t": CapturedTable(key=("b",))})
    with pytest.raises(ConfigError, match="REPLICA IDENTITY"):
        Follower(source).sync()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)


def test_a_publication_that_leaves_something_out_is_refused(dsn, tmp_path):
    run(dsn, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    source = captured(dsn, tmp_path, tables=["t"], publication="narrow")
    follower = Follower(source)
    for narrowed, said in (("t WHERE (id > 1)", "leaves out rows of t"), ("t (id)", "leaves out columns of t")):
        run(dsn, f"CREATE PUBLICATION narrow FOR TABLE {narrowed} WITH (publish_via_partition_root)")
        with pytest.raises(ConfigError, match=said):
            follower.sync()
        assert any(said in one for one in source.check())
        run(dsn, "DROP PUBLICATION narrow")
    follower.sync()
    assert_same(follower, dsn)


def test_rows_that_row_security_hides_are_told(dsn, tmp_path):
    user = f"reader_{dsn.rpartition('_')[2]}"
    run(dsn, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        f"CREATE ROLE {user} LOGIN REPLICATION", f"GRANT SELECT ON t TO {user}",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY", "CREATE POLICY few ON t USING (id > 1)",
        f"CREATE PUBLICATION {user} FOR TABLE t WITH (publish_via_partition_root)")  # fmt: skip
    try:
        source = captured(dsn.replace("postgres@", f"{user}@"), tmp_path, tables=["t"], publication=user)
        follower = Follower(source)
        with pytest.raises(ConfigError, match=f"Row security hides rows of t from {user}"):
            follower.sync()
        assert any("Row security" in one for one in source.check())
        run(dsn, f"ALTER ROLE {user} BYPASSRLS")
        follower.sync()
        assert_same(follower, dsn)
    finally:
        run(dsn, f"DROP PUBLICATION {user}", f"DROP OWNED BY {user}", f"DROP ROLE {user}")


def test_settings_that_cannot_take_changes_are_refused():
    for settings, said in (
        ({"write": "history"}, "dbt snapshot"),
        ({"write": "append"}, "truncates"),
        ({"key": ()}, "key"),
    ):
        with pytest.raises(ConfigError, match=said):
            CapturedTable(**settings)


def test_a_publication_as_its_owner_made_it_is_taken_where_it_tells_all(dsn, tmp_path, caplog):
    run(dsn, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p DEFAULT", "CREATE PUBLICATION theirs FOR TABLE t, p")  # fmt: skip
    via_root = "SELECT pubviaroot FROM pg_publication"
    for table, altered in (("t", False), ("p", True)):  # of a plain table nothing has to be altered
        follower = Follower(captured(dsn, tmp_path, name=table, tables=[table], publication="theirs"))
        follower.sync()
        run(dsn, f"INSERT INTO {table} VALUES (1), (2)")
        assert follower.sync() == 2
        assert_same(follower, dsn, table)
        with psycopg.connect(dsn) as connection:
            assert connection.execute(via_root).fetchone() == (altered,)
    assert "new snapshot" not in caplog.text


def test_partitions_arrive_as_their_table(dsn, tmp_path):
    run(dsn, "CREATE TABLE t (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')",
        "CREATE TABLE t2 PARTITION OF t DEFAULT", "INSERT INTO t VALUES (1, '2020-01-02'), (2, '2021-01-01')")  # fmt: skip
    follower = Follower(captured(dsn, tmp_path, tables={"t": CapturedTable(key=("id", "day"))}))
    assert follower.sync() == 2
    run(dsn, "UPDATE t SET day = '2021-05-05' WHERE id = 1", "INSERT INTO t VALUES (3, '2020-01-03')")
    follower.sync()
    assert_same(follower, dsn)


WORKSPACE = """\
name = "kinds"
timezone = "UTC"

[warehouse]
kind = "duckdb"

[sources.app]
kind = "postgres_cdc"
url = "env:APP_DATABASE"
tables.codes = { table = "public.Co des", key = ["Co de"] }
"""


def test_types_and_names_are_the_databases_whatever_the_first_rows_look_like(dsn, tmp_path, monkeypatch):
    run(dsn, """CREATE TABLE "Co des" ("Co de" text PRIMARY KEY, "Zip" text, n int, price numeric(8,2), rate numeric, at date)""",
        """INSERT INTO "Co des" VALUES ('1', '1', null, 2, 0.5, null)""")  # fmt: skip
    monkeypatch.setenv("APP_DATABASE", dsn)
    (tmp_path / "signalroom.toml").write_text(WORKSPACE)
    for write in ("INSERT INTO \"Co des\" VALUES ('A1', 'K1A', 3, 9.99, 1.25, '2026-01-02'), ('', '', 0, 0, 0, null)",
                  """ALTER TABLE "Co des" ALTER price TYPE numeric(12,2)""", """UPDATE "Co des" SET price = 1234567890.12"""):  # fmt: skip
        with Room.open(tmp_path) as room:
            run_step(room, "sync app")
        run(dsn, write)
    with Room.open(tmp_path) as room:
        run_step(room, "sync app")
        found = room.warehouse.query("SELECT * FROM app.codes ORDER BY co_de")
        rejects = room.warehouse.query("SELECT * FROM signalroom.rejects").num_rows
    columns = ("co_de", "zip", "n", "price", "rate", "at")
    assert [str(found.schema.field(name).type) for name in columns] == [
        "string", "string", "int64", "decimal128(18, 2)", "decimal128(18, 2)", "date32[day]"]  # fmt: skip
    price = Decimal("1234567890.12")
    assert [tuple(row[name] for name in columns) for row in found.to_pylist()] == [
        ("", "", 0, price, 0, None),
        ("1", "1", None, price, Decimal("0.50"), None),
        ("A1", "K1A", 3, price, Decimal("1.25"), date(2026, 1, 2)),
    ]
    assert rejects == 0


def test_what_is_copied_comes_some_thousands_of_rows_at_once_and_each_once(dsn):
    query = "SELECT g, md5(repeat(g::text, 5000)) FROM generate_series(1, 10000) g"  # the reader waits for the server
    with Database(dsn, timeout_s=60) as database:
        taken = list(database.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)"))
    assert min(len(records) for records in taken[:-1]) >= 4_000, "each costs its columns' fixed price"
    keys = [int.from_bytes(record[6:10], "big") for records in taken for record in records]
    assert keys == list(range(1, 10_001))
