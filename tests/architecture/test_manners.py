"""What a reader may rely on: no silent catch-all, no unexplained ignore, no public name without a word about it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable

import pytest

from architecture.house import Source, everything, package

pytestmark = pytest.mark.xdist_group("architecture")  # one process parses the tree, once

# Where everything may be caught, and why. A line that is no longer needed fails too.
BORDERS: dict[str, str] = {
    "src/signalroom/sources/postgres_snapshot.py::Snapshot._work": "a thread's error is raised where its rows are asked for",
    "src/signalroom/cli/app.py::App.main": "the outermost border: a person reads a sentence, not a traceback",
    "src/signalroom/cli/checks.py::_guarded": "a stranger's plugin may fail in any way; the others are still checked",
    "src/signalroom/engine/inline.py::run_step": "a run is recorded as failed whatever ended it, then it goes on up",
    "src/signalroom/engine/loops.py::Loop.once": "a loop that ended would be a copy that stands still, unseen",
    "src/signalroom/ledger/ledger.py::Ledger.open": "closes what was opened half-way, then it goes on up",
    "src/signalroom/reports/finding.py::_in_module": "a workspace's own code may raise anything; its author mends it",
    "src/signalroom/reports/render.py::Renderer._ask": "a child in an unknown state is closed, then it goes on up",
    "src/signalroom/telemetry.py::span": "the span says what ended it, then it goes on up",
    "src/signalroom/warehouse/duckdb.py::DuckDBWarehouse._commit": "rolls back whatever happened, then it goes on up",
    "src/signalroom/web/app.py::_handler.handle": "a caller gets an error body, the log what it was",
    "src/signalroom/workspace/plugins.py::_load": "a module that ran half-way is forgotten, then it goes on up",
    "src/signalroom/workspace/plugins.py::find": "a stranger's module may fail in any way; a person must mend it",
}

_WAVED = re.compile(
    r"#\s*(?P<kind>noqa|(?:ruff|flake8):\s*noqa|type:\s*ignore|pyright:\s*ignore|(?:based)?pyright:|mypy:)",
    re.IGNORECASE,
)
_CODED = {
    "noqa": re.compile(r"noqa:\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*", re.IGNORECASE),
    "type": re.compile(r"type:\s*ignore\[[\w-]+(?:,\s*[\w-]+)*\]"),
    "pyright": re.compile(r"pyright:\s*ignore\[\w+(?:,\s*\w+)*\]"),
}
_REASON = re.compile(r"\s-\s+\S.*[a-z]{2}", re.IGNORECASE)
_MAGIC = re.compile(r"__\w+__")


def broad_catches(files: Iterable[Source]) -> dict[str, str]:
    """Return where everything is caught: ``path::function`` to what is written there."""
    found: dict[str, str] = {}
    for one in files:
        owners = [(name, node) for name, node in one.named if not isinstance(node, ast.ClassDef)]
        for node in ast.walk(one.tree) if "except" in one.text else ():
            if isinstance(node, ast.ExceptHandler) and _catches_all(node):
                inside = [name for name, owner in owners if owner.lineno <= node.lineno <= (owner.end_lineno or 0)]
                found[f"{one.path}::{max(inside, key=len, default='')}"] = one.at(node, "catches everything")
    return found


def _catches_all(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind).rpartition(".")[2] in {"Exception", "BaseException"} for kind in kinds)


def bare_ignores(files: Iterable[Source]) -> list[str]:
    """Return comments that silence a tool without saying which rule, or why: ``# noqa: X123 - the reason``."""
    found: list[str] = []
    for one in (one for one in files if _WAVED.search(one.text)):
        for token in tokenize.generate_tokens(io.StringIO(one.text).readline):
            if token.type != tokenize.COMMENT:
                continue
            for waved in _WAVED.finditer(token.string):
                kind = next((name for name in ("noqa", "type", "pyright") if name in waved["kind"].lower()), "")
                coded = _CODED[kind].match(token.string, waved.start("kind")) if kind else None
                if "ruff" in waved["kind"] or "flake8" in waved["kind"]:
                    coded = _CODED["noqa"].search(token.string)
                missing = (
                    "names no rule" if coded is None else "" if _REASON.search(token.string) else "gives no reason"
                )
                if missing:
                    found.append(f"{one.path}:{token.start[0]}: {token.string} {missing}")
    return found


