"""A table that is captured from later on: it is copied alone, while the stream of the others goes on."""

import threading
from random import Random

import psycopg
import pytest

from captured import Follower, captured, rows_of
from signalroom.errors import RetryableError

pytestmark = pytest.mark.slow

TABLE = "CREATE TABLE {} (id bigint PRIMARY KEY, v int, w text)"
FILL = "INSERT INTO {} SELECT g, 0, repeat('x', 300) FROM generate_series(1, 5000) g"


@pytest.fixture
def dsn(postgres):
    return postgres()


def run(dsn, *statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def follow(follower, dsn, root, *tables, **settings):
    """Have the source capture ``tables`` from now on."""
    follower.source = captured(dsn, root, tables=list(tables), **settings)
    for table in tables:
        follower.tables.setdefault(table, {})
        follower.seen.setdefault(table, {})


def assert_same(follower, dsn):
    for table in follower.source.tables:
        assert follower.tables[table] == rows_of(dsn, table, ["id"]), table


class Writers:
    """Threads that change rows of both tables in one transaction, some of them rolled back."""

    def __init__(self, dsn):
        self._dsn, self._stopped = dsn, threading.Event()
        self._threads = [threading.Thread(target=self._write, args=[number]) for number in (0, 1)]

    def _write(self, number):
        random = Random(number)
        with psycopg.connect(self._dsn) as connection:
            while not self._stopped.is_set():
                for _ in range(random.randint(1, 20)):
                    key = random.randint(1, 5_200) // 4 * 4 + number  # each writer has rows of its own
                    verb = random.choice(["INSERT INTO {} VALUES (%s, 1, 'new') ON CONFLICT (id) DO UPDATE SET v = {}.v + 1",
                                          "DELETE FROM {} WHERE id = %s", "UPDATE {} SET v = v + 1 WHERE id = %s"])  # fmt: skip
                    for table in ("t", "u"):
                        connection.execute(verb.format(table, table), [key])
                (connection.rollback if random.random() < 0.2 else connection.commit)()

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("mode", ["stream", "poll"])
def test_a_table_that_is_added_while_others_write_joins_without_gap_or_overlap(dsn, tmp_path, mode, caplog):
    run(dsn, *(one.format(table) for table in ("t", "u") for one in (TABLE, FILL)))
    follower = Follower(captured(dsn, tmp_path, tables=["t"], mode=mode))
    follower.sync()
    with Writers(dsn):
        follow(follower, dsn, tmp_path, "t", "u", mode=mode)
        follower.sync()
        assert follower.tables["t"] == follower.tables["u"], "both tables are as of one transaction"
        copied = {batch.table for batch in follower.batches if batch.source_ref.endswith("/snapshot")}
        follower.sync()
        assert follower.tables["t"] == follower.tables["u"]
    follower.sync()
    assert_same(follower, dsn)
    assert copied == {"u"}
    assert "new snapshot" not in caplog.text


def test_what_was_under_way_when_the_table_was_published_is_there_and_so_is_what_follows(dsn, tmp_path, caplog):
    run(dsn, TABLE.format("t"), TABLE.format("u"), FILL.format("u"))
    follower = Follower(captured(dsn, tmp_path, tables=["t"]))
    follower.sync()
    follow(follower, dsn, tmp_path, "t", "u", timeout_s=1)
    with psycopg.connect(dsn) as open_:
        open_.execute("UPDATE u SET v = 1 WHERE id = 1")
        open_.execute("INSERT INTO t VALUES (1, 1, 'open')")
        run(dsn, "INSERT INTO t VALUES (2)")
        assert follower.sync() == 1, "which has published the table; the other one does not wait for it"
        assert "public.u cannot join yet" in caplog.text
        assert f"pid {open_.info.backend_pid} " in caplog.text
        open_.execute("UPDATE u SET v = 2 WHERE id = 2")
    run(dsn, "UPDATE u SET v = 3 WHERE id = 3", "DELETE FROM u WHERE id = 4")
    follower.sync()
    assert_same(follower, dsn)
    run(dsn, "UPDATE u SET v = 9")
    assert follower.sync() == 4999
    assert_same(follower, dsn)


def test_a_table_that_was_left_out_for_a_while_is_copied_again(dsn, tmp_path):
    run(dsn, TABLE.format("t"), TABLE.format("u"), "INSERT INTO u VALUES (1), (2), (3)")
    follower = Follower(captured(dsn, tmp_path, tables=["t", "u"]))
    follower.sync()
    follow(follower, dsn, tmp_path, "t")
    run(dsn, "DELETE FROM u WHERE id = 1", "INSERT INTO t VALUES (1)")
    assert follower.sync() == 1
    run(dsn, "ALTER PUBLICATION signalroom_app DROP TABLE u", "DELETE FROM u WHERE id = 2")
    follow(follower, dsn, tmp_path, "t", "u")
    follower.sync()
    assert_same(follower, dsn)
    assert set(follower.tables["u"]) == {("3",)}
    with psycopg.connect(dsn) as connection:
        assert connection.execute(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()"
        ).fetchall() == [("signalroom_app",)]


def test_a_large_backlog_is_read_in_loads_of_its_size_before_the_table_joins(dsn, tmp_path):
    run(dsn, TABLE.format("t"), TABLE.format("u"), FILL.format("u"))
    follower = Follower(captured(dsn, tmp_path, tables=["t"]))
    follower.sync()
    run(dsn, FILL.format("t"), "UPDATE t SET v = 1", "UPDATE u SET v = 1")
    follow(follower, dsn, tmp_path, "t", "u", most_mb=1)
    for _ in range(3):
        follower.sync()
    assert_same(follower, dsn)


def test_a_slot_waits_for_no_transaction_for_ever_and_says_whose_it_is(dsn, tmp_path):
    run(dsn, TABLE.format("t"), TABLE.format("u"))
    follower = Follower(captured(dsn, tmp_path, tables=["t"], timeout_s=1))
    with psycopg.connect(dsn) as open_:
        pid = open_.info.backend_pid
        open_.execute("CREATE TABLE other (id int)")
        with pytest.raises(RetryableError, match=rf"pid {pid} \(.*idle in transaction.*since 20") as told:
            follower.sync()
    assert f"pg_terminate_backend({pid})" in str(told.value)
    follower.sync()
    run(dsn, "INSERT INTO t VALUES (1)")
    assert follower.sync() == 1
    assert_same(follower, dsn)
