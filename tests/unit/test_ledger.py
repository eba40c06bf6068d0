"""The ledger on SQLite: its laws, its file, its errors."""

import dataclasses
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import event

from alert_laws import AlertLaws
from key_laws import KeyLaws
from lease_laws import LeaseLaws
from ledger_laws import ArchiveLaws, DeliveryLaws, HandClock, RunLaws, delivery
from request_laws import RequestLaws
from run_laws import ManyRunsLaws
from signalroom.clock import SystemClock
from signalroom.errors import ConfigError, RetryableError
from signalroom.ledger import ledger as ledger_module
from signalroom.ledger import store, upgrade
from signalroom.ledger.ledger import Ledger, LedgerSettings
from signalroom.ledger.view_tables import ddl, view_tables
from signalroom.workspace.settings import Secret
from view_laws import ViewLaws


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def ledger(tmp_path, clock):
    with Ledger.open(LedgerSettings(tmp_path, clock, "deep/ledger.sqlite", run_lease_s=300.0)) as opened:
        yield opened


class TestRuns(RunLaws, LeaseLaws):
    """Runs on SQLite."""


class TestManyRuns(ManyRunsLaws):
    """Runs over time on SQLite."""


class TestDeliveries(DeliveryLaws):
    """Deliveries on SQLite."""


class TestArchive(ArchiveLaws):
    """The archive on SQLite."""


class TestAlerts(AlertLaws):
    """Alerts on SQLite."""


class TestViews(ViewLaws):
    """Manifests, history and status of views on SQLite."""


class TestKeys(KeyLaws):
    """API keys on SQLite."""


class TestRequests(RequestLaws):
    """Refreshes that were asked for, on SQLite."""


@pytest.mark.usefixtures("migrations")
def test_an_empty_file_is_migrated_and_a_migrated_one_left_alone(tmp_path):
    file = tmp_path / "ledger.sqlite"
    for _ in range(2):
        Ledger.open(f"sqlite:///{file}").close()
    connection = sqlite3.connect(file)
    names = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    assert names == {
        "signalroom_runs", "signalroom_deliveries", "signalroom_archive", "signalroom_archive_images",
        "signalroom_pauses", "signalroom_alerts", "signalroom_api_keys", "signalroom_pulls", "signalroom_schedules", "signalroom_ledger_version", "agency", "seeder_canned_report",
        "seeder_canned_report_manifest", "seeder_custom_report_manifest", "seeder_job_status", "seeder_manifest",
        "seeder_run_history",
    }  # fmt: skip
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert connection.execute("select version_num from signalroom_ledger_version").fetchall() == [(upgrade.HEAD,)]
    connection.close()


@pytest.mark.usefixtures("migrations")
def test_the_head_is_the_newest_migration_and_makes_the_tables_we_use(tmp_path, ledger):
    script = ScriptDirectory(str(Path(upgrade.__file__).with_name("migrations")))
    assert script.get_heads() == [upgrade.HEAD]
    connection = sqlite3.connect(tmp_path / "deep" / "ledger.sqlite")
    for table in vars_of(store.tables("sqlite")):
        columns = [row[1] for row in connection.execute(f"pragma table_info({table.name})")]
        assert columns == [column.name for column in table.columns]
    connection.close()


def vars_of(tables):
    views = view_tables("sqlite")
    kept = [
        getattr(tables, name) for name in ("runs", "deliveries", "archive", "images", "pauses", "alerts", "schedules")
    ]
    return kept + [getattr(views, field.name) for field in dataclasses.fields(views)]


@pytest.mark.usefixtures("migrations")
def test_the_ddl_of_views_is_what_the_migration_makes(tmp_path, ledger):
    made = sqlite3.connect(tmp_path / "deep" / "ledger.sqlite")
    printed = sqlite3.connect(":memory:")
    for statement in ddl("sqlite"):
        printed.execute(statement)
    listed = "select name, sql from sqlite_master where name like '%seeder%' or name = 'agency' order by name"
    assert made.execute(listed).fetchall() == printed.execute(listed).fetchall()
    assert len(printed.execute(listed).fetchall()) >= 12
    made.close(), printed.close()


@pytest.mark.usefixtures("migrations")
def test_many_may_open_an_empty_ledger_at_once(tmp_path):
    def open_one(_):
        with Ledger.open(str(tmp_path / "ledger.sqlite")) as opened:
            return opened.runs.start("j", "s").run_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(open_one, range(8)))) == 8


