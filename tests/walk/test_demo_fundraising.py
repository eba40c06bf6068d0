"""The fundraising demo in short, on both warehouses, and where there is no Postgres server to show it with."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from signalroom.cli import demo_fundraising
from signalroom.cli.app import app
from signalroom.run import ignore_progress
from signalroom.simulators import private_postgres


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_an_app_is_used_followed_and_compared_to_the_last_row(tmp_path, capsys, postgres, monkeypatch, kind):
    monkeypatch.setenv("WAREHOUSE_URL", postgres())
    folder, url = tmp_path / "demo", "env:WAREHOUSE_URL" if kind == "postgres" else ""
    demo_fundraising.tell(folder, 7, url, ignore_progress, lambda *_: None, as_json=True, seconds=1.5)
    told = json.loads(capsys.readouterr().out)
    assert told["acts"] > 5
    assert told["rows_compared"] > 40
    assert told["differ"] == []
    assert told["report"]["totals"] == told["report"]["truth"] != {}
    with Path(told["report"]["csv"]).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == told["report"]["rows"] > 15
    assert {row["campaign_name"] for row in rows} >= {"Coast Walk"}
    assert all(int(row["page_total"]) == int(row["page_online_total"]) + int(row["page_offline_total"]) for row in rows)


def test_without_a_postgres_server_it_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(private_postgres, "binaries", lambda: None)
    found = CliRunner().invoke(app, ["demo", "fundraising", "--dir", str(tmp_path / "demo")])
    assert found.exit_code == 2
    assert "it needs the programs of a Postgres server" in found.output
    assert "apt install postgresql" in found.output
    assert not (tmp_path / "demo").exists()


def test_a_workspace_of_another_kind_is_left_alone(tmp_path):
    (tmp_path / "signalroom.toml").write_text('name = "mine"\n')
    with pytest.raises(demo_fundraising.ConfigError, match="no such demo"):
        demo_fundraising._prepare(tmp_path, "", "postgresql://leader", "postgresql://replica")
    assert (tmp_path / "signalroom.toml").read_text() == 'name = "mine"\n'
