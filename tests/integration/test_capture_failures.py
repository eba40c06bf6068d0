"""What goes wrong around a capture: each row of its table of failures, on a real server."""

import psycopg
import pytest

from captured import Follower, captured, rows_of
from postgres_server import PostgresServer
from signalroom.simulators.private_postgres import binaries

pytestmark = pytest.mark.slow


@pytest.fixture
def dsn(postgres):
    return postgres()


def run(dsn, *statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def assert_same(follower, dsn, table="t"):
    assert follower.tables[table] == rows_of(dsn, table, follower.source.tables[table].key)


@pytest.mark.parametrize("mode", ["stream", "poll"])
def test_what_was_read_and_not_confirmed_does_not_come_again_and_what_follows_is_understood(dsn, tmp_path, mode):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY, v int)")
    follower = Follower(captured(dsn, tmp_path, tables=["t"], mode=mode))
    follower.sync()
    run(dsn, "INSERT INTO t VALUES (1, 1)", "ALTER TABLE t ALTER v TYPE bigint", "INSERT INTO t VALUES (2, 2)")
    assert follower.sync(confirm=False) == 2
    run(dsn, "UPDATE t SET v = 5000000000")  # of a table that the transaction before announced
    assert follower.sync(confirm=False) == 2
    assert follower.sync() == 0
    assert_same(follower, dsn)


def test_a_table_that_somebody_keeps_to_himself_is_waited_for_only_to_copy_it(dsn, tmp_path):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY)", "CREATE TABLE u (id int)", "INSERT INTO t VALUES (1)")
    follower = Follower(captured(dsn, tmp_path, tables=["t"], timeout_s=1))
    follower.sync()
    run(dsn, "INSERT INTO t VALUES (2)")
    with psycopg.connect(dsn) as other:
        other.execute("LOCK u")  # which nobody captures
        other.execute("LOCK t")
        assert follower.sync() == 1
    assert_same(follower, dsn)


def test_an_idle_database_lets_its_log_go_although_nothing_of_ours_changes(dsn, tmp_path):
    run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY)", "CREATE TABLE u (v text)", "INSERT INTO t VALUES (1)")
    follower = Follower(captured(dsn, tmp_path, tables=["t"]))
    follower.sync()
    before = follower.source.backlog().held_bytes
    fill = "INSERT INTO u SELECT repeat(md5(g::text), 30) FROM generate_series(1, 25000) g"
    run(dsn, fill, "CHECKPOINT")  # 24 MB that nobody captures
    assert follower.source.backlog().held_bytes > before + (20 << 20)
    assert follower.sync() == 0
    run(dsn, fill, "CHECKPOINT")
    assert follower.sync() == 0
    run(dsn, "CHECKPOINT")
    assert follower.source.backlog().held_bytes < 20 << 20
    run(dsn, "INSERT INTO t VALUES (2)")
    assert follower.sync() == 1
    assert_same(follower, dsn)


def test_a_promoted_standby_is_copied_anew_whatever_the_old_leader_had_told(tmp_path, caplog):
    with PostgresServer.started() as leader:
        dsn = leader.create_database()
        run(dsn, "CREATE TABLE t (id bigint PRIMARY KEY, v text)",
            "INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 100) g")  # fmt: skip
        follower = Follower(captured(dsn, tmp_path, tables=["t"]))
        follower.sync()
        standby = PostgresServer(binaries(), copy_of=leader)
        try:
            standby.start()
            leader.stop()
            standby.promote()
            promoted = standby.dsn(dsn.rpartition("/")[2])
            run(promoted, "DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (200, 'new')")
            follower.source = captured(promoted, tmp_path, tables=["t"])
            follower.sync()
            assert_same(follower, promoted)
            assert "a standby was promoted" in caplog.text
            run(promoted, "UPDATE t SET v = 'w' WHERE id = 2")
            assert follower.sync() == 1
            assert_same(follower, promoted)
        finally:
            standby.remove()
