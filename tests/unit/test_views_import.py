"""Manifests of another database: taken row by row, again and again, and what cannot be taken is said."""

import dataclasses
import json
import sqlite3

import pytest
from click.testing import CliRunner

from signalroom.cli.app import app
from signalroom.ledger.ledger import Ledger
from signalroom.ledger.view_tables import ddl
from signalroom.view import Agency, CannedReport, ManifestSet, View
from signalroom.views.imported import sort_out

ROWS = {
    "agency": [
        {"id": 3, "slug": "harbor", "name": "Harbor"}, {"id": 4, "slug": "Bad Slug", "name": "X"},
        {"id": 5, "slug": "harbor", "name": "Twice"},
    ],
    "seeder_canned_report": [
        {"id": 1, "table_name": "daily", "report_name": "Daily", "query": "select 1", "database_id": 4},
        {"id": 2, "table_name": "empty", "report_name": "Empty", "query": " ", "database_id": 1},
    ],
    "seeder_canned_report_manifest": [
        {"id": 1, "agency_id": 3, "agency_slug": "harbor", "canned_report_id": 1},
        {"id": 2, "agency_id": 3, "agency_slug": "harbor", "canned_report_id": 1},
        {"id": 3, "agency_id": 3, "agency_slug": "harbor", "canned_report_id": 2},
        {"id": 4, "agency_id": 3, "agency_slug": "other", "canned_report_id": 1},
        {"id": 5, "agency_id": 9, "agency_slug": "nobody", "canned_report_id": 1},
    ],
    "seeder_custom_report_manifest": [
        {"id": 1, "table_name": "harbor_top", "report_name": "Top", "agency_id": 3, "agency_slug": "harbor",
         "query": "select 2", "database_id": None, "enabled": 0},
        {"id": 2, "table_name": "daily__harbor", "report_name": "Clash", "agency_id": 3, "agency_slug": "harbor",
         "query": "select 3", "database_id": 1, "enabled": 1},
    ],
}  # fmt: skip
HARBOR = Agency(3, "harbor", "Harbor")
DAILY = CannedReport(1, "daily", "Daily", "select 1", 4)
TOP = View("harbor_top", "Top", 3, "harbor", "select 2", 1, "custom", 1, False)
_IMPOSSIBLE = {("agency", 5), ("seeder_canned_report_manifest", 2), ("seeder_canned_report_manifest", 4)}
TAKEN = ManifestSet((HARBOR,), (TOP,), (DAILY,), ((1, 3, 1),))
LEFT = {
    ("agency", 4): "is no name", ("agency", 5): "Agency 3 has the slug 'harbor'",
    ("seeder_canned_report", 2): "query is empty", ("seeder_canned_report_manifest", 2): "has canned report 1 already",
    ("seeder_canned_report_manifest", 3): "no canned report 2", ("seeder_canned_report_manifest", 4): "the row says",
    ("seeder_canned_report_manifest", 5): "no agency 9",
    ("seeder_custom_report_manifest", 2): "Canned manifest 1 claims the name 'daily__harbor'",
}  # fmt: skip


def test_each_row_is_taken_or_named():
    given, left = sort_out(ROWS, ManifestSet(), ManifestSet())
    assert given == TAKEN
    assert {(one.table, one.id) for one in left} == LEFT.keys()
    for one in left:
        assert LEFT[one.table, one.id] in one.reason


def test_what_is_here_already_keeps_its_names_and_a_file_wins():
    again, left = sort_out(ROWS, TAKEN, ManifestSet())
    assert (again, len(left)) == (TAKEN, len(LEFT))
    other = dataclasses.replace(TOP, manifest_id=8)
    _, left = sort_out(ROWS, ManifestSet((HARBOR,), (other,)), ManifestSet())
    assert "Custom manifest 8 claims" in next(one.reason for one in left if one.id == 1)
    changed = dataclasses.replace(DAILY, query="select 7")
    given, left = sort_out(ROWS, TAKEN, ManifestSet(canned=(changed,)))
    assert (given.canned, given.assigned) == ((), ())
    assert "a file wins" in next(one.reason for one in left if one.table == "seeder_canned_report")
    kept, _ = sort_out(ROWS, TAKEN, TAKEN)
    assert kept == TAKEN


