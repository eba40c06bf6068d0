"""Charts: a few records drawn as our own SVG, turned into a PNG that every mail program shows.

A report declares its charts in ``charts.toml``::

    [trend]
    title = "Revenue, cost and conversions"
    data = "trend"                       # the query it shows
    x = "date"
    lines = ["revenue", "cost"]          # one to four, on one axis
    bars = "conversions"                 # optional, on an axis of its own below
    unit = "usd"                         # of the lines: usd (default) or count
    labels = { cost = "Spend" }          # optional; by default the column's name

A chart of ``kind = "states"`` is a map (:mod:`signalroom.reports.tiles`).

The picture has no background and uses middle tones, so it is legible on white and on a dark page; its letters
are large enough to be read when a phone shows it at half its size. The font is ours: a server without fonts draws
the same bytes.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Final

from signalroom.errors import ConfigError, DataError, nearest
from signalroom.reports import formats, tiles

WIDTH: Final = 600
ZOOM: Final = 2
_LEFT, _RIGHT, _TOP = 64.0, 592.0, 52.0
_FONTS: Final = Path(__file__).with_name("fonts")
TEMPLATE_NAME: Final = "trend.svg.j2"
_INKS: Final = ("#2f7bf6", "#dd6b10", "#0c9a83", "#a855c8")
_BAR_INK: Final = "#0c9a83"
_LAST_OWN_LETTER: Final = "\u04ff"  # our font has Latin, Greek and Cyrillic; other scripts need the system's
_KEYS: Final = ("kind", "title", "data", "x", "lines", "bars", "unit", "labels")
_UNITS: Final = ("usd", "count")
_KINDS: Final = ("trend", "states")


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of a report.

    Attributes:
        name: Its name in templates (``charts.NAME``) and of its file (``NAME.png``).
        title: What it shows, in words.
        data: The query whose records it draws, oldest first.
        x: Column of the horizontal axis: days or names.
        lines: Columns drawn as lines, one to four.
        bars: Column drawn as bars below them; empty for none.
        unit: How the lines' figures are written: ``usd`` or ``count``.
        labels: Column -> what the legend calls it.
        kind: ``trend``, or ``states`` for a map of one column.
    """

    name: str
    title: str
    data: str
    x: str
    lines: tuple[str, ...]
    bars: str = ""
    unit: str = "usd"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    kind: str = "trend"

    def label(self, column: str) -> str:
        """Return what the legend calls a column."""
        return self.labels.get(column, column.replace("_", " ").capitalize())

    @property
    def height(self) -> int:
        """Height in CSS pixels; the width is always :data:`WIDTH`."""
        if self.kind == "states":
            return tiles.HEIGHT
        return 320 if self.bars else 260


