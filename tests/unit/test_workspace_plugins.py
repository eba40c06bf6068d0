"""Plugins are found by entry point or by file, described from their fields, and listed without being imported."""

import dataclasses
import sys

import pytest

from signalroom.errors import ConfigError
from signalroom.workspace.plugins import available, describe, find, snake_case
from signalroom.workspace.settings import Secret, injected, setting

PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Helper:
    """No plugin: it reads nothing."""
    x: int = 0

@dataclass(frozen=True)
class CrmExport:
    """A plugin by its class name."""
    helper: Helper = Helper()
    def streams(self): ...
    def read(self, stream, since, window): ...

@dataclass(frozen=True)
class Second:
    """A plugin by its kind."""
    kind: ClassVar[str] = "other-crm"
    def streams(self): ...
    def read(self, stream, since, window): ...
'''


def drop(root, name, text):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")


def test_entry_points_and_files_are_listed_without_import(tmp_path):
    drop(tmp_path, "sources/crm.py", PLUGIN + "\nraise RuntimeError('imported')\n")
    drop(tmp_path, "sources/_parts.py", "this is not python")
    loaded = set(sys.modules)
    kinds = available("source", tmp_path)
    assert {"everflow", "files", "redtrack", "crm_export", "other-crm"} <= set(kinds)
    assert "helper" not in kinds
    assert kinds["crm_export"].origin == "sources/crm.py:CrmExport"
    assert not {name for name in set(sys.modules) - loaded if "everflow" in name or "crm" in name}
    assert "crm_export" not in available("source")


def test_a_dropped_file_is_imported_once(tmp_path):
    drop(tmp_path, "sources/crm.py", PLUGIN)
    found = find("source", "crm_export", tmp_path)
    assert found.__name__ == "CrmExport"
    assert find("source", "crm_export", tmp_path) is found
    assert find("source", "other-crm", tmp_path).__name__ == "Second"


def test_unknown_kinds(tmp_path):
    with pytest.raises(ConfigError, match=r"sources\.x: unknown kind of source 'everflwo'. Did you mean 'everflow'\?"):
        find("source", "everflwo", tmp_path, "sources.x")


@pytest.mark.parametrize("other", ["class Files", "class Else"])
def test_two_plugins_of_one_kind(tmp_path, other):
    body = "\n    kind = 'files'\n    def streams(self): ...\n    def read(self): ...\n"
    drop(tmp_path, "sources/mine.py", f"{other}:{body}")
    with pytest.raises(ConfigError, match=r"Two sources have the kind 'files': .*sources/mine\.py"):
        available("source", tmp_path)


def test_files_that_cannot_be_used(tmp_path):
    drop(tmp_path, "sources/broken.py", "def (:\n")
    with pytest.raises(ConfigError, match=r"sources/broken\.py, line 1"):
        available("source", tmp_path)
    drop(tmp_path, "sources/broken.py", "import nowhere_at_all\n" + PLUGIN)
    with pytest.raises(ConfigError, match=r"cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"):
        find("source", "crm_export", tmp_path)
    drop(tmp_path, "sources/broken.py", "class Plain:\n    def streams(self): ...\n    def read(self): ...\n")
    with pytest.raises(ConfigError, match="is not a dataclass"):
        find("source", "plain", tmp_path)
    drop(tmp_path, "sources/broken.py", PLUGIN.replace("def streams", "def flows"))
    with pytest.raises(ConfigError, match=r"has no streams\(\)"):
        find("source", "other-crm", tmp_path)


@dataclasses.dataclass(frozen=True)
class Stream:
    """Nested settings."""

    name: str = injected()
    path: str = setting("Where.", example='"orders/*.csv"')


@dataclasses.dataclass(frozen=True)
class Described:
    """A plugin to describe."""

    clock: object = injected()
    key: Secret = setting("The key.", example='"env:KEY"')
    timeout_s: float = setting("How long.", default=30.0, unit="s")
    names: tuple[str, ...] = setting("Names.", default=("a", "b"))
    note: str | None = setting("A note.", default=None)
    streams: dict[str, Stream] = setting("Streams.", factory=dict)


def test_settings_are_described_for_the_reference():
    rows = [(doc.name, doc.type, doc.unit, doc.default, doc.required, doc.example) for doc in describe(Described)]
    assert rows == [
        ("key", "a secret (env:NAME)", "", "", True, '"env:KEY"'),
        ("timeout_s", "float", "s", "30.0", False, ""),
        ("names", "list of str", "", '["a", "b"]', False, ""),
        ("note", "str", "", "", False, ""),
        ("streams", "table of a table", "", "", False, ""),
        ("streams.<name>.path", "str", "", "", True, '"orders/*.csv"'),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Everflow", "everflow"), ("CrmExport", "crm_export"), ("S3Files", "s3_files"), ("HTTPSource", "http_source")],
)
def test_snake_case(name, expected):
    assert snake_case(name) == expected
