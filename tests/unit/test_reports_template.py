"""Every report of the affiliates template, in every form: plain, empty, huge, hostile, within each channel's limits."""

import re
from datetime import date
from decimal import Decimal
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daily_ccw import ABOUT, built_in
from signalroom.blocktext import MAX_BLOCKS, MAX_CHARACTERS, as_text, check_blocks
from signalroom.reports.finding import HANDED, SHIPPED, handed_report
from signalroom.reports.render import Renderer
from signalroom.smstext import segments
from template_reports import REPORTS, an_alert, changed, rows

TEMPLATE = Path(str(files("signalroom.workspace") / "templates/affiliates/reports"))
NAMES = ("label", "project", "note")
HOSTILE = (
    "<script>alert(1)</script> & <!channel> <@U1> {{ 7 * 7 }}",
    "x" * 10_000,
    "\u202e\u05e2\u05d1\u05e8\u202c \u0645\u0631 123",
    "🏆👩‍👩‍👧‍👦" * 300,
    "</mj-text></mjml>]]>&nbsp;&bogus; ```*_~|---|",
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder, renderer = tmp_path_factory.mktemp("workspace"), Renderer(workers=1)
    yield {name: built_in(folder, name) for name in REPORTS}, renderer
    renderer.close()


def within_limits(message):
    check_blocks(message.blocks, message.report)
    assert len(message.blocks) <= MAX_BLOCKS
    assert len(str(as_text(message.blocks))) <= 3 * MAX_CHARACTERS
    assert len(message.html.encode()) < 102_000  # a longer mail is clipped
    assert 0 < len(message.sms) <= 1600
    assert "<script" not in re.sub(r'="[^"]*"', "", message.html), "in an attribute it is text"
    assert message.html.rstrip().endswith("</html>")
    assert all(image.alt and image.png.startswith(b"\x89PNG") for image in message.images)
    for form in (message.html, message.text, as_text(message.blocks), message.sms, message.subject):
        assert "None" not in form.replace("None given", "")


@pytest.mark.parametrize("name", REPORTS)
def test_a_plain_day_says_how_old_it_is_in_every_form(reports, name):
    found, renderer = reports
    message = renderer.render(
        found[name], rows(name), **ABOUT, notes=["Everflow is late."], link="https://example.com/r"
    )
    within_limits(message)
    for form in (as_text(message.blocks), message.text, message.html):
        assert "Everflow is late." in form
        assert "ET" in form
        assert ("Order exports" if name == "state_heatmap" else "Redtrack cost") + " not final" in form
    if name == "state_heatmap":
        assert "Redtrack" not in message.text + as_text(message.blocks), "it stands on the exports alone"
    assert segments(message.sms).encoding == "GSM-7"
    assert segments(message.sms).parts == 1


@pytest.mark.parametrize("name", REPORTS)
def test_nothing_is_not_available_and_never_a_zero(reports, name):
    found, renderer = reports
    empty = {query.name: None if query.one else [] for query in found[name].queries}
    assert set(empty) == set(rows(name)), "these rows are those of the queries"
    message = renderer.render(found[name], empty, **ABOUT)
    within_limits(message)
    assert "n/a" in message.sms
    fields = [field["text"] for block in message.blocks for field in block.get("fields", ())]
    assert all(field.count("n/a") == 1 for field in fields), "what is not known has no change"
    pairs = {(one["type"], after["type"]) for one, after in pairwise(message.blocks)}
    assert not pairs & {("divider", "context"), ("divider", "actions"), ("divider", "divider")}, "a line above nothing"
    assert "$0" not in message.text + as_text(message.blocks)
    assert "No source has reported." in message.text
    assert all("no data" in image.alt for image in message.images)


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_names_stay_names(reports, name, label):
    found, renderer = reports
    hostile = changed(rows(name), NAMES, lambda _: label)
    for row in hostile.get("states", ()):
        row["state"] = label
    message = renderer.render(found[name], hostile, **ABOUT, notes=[label])
    within_limits(message)
    assert "{{" not in label or name != "affiliate_leaderboard" or "<script>" in message.subject, "the subject is text"


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("figure", [10**40, -(10**17), 0])
def test_any_figure_fits(reports, name, figure):
    found, renderer = reports
    within_limits(renderer.render(found[name], changed(rows(name), (), lambda _: figure), **ABOUT))


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_any_row_can_be_shown(reports, name):
    found, renderer = reports
    number = st.one_of(st.none(), st.integers(-(10**20), 10**20), st.decimals(-(10**15), 10**15, places=2))

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(st.text(max_size=60), number, st.dates(date(2000, 1, 1), date(2100, 1, 1)))
    def any_rows(text, value, day):
        shown = changed(changed(rows(name), NAMES, lambda _: text), (), lambda _: value)
        within_limits(renderer.render(found[name], shown, **(ABOUT | {"report_date": day})))

    any_rows()


@pytest.mark.parametrize("source", [*TEMPLATE.rglob("*.j2"), *SHIPPED.rglob("*.j2")], ids=lambda path: path.name)
def test_every_sign_of_a_template_is_one_that_plain_text_shows(source):
    named = re.findall(r":[a-z_]+:", source.read_text())
    text = as_text([{"type": "section", "text": {"type": "mrkdwn", "text": " ".join(named)}}])
    assert not re.search(r":\w+:", text)


def test_the_map_draws_states_and_tells_them(reports):
    found, renderer = reports
    message = renderer.render(found["state_heatmap"], rows("state_heatmap"), **ABOUT)
    assert message.images[0].name == "map.png"
    assert message.images[0].alt == (
        "Revenue by billing state, 7 days: 8 states. Most: CA $20,000, TX $19,100, NY $18,200, FL $17,300, PA $16,400."
    )


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    return {name: handed_report(tmp_path_factory.mktemp("none"), name) for name in HANDED}


def test_an_alert_says_how_bad_since_when_and_what_to_do(reports, handed):
    message = reports[1].render(handed["alert"], an_alert(), **ABOUT)
    within_limits(message)
    assert message.subject == "Critical: sync everflow fails"
    assert message.sms == ("Critical: sync everflow fails. Since 14:20 ET. Run it again: 'signalroom run hourly'.")
    for form in (as_text(message.blocks), message.text):
        for said in (
            "Critical",
            "14:20 ET",
            "Everflow answered 503",
            "signalroom run hourly",
            "alerts ack source.everflow",
        ):
            assert said in form
    over = reports[1].render(handed["alert"], an_alert("resolved", note="Their outage."), **ABOUT)
    within_limits(over)
    assert over.subject == "Resolved: sync everflow fails"
    assert "What to do" not in over.text + as_text(over.blocks)
    assert "Their outage." in over.text


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_words_in_an_alert_stay_words(reports, handed, label):
    rows = an_alert(title=label, mend=label, note=label, key=label)
    rows["lines"] = [{"text": label}] * 50
    message = reports[1].render(handed["alert"], rows, **ABOUT)
    within_limits(message)
    assert "<!channel>" not in "".join(str(block) for block in message.blocks[1:])


def test_a_digest_of_everything_and_of_nothing(reports, handed):
    nothing = {"streams": [], "figures": [], "runs": {"succeeded": 0, "failed": 0}, "failures": [], "alerts": []}
    message = reports[1].render(handed["digest"], nothing, **ABOUT)
    within_limits(message)
    assert "Nothing is wrong." in as_text(message.blocks)
    one = an_alert()["alert"]
    for label in HOSTILE:
        full = {
            "streams": [{"stream": label, "rows": 10**15}] * 60,
            "figures": [{"title": label, "value": Decimal("1e30"), "usual": None}] * 12,
            "runs": {"succeeded": 10**9, "failed": 10},
            "failures": [{"step": label, "at": ABOUT["as_of"], "error": label}] * 10,
            "alerts": [one | {"title": label}] * 20,
        }
        within_limits(reports[1].render(handed["digest"], full, **ABOUT))
