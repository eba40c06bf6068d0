"""What a reader must see is seen, whether its author thought of it or not."""

from datetime import UTC, date, datetime

import pytest

from signalroom.blocktext import as_text
from signalroom.reports.render import Renderer
from signalroom.reports.report import Report

LATE = "a <b> & c is late: its newest data came 01:00 UTC."
ABOUT = {"report_date": date(2026, 11, 19), "timezone": "UTC", "as_of": datetime(2026, 11, 20, 7, tzinfo=UTC)}
MAIL = "<mjml><mj-body><mj-section><mj-column><mj-text>{}Hello</mj-text></mj-column></mj-section></mj-body></mjml>"
SHOWN = "{% for note in notes %}{{ note }} {% endfor %}"


@pytest.fixture(scope="module")
def renderer():
    made = Renderer(workers=1)
    yield made
    made.close()


def rendered(renderer, tmp_path, notes, seen=""):
    texts = {"slack.j2": f'{{{{ header("R") }}}}\n{seen}Hello', "sms.j2": f"{seen}Hello", "text.j2": f"{seen}Hello\n"}
    texts["email.mjml"] = MAIL.format(seen)
    for ending, text in texts.items():
        (tmp_path / f"r.{ending}").write_text(text)
    report = Report("r", tmp_path, "R", (), {ending.partition(".")[0]: tmp_path / f"r.{ending}" for ending in texts})
    return renderer.render(report, {}, **ABOUT, notes=notes)


def test_notes_that_no_template_shows_are_shown(renderer, tmp_path):
    message = rendered(renderer, tmp_path, [LATE])
    assert LATE in as_text(message.blocks)
    assert LATE in message.text
    assert "a &lt;b&gt; &amp; c is late" in message.html
    assert message.sms == "Hello Data late."


def test_notes_that_a_template_shows_are_shown_once(renderer, tmp_path):
    message = rendered(renderer, tmp_path, [LATE], SHOWN)
    for form in (as_text(message.blocks), message.text, message.html, message.sms):
        assert form.count("its newest data came 01:00 UTC.") == 1
    assert "Data late" not in message.sms


def test_without_notes_nothing_is_added(renderer, tmp_path):
    message = rendered(renderer, tmp_path, [])
    assert (message.sms, message.text) == ("Hello", "Hello")
    assert "late" not in str(message.blocks) + message.html
