"""The list of modules in ARCHITECTURE.md, written from their own docstrings; `make docs` runs this file."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from architecture.house import ROOT, Source, package

PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- modules: written by `make docs` -->", "<!-- modules end -->"

# Reading order: the nouns, then what happens to a row, then who makes it happen, then the world outside.
ORDER = (
    "", "workspace", "clients", "ledger", "sources", "capture", "lake", "records", "warehouse", "models", "projections", "reports", "channels", "alerts",
    "engine", "cli", "testing", "simulators",
)  # fmt: skip


def modules(files: list[Source]) -> str:
    """Return the list: a heading for each folder, a line for each file with the first sentence of its docstring."""
    folders: dict[str, list[Source]] = {}
    for one in files:
        folder, _, _ = one.path.removeprefix("src/signalroom/").rpartition("/")
        folders.setdefault(folder, []).append(one)
    known = {folder: place for place, folder in enumerate(ORDER)}
    lines = []
    for folder in sorted(folders, key=lambda name: (known.get(name.partition("/")[0], len(known)), name)):
        own = next((one for one in folders[folder] if one.path.endswith("__init__.py")), None)
        about = f": {_first(own)}" if own and folder else ""
        lines += [f"### `{folder or 'signalroom'}/`{about}", ""]
        inside = sorted(folders[folder], key=lambda one: one.path)
        lines += [f"* `{one.path.rpartition('/')[2]}` {_first(one)}" for one in inside if one is not own]
        lines.append("")
    return "\n".join(lines)


def _first(source: Source) -> str:
    """Return the first sentence of a docstring on one line, without its full stop and in Markdown."""
    paragraph = (ast.get_docstring(source.tree) or "").split("\n\n")[0]
    said = re.split(r"(?<=[\w)`\"'])\.(?:\s|$)", " ".join(paragraph.split()))[0].rstrip(":.")
    return re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", said).replace("``", "`")


def page(text: str, files: list[Source]) -> str:
    """Return the page with its list of modules as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{modules(files)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), package()), encoding="utf-8")
