"""Manifests as files: ``views/*.toml`` or ``*.yaml``, and SQL beside it in files of its own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from signalroom.errors import ConfigError, nearest
from signalroom.view import Agency, CannedReport, ManifestSet, View

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST_NAME = 63  # Postgres cuts longer ones silently, so two of them could meet
LONGEST_SLUG = 40
"""Characters a short name of an agency may have: role and schema names are made of it."""
_SUFFIXES = (".toml", ".yaml", ".yml")
_T = TypeVar("_T")

_SHAPES: Mapping[str, Mapping[str, type]] = {
    "agencies": {"id": int, "slug": str, "name": str},
    "canned": {"id": int, "table_name": str, "report_name": str, "query": str, "query_file": str, "database_id": int},
    "custom": {
        "id": int, "agency": str, "table_name": str, "report_name": str, "query": str, "query_file": str,
        "database_id": int, "enabled": bool,
    },
    "assigned": {"id": int, "agency": str, "canned_report": int},
}  # fmt: skip
_OPTIONAL = {"query", "query_file", "database_id", "enabled"}


def read_manifests(root: Path) -> ManifestSet | None:
    """Return the manifests below ``root/views``; None where there are none.

    Raises:
        ConfigError: A file, a table or a name is wrong; the sentence says where.
    """
    files = manifest_files(root)
    if not files:
        return None
    tables: dict[str, list[tuple[str, Mapping[str, Any]]]] = {name: [] for name in _SHAPES}
    for file in files:
        for section, entries in _parsed(file).items():
            where = f"views/{file.name}"
            if section not in tables or not isinstance(entries, list):
                mend = nearest(section, tables) or f"Write [[{']], [['.join(tables)}]]."
                raise ConfigError(f"{where}: {section!r} is no list of manifests.", mend=mend)
            for number, entry in enumerate(entries, 1):
                place = f"{where}: {section}[{number}]"
                tables[section].append((place, _entry(entry, section, place, file.parent)))
    return _assembled(tables)


def manifest_files(root: Path) -> list[Path]:
    """Return the files below ``root/views`` that hold manifests, sorted."""
    return sorted(file for file in (root / "views").glob("*") if file.suffix in _SUFFIXES)


def _parsed(file: Path) -> Mapping[str, Any]:
    kind = "TOML" if file.suffix == ".toml" else "YAML"
    try:
        text = file.read_text(encoding="utf-8")
        return tomllib.loads(text) if kind == "TOML" else _yaml(text)
    except (OSError, UnicodeDecodeError, ValueError) as problem:  # the parser's own are ValueErrors
        said = " ".join(str(problem).split()).rstrip(".")
        raise ConfigError(f"views/{file.name} cannot be read: {said}.", mend=f"Mend the {kind}.") from problem


def _yaml(text: str) -> Mapping[str, Any]:
    """Return a YAML document; raises ValueError for what is none, and where a key is given twice."""
    import yaml

    class Strict(yaml.SafeLoader):
        """Refuses a key that is given twice, of which YAML would keep the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            """Return a mapping."""
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise ValueError(f"{key!r} is given twice in line {node.start_mark.line + 1} and below")
            return super().construct_mapping(node, deep=deep)

    try:
        loaded = yaml.load(text, Strict)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as problem:
        raise ValueError(str(problem)) from problem
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ValueError("it holds no sections")  # noqa: TRY004 - a wrong document, told as the parser's own
    return loaded


def _entry(entry: object, section: str, place: str, folder: Path) -> Mapping[str, Any]:
    shape = _SHAPES[section]
    given: Any = entry
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{place}: expected a table.", mend=f"Write [[{section}]].")
    for name, value in given.items():
        if name not in shape:
            raise ConfigError(
                f"{place}: unknown key {name!r}.", mend=nearest(name, shape) or f"Known: {', '.join(shape)}."
            )
        if type(value) is not shape[name]:
            raise ConfigError(f"{place}.{name}: expected {shape[name].__name__}.", mend="Mend the value.")
    if missing := [name for name in shape if name not in given and name not in _OPTIONAL]:
        raise ConfigError(f"{place}: {missing[0]} is missing.", mend=f"Write {missing[0]} = …")
    if "query" not in shape:
        return given
    if ("query" in given) == ("query_file" in given):
        raise ConfigError(f"{place}: it has no query, or two.", mend='Write query = "…" or query_file = "NAME.sql".')
    return {**given, "query": given["query"] if "query" in given else _sql(folder, given["query_file"], place)}


def _sql(folder: Path, name: str, place: str) -> str:
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()) or file.suffix != ".sql":
        raise ConfigError(f"{place}.query_file: {name!r} is no .sql file below views/.", mend="Move it there.")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(
            f"{place}.query_file: {name!r} cannot be read.", mend="Mend the name or the file."
        ) from problem


def _assembled(tables: Mapping[str, list[tuple[str, Mapping[str, Any]]]]) -> ManifestSet:
    agencies = {}
    for place, one in tables["agencies"]:
        check_name(one["slug"], f"{place}.slug", LONGEST_SLUG)
        _once(agencies, one["slug"], Agency(one["id"], one["slug"], one["name"]), f"{place}.slug")
    canned: dict[int, CannedReport] = {}
    for place, one in tables["canned"]:
        check_name(one["table_name"], f"{place}.table_name")
        report = CannedReport(one["id"], one["table_name"], one["report_name"], one["query"], one.get("database_id", 1))
        _once(canned, one["id"], report, f"{place}.id")
    custom: dict[int, View] = {}
    for place, one in tables["custom"]:
        agency = _known(agencies, one["agency"], f"{place}.agency")
        check_name(one["table_name"], f"{place}.table_name")
        view = View(
            one["table_name"], one["report_name"], agency.id, agency.slug, one["query"], one["id"], "custom",
            one.get("database_id", 1), one.get("enabled", True),
        )  # fmt: skip
        _once(custom, one["id"], view, f"{place}.id")
    assigned: dict[int, tuple[int, int, int]] = {}
    for place, one in tables["assigned"]:
        agency = _known(agencies, one["agency"], f"{place}.agency")
        report = _known(canned, one["canned_report"], f"{place}.canned_report")
        check_name(report.view(one["id"], agency).name, place)
        _once(assigned, one["id"], (one["id"], agency.id, report.id), f"{place}.id")
    made = ManifestSet(
        tuple(agencies.values()), tuple(custom.values()), tuple(canned.values()), tuple(assigned.values())
    )
    for name in _twice(view.name for view in made.views()):
        raise ConfigError(f"views/: two manifests claim the name {name!r}.", mend="Rename one.")
    return made


def check_name(name: str, place: str, longest: int = _LONGEST_NAME) -> None:
    """Raise ConfigError, naming ``place``, for what is no name of a view or an agency."""
    if _NAME.fullmatch(name) is None or len(name) > longest:
        raise ConfigError(
            f"{place}: {name!r} is no name.", mend=f"Use lower case letters, digits and underscores, {longest} at most."
        )


def _known(known: Mapping[Any, _T], name: Any, place: str) -> _T:
    if name not in known:
        mend = nearest(str(name), [str(one) for one in known]) or "Add it, or mend the name."
        raise ConfigError(f"{place}: there is no {name!r}.", mend=mend)
    return known[name]


def _once(into: dict[Any, _T], key: Any, value: _T, place: str) -> None:
    if key in into:
        raise ConfigError(f"{place}: {key!r} is given twice.", mend="Give each its own.")
    into[key] = value


def _twice(names: Iterator[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]
