"""The plain-text part of an e-mail, made from its HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

from signalroom.blocktext import aligned

_SILENT: Final = frozenset({"head", "script", "style", "title", "template"})
_VOID: Final = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})
_PARAGRAPH: Final = frozenset({"p", "div", "td", "th", "tr", "h1", "h2", "h3", "h4", "ul", "ol", "table", "section"})
_NUMBER: Final = re.compile(r"[-+▲▼ ]*\$?[\d,.]+(?:e\d+)?[%kMBT]?|n/a|no change")


def html_to_text(html: str) -> str:
    """Return what an HTML e-mail says, as text: data tables in columns, links spelt out, pictures by their alt text.

    Layout tables (``role="presentation"``), hidden elements and Outlook's conditional comments leave no trace.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.text()


@dataclass(frozen=True, slots=True)
class _Element:
    """An element that is open: whether it is hidden, a table of data, and where its link goes."""

    tag: str
    hidden: bool
    data: bool
    href: str


@dataclass(slots=True)
class _Table:
    """A data table being read."""

    rows: list[list[str]] = field(default_factory=list[list[str]])


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[_Element] = []
        self._lines: list[str] = [""]
        self._tables: list[_Table] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Open an element, or show one that has no content."""
        given = {name: value or "" for name, value in attrs}
        if tag in _VOID:
            self._void(tag, given)
            return
        style = given.get("style", "").replace(" ", "").lower()
        hidden = self._hidden() or tag in _SILENT or "display:none" in style or given.get("aria-hidden") == "true"
        data = tag == "table" and given.get("role") != "presentation"
        self._open.append(_Element(tag, hidden=hidden, data=data, href=given.get("href", "")))
        if hidden:
            return
        if data:
            self._break()
            self._tables.append(_Table())
        elif self._tables and tag == "tr":
            self._tables[-1].rows.append([])
        elif self._tables and tag in {"td", "th"}:
            if self._tables[-1].rows:
                self._tables[-1].rows[-1].append("")
        elif tag == "li":
            self._break()
            self._say("* ")
        elif tag in _PARAGRAPH:
            self._break()
            if "max-width" in style and not self._tables:  # how MJML draws a section
                self._lines.append("")

    def handle_endtag(self, tag: str) -> None:
        """Close an element and those left open inside it."""
        while any(element.tag == tag for element in self._open):
            element = self._open.pop()
            if not element.hidden:
                self._close(element)
            if element.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        """Say text that is not hidden."""
        if not self._hidden():
            self._say(re.sub(r"\s+", " ", data))

    def text(self) -> str:
        """Return all lines, blank ones at most one at a time."""
        joined = "\n".join(line.rstrip() for line in self._lines)
        return re.sub(r"\n{3,}", "\n\n", joined).strip() + "\n"

    def _void(self, tag: str, given: dict[str, str]) -> None:
        if self._hidden():
            return
        if tag == "br":
            self._say(" " if self._tables else "\n")
        elif tag == "img" and given.get("alt"):
            self._break()
            self._say(f"[{given['alt']}]")

    def _close(self, element: _Element) -> None:
        if element.tag == "a" and element.href.startswith(("http:", "https:", "mailto:")):
            self._say(f" ({element.href})")
        elif element.data:
            rows = [row for row in self._tables.pop().rows if any(cell.strip() for cell in row)]
            cells = [[" ".join(cell.split()) for cell in row] for row in rows]
            self._break()
            self._lines.extend([*aligned(cells, _numeric(cells)).split("\n"), "", ""])
        elif element.tag in _PARAGRAPH:
            self._break()

    def _hidden(self) -> bool:
        return bool(self._open) and self._open[-1].hidden

    def _say(self, text: str) -> None:
        if self._tables:
            if self._tables[-1].rows and self._tables[-1].rows[-1]:
                self._tables[-1].rows[-1][-1] += text
            return
        for at, part in enumerate(text.split("\n")):
            if at:
                self._lines.append("")
            if part.strip() or self._lines[-1]:
                self._lines[-1] += part if self._lines[-1] else part.lstrip()

    def _break(self) -> None:
        if not self._tables and self._lines[-1].strip():
            self._lines.append("")


def _numeric(cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the columns whose every filled cell below the heading is a number."""
    columns = range(max((len(row) for row in cells), default=0))
    return [
        at
        for at in columns
        if all(_NUMBER.fullmatch(row[at]) for row in cells[1:] if at < len(row) and row[at]) and len(cells) > 1
    ]