def read_charts(text: str, where: str, shared: Callable[[str], str] | None = None) -> tuple[Chart, ...]:
    """Return the charts that a ``charts.toml`` declares; ``include = "_NAME.toml"`` at its top brings another's.

    Args:
        text: The file's text.
        where: The file as an error should name it.
        shared: Returns the text of a file it includes; None where nothing can be included.

    Raises:
        ConfigError: Not TOML, an unknown or missing key, too many lines; naming ``where`` and the chart.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not TOML: {error}.", mend="Mend that line.") from error
    included = tables.pop("include", None)
    if included is not None and (shared is None or not isinstance(included, str)):
        raise ConfigError(f"{where} includes {included!r}.", mend='Write include = "_NAME.toml".')
    brought = read_charts(shared(included), f"reports/{included}") if shared and included is not None else ()
    return (*brought, *(_read_chart(name, table, f"{where} [{name}]") for name, table in tables.items()))


def _read_chart(name: str, table: object, where: str) -> Chart:
    if not isinstance(table, dict) or not name.isidentifier():
        raise ConfigError(f"{where} is no chart.", mend="Write a table such as [trend].")
    for key in table:
        if key not in _KEYS:
            raise ConfigError(f"{where} has the unknown key {key!r}.", mend=nearest(key, _KEYS))
    texts = {
        key: table.get(key, default) for key, default in (("title", None), ("data", None), ("x", None), ("bars", ""))
    }
    for key, value in texts.items():
        if not isinstance(value, str):
            raise ConfigError(f"{where} needs {key!r}.", mend=f'Write {key} = "…".')
    lines, labels, unit = table.get("lines"), table.get("labels", {}), table.get("unit", "usd")
    if (
        not isinstance(lines, list)
        or not 1 <= len(lines) <= len(_INKS)
        or not all(isinstance(one, str) for one in lines)
    ):
        raise ConfigError(f"{where} needs one to {len(_INKS)} lines.", mend='Write lines = ["revenue", "cost"].')
    if unit not in _UNITS:
        raise ConfigError(f"{where} has the unknown unit {unit!r}.", mend=nearest(str(unit), _UNITS) or "usd or count.")
    kind = table.get("kind", "trend")
    if kind not in _KINDS:
        raise ConfigError(
            f"{where} has the unknown kind {kind!r}.", mend=nearest(str(kind), _KINDS) or "trend, states."
        )
    if kind == "states" and (len(lines) > 1 or texts["bars"]):
        raise ConfigError(f"{where}: a map shows one column.", mend='Write lines = ["revenue"] and no bars.')
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ConfigError(f"{where}: labels is no table of texts.", mend='Write labels = { cost = "Spend" }.')
    return Chart(name, texts["title"], texts["data"], texts["x"], tuple(lines), texts["bars"], unit, labels, kind)


def alt_text(chart: Chart, records: Sequence[Mapping[str, Any]]) -> str:
    """Return what the chart shows, in words: its span, and for each series its last, lowest and highest figure."""
    if chart.kind == "states":
        return tiles.alt_text(chart.title, _by_state(chart, records), _writer(chart))
    if not records:
        return f"{chart.title}: no data."
    first, last = _x_label(records[0], chart), _x_label(records[-1], chart)
    said = [f"{chart.title}, {first} to {last}." if len(records) > 1 else f"{chart.title}, {last}."]
    for column, write in [*((line, _writer(chart)) for line in chart.lines), (chart.bars, formats.count)]:
        if not column:
            continue
        known = [value for value in _column(records, column, chart) if value is not None]
        latest = _column(records, column, chart)[-1]
        span = f", lowest {write(min(known))}, highest {write(max(known))}" if len(known) > 1 else ""
        said.append(f"{chart.label(column)}: last {write(latest)}{span}.")
    return " ".join(said)


def svg(chart: Chart, records: Sequence[Mapping[str, Any]], environment: Any) -> str:
    """Return the chart as SVG.

    Args:
        chart: What to draw.
        records: Rows with the chart's columns, oldest first; None leaves a gap, no rows draw empty axes.
        environment: A Jinja environment that escapes and knows :func:`templates`.
    """
    if chart.kind == "states":
        drawn = tiles.geometry(_by_state(chart, records), _short_writer(chart))
        return environment.get_template(tiles.TEMPLATE_NAME).render(c=drawn)
    return environment.get_template(TEMPLATE_NAME).render(c=_geometry(chart, records))


@functools.cache
def template_source() -> str:
    """Return the SVG template's text."""
    return Path(__file__).with_name(TEMPLATE_NAME).read_text(encoding="utf-8")


def templates() -> dict[str, str]:
    """Return the SVG templates: name -> text."""
    return {TEMPLATE_NAME: template_source(), tiles.TEMPLATE_NAME: tiles.template_source()}


def png(picture: str) -> bytes:
    """Return an SVG as PNG bytes at :data:`ZOOM` times its size, drawn with our own font."""
    import resvg_py

    # Reading the system's fonts costs more than drawing; only a script that our font lacks needs them.
    foreign = any(letter > _LAST_OWN_LETTER and not "\u2000" <= letter <= "\u22ff" for letter in picture)
    return resvg_py.svg_to_bytes(
        svg_string=picture,
        zoom=ZOOM,
        skip_system_fonts=not foreign,
        font_files=[str(_FONTS / "Roboto-Regular.ttf"), str(_FONTS / "Roboto-Bold.ttf")],
        font_family="Roboto",
        sans_serif_family="Roboto",
    )


