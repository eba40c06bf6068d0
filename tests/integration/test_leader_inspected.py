"""Before an app is followed: `check` says what its database lacks, `query --leader` asks its reporting tables."""

from __future__ import annotations

import dataclasses
import json

import psycopg
import pytest

from leader_app import ONE, TWO, app, installed
from postgres_server import PostgresServer
from shop_workspace import ask, call
from signalroom.projections.inspection import inspect
from signalroom.projections.leader import Leader
from signalroom.simulators.private_postgres import PrivatePostgres, binaries
from signalroom.workspace.settings import Secret

pytestmark = pytest.mark.slow
TOML = """
name = "t"
timezone = "UTC"
[projections.app]
url = "env:LEADER_URL"
[projections.app.entities.page]
key = "uuid"
sql = "page.sql"
watch = [{ table = "pages", id = "uuid" }, { table = "donations", id = "page_uuid" }]
"""


@pytest.fixture
def root(tmp_path, postgres):
    url = postgres()
    (tmp_path / "signalroom.toml").write_text(TOML)
    (tmp_path / ".env").write_text(f"LEADER_URL={url}\n")
    with installed(tmp_path, url) as leader:
        leader.connection.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada runs'), ('{TWO}', '50 %')")
        leader.drain()
    return tmp_path


def session_of(root):
    return psycopg.connect((root / ".env").read_text().strip().partition("=")[2], autocommit=True)


def problems(root, code=2):
    found = ask(root, "check", code=code)
    return next(one for one in found["checks"] if one["what"] == "projections.app")["problems"]


def test_reporting_tables_are_asked_before_anything_is_copied(root):
    sql = "select name from reporting_page where name like '%s' order by 1"
    found = json.loads(call(root, "query", "--leader", sql.replace("%s", "%"), "--json").stdout)
    assert found == {"columns": ["name"], "rows": [["50 %"], ["Ada runs"]]}
    assert "Ada runs" in call(root, "query", "--leader", "--app", "app", "select name from reporting_page").stdout
    for sql in ("delete from reporting_page", "select 1; commit; drop table pages", "commit"):
        assert "one SELECT and nothing else" in call(root, "query", "--leader", sql, code=2).stderr
    assert "Did you mean 'app'?" in call(root, "query", "--leader", "--app", "ap", "select 1", code=2).stderr


def test_a_kit_that_is_not_as_declared_is_named(root):
    assert problems(root, code=0) == []
    with session_of(root) as session:
        session.execute("alter table pages disable trigger reporting_update")
        (told,) = problems(root)
        assert "(pages: update)" in told
        session.execute("alter table pages enable always trigger reporting_update")
        (root / "page.sql").write_text("select uuid, name from pages")
        (told,) = problems(root)
        assert told.startswith("The query of page is another one")
        with Leader(session.info.dsn) as leader:
            leader.install(app(root, session.info.dsn))
            leader.drain()
        session.execute("delete from reporting_watches where relation = 'public.donations'")
        assert any(one.startswith("What page watches is not") for one in problems(root))


def test_a_relay_that_stands_still_and_rows_that_fail_are_named(root):
    with session_of(root) as session:
        session.execute("insert into teams (name) values ('')")  # divided by its length: it cannot be computed
        with Leader(session.info.dsn) as leader:
            leader.drain()
        (told,) = problems(root)
        assert told.startswith("1 rows cannot be computed, the first of them team ")
        assert "division by zero" in told
        session.execute("delete from reporting_intentions")
        session.execute(f"select reporting_touch('page', '{ONE}')")
        assert problems(root, code=0) == [], "it was written just now"
        session.execute("update reporting_intentions set created_at = now() - interval '2 hours'")
        (told,) = problems(root)
        assert told.startswith("No relay keeps up: 1 intentions wait, the first for 7,2")


def test_no_kit_is_one_problem(root):
    with session_of(root) as session:
        session.execute("drop table reporting_intentions cascade")
    (told,) = problems(root)
    assert told.startswith("The leader kit is not installed in the schema public.")


def test_a_replica_that_is_not_the_apps_or_is_behind_is_named(tmp_path):
    with PostgresServer.started() as server, PrivatePostgres.running(binaries(), copy_of=server) as standby:
        url = server.create_database()
        replica = standby.dsn(url.rpartition("/")[2])
        installed(tmp_path, url).close()
        settings = dataclasses.replace(app(tmp_path, url), replica=Secret("env:REPLICA_URL", replica))
        with psycopg.connect(standby.dsn(), autocommit=True) as there, psycopg.connect(url, autocommit=True) as here:
            end = here.execute("select pg_current_wal_lsn()::text").fetchone()[0]
            while not there.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [end]).fetchone()[0]:
                pass
            assert inspect(settings) == []
            there.execute("select pg_wal_replay_pause()")
            here.execute("insert into pages (name) values ('Bo')")
            with Leader(url) as leader:
                leader.drain()
            assert inspect(settings) == [], "a moment is nothing"
            (told,) = inspect(settings, patience_s=0)
            assert "s behind" in told
            there.execute("select pg_wal_replay_resume()")
        elsewhere = dataclasses.replace(settings, replica=Secret("env:REPLICA_URL", standby.dsn("postgres")))
        (told,) = inspect(elsewhere)
        assert told.startswith("The replica has no leader kit.")
