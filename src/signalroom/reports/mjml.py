"""MJML to HTML, with the lint that the converter lacks.

``mrml`` (like every binding of it) drops an unknown tag together with its content and says nothing: a misspelt
``<mj-colum>`` would send an empty e-mail. So each template is checked twice: its source, where a line number
means something to its author, and what it rendered to, where the structure is complete.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Final

from signalroom.errors import ConfigError, nearest
from signalroom.reports.mjml_tags import ATTRIBUTES, CHILDREN, EVERYWHERE

_JINJA: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_ENTITY: Final = re.compile(r"&(?!(?:#\d+|#x[0-9a-fA-F]+|\w+);)")


def to_html(source: str, where: str) -> str:
    """Return the HTML of rendered MJML, Outlook's tables included.

    Raises:
        ConfigError: An unknown or misplaced tag, an unknown attribute, an image without ``alt``, a tag that is not
            closed; naming ``where`` and the line of the rendered text.
    """
    import mrml

    lint(source, f"{where} as rendered")
    try:
        # A stray & in a label written without escaping is text to a browser and an error to an XML parser.
        # Left alone it fetches Roboto from afar wherever a style names it, and so tells when and where a mail is read.
        return mrml.to_html(_ENTITY.sub("&amp;", source), render_options=mrml.RenderOptions(fonts={})).content
    except OSError as error:
        raise ConfigError(f"{where} is not well formed: {error}.", mend="Close every tag that it opens.") from error


@functools.lru_cache(maxsize=64)
def lint_template(template: str, where: str) -> None:
    """Check the tags and attributes of a template as its author wrote it; raises ConfigError with the line."""
    # Jinja is blanked out, letter for letter, so that lines stay where they are; a value stays a value.
    _check(
        _JINJA.sub(lambda found: re.sub(r"[^\n]", "x" if found[0][1] == "{" else " ", found[0]), template), where, False
    )


def lint(source: str, where: str) -> None:
    """Check rendered MJML: tags, where they stand, attributes, ``alt`` texts; raises ConfigError with the line."""
    _check(source, where, True)


def _check(source: str, where: str, structure: bool) -> None:
    parser = _Lint(where, structure)
    parser.feed(source)
    parser.close()
    if structure:
        parser.finish()


class _Lint(HTMLParser):
    """Walks MJML and raises at the first thing the converter would swallow."""

    def __init__(self, where: str, structure: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._where = where
        self._structure = structure
        self._open: list[str] = []
        self._seen_body = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Check one tag and remember that it is open."""
        self._see(tag, attrs)
        if tag in ATTRIBUTES:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Check a tag that closes itself."""
        self._see(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """Check that what closes is what was open."""
        if tag not in ATTRIBUTES or not self._structure:
            return
        if not self._open or self._open[-1] != tag:
            inside = f"; <{self._open[-1]}> is still open" if self._open else ""
            self._fail(f"closes <{tag}>, which is not open{inside}", "Close every tag in the order it was opened.")
        self._open.pop()

    def finish(self) -> None:
        """Check the end of the text."""
        if self._open:
            self._fail(f"never closes <{self._open[-1]}>", "Close it.")
        if not self._seen_body:
            self._fail("has no <mj-body>", "Write <mjml><mj-body>…</mj-body></mjml>.")

    def _see(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag == "mj-include":
            self._fail("uses <mj-include>", 'Use {% include "_part.mjml" %}.')
        if tag.startswith("mj") and tag not in ATTRIBUTES:
            self._fail(f"has the unknown tag <{tag}>", nearest(tag, ATTRIBUTES) or "MJML does not have it.")
        if self._structure:
            self._check_place(tag)
        self._seen_body = self._seen_body or tag == "mj-body"
        known = ATTRIBUTES.get(tag)
        if known is None or "*" in known or "mj-attributes" in self._open:
            return
        for name, _ in attrs:
            if name not in known and name not in EVERYWHERE and not name.startswith("{") and not set(name) <= {"x"}:
                self._fail(f"gives <{tag}> the unknown attribute {name!r}", nearest(name, known | EVERYWHERE))
        if self._structure and tag == "mj-image" and not dict(attrs).get("alt"):
            self._fail("shows an image without alt", 'Say what it shows: alt="…".')

    def _check_place(self, tag: str) -> None:
        parent = self._open[-1] if self._open else ""
        allowed = CHILDREN.get(parent)
        if allowed is None:  # the parent holds HTML
            if tag in ATTRIBUTES:
                self._fail(f"puts <{tag}> into <{parent}>, which holds text", f"Close <{parent}> first.")
        elif tag not in allowed:
            place = f"into <{parent}>" if parent else "outside <mjml>"
            holders = sorted(name for name, inner in CHILDREN.items() if tag in inner and name)
            mend = f"It belongs into <{'> or <'.join(holders)}>." if holders else "Put HTML into <mj-text> or <mj-raw>."
            self._fail(f"puts <{tag}> {place}", mend)

    def _fail(self, what: str, mend: str) -> None:
        raise ConfigError(f"{self._where} line {self.getpos()[0]} {what}.", mend=mend)
