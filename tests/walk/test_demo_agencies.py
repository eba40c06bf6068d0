"""The agencies demo in small, and the commands around it."""

import json

import pytest
from click.testing import CliRunner

from signalroom.cli import demo_agencies
from signalroom.cli.app import app
from signalroom.run import ignore_progress
from signalroom.simulators.agencies import AgencyWorld

pytestmark = pytest.mark.slow


def call(folder, *arguments):
    return CliRunner().invoke(app, ["--workspace", str(folder), *arguments])


def test_views_are_refreshed_skipped_changed_and_right(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "demo"
    monkeypatch.setattr(demo_agencies, "_DAYS", 3)
    monkeypatch.setattr(demo_agencies, "_OWN", 1)
    demo_agencies.tell(folder, AgencyWorld(rows=4, agencies=3), ignore_progress, lambda *_: None, as_json=True)
    told = json.loads(capsys.readouterr().out)
    first, again, changed = told["refreshes"]
    assert (first["views"], first["unchanged"]) == (31, 0)
    assert (again["views"], again["unchanged"]) == (0, 31)
    assert (changed["views"], changed["unchanged"]) == (7, 24)  # two canned reports of three agencies, and the one
    assert told["groups"] > 100
    assert told["differ"] == 0

    listed = json.loads(call(folder, "views", "--json").stdout)["views"]
    assert (len(listed), {one["status"] for one in listed}) == (31, {"success"})
    history = json.loads(call(folder, "views", "history", "harbor_media_margin", "--json").stdout)["history"]
    assert [one["status"] for one in history] == ["success", "success"]
    assert call(folder, "views", "check").stdout == "31 manifests checked, nothing is wrong.\n"
    done = json.loads(call(folder, "refresh", "--agency", "harbor_media", "--force", "--json").stdout)
    assert len(done["refreshed"]) == 11
    assert call(folder, "refresh").stdout.splitlines()[-1] == "0 views refreshed, 31 unchanged."
    assert json.loads(call(folder, "refresh", "harbor_media_margin", "--json").stdout)["unchanged"] == 1
    assert "Did you mean" in call(folder, "refresh", "--table", "harbor_media_margn").output

    manifests = folder / "views" / "agencies.toml"
    manifests.write_text(manifests.read_text().replace("left join paid", "left join secrets"))
    checked = call(folder, "views", "check")
    assert checked.exit_code != 0
    assert "it reads 'secrets'" in checked.stdout
    failed = call(folder, "refresh")
    assert failed.exit_code != 0
    assert "View harbor_media_margin: A manifest may not be this query: it reads 'secrets'" in failed.output


def test_the_same_on_postgres(tmp_path, capsys, monkeypatch, postgres):
    monkeypatch.setattr(demo_agencies, "_DAYS", 2)
    monkeypatch.setattr(demo_agencies, "_OWN", 1)
    monkeypatch.setenv("WAREHOUSE_URL", postgres())
    world = AgencyWorld(rows=3, agencies=2)
    demo_agencies.tell(tmp_path, world, ignore_progress, lambda *_: None, "env:WAREHOUSE_URL", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [one["views"] for one in told["refreshes"]] == [21, 0, 5]
    assert told["groups"] > 50
    assert told["differ"] == 0


def test_the_ddl_is_printed_for_a_schema_repository(postgres):
    import psycopg

    printed = CliRunner().invoke(app, ["views", "ddl"]).stdout
    with psycopg.connect(postgres()) as connection:
        connection.execute(printed)
        names = connection.execute("select table_name from information_schema.tables where table_schema = 'reporting'")
        assert {name for (name,) in names} >= {"agency", "seeder_run_history", "seeder_job_status", "seeder_dashboard"}
    assert "CREATE TABLE agency" in CliRunner().invoke(app, ["views", "ddl", "--sqlite"]).stdout
    assert "sum" in CliRunner().invoke(app, ["views", "functions"]).stdout
