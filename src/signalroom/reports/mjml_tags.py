"""The vocabulary of MJML 4: which tags there are, where they may stand, which attributes they take.

The converter drops a tag it does not know together with all it holds, and an attribute without a word; this table is
what :mod:`signalroom.reports.mjml` checks a template against instead.
"""

from __future__ import annotations

from typing import Final

_PADDING = frozenset({"padding", "padding-bottom", "padding-left", "padding-right", "padding-top"})
_BORDER = frozenset({"border", "border-bottom", "border-left", "border-radius", "border-right", "border-top"})
_INNER_BORDER = frozenset(f"inner-{name}" for name in _BORDER)
_FONT = frozenset(
    {
        "color",
        "font-family",
        "font-size",
        "font-style",
        "font-weight",
        "letter-spacing",
        "line-height",
        "text-decoration",
        "text-transform",
    }
)
_BACKGROUND = frozenset(
    {
        "background-color",
        "background-position",
        "background-position-x",
        "background-position-y",
        "background-repeat",
        "background-size",
        "background-url",
    }
)
_BOX = _PADDING | {"align", "container-background-color"}
_LINK = frozenset({"href", "rel", "target", "title", "name"})
_SECTION = _BACKGROUND | _BORDER | _PADDING | {"direction", "full-width", "text-align"}
_COLUMN = _BORDER | _INNER_BORDER | _PADDING | {"background-color", "direction", "vertical-align", "width"}
_IMAGE = frozenset({"alt", "height", "max-height", "sizes", "src", "srcset", "usemap", "width", "fluid-on-mobile"})

_ACCORDION = frozenset(
    {
        "border",
        "font-family",
        "icon-align",
        "icon-height",
        "icon-position",
        "icon-unwrapped-alt",
        "icon-unwrapped-url",
        "icon-width",
        "icon-wrapped-alt",
        "icon-wrapped-url",
    }
)

EVERYWHERE: Final = frozenset({"mj-class", "css-class"})
"""Attributes that each tag of the body takes."""

