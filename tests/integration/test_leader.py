"""The leader kit: an app's writes become intentions with them, and intentions rows with exact versions."""

from __future__ import annotations

import json

import psycopg
import pytest
from click.testing import CliRunner

from leader_app import ONE, PAGE, TABLES, TWO, WATCHES, app, installed, page_rows, short
from signalroom.cli.app import app as commands
from signalroom.errors import ConfigError, DataError
from signalroom.projections.leader import Leader
from signalroom.workspace.projections import WatchSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres):
    return postgres()


@pytest.fixture
def leader(tmp_path, url):
    with installed(tmp_path, url) as one:
        yield one


@pytest.fixture
def other(url):
    """Return a session of the app's own."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def test_a_write_becomes_a_row_with_a_version(leader, other):
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada runs')")
    assert short(leader.drain()) == [("page", "1", 1)]
    other.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 500), ('{ONE}', 250)")
    assert short(leader.drain()) == [("page", "1", 2)]
    assert page_rows(leader) == {ONE: ("Ada runs", None, 750, 2, False)}
    assert leader.status().intentions.pending == 0


def test_what_changes_nothing_raises_no_version(leader, other):
    other.execute(f"insert into pages (uuid, name, note) values ('{ONE}', 'Ada runs', '{{}}')")
    leader.drain()
    other.execute("update pages set name = name")
    assert leader.status().intentions.pending == 1
    assert leader.drain() == []
    assert page_rows(leader)[ONE][3] == 1


def test_a_child_that_moves_changes_both_parents(leader, other):
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada'), ('{TWO}', 'Ben')")
    other.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 500), (null, 1)")
    leader.drain()
    other.execute(f"update donations set page_uuid = '{TWO}' where amount = 500")
    assert short(leader.drain()) == [("page", "1", 2), ("page", "2", 2)]
    assert {page[-1]: row[2] for page, row in page_rows(leader).items()} == {"1": 0, "2": 500}


def test_a_query_leads_from_a_changed_row_to_entities(leader, other):
    other.execute(f"insert into teams (uuid, name) values ('{ONE}', 'Swift')")
    other.execute(f"insert into pages (uuid, name, team_uuid) values ('{ONE}', 'Ada', '{ONE}'), ('{TWO}', 'Ben', null)")
    leader.drain()
    other.execute("update teams set name = 'Brisk'")
    assert short(leader.drain()) == [("page", "1", 2), ("team", "1", 2)]
    assert page_rows(leader)[ONE][1] == "Brisk"
    other.execute("delete from teams")
    assert short(leader.drain()) == [("page", "1", 3), ("team", "1", 3)]


def test_a_row_that_goes_leaves_a_tombstone_and_may_come_back(leader, other):
    for statement, row in (
        (f"insert into pages (uuid, name) values ('{ONE}', 'Ada')", ("Ada", None, 0, 1, False)),
        ("delete from pages", (None, None, None, 2, True)),
        (f"insert into pages (uuid, name) values ('{ONE}', 'Ada')", ("Ada", None, 0, 3, False)),
        ("truncate pages", (None, None, None, 4, True)),
    ):
        other.execute(statement)
        leader.drain()
        assert page_rows(leader) == {ONE: row}, statement
    other.execute(f"insert into donations (page_uuid, amount) values ('{TWO}', 5)")
    assert leader.drain() == [], "a page that never was leaves no tombstone"


def test_a_table_that_is_emptied_changes_all_that_hung_on_it(leader, other):
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada'), ('{TWO}', 'Ben')")
    other.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 500)")
    leader.drain()
    other.execute("truncate donations")
    assert short(leader.drain()) == [("page", "1", 2)]
    assert page_rows(leader)[ONE][2] == 0


def test_partitions_are_watched_whichever_way_they_are_written(tmp_path, url, other):
    other.execute(
        TABLES.replace(
            "amount bigint not null);", "amount bigint not null, year int default 2025) partition by list (year);"
        ).replace("id bigint generated always as identity primary key, page_uuid", "page_uuid")
    )
    other.execute("create table d25 partition of donations for values in (2025)")
    other.execute("create table d26 partition of donations for values in (2026)")
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada')")
    with Leader(url) as leader:
        leader.install(app(tmp_path, url))
        assert short(leader.drain()) == [("page", "1", 1)], "what was there before is computed too"
        for number, statement in enumerate(
            (
                "insert into donations (page_uuid, amount) values (%s, 5)",
                "insert into d26 (page_uuid, amount, year) values (%s, 7, 2026)",
                "update donations set year = 2026, amount = 6 where page_uuid = %s and amount = 5",
                "delete from d26 where page_uuid = %s and amount = 7",
            ),
            start=2,
        ):
            other.execute(statement, [ONE])
            assert short(leader.drain()) == [("page", "1", number)], statement
        other.execute("create table d27 partition of donations for values in (2027)")
        events = ("delete", "insert", "truncate", "update")
        assert leader.status().missing_triggers == tuple(f"d27: {event}" for event in events)
        leader.install(app(tmp_path, url))
        assert leader.status().missing_triggers == ()


def test_writers_are_seen_whatever_their_rights_and_roles(leader, other):
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada')")
    other.execute("drop role if exists leader_clerk")
    other.execute("create role leader_clerk")
    other.execute("grant insert, select on donations, pages, teams to leader_clerk")
    leader.drain()
    other.execute("set session_replication_role = replica")
    other.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 5)")
    other.execute("set session_replication_role = origin; set role leader_clerk")
    assert short(leader.drain()) == [("page", "1", 2)]
    other.execute("create temporary table pages as select 1 as uuid")
    other.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 5)")
    other.execute("insert into teams (name) values ('Swift')")
    assert short(leader.drain())[0] == ("page", "1", 3)
    other.execute("reset role; drop owned by leader_clerk; drop role leader_clerk")


def test_installing_again_changes_what_is_declared_otherwise_and_nothing_else(leader, tmp_path, url, other):
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada')")
    leader.drain()
    leader.install(app(tmp_path, url))
    assert leader.status().intentions.pending == 0
    changed = PAGE.replace("p.note,", "p.note, upper(p.name) as loud,").replace(
        "::bigint as total", "::numeric(12,2) as total"
    )
    leader.install(app(tmp_path, url, page=changed))
    assert short(leader.drain()) == [("page", "1", 2)]
    assert other.execute("select loud, total::text from reporting_page").fetchone() == ("ADA", "0.00")
    leader.install(app(tmp_path, url, watches={"page": WATCHES["page"][:1]}))
    leader.drain()
    assert other.execute(
        "select distinct tgrelid::regclass::text from pg_trigger where tgname ~ '^reporting_'"
    ).fetchall() == [("pages",)]
    columns = {name for (name,) in other.execute("select name from reporting_columns('reporting_page')").fetchall()}
    assert columns == {"uuid", "name", "note", "team_name", "total"}


@pytest.mark.parametrize(
    ("declared", "wrong"),
    [
        ({"watches": {"page": (WatchSettings("donations", "page_id"),)}}, 'column "page_id" does not exist'),
        ({"watches": {"page": (WatchSettings("gifts", "page_uuid"),)}}, 'relation "gifts" does not exist'),
        ({"watches": {"page": (WatchSettings("teams", sql="select x from changed"),)}}, 'column "x" does not exist'),
        ({"page": "select uuid, nme from pages"}, 'column "nme" does not exist'),
        ({"page": "select name from pages"}, "column q.uuid does not exist"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_is_declared_wrongly_is_refused_before_the_app_meets_it(tmp_path, url, other, declared, wrong):
    other.execute(TABLES)
    with Leader(url) as leader:
        with pytest.raises(DataError, match=wrong):
            leader.install(app(tmp_path, url, **declared))
        with pytest.raises(ConfigError, match="not installed"):
            leader.status()


def test_uuids_are_minted_once_for_rows_that_are_there_and_rows_to_come(tmp_path, url, other):
    other.execute("create table plain (id int primary key); insert into plain select generate_series(1, 3)")
    other.execute(TABLES)
    with Leader(url) as leader:
        declared = app(tmp_path, url, uuids=("plain.public_id", "pages"))
        leader.install(declared)
        before = other.execute("select id, public_id from plain order by id").fetchall()
        leader.install(declared)
        assert other.execute("select id, public_id from plain order by id").fetchall() == before
        other.execute("insert into plain values (4)")
        (count,) = other.execute("select count(distinct public_id) from plain").fetchone()
        assert count == 4
        with pytest.raises(psycopg.errors.UniqueViolation):
            other.execute("insert into plain select 5, public_id from plain where id = 4")


def test_uninstalling_leaves_what_the_app_had(tmp_path, url, other):
    with installed(tmp_path, url, schema="reports") as leader:
        assert other.execute("select count(*) from reports.reporting_page").fetchone() == (0,)
        leader.uninstall()
        left = "select relname from pg_class where relname ~ 'reporting' union select proname from pg_proc where proname ~ 'reporting'"
        assert other.execute(left).fetchall() == []
        assert other.execute("select count(*) from pg_trigger where not tgisinternal").fetchone() == (0,)
        with pytest.raises(ConfigError, match="not installed in the schema reports"):
            leader.uninstall()
        leader.install(app(tmp_path, url, schema="reports"))


def test_the_commands(tmp_path, url, other, monkeypatch):
    other.execute(TABLES)
    app(tmp_path, url)
    (tmp_path / "signalroom.toml").write_text(
        'name = "app"\ntimezone = "UTC"\n[projections.app]\nurl = "env:LEADER_URL"\n[projections.app.entities.page]\n'
        'key = "uuid"\nsql = "page.sql"\nwatch = [{ table = "pages", id = "uuid" }]\n'
    )
    monkeypatch.delenv("LEADER_URL", raising=False)

    def call(*words, code=0):
        done = CliRunner().invoke(commands, ["leader", *words, "--workspace", str(tmp_path)])
        assert done.exit_code == code, done.output
        return done.output

    printed = call("install", "--dry-run")
    assert "LEADER_URL is not set" in call("status", code=2)
    other.execute(printed)
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada')")
    assert "Installed in the schema public: page.\n1 intention pending" in call("install", "--dsn", url)
    assert call("relay", "--once", "--dsn", url) == "1 row changed.\n"
    other.execute("drop trigger reporting_truncate on pages")
    found = json.loads(call("status", "--json", "--dsn", url))
    assert (found["pending"], found["missing_triggers"]) == (0, ["pages: truncate"])
    assert [(one["entity"], one["rows"]) for one in found["entities"]] == [("page", 1)]
    shown = call("status", "--app", "app", "--dsn", url)
    assert "Epoch 1; 0 intentions pending." in shown
    assert "No trigger on pages (truncate)" in shown
    assert "Did you mean 'app'?" in call("status", "--app", "ap", code=2)
    assert "do $kit$" in call("uninstall", "--dry-run")
    assert call("uninstall", "--dsn", url) == "Removed from the schema public.\n"
