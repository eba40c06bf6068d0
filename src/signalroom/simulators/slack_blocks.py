"""What Slack refuses in blocks: each rule with the place it names in its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_BLOCKS = 50
MAX_CHARACTERS = 13_200

_NATIVE = frozenset({"data_table", "data_visualization"})
_TYPES = frozenset({"header", "section", "divider", "context", "actions", "image", "markdown", "table"}) | _NATIVE


def block_errors(blocks: Any, *, native: bool) -> list[str]:
    """Return what is wrong with blocks, as Slack words it; empty when it would take them.

    Args:
        blocks: What stands under `blocks`, read as JSON.
        native: Whether this workspace knows native tables and charts.
    """
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= MAX_BLOCKS:
        return [f"[ERROR] no more than {MAX_BLOCKS} items allowed [json-pointer:/blocks]"]
    return [
        f"[ERROR] {what} [json-pointer:/blocks/{at}]" for at, one in enumerate(blocks) for what in _wrong(one, native)
    ]


def characters(value: Any) -> int:
    """Return how much text there is in blocks, all in all."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        silent = ("type", "block_id", "action_id", "url", "image_url", "value", "style")
        return sum(characters(inner) for name, inner in value.items() if name not in silent)
    return sum(map(characters, value)) if isinstance(value, list) else 0


def _wrong(block: Any, native: bool) -> Iterator[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in _TYPES or (kind in _NATIVE and not native):
        yield f"unsupported type: {kind}"
        return
    match kind:
        case "header":
            yield from _text(block.get("text"), 150, {"plain_text"})
        case "section":
            if "text" not in block and "fields" not in block:
                yield "missing required field: text"
            if "text" in block:
                yield from _text(block["text"], 3_000)
            fields = block.get("fields", [])
            if len(fields) > 10:
                yield "no more than 10 items allowed"
            for one in fields:
                yield from _text(one, 2_000)
        case "context":
            if not 1 <= len(block.get("elements", [])) <= 10:
                yield "no more than 10 items allowed"
        case "actions":
            if not 1 <= len(block.get("elements", [])) <= 25:
                yield "no more than 25 items allowed"
        case "image":
            if not block.get("alt_text") or ("image_url" in block) == ("slack_file" in block):
                yield "missing required field: image_url, slack_file or alt_text"
        case "markdown":
            if not 0 < len(str(block.get("text", ""))) <= 12_000:
                yield "must be less than 12001 characters"
        case "data_table" | "table":
            rows = block.get("rows", [])
            if not 1 <= len(rows) <= 201 or any(len(row) > 20 for row in rows):
                yield "must have at most 201 rows of 20 columns"
        case _:
            pass


def _text(
    text: Any, longest: int, kinds: frozenset[str] | set[str] = frozenset({"plain_text", "mrkdwn"})
) -> Iterator[str]:
    if not isinstance(text, dict) or text.get("type") not in kinds:
        yield "must provide a text object"
    elif not 0 < len(str(text.get("text", ""))) <= longest:
        yield f"must be less than {longest + 1} characters"
