"""How big a thing may be: a limit is a reason to look for the noun that wants a file of its own."""

from __future__ import annotations

import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterable

import pytest

from architecture.house import Source, everything, package

pytestmark = pytest.mark.xdist_group("architecture")  # one process parses the tree, once

FILE_LINES = 400
FUNCTION_LINES = 60
DEPTH = 2
PAGES = {"src/signalroom/steps.py": 150, "src/signalroom/room.py": 150}  # each is read whole, on one screen and a half
GRAB_BAG = re.compile(r"(^|_)(utils?|commons?|helpers?|misc)(_|$)")
EXCEPTIONS = {
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
}


def long_files(files: Iterable[Source]) -> list[str]:
    """Return files of more lines than a file may have."""
    return [f"{one.path}: {lines} lines" for one in files if (lines := one.text.count("\n")) > FILE_LINES]


def code_lines(source: Source) -> int:
    """Return how many lines hold code: neither blank, nor a comment, nor a docstring."""
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type not in skip:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(source.tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            held.difference_update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(held)


def long_pages(files: Iterable[Source]) -> list[str]:
    """Return the pages of more code than fits."""
    found = {one.path: code_lines(one) for one in files if one.path in PAGES}
    return [
        f"{path}: {lines} lines of code, at most {PAGES[path]}" for path, lines in found.items() if lines > PAGES[path]
    ]


def long_functions(files: Iterable[Source]) -> list[str]:
    """Return functions of more lines, their docstring included, than a function may have."""
    return [
        one.at(node, f"{name} has {lines} lines")
        for one in files
        for name, node in one.named
        if not isinstance(node, ast.ClassDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    ]


def deep_classes(files: Iterable[Source]) -> list[str]:
    """Return classes with more than one class of ours above them; errors are a tree on purpose."""
    bases: dict[str, list[str]] = {}
    where: dict[str, str] = {}
    for one in files:
        known = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(one.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for name, node in one.named:
            if isinstance(node, ast.ClassDef):
                mine = f"{one.module}.{name}"
                written = [ast.unparse(base).split("[")[0] for base in node.bases]
                bases[mine] = [
                    known.get(base, base if base in EXCEPTIONS else f"{one.module}.{base}") for base in written
                ]
                where[mine] = one.at(node, name)

    def depth(name: str) -> int:
        return 1 + max((depth(base) for base in bases[name] if base in bases), default=0)

    def is_error(name: str) -> bool:
        return name in EXCEPTIONS or any(is_error(base) for base in bases.get(name, ()))

    deep = {name: depth(name) for name in bases if not is_error(name)}
    return [f"{where[name]} is {levels} classes deep" for name, levels in deep.items() if levels > DEPTH]


def grab_bags(files: Iterable[Source]) -> list[str]:
    """Return files and folders whose name says nothing about what is in them."""
    parts = [(one.path, part) for one in files for part in one.path.removesuffix(".py").split("/")]
    return [path for path, part in parts if GRAB_BAG.search(part)]


def test_files_are_short():
    assert long_files(everything()) == []


def test_the_pages_are_pages():
    assert {one.path for one in package()} >= set(PAGES)
    assert long_pages(package()) == []


def test_functions_are_short():
    assert long_functions(everything()) == []


def test_classes_are_shallow():
    assert deep_classes(package()) == []


def test_files_are_named_after_what_they_hold():
    assert grab_bags(everything()) == []


def test_each_limit_bites():
    def planted(text: str, path: str = "src/signalroom/planted.py") -> list[Source]:
        return [Source(path, text)]

    assert long_files(planted("x = 1\n" * 401)) == ["src/signalroom/planted.py: 401 lines"]
    assert long_files(planted("x = 1\n" * 400)) == []
    page = '"""What it is."""\n\n# a comment\n' + "x = 1\n" * 150
    assert long_pages(planted(page, "src/signalroom/room.py")) == []
    assert long_pages(planted(page + "y = 2\n", "src/signalroom/room.py"))
    assert long_functions(planted("class A:\n    def f(self):\n" + "        x = 1\n" * 60)) == [
        "src/signalroom/planted.py:2: A.f has 61 lines"
    ]
    assert long_functions(planted("def f():\n" + "    x = 1\n" * 59)) == []
    assert deep_classes(planted("class A: ...\nclass B(A): ...\n")) == []
    assert deep_classes(planted("class A: ...\nclass B(A): ...\nclass C(B): ...\n")) == [
        "src/signalroom/planted.py:3: C is 3 classes deep"
    ]
    across = [
        Source("src/a.py", "class A: ...\nclass B(A): ...\n"),
        Source("src/b.py", "from a import B\nclass C(B): ...\n"),
    ]
    assert deep_classes(across) == ["src/b.py:2: C is 3 classes deep"]
    errors = "class A(ValueError): ...\nclass B(A): ...\nclass C(B): ...\n"
    assert deep_classes(planted(errors)) == []
    for name in ("utils", "helpers", "misc", "common", "sql_utils", "util"):
        assert grab_bags(planted("", f"src/signalroom/{name}.py"))
    assert grab_bags(planted("", "src/signalroom/helpers/rows.py"))
    assert grab_bags(planted("", "src/signalroom/commonality.py")) == []
