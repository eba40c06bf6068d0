"""Slack blocks as text, and measured: what a terminal shows of them, and what Slack would not take.

Blocks travel in a :class:`~signalroom.message.Message` between stages, and both ends read them.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from signalroom.errors import DataError
from signalroom.position import Json

MAX_BLOCKS: Final = 50
MAX_CHARACTERS: Final = 13_200
"""Slack refuses more text over all blocks of a message (``msg_blocks_too_long``), without documenting it."""

MAX_TEXT: Final = 3_000
"""Characters in the text of one block."""

_SILENT: Final = frozenset({"type", "block_id", "action_id", "url", "image_url", "value", "style"})

_LINK = re.compile(r"<(?P<url>[^<>|\s]+)\|(?P<text>[^<>]*)>|<(?P<bare>(?:https?|mailto):[^<>|\s]+)>")
_STYLED = re.compile(r"(?<![\w*_~])([*_~])(?=\S)(?P<inner>[^\n]*?\S)\1(?![\w*_~])")
_EMOJI = {
    ":warning:": "⚠",
    ":large_green_circle:": "●",
    ":red_circle:": "●",
    ":white_circle:": "○",
    ":hourglass_flowing_sand:": "⏳",
    ":trophy:": "🏆",
    ":rotating_light:": "🚨",
    ":white_check_mark:": "✅",
}
_RULE = "─" * 48
_LEVELS = "▁▂▃▄▅▆▇█"


def as_text(blocks: Sequence[Mapping[str, Json]]) -> str:
    """Return blocks as plain text, one paragraph each; a divider is a drawn line, never hyphens.

    Args:
        blocks: Slack blocks, e.g. ``message.blocks``; a type this does not know is named in brackets.
    """
    return "\n\n".join(part for block in blocks if (part := _block(block))) + "\n"


def classic(blocks: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    """Return blocks for a Slack that refuses native tables and charts: tables in fixed width, charts as sparklines."""
    plain: list[Mapping[str, Json]] = []
    for block in blocks:
        if block.get("type") not in {"data_table", "data_visualization"}:
            plain.append(block)
            continue
        body = _escape(_block(block)).replace("`", "'")
        while len(body) > 2_950:  # a section holds 3,000, and the table loses whole lines rather than half a number
            body = body[: body.rfind("\n", 0, 2_940)] + "\n…" if "\n" in body[:2_940] else body[:2_940] + "…"
        plain.append({"type": "section", "text": {"type": "mrkdwn", "text": f"```{body}```"}})
    return plain


def check_blocks(blocks: Sequence[Mapping[str, Json]], where: str) -> None:
    """Hold finished blocks to what Slack enforces over a whole message.

    Raises:
        DataError: No block, more than 50, a number that JSON cannot carry, or more than 13,200 characters in all.
    """
    if not blocks:
        raise DataError(f"{where} renders to nothing.", mend="Write at least a line.")
    if len(blocks) > MAX_BLOCKS:
        raise DataError(f"{where} makes {len(blocks)} blocks; Slack takes {MAX_BLOCKS}.", mend="Say less.")
    characters = weight(blocks, where)
    if characters > MAX_CHARACTERS:
        raise DataError(
            f"{where} renders to {characters:,} characters in all blocks; Slack takes about {MAX_CHARACTERS:,}.",
            mend="Show fewer rows.",
        )


def weight(value: Json, where: str = "the message") -> int:
    """Return the characters that Slack counts in blocks; raises DataError for a number that JSON cannot carry."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where} holds {value}, which JSON cannot carry.", mend="Turn it into null in the query.")
    if isinstance(value, Mapping):
        return sum(
            weight(inner, where) for key, inner in value.items() if key not in _SILENT or isinstance(inner, float)
        )
    if isinstance(value, Sequence):
        return sum(weight(inner, where) for inner in value)
    return 0