ATTRIBUTES: Final[dict[str, frozenset[str]]] = {
    "mjml": frozenset({"lang", "dir", "owa", "version"}),
    "mj-head": frozenset(),
    "mj-body": frozenset({"background-color", "width", "id"}),
    "mj-attributes": frozenset(),
    "mj-all": frozenset({"*"}),
    "mj-class": frozenset({"*"}),
    "mj-breakpoint": frozenset({"width"}),
    "mj-font": frozenset({"name", "href"}),
    "mj-html-attributes": frozenset(),
    "mj-selector": frozenset({"path"}),
    "mj-html-attribute": frozenset({"name"}),
    "mj-preview": frozenset(),
    "mj-style": frozenset({"inline"}),
    "mj-title": frozenset(),
    "mj-wrapper": _SECTION | {"gap"},
    "mj-section": _SECTION,
    "mj-group": frozenset({"background-color", "direction", "vertical-align", "width"}),
    "mj-column": _COLUMN,
    "mj-hero": _BACKGROUND
    | _PADDING
    | {
        "align",
        "background-height",
        "background-width",
        "border-radius",
        "container-background-color",
        "height",
        "inner-background-color",
        "inner-padding",
        "mode",
        "vertical-align",
        "width",
    },
    "mj-text": _BOX | _FONT | {"background-color", "height", "vertical-align"},
    "mj-table": _BOX
    | _FONT
    | {"border", "cellpadding", "cellspacing", "role", "table-layout", "vertical-align", "width"},
    "mj-image": _BOX | _BORDER | _LINK | _IMAGE | {"font-size"},
    "mj-button": _BOX
    | _BORDER
    | _FONT
    | _LINK
    | {"background-color", "height", "inner-padding", "text-align", "vertical-align", "width"},
    "mj-divider": _BOX | {"border-color", "border-style", "border-width", "width"},
    "mj-spacer": _PADDING | {"container-background-color", "height"},
    "mj-raw": frozenset({"position"}),
    "mj-social": _BOX
    | _FONT
    | {
        "border-radius",
        "icon-height",
        "icon-padding",
        "icon-size",
        "inner-padding",
        "mode",
        "table-layout",
        "text-padding",
    },
    "mj-social-element": _PADDING
    | _FONT
    | _LINK
    | {
        "align",
        "alt",
        "background-color",
        "border-radius",
        "icon-height",
        "icon-padding",
        "icon-position",
        "icon-size",
        "sizes",
        "src",
        "srcset",
        "text-padding",
        "vertical-align",
    },
    "mj-navbar": _BOX
    | {
        "base-url",
        "hamburger",
        "ico-align",
        "ico-close",
        "ico-color",
        "ico-font-family",
        "ico-font-size",
        "ico-line-height",
        "ico-open",
        "ico-padding",
        "ico-padding-bottom",
        "ico-padding-left",
        "ico-padding-right",
        "ico-padding-top",
        "ico-text-decoration",
        "ico-text-transform",
    },
    "mj-navbar-link": _PADDING | _FONT | _LINK,
    "mj-accordion": _PADDING | _ACCORDION | {"container-background-color"},
    "mj-accordion-element": _ACCORDION | {"background-color"},
    "mj-accordion-title": _PADDING | {"background-color", "color", "font-family", "font-size", "font-weight"},
    "mj-accordion-text": _PADDING | _FONT | {"background-color"},
    "mj-carousel": _BOX
    | _BORDER
    | {
        "background-color",
        "icon-width",
        "left-icon",
        "right-icon",
        "tb-border",
        "tb-border-radius",
        "tb-hover-border-color",
        "tb-selected-border-color",
        "tb-width",
        "thumbnails",
    },
    "mj-carousel-image": _LINK | {"alt", "border-radius", "src", "tb-border", "tb-border-radius", "thumbnails-src"},
}
"""Tag -> its own attributes; ``*`` allows any."""

_CONTENT = (
    "mj-accordion",
    "mj-button",
    "mj-carousel",
    "mj-divider",
    "mj-image",
    "mj-navbar",
    "mj-raw",
    "mj-social",
    "mj-spacer",
    "mj-table",
    "mj-text",
)
_HEAD = (
    "mj-attributes",
    "mj-breakpoint",
    "mj-font",
    "mj-html-attributes",
    "mj-preview",
    "mj-raw",
    "mj-style",
    "mj-title",
)

CHILDREN: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"mjml"}),
    "mjml": frozenset({"mj-head", "mj-body"}),
    "mj-head": frozenset(_HEAD),
    "mj-attributes": frozenset(ATTRIBUTES) - {"mjml", "mj-head", "mj-attributes", *_HEAD} | {"mj-all", "mj-class"},
    "mj-html-attributes": frozenset({"mj-selector"}),
    "mj-selector": frozenset({"mj-html-attribute"}),
    "mj-body": frozenset({"mj-wrapper", "mj-section", "mj-hero", "mj-raw"}),
    "mj-wrapper": frozenset({"mj-section", "mj-hero", "mj-raw"}),
    "mj-section": frozenset({"mj-column", "mj-group", "mj-raw"}),
    "mj-group": frozenset({"mj-column", "mj-raw"}),
    "mj-column": frozenset(_CONTENT),
    "mj-hero": frozenset(_CONTENT),
    "mj-social": frozenset({"mj-social-element"}),
    "mj-navbar": frozenset({"mj-navbar-link"}),
    "mj-accordion": frozenset({"mj-accordion-element"}),
    "mj-accordion-element": frozenset({"mj-accordion-title", "mj-accordion-text"}),
    "mj-carousel": frozenset({"mj-carousel-image"}),
}
"""Tag -> the tags it may hold. A tag that is missing here holds HTML (or nothing)."""
