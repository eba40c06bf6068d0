"""Rendering in a confined process: the built-in report, hostile rows, templates that would use up the machine."""

import os
import threading
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from daily_ccw import ABOUT, daily_ccw, rows
from signalroom.blocktext import as_text
from signalroom.errors import ConfigError, DataError
from signalroom.reports import wire
from signalroom.reports.limits import Limits
from signalroom.reports.render import Renderer
from signalroom.reports.report import Report

SMALL = Limits(memory_bytes=160 * 1024 * 1024, cpu_s=0.4, wall_s=20, output_chars=20_000)


@pytest.fixture(scope="module")
def renderer():
    made = Renderer(workers=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return daily_ccw(tmp_path_factory.mktemp("workspace"))


def one(tmp_path, **templates):
    """Return a report with the given templates, e.g. ``sms="hi"``."""
    endings = {"email": "email.mjml"}
    paths = {}
    for form, text in templates.items():
        paths[form] = tmp_path / f"r.{endings.get(form, form + '.j2')}"
        paths[form].write_text(text)
    return Report("r", tmp_path, "The R", (), paths)


def test_the_daily_summary_in_every_form(renderer, report):
    message = renderer.render(report, rows(), **ABOUT, load_ids=["l1"], notes=["Everflow was late."])
    assert message.sms == "CCW 11/19: 905 conv, $11,775 spend, $13.01 CPA. Top: FB Main (301) Data late."
    assert message.subject == "CCW 11/19: 905 conversions, $11,775 spend, $13.01 CPA (not final)"
    slack = as_text(message.blocks)
    for form in (slack, message.text, message.html):
        for said in ("14:15 ET", "Redtrack cost not final", "$312.40 of spend is not mapped", "Everflow was late."):
            assert said in form
    assert {"type": "divider"} in message.blocks
    assert "---" not in slack
    assert {block["type"] for block in message.blocks} >= {"header", "data_table", "data_visualization", "context"}
    assert len(message.html.encode()) < 102_000
    assert "<!--[if mso" in message.html
    assert message.images[0].name == "chart.png"
    assert message.images[0].png.startswith(b"\x89PNG")
    assert message.load_ids == ("l1",)
    assert message.data["overall"]["cost"] == "11774.55"
    assert message.data["_report"]["report_date"] == "2026-11-19"


def test_a_day_without_anything(renderer, report):
    nothing = {name: [] if isinstance(value, list) else None for name, value in rows().items()}
    message = renderer.render(report, nothing, **ABOUT)
    assert message.sms == "CCW 11/19: n/a conv, n/a spend, n/a CPA."
    assert "No affiliate converted." in message.text
    assert "No source has reported." in as_text(message.blocks)


def test_spend_without_conversions_has_no_cpa(renderer, report):
    day = rows()
    day["overall"] = {"conversions": 0, "revenue": Decimal(0), "cost": Decimal(50), "cpa": Decimal(0)}
    message = renderer.render(report, day, **ABOUT)
    assert message.sms.startswith("CCW 11/19: 0 conv, $50 spend, n/a CPA.")
    assert "$0.00" not in message.text + as_text(message.blocks)


@pytest.mark.parametrize(
    "label",
    [
        "<script>alert(1)</script> & <!channel> <@U1>",
        "x" * 10_000,
        "\u202e\u05e2\u05d1\u05e8\u202c \u0645\u0631 123",
        "🏆👩‍👩‍👧‍👦" * 300,
        "{{ 7 * 7 }} {% raw %}",
        "a\x00b\x1e0\x1ec\x07\ud800",
        "```*_~|---|",
        "",
        "</mj-text></mjml>]]>&nbsp;&bogus;",
    ],
)
def test_hostile_names_stay_names(renderer, report, label):
    day = rows()
    day["top"] = [{"label": label, "conversions": 10**40, "cpa": Decimal("1e50"), "is_internal": None}] * 5
    day["freshness"][1]["note"] = label
    message = renderer.render(report, day, **ABOUT, notes=[label])
    assert "<script" not in message.html
    assert "<!channel>" not in str(message.blocks[0:5])
    assert "49" not in message.blocks[1]["elements"][0]["text"]
    assert len(message.sms) <= 1600
    assert message.html.rstrip().endswith("</html>")


def test_huge_and_negative_figures(renderer, report):
    day = rows()
    for record in day["trend"]:
        record["revenue"], record["cost"] = Decimal("1e400"), Decimal("-1e300")
    day["trend"][3]["conversions"] = None
    with pytest.raises(DataError, match="which JSON cannot carry"):  # Slack's own chart takes JSON numbers
        renderer.render(report, day, **ABOUT)
    for record in day["trend"]:
        record["revenue"] = Decimal("1e200")
    assert renderer.render(report, day, **ABOUT).images[0].png


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), b"bytes", object()])
def test_what_no_message_can_show_is_refused_with_its_column(renderer, report, value):
    day = rows()
    day["overall"]["cost"] = value
    with pytest.raises(DataError, match=r"overall\.cost"):
        renderer.render(report, day, **ABOUT)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ 'a' * 1000000000 }}", "160 MB of memory"),
        ("{% set x = 'a' * 30000000 %}{% for i in range(99) %}{% set x = x ~ x %}{{ x[:1] }}{% endfor %}x", ""),
        (
            "{% set n = namespace(x=['a']) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
            "160 MB of memory",
        ),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "0.4 s of processor time"),
        ("{{ 10 ** (10 ** 8) }}", "0.4 s of processor time"),
        ("{% for a in range(99999) %}aaaaaaaa{% endfor %}", "more than 20,000 characters"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "without end"),
    ],
)
def test_a_template_bomb_is_stopped_and_named(tmp_path, template, said):
    bombed = one(tmp_path, sms=template)
    small = Renderer(SMALL, workers=1)
    try:
        with pytest.raises((DataError, ConfigError), match=r"r\.sms\.j2") as caught:
            small.render(bombed, {}, **ABOUT)
        assert said in str(caught.value)
        sound = one(tmp_path, sms="fine")
        assert small.render(sound, {}, **ABOUT).sms == "fine"
    finally:
        small.close()