@pytest.mark.usefixtures("migrations")
def test_an_earlier_ledger_is_brought_up_with_what_it_holds(tmp_path, monkeypatch):
    file = str(tmp_path / "ledger.sqlite")
    monkeypatch.setattr(upgrade, "HEAD", "0001")
    monkeypatch.setattr(ledger_module, "HEAD", "0001")
    Ledger.open(file).close()
    monkeypatch.undo()
    connection = sqlite3.connect(file)
    with connection:
        moment = "2026-03-08 11:00:00.000000"
        connection.execute(
            "insert into signalroom_runs (run_id, job, step, status, started_at, heartbeat_at, lease_until, result)"
            " values ('old', 'hourly', 'build', 'success', ?, ?, ?, '{}')",
            (moment, moment, moment),
        )
    connection.close()
    with Ledger.open(file) as opened:
        old = opened.runs.get("old")
        assert (old.status, old.execution, old.repeat_of, old.due_at) == ("success", "", "", None)
        assert opened.pauses.notes() == {}


def test_a_ledger_of_a_newer_version_is_refused(tmp_path):
    file = str(tmp_path / "ledger.sqlite")
    Ledger.open(file).close()
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("update signalroom_ledger_version set version_num = '9999'")
    connection.close()
    with pytest.raises(ConfigError, match=r"at revision 9999.* Install the newer version"):
        Ledger.open(file)


@pytest.mark.usefixtures("migrations")
def test_a_crash_in_the_middle_of_a_migration_leaves_nothing(tmp_path, monkeypatch):
    file = str(tmp_path / "ledger.sqlite")

    def die(name):
        if name == "ledger.upgrade.after":
            raise KeyboardInterrupt

    monkeypatch.setattr(upgrade, "failpoint", die)
    with pytest.raises(KeyboardInterrupt):
        Ledger.open(file)
    monkeypatch.undo()
    connection = sqlite3.connect(file)
    assert connection.execute("select count(*) from sqlite_master").fetchone() == (0,)
    connection.close()
    Ledger.open(file).close()


KILLED = """
import sys
from datetime import UTC, datetime
from signalroom.ledger.ledger import Ledger
from signalroom.message import Delivery
ledger = Ledger.open(sys.argv[1])
ledger.deliveries.claim(Delivery("k", "daily", datetime(2026, 1, 1, tzinfo=UTC), "mail", "a", "pending"))
"""


@pytest.mark.parametrize(("hit", "state"), [(1, None), (2, "inflight")])
def test_a_killed_sender_leaves_nothing_or_a_claim(tmp_path, hit, state):
    file = str(tmp_path / "ledger.sqlite")
    Ledger.open(file).close()
    environ = {**os.environ, "SIGNALROOM_FAILPOINT_KILL": str(hit)}
    done = subprocess.run([sys.executable, "-c", KILLED, file], env=environ, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    with Ledger.open(file) as opened:
        found = opened.deliveries.get("k")
        assert (found and found.state) == state


def test_readers_do_not_wait_for_a_writer(tmp_path, ledger):
    run = ledger.runs.start("j", "s")
    other = sqlite3.connect(tmp_path / "deep" / "ledger.sqlite", isolation_level=None)
    other.execute("begin immediate")
    other.execute("update signalroom_runs set job = 'changed'")
    assert ledger.runs.get(run.run_id).job == "j"
    other.execute("commit")
    other.close()
    assert ledger.runs.get(run.run_id).job == "changed"


def test_a_lock_held_too_long_may_be_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "BUSY_TIMEOUT_S", 0.01)
    with Ledger.open(str(tmp_path / "ledger.sqlite")) as opened:
        other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(RetryableError, match="did not answer: database is locked"):
            opened.deliveries.claim(delivery())
        other.execute("rollback")
        other.close()
        assert opened.deliveries.claim(delivery()) is not None


@pytest.mark.parametrize(("keep_days", "left"), [(30, 1), (0, 2)])
def test_a_ledger_keeps_for_as_long_as_it_is_told(tmp_path, clock, keep_days, left):
    with Ledger.open(LedgerSettings(tmp_path, clock, "l.sqlite", keep_days=keep_days)) as opened:
        opened.runs.finish(opened.runs.start("j", "s"), "success")
        clock.advance(31 * 86_400)
        opened.runs.finish(opened.runs.start("j", "s"), "success")
        assert opened.forget() == 2 - left
        assert len(opened.runs.list()) == left
    with pytest.raises(ConfigError, match="must not be negative"):
        LedgerSettings(tmp_path, clock, keep_days=-1)