def _geometry(chart: Chart, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    bottom = 212.0 if chart.bars else chart.height - 36.0
    series = [_column(records, column, chart) for column in chart.lines]
    low, high, ticks = _scale([value for values in series for value in values if value is not None])
    xs = _positions(len(records))
    write = _short_writer(chart)

    def y(value: Decimal) -> float:
        # The ratio is taken in Decimal: a float of a huge figure would be infinite.
        return round(bottom - (bottom - _TOP) * float((value - low) / (high - low)), 1)

    legend = [*chart.lines, *([chart.bars] if chart.bars else [])]
    inks = [*_INKS[: len(chart.lines)], *([_BAR_INK] if chart.bars else [])]
    latest = [records[-1].get(column) if records else None for column in legend]
    return {
        "width": WIDTH,
        "height": chart.height,
        "left": _LEFT,
        "right": _RIGHT,
        "ticks": [{"y": y(tick), "text": write(tick), "base": tick == 0} for tick in ticks],
        "lines": [_line(xs, values, y, _INKS[index], dashed=index % 2 == 1) for index, values in enumerate(series)],
        "bars": _bars(chart, records, xs) if chart.bars else None,
        "labels": _x_labels(chart, records, xs),
        "legend": [
            {
                "x": round(place * WIDTH / len(legend), 1),
                "ink": inks[place],
                "dashed": column in chart.lines and place % 2 == 1,
                "bar": column == chart.bars,
                "text": formats.label(chart.label(column), 14),
                "value": (formats.count_short if column == chart.bars else write)(latest[place]),
            }
            for place, column in enumerate(legend)
        ],
    }


def _line(xs: Sequence[float], values: Sequence[Decimal | None], y: Any, ink: str, *, dashed: bool) -> dict[str, Any]:
    """Return one line: its path (broken where a value is missing), and dots for its end and for lone points."""
    path, dots, run = "", list[tuple[float, float]](), list[tuple[float, float]]()
    for x, value in [*zip(xs, values, strict=True), (0.0, None)]:
        if value is not None:
            run.append((x, y(value)))
            continue
        if len(run) == 1:
            dots.append(run[0])
        elif run:
            path += "M" + "L".join(f"{px},{py}" for px, py in run)
        run = []
    if values and values[-1] is not None:
        dots.append((xs[-1], y(values[-1])))
    return {"path": path, "dots": dots, "ink": ink, "dashed": dashed}


def _bars(chart: Chart, records: Sequence[Mapping[str, Any]], xs: Sequence[float]) -> dict[str, Any]:
    top, bottom = 232.0, chart.height - 36.0
    values = _column(records, chart.bars, chart)
    highest = max([value for value in values if value is not None], default=Decimal(0))
    width = round(min(24.0, 0.62 * (_RIGHT - _LEFT) / max(len(records), 1)), 1)
    drawn = [
        {
            "x": round(x - width / 2, 1),
            "y": round(bottom - tall, 1),
            "width": width,
            "height": tall,
            "last": x == xs[-1],
        }
        for x, value in zip(xs, values, strict=True)
        if value is not None and value > 0 and highest > 0
        for tall in [round(max((bottom - top) * float(value / highest), 1.0), 1)]
    ]
    return {"bars": drawn, "top": top, "base": bottom, "text": formats.count_short(highest), "ink": _BAR_INK}


def _positions(points: int) -> list[float]:
    if points == 1:
        return [(_LEFT + _RIGHT) / 2]
    inset = 14.0  # half a bar, so that the first and the last stay inside
    span = _RIGHT - _LEFT - 2 * inset
    return [round(_LEFT + inset + span * index / (points - 1), 1) for index in range(points)]


def _x_labels(chart: Chart, records: Sequence[Mapping[str, Any]], xs: Sequence[float]) -> list[dict[str, Any]]:
    """Return at most five labels, evenly spread and always with the last one."""
    if not records:
        return []
    step = max(1, -(-(len(records) - 1) // 4))
    chosen = range(len(records) - 1, -1, -step)
    return [{"x": xs[index], "text": _x_label(records[index], chart)} for index in reversed(chosen)]


def _x_label(record: Mapping[str, Any], chart: Chart) -> str:
    value = record.get(chart.x)
    return formats.short_date(value) if isinstance(value, date) else formats.label(value, 9)


def _column(records: Sequence[Mapping[str, Any]], column: str, chart: Chart) -> list[Decimal | None]:
    found: list[Decimal | None] = []
    for record in records:
        if column not in record:
            raise DataError(
                f"The chart {chart.name!r} shows {column!r}, which the query {chart.data!r} does not return.",
                mend=nearest(column, record) or f"It returns {', '.join(record)}.",
            )
        value = record[column]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | Decimal)):
            raise DataError(
                f"The chart {chart.name!r} was given {value!r} in {column!r}, a {type(value).__name__}.",
                mend="Select it as DECIMAL or INTEGER.",
            )
        found.append(None if value is None else Decimal(value))
    return found


def _by_state(chart: Chart, records: Sequence[Mapping[str, Any]]) -> dict[str, Decimal | None]:
    figures = _column(records, chart.lines[0], chart)
    return {str(record.get(chart.x)): figure for record, figure in zip(records, figures, strict=True)}


def _scale(values: Sequence[Decimal]) -> tuple[Decimal, Decimal, list[Decimal]]:
    """Return the axis' lowest and highest value, 0 included, and three to five round ticks between them."""
    zero = Decimal(0)
    low, high = min([zero, *values]), max([zero, *values])
    if low == high:
        return zero, Decimal(1), [zero]
    rough = (high - low) / 4
    power = Decimal(1).scaleb(rough.adjusted())
    step = next(
        power * size
        for size in (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))
        if power * size >= rough
    )
    bottom = -((-low / step).to_integral_value(ROUND_CEILING)) * step
    top = (high / step).to_integral_value(ROUND_CEILING) * step
    return bottom, top, [bottom + step * index for index in range(int((top - bottom) / step) + 1)]


def _writer(chart: Chart) -> Any:
    return formats.usd if chart.unit == "usd" else formats.count


def _short_writer(chart: Chart) -> Any:
    return formats.usd_short if chart.unit == "usd" else formats.count_short
