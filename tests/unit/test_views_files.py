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


YAML = """
canned:
  - id: 1
    table_name: daily
    report_name: D
    query_file: daily.sql
assigned: [{id: 3, agency: acme, canned_report: 1}]
custom:
  - {id: 3, agency: acme, table_name: own, report_name: O, query: select 1, enabled: false}
"""


def test_yaml_says_the_same_and_may_stand_beside_toml(tmp_path):
    (tmp_path / "views").mkdir()
    (tmp_path / "views/b.yaml").write_text(YAML)
    (tmp_path / "views/empty.yml").write_text("# nothing yet\n")
    (tmp_path / "toml").mkdir()
    assert read(tmp_path, AGENCY) == read(tmp_path / "toml", AGENCY, CANNED, ASSIGNED + CUSTOM)


@pytest.mark.parametrize(("text", "said"), [
    ("canned: [", "cannot be read: while parsing"),
    ("- canned", "it holds no sections"),
    ("agencies:\n- {id: 1, id: 2, slug: a, name: A}", "'id' is given twice in line 2"),
    ("agencies:\n- {id: '1', slug: a, name: A}", r"m.yaml: agencies\[1\].id: expected int"),
    ("agencies:\n- {id: 1, slug: a, name: yes}", r"agencies\[1\].name: expected str"),
    ("agencies: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
])  # fmt: skip
def test_each_mistake_in_yaml_is_told_with_its_place(tmp_path, text, said):
    (tmp_path / "views").mkdir()
    (tmp_path / "views/m.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_manifests(tmp_path)


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
