"""Postgres as a warehouse, where it differs from a file: others write too, wires are cut, rights are missing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from crash.cuts import COMMIT_BYTES, Cut, at_the_commit, throughout, trials
from handmade_loads import Loads
from signalroom.errors import ConfigError, RetryableError
from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.warehouse.postgres import PostgresWarehouse
from signalroom.workspace.settings import Secret

pytestmark = pytest.mark.slow

ROUNDS = 12
LOADER = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from signalroom import steps
from signalroom.clock import SystemClock
from signalroom.room import Room

with Room.open(Path({root!r})) as room:
    streams = {{stream.name: stream for stream in room.streams("inbox")}}
    room.warehouse.merged("inbox", "events")
    print("ready", flush=True)
    for line in sys.stdin:
        result, _ = steps.load(room, streams[line.strip()])
        print(json.dumps([list(result.load_ids), result.rows_merged]), flush=True)
"""
WORKSPACE = """
name = "two"
timezone = "UTC"
[warehouse]
kind = "postgres"
url = "{url}"
[sources.inbox]
kind = "files"
url = "inbox"
"""


def warehouse_at(dsn: str) -> PostgresWarehouse:
    return PostgresWarehouse(url=Secret("env:WAREHOUSE_URL", dsn), memory_mb=256)


def page(text: str, table: str = "t") -> Batch:
    return Batch(table, Raw([text.encode()], "csv"), source_ref="page")


def rows(dsn: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def two_loaders(tmp_path: Path, postgres):
    """A workspace whose every stream has one load that nobody merged yet, and two processes that may."""
    from signalroom import steps
    from signalroom.room import Room

    dsn = postgres()
    streams = "".join(
        f'[sources.inbox.streams.s{n}]\npath = "s{n}/*.csv"\n' for n in range(ROUNDS)
    )  # fmt: skip
    (tmp_path / "signalroom.toml").write_text(WORKSPACE.format(url="env:TWO_URL") + streams)
    (tmp_path / ".env").write_text(f"TWO_URL={dsn}\n")
    for n in range(ROUNDS):
        folder = tmp_path / f"inbox/s{n}"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text("event\n" + "".join(f"e{row}\n" for row in range(50)))
    with Room.open(tmp_path) as room:
        for stream in room.streams("inbox"):
            steps.ingest(room, stream)
    script = LOADER.format(tests=str(Path(__file__).parent.parent), root=str(tmp_path))
    command = [sys.executable, "-c", script]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]  # fmt: skip
    yield dsn, started
    for one in started:
        for pipe in (one.stdin, one.stdout):
            pipe.close()
        one.kill()
        one.wait()


def test_of_two_processes_that_load_a_stream_one_does_it(two_loaders):
    dsn, (first, second) = two_loaders
    assert [one.stdout.readline() for one in (first, second)] == ["ready\n"] * 2
    both_worked = set()
    for n in range(ROUNDS):
        for one in (first, second):
            one.stdin.write(f"s{n}\n")
            one.stdin.flush()
        answers = [json.loads(one.stdout.readline()) for one in (first, second)]
        assert sorted(merged for _, merged in answers) == [0, 50], "one merged it and the other nothing"
        both_worked.add(max(range(2), key=lambda turn: answers[turn][1]))
        assert rows(dsn, f"SELECT count(*), count(DISTINCT event) FROM inbox.s{n}") == [(50, 50)]
    assert rows(dsn, "SELECT count(*) FROM signalroom.loads") == [(ROUNDS,)]
    assert rows(dsn, "SELECT relname FROM pg_class WHERE relname LIKE 'incoming%'") == []


