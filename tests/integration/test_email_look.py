"""The template's e-mails in a real browser: phone and desk, light and dark."""

import base64
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

import template_reports
from daily_ccw import ABOUT, built_in, daily_ccw, rows
from signalroom.reports.finding import handed_report
from signalroom.reports.render import Renderer

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]

LARGE = (Decimal("1234567.89"), Decimal("-123456.78"), 987_654_321_098)
TEMPLATE = ("daily_ccw", "weekly_rollup", "affiliate_leaderboard", "state_heatmap")
OTHERS = (*TEMPLATE[1:], "alert", "digest")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Files of the e-mail: of a plain day, of hostile names, of a day without rows."""
    folder = tmp_path_factory.mktemp("mail")
    report, renderer = daily_ccw(folder), Renderer(workers=1)
    hostile, nothing = rows(), rows()
    for record in hostile["top"]:
        record["label"] = "W" * 10_000
    hostile["freshness"][1]["note"] = "x" * 10_000
    hostile["overall"]["revenue"] = 10**17
    nothing = {name: [] if isinstance(value, list) else None for name, value in nothing.items()}
    others = {name: (built_in(folder, name), template_reports.rows(name)) for name in TEMPLATE}
    others["alert"] = handed_report(folder, "alert"), template_reports.an_alert()
    others["digest"] = handed_report(folder, "digest"), template_reports.a_digest()
    try:
        return (
            {
                name: save(folder / f"{name}.html", renderer.render(report, data, **ABOUT))
                for name, (report, data) in others.items()
            }
            | {
                name: save(
                    folder / f"{name}.html", renderer.render(report, data, **ABOUT, link="https://example.com/r")
                )
                for name, data in (("plain", rows()), ("hostile", hostile), ("nothing", nothing))
            }
            | {
                (name, figure): save(folder / f"{name}{figure}.html", renderer.render(others[name][0], data, **ABOUT))
                for name in TEMPLATE
                for figure in LARGE
                for data in [template_reports.changed(template_reports.rows(name), (), lambda _, figure=figure: figure)]
            }
        )
    finally:
        renderer.close()


def save(path: Path, message) -> Path:
    html = message.html
    for image in message.images:
        html = html.replace(f"cid:{image.name}", f"data:image/png;base64,{base64.b64encode(image.png).decode()}")
    path.write_text(html)
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("name", ["plain", "hostile", "nothing", *OTHERS])
def test_nothing_runs_over_and_every_picture_speaks(browser, pages, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(pages[name].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    pictures = page.evaluate("[...document.images].map(i => [i.alt, i.naturalWidth, i.getBoundingClientRect().width])")
    assert pictures or name in {"affiliate_leaderboard", "alert", "digest"}
    for alt, natural, shown in pictures:
        assert alt
        assert natural == 1200
        assert shown >= min(width, 640) - 60
    page.close()


@pytest.mark.parametrize("figure", LARGE, ids=str)
@pytest.mark.parametrize("name", TEMPLATE)
def test_figures_of_millions_push_nothing_out_of_a_phone(browser, pages, name, figure):
    page = browser.new_page(viewport={"width": 375, "height": 800})
    page.goto(pages[name, figure].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    names = page.evaluate("[...document.querySelectorAll('td.name')].map(cell => cell.getBoundingClientRect().width)")
    assert min(names) >= 64, "room for a word"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["plain", *OTHERS])
def test_text_stands_out_from_what_is_behind_it(browser, pages, name, scheme):
    page = browser.new_page(viewport={"width": 375, "height": 800}, color_scheme=scheme)
    page.goto(pages[name].as_uri())
    faint = page.evaluate(
        """() => {
          const rgb = text => text.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
          const behind = element => {
            for (let at = element; at; at = at.parentElement) {
              const colour = rgb(getComputedStyle(at).backgroundColor);
              if (colour.length < 4 || colour[3] > 0) return colour;
            }
            return [255, 255, 255];
          };
          const faint = [];
          const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walk.nextNode()) {
            const element = walk.currentNode.parentElement;
            if (!walk.currentNode.textContent.trim() || !element.checkVisibility() || element.offsetWidth < 2) continue;
            const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
            if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(walk.currentNode.textContent.trim().slice(0, 40));
          }
          return faint;
        }"""
    )
    page.close()
    assert faint == []
