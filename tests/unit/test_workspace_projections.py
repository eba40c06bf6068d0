"""The `[projections.NAME]` tables: read strictly, opened nowhere."""

import pytest

from signalroom.errors import ConfigError
from signalroom.projections.leader_ddl import declarations, script
from signalroom.workspace.projections import ProjectionSettings
from signalroom.workspace.workspace import Workspace

FILE = """
name = "app"
timezone = "UTC"
[projections.app]
url = "env:LEADER_URL"
uuids = ["pages", "teams.public_id"]
[projections.app.entities.page]
key = "uuid"
sql = "projections/page.sql"
watch = [{ table = "pages", id = "uuid" }, { table = "teams", sql = "select 'a\\\\b' from changed" }]
"""


def read(folder, text, environ=None):
    (folder / "signalroom.toml").write_text(text)
    workspace = Workspace.load(folder, environ or {"LEADER_URL": "postgresql://app@127.0.0.1/app"})
    return workspace.configure(ProjectionSettings, workspace.projections["app"])


def test_it_is_read(tmp_path):
    settings = read(tmp_path, FILE)
    assert (settings.name, settings.schema, settings.replica) == ("app", "public", None)
    page = settings.entities["page"]
    assert (page.name, page.key, page.sql) == ("page", "uuid", tmp_path / "projections/page.sql")
    assert [(one.table, one.id) for one in page.watch] == [("pages", "uuid"), ("teams", "")]
    assert "LEADER_URL" in {one.variable for one in Workspace.load(tmp_path, {}).references()}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("id = ", "idd = "), "unknown setting 'idd'. Did you mean 'id'?"),
        ((', id = "uuid"', ""), "the watch of 'pages' needs either id or sql"),
        (("entities.page]", "entities.state]"), "'state' cannot be the name of an entity"),
        (("entities.page]", "entities.page_source]"), "'page_source' cannot be the name of an entity"),
        (("[projections.app]", '[projections.app]\nschema = "My Own"'), "'My Own' is no name of a schema"),
        (('key = "uuid"', ""), "the setting 'key' is missing"),
    ],
    ids=lambda one: one[1] if isinstance(one, tuple) else "",
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, change, wrong):
    with pytest.raises(ConfigError) as told:
        read(tmp_path, FILE.replace(*change))
    assert wrong in str(told.value)
    assert told.value.message.startswith("projections.app")
    assert [one for one in Workspace.problems(tmp_path, {"LEADER_URL": "x"}) if wrong in one]


def test_a_variable_that_is_not_set_is_no_trouble_before_it_is_needed(tmp_path):
    settings = read(tmp_path, FILE, {"A": "b"})
    with pytest.raises(ConfigError, match="LEADER_URL is not set"):
        settings.url.reveal()


def test_the_sql_needs_no_database(tmp_path):
    settings = read(tmp_path, FILE)
    with pytest.raises(ConfigError, match=r"page\.sql, cannot be read"):
        script(settings)
    (tmp_path / "projections").mkdir()
    (tmp_path / "projections/page.sql").write_text("select uuid, '$query$' as name from pages;\n")
    declared = list(declarations(settings))
    assert declared[1:3] == [
        "select public.reporting_mint('pages', 'uuid');",
        "select public.reporting_mint('teams', 'public_id');",
    ]
    assert declared[3].startswith("select public.reporting_entity('page', 'uuid', $query_$\nselect uuid, '$query$'")
    assert declared[-1] == "select public.reporting_arm();"
    assert "{schema}" not in script(settings)
