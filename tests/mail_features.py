"""What an e-mail's HTML asks of a mail program: its tags, attributes, CSS properties, units, selectors and at-rules.

Features are named as caniemail.com names them. What stands in a conditional comment is for Outlook's old engine alone
and is left out; the comments that hide something from it are left out, and what they hide is read.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_UNIT = re.compile(r"(?<![\w#-])-?\d*\.?\d+(px|em|rem|%|pt|vh|vw|vmin|vmax|ch|ex|cm|mm|in|pc)(?![\w-])")
_GROUPS = (
    (re.compile(r"(padding|margin)(-(top|right|bottom|left))?"), r"css-\1"),
    (re.compile(r"border(-(top|right|bottom|left))?(-(style|width|color))?"), "css-border"),
    (re.compile(r"border-((top|bottom)-(left|right)-)?radius"), "css-border-radius"),
    (re.compile(r"(left|right|top|bottom)"), "css-left-right-top-bottom"),
    (re.compile(r"supported-color-schemes"), "css-color-scheme"),
    (re.compile(r"overflow-[xy]"), "css-overflow"),
)
_SELECTORS = (
    ("css-selector-class", re.compile(r"\.[\w-]+")),
    ("css-selector-id", re.compile(r"#[\w-]+")),
    ("css-selector-type", re.compile(r"(?<![.#\w:\[-])[a-z][\w-]*")),
    ("css-selector-child", re.compile(r">")),
    ("css-selector-descendant", re.compile(r"[\w\])]\s+[.#\w]")),
    ("css-selector-attribute", re.compile(r"\[")),
    ("css-selector-universal", re.compile(r"\*")),
    ("css-selector-adjacent-sibling", re.compile(r"\+")),
    ("css-selector-general-sibling", re.compile(r"~")),
    ("css-selector-grouping", re.compile(r",")),
)
_PSEUDO = re.compile(r"(::?)([a-z-]+)")
_TAGS = {
    **{f"h{n}": "html-h1-h6" for n in range(1, 7)},
    **dict.fromkeys(("ul", "ol", "li", "dl", "dt", "dd"), "html-lists"),
    **dict.fromkeys(("table", "tr", "td", "th", "tbody", "thead", "tfoot"), "html-table"),
    **dict.fromkeys(("article", "section", "header", "footer", "main", "nav", "aside", "figure"), "html-semantics"),
    "b": "html-strong",
}
_ATTRIBUTES = ("align", "valign", "width", "height", "background", "cellpadding", "cellspacing", "dir", "lang", "role",
               "srcset", "target", "hidden", "aria-label", "aria-hidden", "aria-describedby", "aria-labelledby")  # fmt: skip


class Features(HTMLParser):
    """Collects the features of one e-mail.

    Attributes:
        found: Feature -> where it is used first.
        loads: Addresses that a mail program would fetch by itself.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.loads: list[str] = []
        self._style = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._note(_TAGS.get(tag, f"html-{tag}"), f"<{tag}>")
        self._style = tag == "style"
        for name, value in attrs:
            where = f'<{tag} {name}="{value}">'
            if name in _ATTRIBUTES:
                self._note(f"html-{name}", where)
            if name == "style":
                self._declarations(value or "", where)
            if (name in {"src", "background", "srcset"} or (tag, name) == ("link", "href")) and value:
                self.loads.append(value)
            if (tag, name) == ("img", "src") and "." in (value or ""):
                self._note(f"image-{value.rpartition('.')[2]}", where)
            if (tag, name, value) == ("meta", "name", "color-scheme"):
                self._note("html-meta-color-scheme", where)

    def handle_endtag(self, tag):
        self._style = self._style and tag != "style"

    def handle_data(self, data):
        if self._style:
            self._sheet(_COMMENT.sub("", data))

    def _note(self, feature, where):
        self.found.setdefault(feature, where)

    def _sheet(self, css):
        for prelude, body in _rules(css):
            if prelude.startswith("@"):
                name = prelude[1:].split()[0].split("(")[0]
                asked = re.findall(r"\((prefers-[a-z-]+|orientation|hover)", prelude)
                for feature in [f"css-at-{name}", *(f"css-at-{name}-{one}" for one in asked)]:
                    self._note(feature, prelude)
                self.loads += re.findall(r"url\(([^)]+)\)", prelude)
                self._sheet(body)
                continue
            for feature, pattern in _SELECTORS:
                if pattern.search(prelude):
                    self._note(feature, prelude)
            for colons, name in _PSEUDO.findall(prelude):
                self._note(f"css-pseudo-{'element' if colons == '::' else 'class'}-{name}", prelude)
            self._declarations(body, prelude)

    def _declarations(self, text, where):
        for declaration in text.split(";"):
            name, _, value = (part.strip() for part in declaration.partition(":"))
            if not name or name.startswith(("mso-", "-")):  # a vendor's own: others pass over it, by the rules of CSS
                continue
            told = f"{where} {{ {name}: {value} }}"
            self._note(_property(name), told)
            if name == "display" and value.split()[0] in {"none", "flex", "grid"}:
                self._note(f"css-display-{value.split()[0]}", told)
            if "!important" in value:
                self._note("css-important", told)
            for unit in _UNIT.findall(value):
                self._note("css-unit-percent" if unit == "%" else f"css-unit-{unit}", told)
            for function in re.findall(r"([a-z-]+)\(", value):
                self._note(f"css-unit-{function}" if function == "calc" else f"css-function-{function}", told)
            self.loads += re.findall(r"url\(([^)]+)\)", value)


def _property(name):
    for pattern, feature in _GROUPS:
        if pattern.fullmatch(name):
            return pattern.sub(feature, name) if "\\" in feature else feature
    return f"css-{name}"


def _rules(css) -> Iterator[tuple[str, str]]:
    """Yield (prelude, body) of each rule at the top of ``css``; an at-rule without a body has an empty one."""
    at = 0
    while found := re.compile(r"\s*([^{};]+?)\s*([{;])").match(css, at):
        if found[2] == ";":
            yield found[1], ""
            at = found.end()
            continue
        depth, end = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(css[end], 0)
            end += 1
        yield found[1], css[found.end() : end - 1]
        at = end
