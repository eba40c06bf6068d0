"""Views in another database than the warehouse: same guard, same roles, found by the manifest's database_id."""

import psycopg
import pytest
from click.testing import CliRunner

from signalroom.cli.app import app
from signalroom.errors import ConfigError
from signalroom.room import Room
from signalroom.run import ignore_progress
from signalroom.views.databases import Numbered
from signalroom.workspace.workspace import Workspace

WORKSPACE = """
name = "t"
timezone = "UTC"
[warehouse]
kind = "duckdb"
[views]
tables = ["shop.clicks"]
[views.databases]
4 = "env:ARCHIVE_URL"
"""
MANIFESTS = """
[[agencies]]
id = 7
slug = "acme"
name = "Acme"
[[agencies]]
id = 8
slug = "bolt"
name = "Bolt"
[[canned]]
id = 1
table_name = "daily"
report_name = "Daily"
query = "select day, sum(n) as n from clicks group by day"
database_id = 4
[[assigned]]
id = 1
agency = "acme"
canned_report = 1
[[assigned]]
id = 2
agency = "bolt"
canned_report = 1
[[custom]]
id = 1
agency = "acme"
table_name = "acme_here"
report_name = "Here"
query = "select n from clicks"
[[custom]]
id = 2
agency = "acme"
table_name = "acme_there"
report_name = "There"
query = "select n, rank() over (order by n) as place from clicks"
database_id = 4
"""
CLICKS = """create table shop.clicks as select 7 + n % 2 as agency_id, date '2026-11-01' as day, {} + n as n
    from generate_series(1, 10) as s(n)"""


@pytest.fixture
def archive(postgres):
    dsn = postgres()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create schema shop")
        connection.execute(CLICKS.format(100))
    return dsn


@pytest.fixture
def folder(tmp_path, archive, monkeypatch):
    (tmp_path / "views").mkdir()
    (tmp_path / "signalroom.toml").write_text(WORKSPACE)
    (tmp_path / "views" / "all.toml").write_text(MANIFESTS)
    monkeypatch.setenv("ARCHIVE_URL", archive)
    return tmp_path


def opened(folder):
    room = Room.open(folder)
    room.warehouse.positions("shop", "clicks")
    room.warehouse.run("create schema if not exists shop")
    if not room.warehouse.query("select 1 from duckdb_tables() where table_name = 'clicks'").num_rows:
        room.warehouse.run(CLICKS.format(0))
    return room


def shown(archive, view, role=None):
    with psycopg.connect(archive) as connection:
        if role:
            connection.execute(f"set role {role}")
        return [row[0] for row in connection.execute(f"select n from agency_{view} order by n").fetchall()]


@pytest.mark.slow
def test_a_view_is_refreshed_in_the_database_its_manifest_names(folder, archive):
    with opened(folder) as room:
        result = room.refresher.refresh("", ignore_progress)
        assert (result.failed, len(result.refreshed)) == ((), 4)
        here = room.warehouse.query("select n from agency_acme.acme_here order by n").to_pylist()
        assert [row["n"] for row in here] == [2, 4, 6, 8, 10]
        assert shown(archive, "acme.acme_there", "signalroom_login_acme") == [102, 104, 106, 108, 110]
        assert (shown(archive, "acme.daily__acme"), shown(archive, "bolt.daily__bolt")) == ([530], [525])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            shown(archive, "bolt.daily__bolt", "signalroom_login_acme")
        # nobody tells us what came into its tables, so its views are computed each time
        with psycopg.connect(archive, autocommit=True) as connection:
            connection.execute("update shop.clicks set n = n + 1000 where agency_id = 8")
        room.refresher.refresh("bolt", ignore_progress)
        assert shown(archive, "bolt.daily__bolt") == [5525]
        there = next(view for view in room.refresher.views() if view.name == "acme_there")
        assert room.refresher.preview(there).rows_after == 5


@pytest.mark.slow
def test_a_database_that_does_not_answer_fails_its_own_views_and_no_others(folder, monkeypatch):
    monkeypatch.setenv("ARCHIVE_URL", "postgresql://someone:s3cret-canary@127.0.0.1:1/none")
    with opened(folder) as room:
        result = room.refresher.refresh("", ignore_progress)
        assert {one.view.name for one in result.failed} == {"acme_there", "daily__acme", "daily__bolt"}
        assert len(result.refreshed) == 4
        told = " ".join(str(one.error) for one in result.failed)
        assert "s3cret" not in told + repr(room.workspace.views)
    run = CliRunner().invoke(app, ["check", "--workspace", str(folder)])
    assert "views.databases.4" in run.output
    assert "s3cret" not in run.output


@pytest.mark.slow
def test_an_unknown_number_is_told_with_the_manifest_and_the_mend(folder):
    file = folder / "views" / "all.toml"
    file.write_text(file.read_text().replace("database_id = 4\n[[assigned]]", "database_id = 9\n[[assigned]]", 1))
    run = CliRunner().invoke(app, ["views", "check", "--json", "--workspace", str(folder)])
    assert run.exit_code == 2
    for said in ("daily__acme: its canned manifest 1 asks for database 9, and there is 1, 4.", '9 = \\"env:NAME\\"'):
        assert said in run.output
    with opened(folder) as room:
        failed = {one.view.name for one in room.refresher.refresh("", ignore_progress).failed}
    assert failed == {"daily__acme", "daily__bolt"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (f'4 = "postgresql://u:{"s3cret-canary"}@h/d"', "looks like a URL with a password"),
        ('four = "env:ARCHIVE_URL"', "it is no number"),
        ("4 = 3", "a secret is never written"),
    ],
)
def test_what_is_no_address_is_refused_and_not_shown(folder, written, said):
    (folder / "signalroom.toml").write_text(WORKSPACE.replace('4 = "env:ARCHIVE_URL"', written))
    with pytest.raises(ConfigError, match=said) as problem:
        Workspace.load(folder, {"ARCHIVE_URL": "a"})
    assert "s3cret" not in str(problem.value)


@pytest.mark.parametrize(
    ("written", "here", "elsewhere"),
    [
        ("databases = [1, 4]", {1, 4}, set()),
        ('databases = { 4 = "env:A" }', {1}, {4}),
        ('databases = { 1 = "env:A", 2 = "env:MINE" }', {2}, {1}),
        ("", {1}, set()),
    ],
)
def test_what_the_numbers_mean(tmp_path, written, here, elsewhere):
    text = f'name = "t"\ntimezone = "UTC"\n[warehouse]\nkind = "postgres"\nurl = "env:MINE"\n[views]\n{written}\n'
    (tmp_path / "signalroom.toml").write_text(text)
    found = Numbered.of(Workspace.load(tmp_path, {"A": "a", "MINE": "m"}))
    assert (found.here, set(found.elsewhere)) == (here, elsewhere)
    assert found.known == tuple(sorted(here | elsewhere))