def aligned(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return rows as columns of fixed width, two spaces apart.

    Args:
        rows: Cells; short rows are filled up.
        right: Numbers of the columns set flush right.
    """
    flush = set(right)
    count = max((len(row) for row in rows), default=0)
    filled = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(_width(row[column]) for row in filled) for column in range(count)]
    return "\n".join(
        "  ".join(_pad(cell, widths[at], flush_right=at in flush) for at, cell in enumerate(row)).rstrip()
        for row in filled
    )


def mrkdwn_to_text(text: str) -> str:
    """Return Slack markup as plain text: links spelt out, styling dropped, ``&lt;`` a ``<`` again."""
    text = _LINK.sub(lambda found: found["bare"] or f"{found['text']} ({found['url']})", text)
    for code, sign in _EMOJI.items():
        text = text.replace(code, sign)
    text = _STYLED.sub(lambda found: found["inner"], text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _block(block: Mapping[str, Any]) -> str:
    match block.get("type"):
        case "divider":
            return _RULE
        case "header":
            title = mrkdwn_to_text(block["text"]["text"])
            return f"{title}\n{'═' * min(_width(title), 48)}"
        case "section":
            return _section(block)
        case "context":
            return "  ·  ".join(mrkdwn_to_text(element.get("text", "")) for element in block["elements"])
        case "data_table":
            return _table(block)
        case "data_visualization":
            return _chart(block)
        case "actions":
            return "\n".join(
                f"[{element['text']['text']}] {element.get('url', '')}".rstrip() for element in block["elements"]
            )
        case "image":
            return f"[picture: {block.get('alt_text', '')}]"
        case "markdown":
            return block["text"]
        case other:
            return f"[{other}]"


def _section(block: Mapping[str, Any]) -> str:
    parts = [mrkdwn_to_text(block["text"]["text"])] if block.get("text") else []
    cells = [mrkdwn_to_text(field["text"]).split("\n") for field in block.get("fields", [])]
    # Slack shows fields in two columns; so does this, line by line of each pair.
    for left, right in zip(cells[::2], [*cells[1::2], [""]], strict=False):
        height = max(len(left), len(right))
        pairs = zip(left + [""] * (height - len(left)), right + [""] * (height - len(right)), strict=True)
        parts.append("\n".join(f"{_pad(one, 28)}{other}".rstrip() for one, other in pairs))
    return "\n\n".join(parts)


def _table(block: Mapping[str, Any]) -> str:
    rows = [[str(cell.get("text", "")) for cell in row] for row in block["rows"]]
    numeric = {at for row in block["rows"][1:] for at, cell in enumerate(row) if cell.get("type") == "raw_number"}
    lines = aligned(rows, numeric).split("\n")
    rule = "─" * max(_width(line) for line in lines)
    return "\n".join([block["caption"], "", lines[0], rule, *lines[1:]])


def _chart(block: Mapping[str, Any]) -> str:
    chart = block["chart"]
    if "series" not in chart:
        cells = [[segment["label"], str(segment["value"])] for segment in chart["segments"]]
        return f"{block['title']}\n{aligned(cells, [1])}"
    cells = [
        [series["name"], _sparkline([point["value"] for point in series["data"]]), _number(series["data"][-1]["value"])]
        for series in chart["series"]
    ]
    categories = chart["axis_config"]["categories"]
    return f"{block['title']} ({categories[0]} to {categories[-1]})\n{aligned(cells, [2])}"


def _sparkline(values: Sequence[float]) -> str:
    low, span = min(values), max(values) - min(values)
    return "".join(_LEVELS[int((value - low) / span * 7) if span > 0 else 0] for value in values)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def _width(text: str) -> int:
    """Return how many columns a terminal needs for ``text``."""
    return sum(
        0 if unicodedata.category(letter) in {"Mn", "Me", "Cf"} else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def _pad(text: str, width: int, *, flush_right: bool = False) -> str:
    gap = " " * (width - _width(text))
    return gap + text if flush_right else text + gap


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