def test_a_wire_cut_within_a_merge_loses_nothing_and_doubles_nothing(postgres_server, tmp_path):
    with trials(postgres_server, tmp_path) as trial:
        sizes = trial.sizes()
        for number, cut in enumerate(throughout(sizes, every=sum(sizes.values()) // 22)):
            trial.cut(cut, first=number % 3 == 0)
        assert not trial.cuts.failures, "\n".join([str(trial.cuts), *trial.cuts.failures])
        assert trial.cuts.made == trial.cuts.told >= 20


def test_a_wire_cut_within_the_commit_or_its_answer_is_resolved_by_the_next_try(postgres_server, tmp_path):
    with trials(postgres_server, tmp_path) as trial:
        trial.sizes()
        for cut in at_the_commit()[::2]:  # each byte once; `make proof` resets and ends the wire at each
            trial.cut(cut)
        assert not trial.cuts.failures, "\n".join([str(trial.cuts), *trial.cuts.failures])
        # What the server got whole is committed, whatever the client was told; what it got late too.
        late = COMMIT_BYTES["up"] // 2
        assert (trial.cuts.told, trial.cuts.landed) == (trial.cuts.made, COMMIT_BYTES["down"] + late)


def test_the_trials_notice_a_retry_that_checks_before_it_acts(postgres_server, tmp_path, monkeypatch):
    from signalroom.warehouse import bookkeeping

    execute = PostgresWarehouse._execute
    record = bookkeeping.write_load

    def without_a_lock(self, sql, params):
        return [] if sql.startswith("SELECT pg_advisory_xact_lock") else execute(self, sql, params)

    def check_then_act(execute, load, now, *, replay):
        known = execute("SELECT 1 FROM signalroom.loads WHERE load_id = ?", [load.load_id])
        return not known and record(
            lambda sql, params: execute(sql.replace("ON CONFLICT (load_id) DO NOTHING", ""), params),
            load,
            now,
            replay=replay,
        )

    with trials(postgres_server, tmp_path) as trial:
        trial.sizes()
        trial.warehouse.run("ALTER TABLE signalroom.loads DROP CONSTRAINT loads_pkey")
        monkeypatch.setattr(PostgresWarehouse, "_execute", without_a_lock)
        monkeypatch.setattr(bookkeeping, "write_load", check_then_act)
        trial.wire.late_at = b"INSERT INTO signalroom.loads"
        trial.cut(Cut("up", 5, "commit", "late"))
        assert trial.cuts.doubled == 5, trial.cuts.failures  # the load's record, its two events, its two rejects


def test_a_role_without_rights_is_one_clear_error(postgres_server, postgres, tmp_path):
    dsn = postgres()
    name = dsn.rpartition("/")[2]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reads_only")
        connection.execute("CREATE ROLE reads_only LOGIN")
    lake = Loads(tmp_path)
    stream = Stream("crm", "orders", (Table("t", (Column("k", "bigint"),), key=("k",), disposition="merge"),))
    warehouse = warehouse_at(postgres_server.dsn(name, user="reads_only"))
    with pytest.raises(ConfigError) as refused:
        warehouse.merge(stream, [lake.add(stream, page("k\n1\n"))], lake)
    said = str(refused.value)
    assert "permission denied for database" in said
    assert "Check the user, its password and its rights." in said
    assert said.count("\n") == 0
    assert warehouse.check() == [said.replace("merge crm.orders", "make its own tables")]
    warehouse.close()
    # Who may make the tables of ours, but not write to the table that is there, is told so, and nothing is half done.
    owner = warehouse_at(dsn)
    owner.merge(stream, [first := lake.add(stream, page("k\n1\n"))], lake)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"GRANT CREATE ON DATABASE {name} TO reads_only")
        connection.execute("GRANT ALL ON SCHEMA signalroom TO reads_only")
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA signalroom TO reads_only")
        connection.execute("GRANT USAGE ON SCHEMA crm TO reads_only")
    warehouse = warehouse_at(postgres_server.dsn(name, user="reads_only"))
    second = lake.add(stream, page("k\n2\n"))
    with pytest.raises(ConfigError, match="permission denied for table t"):
        warehouse.merge(stream, [second], lake)
    warehouse.close()
    assert owner.merged("crm", "orders") == {first.load_id}
    assert owner.merge(stream, [second], lake).rows_merged == 1
    assert rows(dsn, "SELECT k FROM crm.t ORDER BY k") == [(1,), (2,)]
    owner.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP OWNED BY reads_only")
        connection.execute("DROP ROLE reads_only")


@pytest.mark.parametrize("table", ["merge", "append"])
def test_what_a_crashed_load_left_is_dropped_by_the_next(postgres, tmp_path, monkeypatch, table):
    from signalroom.warehouse import postgres_copy

    dsn, lake = postgres(), Loads(tmp_path)
    key = ("k",) if table == "merge" else ()
    stream = Stream("crm", "orders", (Table("t", (Column("k", "bigint"),), key=key, disposition=table),))
    warehouse = warehouse_at(dsn)
    crashed = lake.add(stream, page("k\n1\n2\n"))

    def crash(name):
        if name == "warehouse.copy.end":
            raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(postgres_copy, "failpoint", crash)
        with pytest.raises(KeyboardInterrupt):
            warehouse.merge(stream, [crashed], lake)
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'incoming%'"
    assert rows(dsn, left) == [(1,)], "the rows were sent before the crash"
    assert warehouse.merged("crm", "orders") == set()
    other = lake.add(stream, page("k\n2\n3\n"))
    assert warehouse.merge(stream, [other], lake).rows_merged == 2
    assert rows(dsn, left) == [(0,)]
    assert rows(dsn, "SELECT k FROM crm.t ORDER BY k") == [(2,), (3,)]
    warehouse.merge(stream, [crashed], lake)
    wanted = [(1,), (2,), (3,)] if table == "merge" else [(1,), (2,), (2,), (3,)]
    assert rows(dsn, "SELECT k FROM crm.t ORDER BY k") == wanted
    warehouse.close()


@pytest.mark.parametrize("table", ["merge", "append"])
@pytest.mark.parametrize("first", [True, False], ids=["first load", "another load"])
def test_a_merge_that_lost_its_connection_sends_its_rows_to_nobody_else(postgres, tmp_path, monkeypatch, table, first):
    """Its lock goes with its connection; those that copy are still there, and another process has begun meanwhile."""
    from signalroom.warehouse import postgres_copy

    dsn, lake = postgres(), Loads(tmp_path)
    key = ("k",) if table == "merge" else ()
    stream = Stream("crm", "orders", (Table("t", (Column("k", "bigint"),), key=key, disposition=table),))
    cut_off, heir = warehouse_at(dsn), warehouse_at(dsn)
    if not first:
        heir.merge(stream, [lake.add(stream, page("k\n9\n"))], lake)
    load = lake.add(stream, page("k\n1\n2\n"))
    loser = cut_off.connect().info.backend_pid
    heir_waits, loser_is_done = threading.Event(), threading.Event()

    def meet(name):
        if name == "warehouse.copy.begin" and threading.current_thread() is threading.main_thread():
            rows(dsn, f"SELECT pg_terminate_backend({loser}, 5000)")
            taking_over.start()
            assert heir_waits.wait(20)
        elif name == "warehouse.copy.begin":
            heir_waits.set()
            assert loser_is_done.wait(20)

    monkeypatch.setattr(postgres_copy, "failpoint", meet)
    results = []
    taking_over = threading.Thread(target=lambda: results.append(heir.merge(stream, [load], lake)))
    with pytest.raises(RetryableError):
        cut_off.merge(stream, [load], lake)
    loser_is_done.set()
    taking_over.join()
    assert [one.rows_merged for one in results] == [2]
    assert rows(dsn, "SELECT k FROM crm.t ORDER BY k") == [(1,), (2,), *([] if first else [(9,)])]
    assert cut_off.merge(stream, [load], lake).already == (load.load_id,)
    monkeypatch.undo()
    heir.merge(stream, [lake.add(stream, page("k\n7\n"))], lake)
    assert rows(dsn, "SELECT relname FROM pg_class WHERE relname LIKE 'incoming%'") == []
    for one in (cut_off, heir):
        one.close()
