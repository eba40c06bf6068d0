"""A map of the United States as tiles, one a state: figures by state, drawn as our own SVG.

Declared in ``charts.toml`` like any chart, with ``kind = "states"``::

    [map]
    kind = "states"
    title = "Revenue by state"
    data = "states"                      # the query it shows: one record a state
    x = "state"                          # two letters; what is no state is not drawn
    lines = ["revenue"]

Every state has the same area, so that a small one is seen; its figure is written on its tile and told by one of five
shades besides, which split the states that have a figure into groups of about equal size.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from signalroom.reports import formats

TEMPLATE_NAME: Final = "tiles.svg.j2"
HEIGHT: Final = 452
_COLUMNS: Final = 11
_STEP: Final = 52
_TILE: Final = 48
_TOP: Final = 34
_ROWS: Final = (
    "AK                  ME",
    "                  VTNH",
    "WAIDMTNDMNILWIMINYRIMA",
    "ORNVWYSDIAINOHPANJCT  ",
    "CAUTCONEMOKYWVVAMDDE  ",
    "  AZNMKSARTNNCSCDC    ",
    "      OKLAMSALGA      ",
    "HI    TX        FL    ",
)
PLACES: Final[Mapping[str, tuple[int, int]]] = {
    code: (column, row)
    for row, line in enumerate(_ROWS)
    for column in range(_COLUMNS)
    if (code := line[2 * column : 2 * column + 2].strip())
}
"""State (two letters, DC included) -> its column and row on the map."""

_SHADES: Final = (
    ("#cfe0fb", "#15191e"),
    ("#9cc1f7", "#15191e"),
    ("#5f97ec", "#0b1524"),
    ("#2562c4", "#ffffff"),
    ("#12376f", "#ffffff"),
)
"""Fill and ink of a tile, the least first; each pair keeps a contrast of 4.5 whatever page is behind."""


@functools.cache
def template_source() -> str:
    """Return the SVG template's text."""
    return Path(__file__).with_name(TEMPLATE_NAME).read_text(encoding="utf-8")


def alt_text(title: str, figures: Mapping[str, Decimal | None], write: Any) -> str:
    """Return the map in words: how many states have a figure, and the five with the most.

    Args:
        title: What it shows, in words.
        figures: State -> its figure.
        write: Writes a figure.
    """
    known = _drawn(figures)
    if not known:
        return f"{title}: no data."
    leading = ", ".join(f"{state} {write(value)}" for state, value in known[:5])
    count = formats.counted(len(known), "state")
    return f"{title}: {count}. Most: {leading}." if len(known) > 5 else f"{title}: {count}: {leading}."


def geometry(figures: Mapping[str, Decimal | None], write: Any) -> dict[str, Any]:
    """Return what the template draws: tiles with their shade, and the legend."""
    known = _drawn(figures)
    shade = {state: _shade(place, len(known)) for place, (state, _) in enumerate(reversed(known))}
    tiles = [
        {
            "x": column * _STEP + (600 - _COLUMNS * _STEP) // 2,
            "y": row * _STEP + _TOP,
            "state": state,
            "fill": _SHADES[shade[state]][0] if state in shade else "none",
            "ink": _SHADES[shade[state]][1] if state in shade else "#76808c",
            "text": write(figures[state]) if state in shade else "",
        }
        for state, (column, row) in PLACES.items()
    ]
    groups = [[value for state, value in known if shade[state] == at] for at in range(len(_SHADES))]
    legend = [{"fill": _SHADES[at][0], "text": f"from {write(min(group))}"} for at, group in enumerate(groups) if group]
    for place, entry in enumerate(legend):
        entry["x"] = str(round(14 + place * 586 / len(legend)))
    longest = max((len(str(tile["text"])) for tile in tiles), default=0)
    size = 15 if longest < 6 else 12  # of all alike: a larger one would look like more
    return {"height": HEIGHT, "size": _TILE, "figure_size": size, "tiles": tiles, "legend": legend}


def _drawn(figures: Mapping[str, Decimal | None]) -> list[tuple[str, Decimal]]:
    """Return the states with a figure above nothing, the most first."""
    known = [(state, value) for state in PLACES if (value := figures.get(state)) is not None and value > 0]
    return sorted(known, key=lambda one: (-one[1], one[0]))


def _shade(place: int, states: int) -> int:
    """Return which shade the state at ``place`` (0 is the least) of ``states`` has; a lone one is dark."""
    return (place + 1) * len(_SHADES) // states - 1 if states < len(_SHADES) else place * len(_SHADES) // states
