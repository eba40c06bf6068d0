"""From the application's table to the warehouse's, killed at every failpoint of the capture and run again."""

import multiprocessing
import os
import signal
import sys

import psycopg
import pytest

from captured import rows_of, spell
from signalroom import failpoints, steps
from signalroom.engine.inline import run_step
from signalroom.room import Room

pytestmark = pytest.mark.slow

WORKSPACE = """\
name = "killed"
timezone = "UTC"

[warehouse]
kind = "duckdb"
threads = 1
memory_mb = 256

[sources.app]
kind = "postgres_cdc"
url = "env:APP_DATABASE"

[sources.app.tables.t]
columns = { id = "bigint", v = "text", n = "decimal(12,2)" }
"""
WARM = ["captured", "duckdb", "pyarrow.parquet", "psycopg", "signalroom.capture.decoding", "signalroom.steps",
        "signalroom.sources.postgres_cdc", "signalroom.warehouse.duckdb"]  # fmt: skip
WRITES = (
    ["CREATE TABLE t (id bigint PRIMARY KEY, v text, n numeric(12,2))", "ALTER TABLE t ALTER v SET STORAGE EXTERNAL", "INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 200) g"],
    ["UPDATE t SET v = 'w' WHERE id < 20", "DELETE FROM t WHERE id BETWEEN 30 AND 40", "UPDATE t SET id = 1000 WHERE id = 50", "UPDATE t SET v = repeat(id::text, 3000) WHERE id < 5", "UPDATE t SET n = 77 WHERE id < 9", "UPDATE t SET id = 2000 WHERE id = 3"],
    ["TRUNCATE t", "INSERT INTO t SELECT g, 'after', -g FROM generate_series(1, 30) g"],
    ["SELECT pg_drop_replication_slot('signalroom_app')", "DELETE FROM t WHERE id = 7", "UPDATE t SET n = 0.5 WHERE id = 8"],
)  # fmt: skip


def run(dsn, statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def sync(root, dsn, log, kill):
    """Sync in this child process, which kills itself at the first hit of ``kill``."""
    os.environ["APP_DATABASE"] = dsn
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - closed with the process
    failpoints.arm(log=log, kill_at=1 if kill else 0, only=kill)
    with Room.open(root) as room:
        steps.sync(room, *room.streams("app"))  # a step without its row in the ledger


@pytest.fixture
def child():
    """Return a function that syncs in a process of its own, forked from one that is warm, and says how it ended."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)

    def start(root, dsn, log="", kill=""):
        process = context.Process(target=sync, args=(root, dsn, str(log), kill))
        process.start()
        process.join()
        return process.exitcode

    return start


@pytest.fixture
def world(postgres, tmp_path, monkeypatch):
    dsn = postgres()
    monkeypatch.setenv("APP_DATABASE", dsn)

    def make(name):
        root = tmp_path / name
        root.mkdir()
        (root / "signalroom.toml").write_text(WORKSPACE)
        return root

    return dsn, make


def held(root, table="t"):
    with Room.open(root) as room:
        rows = room.warehouse.query(f"select id, v, n from app.{table}").to_pylist()
    return {(spell(row["id"]),): {name: spell(value) for name, value in row.items()} for row in rows}


def test_the_table_of_the_warehouse_is_the_applications(world):
    dsn, make = world
    root = make("whole")
    for writes in WRITES:
        run(dsn, writes)
        with Room.open(root) as room:
            done = run_step(room, "sync app")
            again = run_step(room, "sync app")
        assert done.streams[0].merge.rows_in > 0
        assert again.streams[0].merge.rows_in == 0
        assert held(root) == rows_of(dsn, "t", ["id"])
    with psycopg.connect(dsn) as connection:
        assert connection.execute(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()"
        ).fetchall() == [("signalroom_app",)]


def test_killed_once_under_each_name_of_the_capture(world, tmp_path, child):
    dsn, make = world
    root, log = make("killed"), tmp_path / "hits"
    run(dsn, WRITES[0])
    left = ["capture.slot.created", "capture.snapshot.part", "capture.confirm.before", "capture.slot.copy",
            "capture.slot.copied", "capture.slot.named"]  # fmt: skip
    for name in left:
        assert child(root, dsn, kill=name) == -signal.SIGKILL, name
    assert child(root, dsn, log) == 0
    assert held(root) == rows_of(dsn, "t", ["id"])
    for number, name in enumerate(("capture.stream.part", "capture.confirm", "capture.confirmed"), 1):
        run(dsn, [f"INSERT INTO t VALUES ({5000 + number}, '{name}', 1)", f"DELETE FROM t WHERE id = {number}"])
        assert child(root, dsn, kill=name) == -signal.SIGKILL, name
    assert child(root, dsn, log) == 0
    assert held(root) == rows_of(dsn, "t", ["id"])
    run(dsn, [*WRITES[2], *WRITES[3]])
    assert child(root, dsn, kill="capture.slot.created") == -signal.SIGKILL
    assert child(root, dsn, kill="capture.slot.drop") == -signal.SIGKILL
    assert child(root, dsn, log) == 0
    assert held(root) == rows_of(dsn, "t", ["id"])


def test_killed_while_a_table_joins(world, tmp_path, child):
    dsn, make = world
    root, log = make("joining"), tmp_path / "hits"
    run(dsn, [*WRITES[0], *(one.replace("TABLE t", "TABLE u").replace("INTO t", "INTO u") for one in WRITES[0])])
    assert child(root, dsn, log) == 0
    with (root / "signalroom.toml").open("a") as file:
        file.write("\n[sources.app.tables.u]\n")
    for number, name in enumerate(("capture.join.settled", "capture.snapshot.part", "capture.join.copied"), 1):
        for table in ("t", "u"):
            run(
                dsn,
                [
                    f"INSERT INTO {table} VALUES ({5000 + number}, '{name}', 1)",
                    f"DELETE FROM {table} WHERE id = {number}",
                ],
            )
        assert child(root, dsn, kill=name) == -signal.SIGKILL, name
        with Room.open(root) as room:
            assert not room.lake.pending("app", "changes", room.warehouse.merged("app", "changes"))
    assert child(root, dsn, log) == 0
    for table in ("t", "u"):
        assert held(root, table) == rows_of(dsn, table, ["id"])
    assert log.read_text().count("capture.join.copied") == 1
