"""New workspaces: a template is copied whole or not at all, and what was copied is a right workspace."""

import pytest

from signalroom.errors import ConfigError
from signalroom.workspace.init import init, templates
from signalroom.workspace.workspace import Workspace


def test_the_empty_template_is_a_right_workspace(tmp_path):
    files = init("empty", tmp_path / "new")
    assert [str(file) for file in files] == [".gitignore", "signalroom.toml"]
    assert set((tmp_path / "new" / ".gitignore").read_text().split()) == {".signalroom/", ".env"}
    assert Workspace.load(tmp_path / "new", {}).timezone == "UTC"


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path):
    (tmp_path / "signalroom.toml").write_text("mine")
    with pytest.raises(ConfigError, match=r"already holds signalroom\.toml"):
        init("empty", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["signalroom.toml"]
    assert (tmp_path / "signalroom.toml").read_text() == "mine"
    with pytest.raises(ConfigError, match="is a file"):
        init("empty", tmp_path / "signalroom.toml")


def test_an_unknown_template(tmp_path):
    assert "empty" in templates()
    with pytest.raises(ConfigError, match=r"Unknown template 'emty'. Did you mean 'empty'\?"):
        init("emty", tmp_path)
