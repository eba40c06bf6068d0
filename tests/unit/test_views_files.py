"""Manifests as files: read strictly, every mistake with its place."""

import pytest

from signalroom.errors import ConfigError
from signalroom.views.files import read_manifests

AGENCY = '[[agencies]]\nid = 7\nslug = "acme"\nname = "Acme"\n'
CANNED = '[[canned]]\nid = 1\ntable_name = "daily"\nreport_name = "D"\nquery_file = "daily.sql"\n'
ASSIGNED = '[[assigned]]\nid = 3\nagency = "acme"\ncanned_report = 1\n'
CUSTOM = (
    '[[custom]]\nid = 3\nagency = "acme"\ntable_name = "own"\nreport_name = "O"\nquery = "select 1"\nenabled = false\n'
)


def read(tmp_path, *texts):
    (tmp_path / "views").mkdir(exist_ok=True)
    (tmp_path / "views" / "daily.sql").write_text("select day from clicks\n")
    (tmp_path / "outside.sql").write_text("select 1")
    for number, text in enumerate(texts):
        (tmp_path / "views" / f"{number}.toml").write_text(text)
    return read_manifests(tmp_path)


def test_files_are_read_as_one(tmp_path):
    made = read(tmp_path, AGENCY, CANNED, ASSIGNED + CUSTOM)
    views = {view.name: view for view in made.views()}
    assert sorted(views) == ["daily__acme", "own"]
    assert (views["daily__acme"].query, views["daily__acme"].key) == ("select day from clicks", ("canned", 3))
    assert (views["own"].enabled, views["own"].key) == (False, ("custom", 3))


def test_a_workspace_without_manifests_has_none(tmp_path):
    assert read_manifests(tmp_path) is None


@pytest.mark.parametrize(("text", "said"), [
    ("x = [", "cannot be read"),
    ("[[agency]]\nid = 1", r"'agency' is no list of manifests. Did you mean 'agencies'"),
    (AGENCY + "colour = 1", r"agencies\[1\]: unknown key 'colour'"),
    (AGENCY.replace("7", '"7"'), r"agencies\[1\].id: expected int"),
    (AGENCY.replace("slug", "slugg"), "unknown key 'slugg'. Did you mean 'slug'"),
    ('[[agencies]]\nid = 7\nslug = "acme"\n', "name is missing"),
    (AGENCY.replace("acme", "Ac me"), "'Ac me' is no name"),
    (AGENCY.replace("acme", "a" * 41), "40 at most"),
    (AGENCY + AGENCY, "'acme' is given twice"),
    (CUSTOM, "there is no 'acme'"),
    (AGENCY + CUSTOM.replace("own", "o" * 64), "63 at most"),
    (AGENCY + CUSTOM.replace('query = "select 1"\n', ""), "no query, or two"),
    (AGENCY + CUSTOM + 'query_file = "daily.sql"\n', "no query, or two"),
    (AGENCY + ASSIGNED, "there is no 1"),
    (AGENCY + CANNED.replace("daily.sql", "gone.sql"), "'gone.sql' cannot be read"),
    (AGENCY + CANNED.replace("daily.sql", "../outside.sql"), "no .sql file below views"),
    (AGENCY + CANNED + ASSIGNED + CUSTOM.replace("own", "daily__acme"), "two manifests claim the name 'daily__acme'"),
])  # fmt: skip
def test_each_mistake_is_told_with_its_place(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, text)
