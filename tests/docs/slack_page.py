"""A Slack message's blocks drawn as a page, for the documentation's pictures: close to Slack, and not a copy of it."""

import html
import re

from signalroom.blocktext import _EMOJI

STYLE = """
body { margin: 0; background: #fff; color: #1d1c1d; font: 15px/1.47 Lato, 'Helvetica Neue', Helvetica, Arial, sans-serif; }
.message { display: grid; grid-template-columns: 44px 1fr; gap: 10px; padding: 20px 24px 22px; max-width: 660px; }
.face { width: 40px; height: 40px; border-radius: 8px; background: #1b4d89; color: #fff; font-weight: 700;
  display: grid; place-items: center; }
.who .app { background: #e8e8e8; color: #555; font-size: 10px; font-weight: 700; padding: 1px 4px; border-radius: 3px;
  margin: 0 6px; vertical-align: 1px; }
.who time { color: #616061; font-size: 12px; }
h2 { font-size: 18px; line-height: 1.3; margin: 6px 0 4px; font-weight: 800; }
.section { margin: 8px 0; white-space: pre-wrap; }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: 10px 24px; margin: 10px 0; white-space: pre-wrap; }
.context { color: #616061; font-size: 12.5px; margin: 6px 0; }
code { font: 12px Menlo, Consolas, monospace; color: #c01343; background: #f6f6f6; border: 1px solid #ddd;
  border-radius: 3px; padding: 1px 3px; }
hr { border: 0; border-top: 1px solid #ddd; margin: 12px 0; }
h2, .section, .fields, .context { overflow-wrap: anywhere; }
figure { overflow-x: auto; margin: 12px 0; border: 1px solid #ddd; border-radius: 8px; padding: 12px 14px 10px; }
figcaption { font-weight: 700; margin-bottom: 6px; font-size: 14px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; color: #616061; font-weight: 600; border-bottom: 1px solid #ddd; padding: 4px 8px 4px 0; }
td { padding: 5px 8px 5px 0; border-bottom: 1px solid #f0f0f0; }
tr:last-child td { border-bottom: 0; }
th.number, td.number { text-align: right; padding-left: 8px; white-space: nowrap; }
.button { display: inline-block; border: 1px solid #bbb; border-radius: 5px; padding: 5px 12px; font-weight: 700;
  font-size: 13.5px; margin: 8px 0; }
.legend { color: #616061; font-size: 12px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 5px 0 12px; }
.legend i:first-child { margin-left: 0; }
svg text { font: 11px Lato, Helvetica, Arial, sans-serif; fill: #616061; }
"""
COLOURS = ("#1264a3", "#e8912d", "#2eb67d", "#e01e5a", "#611f69", "#717274")
WIDE, HIGH = 560, 150
SIGNS = {
    ":hourglass_flowing_sand:": "◷",
    ":rotating_light:": "⚠",
    ":white_check_mark:": "✓",
}  # a font without pictures has these


def page(blocks, time):
    """Return a page that shows a message's blocks."""
    body = "".join(drawn(block) for block in blocks)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Slack</title><style>{STYLE}</style>"
        f"<div class='message'><div class='face'>SR</div><div><div class='who'><b>SignalRoom</b>"
        f"<span class='app'>APP</span><time>{time}</time></div>{body}</div></div></html>"
    )


def drawn(block):
    """Return one block as HTML; raises KeyError for a type it does not know: a picture leaves nothing out."""
    draw = {
        "header": lambda: f"<h2>{html.escape(block['text']['text'])}</h2>",
        "section": lambda: section(block),
        "context": lambda: f"<div class='context'>{' '.join(markup(one['text']) for one in block['elements'])}</div>",
        "divider": lambda: "<hr>",
        "actions": lambda: "".join(
            f"<span class='button'>{html.escape(one['text']['text'])}</span>" for one in block["elements"]
        ),
        "data_table": lambda: table(block),
        "data_visualization": lambda: chart(block),
    }
    return draw[block["type"]]()


def section(block):
    """Return a paragraph, or short texts in two columns."""
    if "fields" not in block:
        return f"<div class='section'>{markup(block['text']['text'])}</div>"
    cells = "".join(f"<div>{markup(one['text'])}</div>" for one in block["fields"])
    return f"<div class='fields'>{cells}</div>"


def markup(text):
    """Return Slack's markup as HTML; its text is escaped already."""
    text = re.sub(r"<([^|>]+)\|([^>]+)>", r"<a>\2</a>", text)
    for name, sign in (_EMOJI | SIGNS).items():
        text = text.replace(name, sign)
    text = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text)
    text = re.sub(r"(?<!\w)\*(?=\S)(.+?)(?<=\S)\*(?!\w)", r"<b>\1</b>", text)
    return re.sub(r"(?<!\w)_(?=\S)(.+?)(?<=\S)_(?!\w)", r"<i>\1</i>", text)


def table(block):
    """Return a data table; its numbers stand to the right."""
    head, *rows = block["rows"]
    places = range(len(head))
    numbers = [all(row[at]["type"] == "raw_number" or row[at]["text"] == "n/a" for row in rows) for at in places]

    def line(cells, tag):
        kinds = [" class='number'" if number else "" for number in numbers]
        made = (f"<{tag}{kind}>{html.escape(one['text'])}</{tag}>" for one, kind in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(row, "td") for row in rows[: block.get("page_size", 10)])
    caption = html.escape(block.get("caption", ""))
    return f"<figure><figcaption>{caption}</figcaption><table>{line(head, 'th')}{body}</table></figure>"


def chart(block):
    """Return a line or bar chart over the whole width."""
    series, kind = block["chart"]["series"], block["chart"]["type"]
    top = max([point["value"] for one in series for point in one["data"]] + [1]) * 1.08
    points = series[0]["data"]
    step = WIDE / len(points)
    marks = []
    for number, one in enumerate(series):
        spots = [(step * (at + 0.5), HIGH - HIGH * max(p["value"], 0) / top) for at, p in enumerate(one["data"])]
        if kind == "line":
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
            marks.append(f"<polyline points='{path}' fill='none' stroke='{COLOURS[number]}' stroke-width='2.5'/>")
        else:
            bar = step * 0.7 / len(series)
            marks += [
                f"<rect x='{x - step * 0.35 + number * bar:.1f}' y='{y:.1f}' width='{bar:.1f}' "
                f"height='{HIGH - y:.1f}' fill='{COLOURS[number]}'/>"
                for x, y in spots
            ]
    labels = "".join(
        f"<text x='{step * (at + 0.5):.1f}' y='{HIGH + 16}' text-anchor='middle'>{html.escape(point['label'])}</text>"
        for at, point in enumerate(points)
        if at % max(1, round(len(points) / 7)) == 0
    )
    grid = "".join(f"<line x2='{WIDE}' y1='{y}' y2='{y}' stroke='#e8e8e8'/>" for y in (0.5, HIGH / 3, HIGH / 1.5, HIGH))
    legend = "".join(
        f"<i style='background:{COLOURS[at]}'></i>{html.escape(one['name'])}" for at, one in enumerate(series)
    )
    return (
        f"<figure><figcaption>{html.escape(block['title'])}</figcaption>"
        f"<svg viewBox='0 0 {WIDE} {HIGH + 22}' width='100%'>{grid}{''.join(marks)}{labels}</svg>"
        f"<div class='legend'>{legend}</div></figure>"
    )