def test_agencies_called_otherwise_are_known_by_their_ids():
    held = ManifestSet((HARBOR, Agency(4, "port", "Port")), (TOP,), (DAILY,), ((1, 3, 1), (7, 4, 1)))
    rows = {
        **ROWS,
        "agency": [{"id": 3, "slug": "port", "name": "Harbor"}, {"id": 4, "slug": "harbor", "name": "Port"}],
        "seeder_canned_report_manifest": [
            {"id": 1, "agency_id": 3, "agency_slug": "harbor", "canned_report_id": 1},  # it did not follow there
            {"id": 7, "agency_id": 4, "agency_slug": "harbor", "canned_report_id": 1},
        ],
        "seeder_custom_report_manifest": ROWS["seeder_custom_report_manifest"][:1],
    }
    given, left = sort_out(rows, held, ManifestSet())
    assert [one.table for one in left] == ["seeder_canned_report"]
    assert {(view.agency_id, view.name) for view in given.views()} == {
        (3, "daily__port"), (4, "daily__harbor"), (3, "harbor_top"),
    }  # fmt: skip


def test_a_slug_that_a_file_keeps_is_not_free():
    held = ManifestSet((HARBOR, Agency(4, "port", "Port"), Agency(5, "quay", "Quay")))
    rows = {name: [] for name in ROWS} | {
        "agency": [
            {"id": 3, "slug": "coral", "name": "Harbor"}, {"id": 4, "slug": "harbor", "name": "Port"},
            {"id": 5, "slug": "port", "name": "Quay"},
        ]
    }  # fmt: skip
    given, left = sort_out(rows, held, ManifestSet((HARBOR,)))
    assert given == ManifestSet()
    assert [(one.id, one.reason) for one in left][1:] == [
        (4, "Agency 3 has the slug 'harbor'."), (5, "Agency 4 has the slug 'port'."),
    ]  # fmt: skip


@pytest.fixture
def source(tmp_path):
    with sqlite3.connect(tmp_path / "seeder.sqlite") as connection:
        for statement in ddl("sqlite"):
            connection.execute(statement)
        for table, rows in ROWS.items():
            for row in rows:
                if (table, row["id"]) in _IMPOSSIBLE:
                    continue  # that database would not have them
                values = {**row, "database_id": row.get("database_id") or 1} if "database_id" in row else row
                names = ", ".join(values)
                marks = ", ".join("?" * len(values))
                connection.execute(f"insert into {table} ({names}) values ({marks})", list(values.values()))
    connection.close()
    return tmp_path / "seeder.sqlite"


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "signalroom.toml").write_text('name = "n"\ntimezone = "UTC"\n')
    return tmp_path


def call(workspace, *arguments):
    return CliRunner().invoke(app, ["--workspace", str(workspace), "views", "import", *arguments])


def held(workspace):
    with Ledger.open(str(workspace / ".signalroom/ledger.sqlite")) as ledger:
        return ledger.manifests.all(), ledger.views.statuses()


def test_the_command_takes_what_it_can_and_says_what_it_cannot(workspace, source):
    tried = call(workspace, "--from", source.name, "--dry-run", "--json")
    assert json.loads(tried.stdout)["taken"] == {"agencies": 1, "canned": 1, "assigned": 1, "custom": 1}
    assert held(workspace) == (ManifestSet(), {})
    done = call(workspace, "--from", source.name)
    assert done.exit_code != 0
    assert "Took 1 agencies, 1 canned, 1 assigned, 1 custom." in done.stdout
    assert "seeder_canned_report_manifest" in done.stdout
    assert "[views.databases] does not name 4" in done.stdout
    manifests, statuses = held(workspace)
    assert manifests == TAKEN
    assert {one.status for one in statuses.values()} == {"pending"}
    with sqlite3.connect(source) as connection:
        connection.execute("update seeder_canned_report set query = 'select 5' where id = 1")
    connection.close()
    call(workspace, "--from", source.name)
    assert held(workspace)[0] == dataclasses.replace(TAKEN, canned=(dataclasses.replace(DAILY, query="select 5"),))


@pytest.mark.parametrize(
    ("given", "said"),
    [("postgresql://u:pw@h/d", "takes a reference"), ("gone.sqlite", "is not there"), ("env:NOWHERE", "NOWHERE")],
)
def test_what_is_no_source(workspace, given, said):
    refused = call(workspace, "--from", given)
    assert refused.exit_code != 0
    assert said in refused.stderr
    assert "pw" not in refused.stderr


def test_a_database_without_the_tables(workspace):
    sqlite3.connect(workspace / "other.sqlite").close()
    (workspace / "other.sqlite").touch()
    assert "no such table: agency" in call(workspace, "--from", "other.sqlite").stderr
