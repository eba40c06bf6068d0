"""The reference says what the code says, and every page's links and commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from signalroom.cli.app import ENTRIES
from signalroom.cli.reference import pages

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_reference_is_what_the_code_says(name):
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == pages()[name], "run `make docs` and commit"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_exists(page):
    for command in re.findall(
        r"\bsignalroom ([a-z]+)\b(?! \|)", "\n".join(re.findall(r"`[^`]+`|```sh\n.*?```", page.read_text(), re.DOTALL))
    ):
        assert command in ENTRIES, f"{page.name} shows `signalroom {command}`"


def test_every_command_and_kind_is_in_the_reference():
    shown = "\n".join(pages().values())
    assert all(f"`signalroom {name}`" in shown for name in ENTRIES)
    assert all(f'kind = "{kind}"' in shown for kind in ("files", "everflow", "redtrack", "file", "duckdb", "postgres"))