def test_a_full_disk_says_what_to_do(ledger):
    with ledger._store.read() as connection:
        pages = connection.exec_driver_sql("pragma page_count").scalar()

    def fill(connection, _):
        connection.execute(f"pragma max_page_count = {pages}").close()

    event.listen(ledger._store._engine, "connect", fill)
    ledger.close()
    with pytest.raises(RetryableError, match=r"is full: database or disk is full\. Make room"):
        ledger.pauses.pause("nightly", "x" * 1_000_000)


def test_what_goes_on_and_what_failed_is_found_by_indexes(tmp_path, ledger):
    queries = {
        "select table_name from seeder_run_history where table_name = 'v' and status = 'running'": "_running",
        "select * from signalroom_deliveries where state = 'failed' order by due_at desc": "deliveries_state",
        "select state, count(*) from signalroom_deliveries group by state": "deliveries_state",
    }
    with sqlite3.connect(tmp_path / "deep" / "ledger.sqlite") as connection:
        for query, index in queries.items():
            plan = connection.execute(f"explain query plan {query}").fetchall()
            assert index in str(plan), query
    connection.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (":memory:", "needs a file"),
        ("sqlite://", "needs a file"),
        ("mysql://user:canary@host/db", "cannot be kept in 'mysql'"),
        ("no scheme://user:canary@host", "cannot be read"),
    ],
)
def test_addresses_that_are_refused(url, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        Ledger.open(url)
    assert "canary" not in str(caught.value)


def test_a_file_that_is_no_ledger(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database, and long enough to be read as one" * 100)
    with pytest.raises(ConfigError, match="refuses: file is not a database"):
        Ledger.open(str(tmp_path / "ledger.sqlite"))
    with pytest.raises(ConfigError, match="cannot be made"):
        Ledger.open(str(tmp_path / "ledger.sqlite" / "below" / "l.sqlite"))


def test_settings_of_the_workspace(tmp_path, clock):
    settings = LedgerSettings(tmp_path, clock, "state/l.sqlite", run_lease_s=10.0)
    with Ledger.open(settings) as opened:
        run = opened.runs.start("j", "s")
        clock.advance(11)
        assert [lost.run_id for lost in opened.runs.sweep()] == [run.run_id]
    assert (tmp_path / "state" / "l.sqlite").exists()
    with pytest.raises(ConfigError, match="run_lease_s must be greater than 0"):
        LedgerSettings(tmp_path, clock, run_lease_s=0)


def test_no_password_is_shown():
    settings = LedgerSettings(
        None, SystemClock(), Secret("env:URL", "postgresql://u:canary@127.0.0.1:1/d?password=canary")
    )
    with pytest.raises(RetryableError, match=r"The ledger \(postgres 127\.0\.0\.1/d\) did not answer") as caught:
        Ledger.open(settings)
    assert "canary" not in str(caught.value) + repr(settings)


@pytest.mark.usefixtures("migrations")
@pytest.mark.parametrize("earlier", ["0001", "0002", "0004"])
def test_a_ledger_of_an_earlier_version_is_brought_to_this_one_with_its_rows(tmp_path, monkeypatch, earlier):
    file = tmp_path / "ledger.sqlite"
    with monkeypatch.context() as then:
        then.setattr(upgrade, "HEAD", earlier)
        Ledger.open(str(file)).close()
    connection = sqlite3.connect(file)
    assert connection.execute("select version_num from signalroom_ledger_version").fetchall() == [(earlier,)]
    moment = "2026-11-19 12:00:00.000000"
    connection.execute(
        "insert into signalroom_runs (run_id, job, step, status, started_at, heartbeat_at, lease_until, fence, error, result, repeats)"
        " values ('r1', 'j', 'build', 'success', ?, ?, ?, 1, '', '{}', 0)",
        [moment] * 3,
    )
    connection.commit()
    connection.close()
    with Ledger.open(str(file)) as opened:
        run = opened.runs.get("r1")
        assert (run.step, run.execution, run.repeat_of, run.due_at) == ("build", "", "", None)
        assert opened.alerts.list() == ()
        assert opened.pauses.notes() == {}
