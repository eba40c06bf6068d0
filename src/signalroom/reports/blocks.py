r"""Slack messages from templates: text is sections, functions make the other blocks.

A Slack template is written like the message it becomes::

    {{ header("Daily CCW, " ~ report_date|long_date) }}
    *{{ overall.conversions|count }}* conversions at {{ overall.cpa|cpa }}
    {{ fields(["*Revenue*\n" ~ overall.revenue|usd, "*Spend*\n" ~ overall.cost|usd]) }}
    ---
    {{ table(top, {"Affiliate": "label", "Conv.": "conversions|count", "CPA": "cpa|cpa"}, caption="Top five") }}
    {{ context("As of " ~ as_of|local_time(timezone)) }}

Text between blocks becomes one section; a line of hyphens becomes a real divider. What templates insert is escaped
(``&``, ``<``, ``>``: Slack's three control characters), so a name cannot mention a channel. Everything is held
to Slack's limits while it is built, by slackblocks and by :func:`check_blocks`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from signalroom.blocktext import MAX_BLOCKS, MAX_CHARACTERS, as_text, check_blocks, classic
from signalroom.errors import ConfigError, DataError
from signalroom.position import Json
from signalroom.reports import formats

if TYPE_CHECKING:
    from slackblocks import Block

__all__ = ["MAX_BLOCKS", "MAX_CHARACTERS", "Composer", "as_text", "check_blocks", "classic"]

_MARK: Final = "\x1e"  # cannot come from data: control characters are dropped on the way in
_RULE: Final = re.compile(r"^[ \t]*(?:-{3,}|_{3,}|\*{3,}|[─═]{3,})[ \t]*$", re.MULTILINE)


class Composer:
    """Collects the blocks of one rendering; its functions are what a Slack template calls.

    Each returns a marker for its place in the text; :meth:`blocks` puts the blocks and the text between together.
    """

    def __init__(self) -> None:
        self._blocks: list[Block] = []

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the functions by the names templates know them under."""
        return {
            "header": self.header,
            "section": self.section,
            "fields": self.fields,
            "divider": self.divider,
            "context": self.context,
            "buttons": self.buttons,
            "table": self.table,
            "line_chart": self.line_chart,
            "bar_chart": self.bar_chart,
            "block": self.block,
        }

    def header(self, text: object) -> str:
        """Add a headline (plain text, at most 150 characters)."""
        from slackblocks import HeaderBlock

        return self._add(HeaderBlock, _escaped(text))

    def section(self, text: object = "", caller: Callable[[], object] | None = None) -> str:
        """Add a paragraph of Slack markup, given or as a call block: at most 3,000 characters."""
        from slackblocks import SectionBlock

        return self._add(SectionBlock, _escaped(caller() if caller else text).strip())

    def fields(self, texts: Sequence[object]) -> str:
        """Add up to ten short texts in two columns (at most 2,000 characters each)."""
        from slackblocks import SectionBlock, Text

        return self._add(lambda: SectionBlock(fields=[Text(_escaped(text)) for text in texts]))

    def divider(self) -> str:
        """Add a line across."""
        from slackblocks import DividerBlock

        return self._add(DividerBlock)

    def context(self, *texts: object, caller: Callable[[], object] | None = None) -> str:
        """Add small grey text: up to ten pieces."""
        from slackblocks import ContextBlock, Text

        pieces = [_escaped(caller()).strip()] if caller else [_escaped(text) for text in texts]
        return self._add(lambda: ContextBlock([Text(piece) for piece in pieces]))

    def buttons(self, links: Mapping[str, object]) -> str:
        """Add buttons that open links: text -> address; one without an address is left out."""
        from slackblocks import ActionsBlock, Button

        wanted = [(text, str(url)) for text, url in links.items() if url]
        if not wanted:
            return ""
        return self._add(
            lambda: ActionsBlock(
                [Button(text, action_id=f"open_{at}", url=url) for at, (text, url) in enumerate(wanted)]
            )
        )

    def table(
        self,
        rows: Sequence[Any],
        columns: Mapping[str, object],
        caption: str,
        *,
        empty: str = "No rows.",
        page_size: int = 10,
    ) -> str:
        """Add a native table that readers can sort; numbers sort as numbers.

        Args:
            rows: Records.
            columns: Heading -> how its cells are made: ``"column"``, ``"column|filter"``, or a pair of a column and
                a mapping from value to text.
            caption: What the table shows.
            empty: What is said instead when there are no rows.
            page_size: Rows shown at once.
        """
        from slackblocks import DataTableBlock, RawText

        if not rows:
            return self.section(f"_{empty}_")
        body = [[_cell(row, spec) for spec in columns.values()] for row in rows]
        head: list[Any] = [RawText(heading) for heading in columns]
        return self._add(lambda: DataTableBlock([head, *body], caption=_raw(caption), page_size=page_size))

    def line_chart(self, rows: Sequence[Any], x: str, lines: Mapping[str, str], title: str) -> str:
        """Add a native line chart (at most 20 points): legend text -> column. Days with a gap are left out."""
        from slackblocks import LineChart

        return self._chart(LineChart, rows, x, lines, title)

    def bar_chart(self, rows: Sequence[Any], x: str, bars: Mapping[str, str], title: str) -> str:
        """Add a native bar chart (at most 20 groups): legend text -> column."""
        from slackblocks import BarChart

        return self._chart(BarChart, rows, x, bars, title)

    def block(self, **fields: Any) -> str:
        """Add any other block as Slack spells it, e.g. ``block(type="image", image_url=…, alt_text=…)``."""
        from slackblocks import Block

        return self._add(lambda: Block.from_dict(json.loads(json.dumps(fields, default=str))))

    def blocks(self, rendered: str, where: str) -> list[Mapping[str, Json]]:
        """Return the message that a rendered template describes.

        Raises:
            DataError: It breaks a limit of Slack, or says nothing; naming ``where`` and the limit.
        """
        from slackblocks import Message
        from slackblocks.errors import InvalidUsageError

        ordered: list[Block] = []
        for at, piece in enumerate(str(rendered).split(_MARK)):
            if at % 2 and not (piece.isdecimal() and int(piece) < len(self._blocks)):
                raise DataError(f"{where} writes the control character U+001E.", mend="Take it out.")
            ordered.extend([self._blocks[int(piece)]] if at % 2 else _sections(piece, where))
        if len(ordered) > MAX_BLOCKS:
            raise DataError(
                f"{where} makes {len(ordered)} blocks; Slack takes {MAX_BLOCKS}.", mend="Say less, or use a table."
            )
        try:
            payload: dict[str, Any] = json.loads(Message(channel="checked", blocks=ordered).json())
        except InvalidUsageError as error:
            raise DataError(f"{where}: {error}", mend="Shorten it.") from error
        made: list[Mapping[str, Json]] = [
            {key: value for key, value in block.items() if key != "block_id"} for block in payload.get("blocks", [])
        ]
        check_blocks(made, where)
        return made

    def _add(self, make: Callable[..., Block], *arguments: object) -> str:
        from markupsafe import Markup
        from slackblocks.errors import InvalidUsageError

        try:
            self._blocks.append(make(*arguments))
        except InvalidUsageError as error:
            raise DataError(f"Slack would refuse it: {str(error).rstrip('.')}.", mend="Shorten it.") from error
        except NotImplementedError as error:
            raise ConfigError(
                "block() cannot check a block of this type.", mend="Use the function made for it."
            ) from error
        return Markup(f"{_MARK}{len(self._blocks) - 1}{_MARK}")  # noqa: S704 - a number of ours between two marks

    def _chart(self, kind: Any, rows: Sequence[Any], x: str, series: Mapping[str, str], title: str) -> str:
        from slackblocks import AxisConfig, DataPoint, DataSeries, DataVisualizationBlock

        # Slack wants a point in every series for every category: a day with a gap cannot be shown, and a 0 would lie.
        whole = [row for row in rows if all(row[column] is not None for column in series.values())]
        if not whole:
            return ""
        names = _distinct([_filtered(row, x)[1] for row in whole])

        def build() -> Block:
            drawn = [
                DataSeries(
                    _raw(legend),
                    [DataPoint(name, _plain_number(row[column])) for name, row in zip(names, whole, strict=True)],
                )
                for legend, column in series.items()
            ]
            return DataVisualizationBlock(_raw(title), kind(drawn, AxisConfig(names)))

        return self._add(build)


