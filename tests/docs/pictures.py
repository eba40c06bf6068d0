"""The documentation's pictures, taken of the demo: ``make pictures`` (Chromium, and a minute after the demo).

``python tests/docs/pictures.py demo`` renders every report of the demo's workspace from its warehouse, opens the e-mails
and the Slack messages in a browser at the desk's and a phone's width, light and dark, draws the terminal of a morning on
which an upstream is out, and writes ``docs/pictures/``.
"""

import argparse
import base64
import shutil
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs import screens
from docs.slack_page import page as slack_page
from signalroom import steps
from signalroom.cli.demo_world import DemoState
from signalroom.reports.finding import handed_report
from signalroom.room import Room
from template_reports import an_alert

PICTURES = Path(__file__).parents[2] / "docs/pictures"
WIDTHS = {"desk": 1100, "phone": 375, "slack": 720}
SHOTS = (  # report, form, width, scheme
    ("daily_ccw", "email", "desk", "light"),
    ("daily_ccw", "email", "desk", "dark"),
    ("daily_ccw", "email", "phone", "light"),
    ("daily_ccw", "email", "phone", "dark"),
    ("daily_ccw", "slack", "slack", "light"),
    ("weekly_rollup", "email", "phone", "light"),
    ("affiliate_leaderboard", "email", "phone", "light"),
    ("state_heatmap", "email", "desk", "light"),
    ("alert", "email", "phone", "dark"),
    ("alert", "slack", "slack", "light"),
)
BUDGET_BYTES = 1_800_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking", "--no-first-run"]


def messages(workspace):
    """Return report -> message, with the figures of the demo's last day."""
    state = DemoState.read(workspace)
    made = {}
    with Room.open(workspace, clock=state.clock()) as room:
        for name in dict.fromkeys(report for report, *_ in SHOTS if report != "alert"):
            made[name] = steps.preview(room, name, state.report_day)
        made["alert"] = room.renderer.render(
            handed_report(workspace, "alert"), an_alert(since=room.clock.now()), report_date=state.report_day,
            timezone=room.workspace.timezone, as_of=room.clock.now(),
        )  # fmt: skip
        at = room.clock.now().astimezone(ZoneInfo(room.workspace.timezone))
        room.renderer.close()
    return made, at


def as_page(message, form, at: datetime):
    """Return the HTML that a reader of one form sees."""
    if form == "slack":
        return slack_page(message.blocks, f"{at:%H:%M}")
    html = message.html
    for image in message.images:
        html = html.replace(f"cid:{image.name}", f"data:image/png;base64,{base64.b64encode(image.png).decode()}")
    return html


def take(workspace, to):
    """Write every picture and return its bytes by name."""
    from playwright.sync_api import sync_playwright

    chromium = next(
        found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))
    )
    made, at = messages(workspace)
    to.mkdir(parents=True, exist_ok=True)
    sizes = {}
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for report, form, width, scheme in SHOTS:
            file = Path(folder, "page.html")
            file.write_text(as_page(made[report], form, at), encoding="utf-8")
            page = browser.new_page(viewport={"width": WIDTHS[width], "height": 100}, color_scheme=scheme)
            page.goto(file.as_uri())
            name = f"{report}-{form}{'' if form == 'slack' else f'-{width}-{scheme}'}.png"
            sizes[name] = len(page.screenshot(path=to / name, full_page=True))
            page.close()
        for name, html in screens.pages(workspace):
            page = browser.new_page(viewport={"width": WIDTHS["desk"], "height": 100})
            page.set_content(html)
            sizes[f"{name}.png"] = len(page.locator(".window").screenshot(path=to / f"{name}.png"))
            page.close()
        browser.close()
    return sizes


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workspace", type=Path, help="where `signalroom demo` made its workspace")
    parser.add_argument("--to", type=Path, default=PICTURES)
    args = parser.parse_args()
    sizes = take(args.workspace, args.to)
    total = sum(sizes.values())
    for name, size in sizes.items():
        print(f"{size / 1024:7.0f} kB  {name}")  # noqa: T201 - figures are what it is for
    print(f"{total / 1024:7.0f} kB  in sum, of {BUDGET_BYTES / 1024:.0f}")  # noqa: T201 - likewise
    return 0 if total <= BUDGET_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