def undocumented(files: Iterable[Source]) -> list[str]:
    """Return public modules, classes, functions and methods without a docstring."""
    found: list[str] = []
    for one in files:
        if not ast.get_docstring(one.tree):
            found.append(f"{one.path}:1: the module has no docstring")
        functions = {name for name, node in one.named if not isinstance(node, ast.ClassDef)}
        for name, node in one.named:
            parts = name.split(".")
            local = any(".".join(parts[:depth]) in functions for depth in range(1, len(parts)))
            hidden = local or any(part.startswith("_") and not _MAGIC.fullmatch(part) for part in parts)
            told = ast.get_docstring(node) or _MAGIC.fullmatch(parts[-1]) or _is_variant(node)
            if not hidden and not told:
                found.append(one.at(node, f"{name} has no docstring"))
    return found


def _is_variant(node: ast.AST) -> bool:
    """Return whether a function is told about elsewhere: a property's setter, or one signature of an overload."""
    marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", [])]
    return any(mark.endswith((".setter", ".deleter", "overload")) for mark in marks)


def test_everything_is_caught_only_at_listed_borders():
    found = broad_catches(package())
    assert {place: said for place, said in found.items() if place not in BORDERS} == {}
    assert set(BORDERS) - set(found) == set(), "these no longer catch everything: take them off the list"
    assert all(BORDERS.values())


def test_what_silences_a_tool_says_which_rule_and_why():
    assert bare_ignores(everything()) == []


def test_public_names_are_documented():
    assert undocumented(package()) == []


def test_each_rule_bites():
    def planted(text: str) -> list[Source]:
        return [Source("src/signalroom/planted.py", text)]

    caught = "class A:\n    def f(self):\n        try:\n            g()\n        {}\n            pass\n"
    for clause in (
        "except Exception:",
        "except BaseException as e:",
        "except:",
        "except (ValueError, builtins.Exception):",
    ):
        assert list(broad_catches(planted(caught.format(clause)))) == ["src/signalroom/planted.py::A.f"]
    assert broad_catches(planted(caught.format("except ValueError:"))) == {}

    hushed = [
        "x = 1  # noqa",
        "x = 1  # noqa: F401",
        "x = 1  # type: ignore",
        "x = 1  # type: ignore[arg-type]",
        "x = 1  # type: ignore - because",
        "x = 1  # pyright: ignore[reportPrivateUsage]",
        "x = 1  # pyright: ignore - because",
        "# ruff: noqa",
        "# ruff: noqa: E501",
        "# pyright: basic",
    ]
    for line in hushed:
        assert bare_ignores(planted(line + "\n")), line
    for line in (
        "x = 1  # noqa: F401 - found by its name",
        "x = 1  # noqa: F401, E402 - found by its name",
        "x = 1  # pyright: ignore[reportPrivateUsage] - what its own command calls",
        "x = 1  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - what its own command calls",
        "x = '# noqa'",
    ):
        assert bare_ignores(planted(line + "\n")) == [], line

    silent = '"""Said."""\nclass A:\n    """Said."""\n'
    silent += "    def f(self): ...\n    def _g(self): ...\n    def __len__(self): ...\n"
    assert undocumented(planted(silent)) == ["src/signalroom/planted.py:4: A.f has no docstring"]
    assert undocumented(planted("x = 1\n")) == ["src/signalroom/planted.py:1: the module has no docstring"]
    assert undocumented(planted('"""Said."""\ndef f():\n    """Said."""\n    def g(): ...\n')) == []