def _sections(text: str, where: str) -> list[Block]:
    """Return free text as sections, with a divider for each line of hyphens."""
    from slackblocks import DividerBlock, SectionBlock
    from slackblocks.errors import InvalidUsageError

    made: list[Block] = []
    for at, part in enumerate(_RULE.split(text)):
        if at:
            made.append(DividerBlock())
        if body := re.sub(r"\n{3,}", "\n\n", _unquoted(part).strip()):
            try:
                made.append(SectionBlock(body))
            except InvalidUsageError as error:
                raise DataError(
                    f"{where}: a paragraph has {len(body):,} characters; Slack takes 3,000.",
                    mend="Split or shorten it.",
                ) from error
    return made


def _escaped(text: object) -> str:
    """Return text for Slack: escaped unless a template already did."""
    from markupsafe import escape

    return _unquoted(str(escape(text)))


def _raw(text: object) -> str:
    """Return text for the parts that Slack shows as they are (cells, legends)."""
    from markupsafe import Markup

    return text.unescape() if isinstance(text, Markup) else str(text)


def _unquoted(text: str) -> str:
    # Jinja escapes quotes for HTML; Slack knows only the other three, and would show these as they stand.
    return text.replace("&#34;", '"').replace("&#39;", "'")


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names as a chart's categories: at most 20 characters each, and no two alike, which Slack refuses."""
    made: list[str] = []
    for name in names:
        short, again = name[:20], 1
        while short in made:
            again += 1
            short = f"{name[: 19 - len(str(again))]} {again}"
        made.append(short)
    return made


def _filtered(row: Any, spec: str) -> tuple[Any, str]:
    column, _, filters = spec.partition("|")
    value = shown = row[column.strip()]
    for name in filter(None, (part.strip() for part in filters.split("|"))):
        shown = formats.known_filter(name)(shown)
    return value, shown if isinstance(shown, str) else formats.label(shown)


def _cell(row: Any, spec: object) -> Any:
    from slackblocks import RawNumber, RawText

    if isinstance(spec, str):
        value, text = _filtered(row, spec)
        number = _plain_number(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
        return RawText(text) if number is None or not math.isfinite(number) else RawNumber(number, text)
    if isinstance(spec, Sequence) and len(spec) == 2 and isinstance(spec[1], Mapping):
        return RawText(str(spec[1].get(row[spec[0]], formats.NOT_AVAILABLE)))
    raise ConfigError(f"A column of table() is {spec!r}.", mend='Write "column|filter" or ["column", {true: "yes"}].')


def _plain_number(value: int | Decimal) -> int | float:
    """Return a number as JSON has them, for sorting and drawing only; its text is made from the exact one."""
    if isinstance(value, int):
        return value
    return int(value) if value == value.to_integral_value() and value.adjusted() < 18 else float(value)
