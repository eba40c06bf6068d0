"""Processor time on Postgres: of the very process that did the work, or not told."""

import shutil
from types import SimpleNamespace

import psycopg
import pytest

from signalroom.warehouse import postgres_cpu
from signalroom.warehouse.postgres_cpu import Spent, process_of

BUSY = "select count(*) from generate_series(1, 300000)"


@pytest.fixture
def connection(postgres):
    with psycopg.connect(postgres(), autocommit=True) as opened:
        yield opened


def planted(tmp_path, monkeypatch, connection, *, leave=""):
    """Copy what the kernel tells of the connection's process to where it can be changed."""
    real = process_of(connection)
    folder = tmp_path / real.name
    folder.mkdir()
    for name in {"cmdline", "schedstat"} - {leave}:
        (folder / name).write_bytes((real / name).read_bytes())
    monkeypatch.setattr(postgres_cpu, "_PROCESSES", tmp_path)
    return folder


def test_time_of_the_server_s_process_is_what_the_kernel_counted(connection):
    folder = process_of(connection)
    assert folder.name == str(connection.info.backend_pid)
    before = int((folder / "schedstat").read_text().split()[0])
    spent = Spent(connection)
    connection.execute(BUSY)
    seconds, percent = spent.so_far()
    used_s = (int((folder / "schedstat").read_text().split()[0]) - before) / 1e9
    assert 0 < percent <= round(100 * used_s / seconds)


def test_a_process_of_that_number_that_is_somebody_else_s_is_not_measured(tmp_path, monkeypatch, connection):
    folder = planted(tmp_path, monkeypatch, connection)
    assert process_of(connection) == folder
    title = (folder / "cmdline").read_bytes()
    port = str(connection.execute("select inet_client_port()").fetchone()[0]).encode()
    for other in (title.replace(port, b"1"), title.replace(b"postgres:", b"python:"), b""):
        (folder / "cmdline").write_bytes(other)
        assert process_of(connection) is None
        assert Spent(connection).so_far()[1] is None
    shutil.rmtree(folder)  # the server is another machine's
    assert process_of(connection) is None


def test_behind_a_pooler_nothing_is_measured(connection):
    pooled = SimpleNamespace(execute=connection.execute, info=SimpleNamespace(backend_pid=1))
    assert process_of(pooled) is None


def test_a_kernel_that_counts_nothing_is_not_guessed_for(tmp_path, monkeypatch, connection):
    planted(tmp_path, monkeypatch, connection, leave="schedstat")
    assert Spent(connection).so_far()[1] is None
