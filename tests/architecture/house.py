"""The tree as the architecture tests read it: files, syntax, names. Nothing here imports the package."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What .gitignore leaves out, for a tree that came without git.
_NEVER = {".git", ".venv", ".hypothesis", ".pytest_cache", ".ruff_cache", "__pycache__", "build", "demo", "dist", "out"}


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the top of the tree, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def named(self) -> list[tuple[str, ast.stmt]]:
        """Every class and function with its dotted name inside the file."""
        return list(_named(self.tree, ""))

    @property
    def module(self) -> str:
        """The dotted name it is imported by; only files under ``src`` have one."""
        name = self.path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        return name.removesuffix(".__init__")

    def at(self, node: ast.AST, said: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {said}"


def committed() -> list[Path]:
    """Return every file that git has or would take, from the top of the tree; where there is no git, every file."""
    if (ROOT / ".git").exists():
        asked = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        done = subprocess.run(asked, capture_output=True, check=True)
        names = [Path(name.decode()) for name in done.stdout.split(b"\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        names = [name for name in names if not _NEVER.intersection(name.parts)]
    return sorted({name for name in names if (ROOT / name).is_file()})


@cache
def _python() -> tuple[Source, ...]:
    found = [path for path in committed() if path.suffix == ".py"]
    return tuple(Source(path.as_posix(), (ROOT / path).read_text(encoding="utf-8")) for path in found)


def package() -> list[Source]:
    """Return the files of the package."""
    return [one for one in _python() if one.path.startswith("src/")]


def everything() -> list[Source]:
    """Return the files of the package, its tests and its benchmarks."""
    return [one for one in _python() if one.path.startswith(("src/", "tests/", "bench/"))]


def _named(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.stmt]]:
    for child in _statements(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}" if inside else child.name
            yield name, child
            yield from _named(child, name)
        else:
            yield from _named(child, inside)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is directly below ``node`` and holds statements; expressions hold none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield child


def at_import(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when a module is imported: not those of functions, nor those for type checkers."""
    for child in _statements(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from at_import(ast.Module(child.orelse, []))
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from at_import(child)


def modules_of(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """Return what an import statement may import: ``from a import b`` is module ``a``, and perhaps ``a.b``."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    base = statement.module or ""
    return [base, *(f"{base}.{alias.name}" for alias in statement.names)]