def test_a_stuck_process_is_ended_by_the_clock(tmp_path):
    slow = Renderer(replace(SMALL, cpu_s=60, wall_s=0.5), workers=1)
    try:
        with pytest.raises(DataError, match=r"took longer than 0\.5 s"):
            slow.render(one(tmp_path, sms="{{ 10 ** (10 ** 8) }}"), {}, **ABOUT)
    finally:
        slow.close()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("line\n{{ overal.cost }}", "r.sms.j2 line 2: there is no 'overal'. Did you mean 'overall'?"),
        ("{{ overall.csot }}", "has no 'csot'. Did you mean 'cost'?"),
        ("{{ none_.cost }}", "it is null or has no 'cost'"),
        ("a\n\n{% if %}", "r.sms.j2 line 3"),
        ("{{ overall.cost|uds }}", "No filter named 'uds'"),
        ("{% include '_x.j2' %}", "includes _x.j2, which is not in its folder"),
        ("{{ 1 / 0 }}", "r.sms.j2 line 1: division by zero."),
        ("{{ overall.flag|usd }}", "r.sms.j2 line 1: usd was given True, a bool."),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ rows.append(1) }}", "unsafe"),
    ],
)
def test_a_template_that_must_be_edited_says_where(renderer, tmp_path, template, said):
    data = {"overall": {"cost": 1, "flag": True}, "none_": None, "rows": [{"a": 1}]}
    with pytest.raises((ConfigError, DataError)) as caught:
        renderer.render(one(tmp_path, sms=template), data, **ABOUT)
    assert said in str(caught.value)
    assert "Report r: " in str(caught.value)


def test_the_process_sees_no_secret_and_no_file(renderer, tmp_path, monkeypatch):
    monkeypatch.setenv("SLACK_BOT_TOKEN", "canary")
    fresh = Renderer(workers=1)
    try:
        fresh.warm()
        environment = Path(f"/proc/{fresh._idle[0]._process.pid}/environ").read_text()
    finally:
        fresh.close()
    assert "canary" not in environment


def test_threads_share_a_renderer(tmp_path):
    shared, said, lock = Renderer(workers=2), [], threading.Lock()
    report = one(tmp_path, sms="{{ n.v }}")

    def work(number):
        text = shared.render(report, {"n": {"v": number}}, **ABOUT).sms
        with lock:
            said.append((number, text))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shared._idle) <= 2
    shared.close()
    assert sorted(said) == [(n, str(n)) for n in range(8)]


def test_a_killed_process_is_replaced(renderer, tmp_path):
    report = one(tmp_path, sms="hi")
    renderer.render(report, {}, **ABOUT)
    os.kill(renderer._idle[-1]._process.pid, 9)
    with pytest.raises(DataError, match="ended its process"):
        renderer.render(report, {}, **ABOUT)
    assert renderer.render(report, {}, **ABOUT).sms == "hi"


def test_columns_may_be_called_like_methods(renderer, tmp_path):
    report = one(tmp_path, sms="{{ row.items }} {{ row.values }} {{ row.count }}")
    assert renderer.render(report, {"row": {"items": 1, "values": 2, "count": 3}}, **ABOUT).sms == "1 2 3"


def test_reserved_names_are_refused(renderer, tmp_path):
    for name in ("as_of", "_x", "no name"):
        with pytest.raises(ConfigError, match="calls its rows"):
            renderer.render(one(tmp_path, sms="hi"), {name: []}, **ABOUT)


def test_values_survive_the_wire():
    values = {
        "d": Decimal("1.10"),
        "day": date(2026, 1, 2),
        "at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "l": [None, True, 1, 1.5, "ü"],
    }
    assert wire.unpack(wire.pack(values)) == values
    assert str(wire.unpack(wire.pack(values))["d"]) == "1.10"
    assert wire.plain(wire.pack({"d": Decimal("1.10")})) == {"d": "1.10"}
