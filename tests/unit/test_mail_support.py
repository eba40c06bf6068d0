"""Every built-in e-mail beside what Gmail, Outlook and Apple Mail support; see ``tests/caniemail``."""

import json
from pathlib import Path

import pytest

import template_reports
from daily_ccw import ABOUT, built_in
from mail_features import Features
from signalroom.reports.finding import handed_report
from signalroom.reports.render import Renderer

SUPPORT = json.loads((Path(__file__).parents[1] / "caniemail/support.json").read_text())["support"]
CLIENTS = ("gmail", "outlook", "apple-mail")

FALLBACKS = {
    "css-at-media": "Outlook's old engine shows the desk's width; one column fits a phone all the same",
    "css-at-media-prefers-color-scheme": "the light colours, which are readable on their own",
    "css-border-radius": "corners are square",
    "css-border-spacing": "tables say cellspacing=0 besides",
    "css-color-scheme": "the program chooses the scheme itself; both are readable",
    "css-cursor": "the program's own cursor",
    "css-max-height": "of the preheader: display none hides it already",
    "css-opacity": "of the preheader: display none hides it already",
    "css-outline": "of pictures: none is what is drawn anyway",
    "css-overflow": "of the preheader: display none hides it already",
    "css-overflow-wrap": "word-break: break-word, which every cell has, breaks long names too",
    "css-selector-child": "only in the dark scheme, which that program does not ask for",
    "css-table-layout": "auto is what it does anyway",
    "css-white-space": "a figure may break at its blanks",
    "css-word-spacing": "normal is what it does anyway",
    "html-body": "its background is set on the first box too",
    "html-meta-color-scheme": "the program chooses the scheme itself; both are readable",
    "html-target": "a link opens where the program likes",
}
"""What some program of the three does not support, and what its readers see instead."""

UNLISTED = {
    "css-color", "css-font-family", "css-font-variant-numeric", "css-pseudo-class-root",
    "html-a", "html-br", "html-head", "html-html", "html-meta", "html-title",
}  # fmt: skip
"""What caniemail.com has not tested: as old as mail itself, or, as figures of one width, missed by nobody."""

REPORTS = (*template_reports.REPORTS, "alert", "digest")


@pytest.fixture(scope="module")
def mails(tmp_path_factory):
    """The HTML of each built-in e-mail, by its name."""
    folder, renderer = tmp_path_factory.mktemp("workspace"), Renderer(workers=1)
    about = ABOUT | {"notes": ["Everflow is late."], "link": "https://example.com/r"}
    reports = {name: (built_in(folder, name), template_reports.rows(name)) for name in template_reports.REPORTS}
    reports["alert"] = handed_report(folder, "alert"), template_reports.an_alert()
    reports["digest"] = handed_report(folder, "digest"), template_reports.a_digest()
    try:
        return {name: Features(renderer.render(report, rows, **about).html) for name, (report, rows) in reports.items()}
    finally:
        renderer.close()


def lacking(features):
    """Return feature -> the programs that do not support it, of what is used."""
    return {
        feature: sorted(client for client, said in SUPPORT.get(feature, {}).items() if said == "n")
        for feature in features
        if "n" in SUPPORT.get(feature, {}).values()
    }


@pytest.mark.parametrize("name", REPORTS)
def test_what_a_mail_program_lacks_has_a_fallback(mails, name):
    found = mails[name].found
    missed = {feature: (who, found[feature]) for feature, who in lacking(found).items() if feature not in FALLBACKS}
    assert missed == {}
    assert [feature for feature in found if feature not in SUPPORT and feature not in UNLISTED] == []


@pytest.mark.parametrize("name", REPORTS)
def test_nothing_is_fetched_from_afar_when_a_mail_is_opened(mails, name):
    assert [address for address in mails[name].loads if not address.startswith("cid:")] == []


def test_no_fallback_is_written_for_what_nobody_uses(mails):
    used = {feature for mail in mails.values() for feature in mail.found}
    assert set(FALLBACKS) - set(lacking(used)) == set()
    assert used >= UNLISTED


def test_the_fallbacks_are_there(mails):
    for mail in mails.values():
        assert "css-word-break" in mail.found
        assert "css-display-none" in mail.found
        assert "html-cellspacing" in mail.found


@pytest.mark.parametrize(
    ("html", "feature"),
    [
        ('<div style="display: flex">x</div>', "css-display-flex"),
        ('<p style="background-image: url(cid:x.png)">x</p>', "css-background-image"),
        ("<style>@media (hover) { p { margin: 0 } }</style>", "css-at-media-hover"),
        ("<style>a::before { color: red }</style>", "css-pseudo-element-before"),
        ('<img src="cid:chart.svg" alt="x">', "image-svg"),
        ("<!--[if !mso]><!--><form></form><!--<![endif]-->", "html-form"),
        ('<p style="width: calc(1px + 2em)">x</p>', "css-unit-calc"),
    ],
)
def test_what_must_not_be_used_is_noticed(html, feature):
    """The reader of HTML names what a mail program lacks; else the tests above could not fail."""
    found = Features(html).found
    assert feature in found
    assert lacking(found)[feature]
    assert feature not in FALLBACKS


def test_the_data_name_the_three_programs():
    named = {client.split()[0] for row in SUPPORT.values() for client in row}
    assert named == set(CLIENTS)
    assert len(SUPPORT) == 300
