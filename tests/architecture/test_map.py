"""ARCHITECTURE.md names every module, and only modules that exist."""

from __future__ import annotations

import tomllib

import pytest

from architecture.house import ROOT, Source, package
from architecture.house_map import BEGIN, END, PAGE, modules, page

pytestmark = pytest.mark.xdist_group("architecture")  # one process parses the tree, once


def test_the_list_of_modules_is_what_the_tree_says():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, package()), "run `make docs` and commit"


def test_the_layers_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert "```\n" + "\n".join(layers) + "\n```" in PAGE.read_text(encoding="utf-8")


def test_a_module_is_named_with_its_first_sentence_in_reading_order():
    files = [
        Source("src/signalroom/lake/__init__.py", '"""Raw."""'),
        Source("src/signalroom/lake/ids.py", '"""Load ids: they sort. And\nmore."""'),
        Source("src/signalroom/zoo/a.py", '"""New and\nlong: ``x``.\n\nRest."""'),
        Source("src/signalroom/run.py", '"""One :class:`~signalroom.run.Run`."""'),
    ]
    assert modules(files).splitlines() == [
        "### `signalroom/`",
        "",
        "* `run.py` One `Run`",
        "",
        "### `lake/`: Raw",
        "",
        "* `ids.py` Load ids: they sort",
        "",
        "### `zoo/`",
        "",
        "* `a.py` New and long: `x`",
    ]
    before = f"top\n{BEGIN}\nold\n{END}\nbottom\n"
    assert page(page(before, files), files) == page(before, files)
    assert page(before, files) != before
    assert page(before, files).endswith(f"{END}\nbottom\n")
