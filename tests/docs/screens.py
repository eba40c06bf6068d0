"""The documentation's pictures of a terminal: ``make pictures`` takes them after those of reports.

A copy of the demo's workspace lives through a morning: its jobs run while the upstreams answer, then one stops answering,
a job fails, and the watch tells it. Each command then runs in a terminal of its own, and what it prints is drawn with the
colours it asked for.
"""

import fcntl
import html
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from signalroom.cli.demo_world import DemoState, environment, write_environment
from signalroom.simulators import serve
from signalroom.simulators.faults import status

COLUMNS = 124
SIGNALROOM = str(Path(sys.executable).with_name("signalroom"))
SCREENS = {  # name of the picture -> what is typed
    "terminal-morning": ("status", "jobs"),
    "terminal-outage": ("runs list --limit 6", "runs show {failed}"),
    "terminal-alerts": ("alerts", "deliveries"),
    "terminal-check": ("check",),
}
THEME = TerminalTheme(
    (30, 33, 39), (215, 218, 224),
    [(30, 33, 39), (224, 108, 117), (152, 195, 121), (229, 192, 123), (97, 175, 239), (198, 120, 221), (86, 182, 194),
     (215, 218, 224)],
)  # fmt: skip
PAGE = """<!doctype html><html lang='en'><meta charset='utf-8'><title>Terminal</title><style>
html { background: #fff; } body { margin: 0; padding: 14px; width: max-content; }
.window { background: #1e2127; border-radius: 9px; padding: 12px 18px 16px; }
.buttons { height: 20px; } .buttons i { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin-right: 7px; }
pre { margin: 0; color: #d7dae0; font: 13.5px/1.42 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace; }
b { color: #98c379; font-weight: 400; }
</style><div class='window'><div class='buttons'><i style='background:#ff5f57'></i><i style='background:#febc2e'></i><i
style='background:#28c840'></i></div><pre>"""
REDRAWN = re.compile(r"\x1b\[\d*A\x1b\[2K|\x1b\[2K")  # where a progress bar is wiped away
MODES = re.compile(r"\x1b\[\?\d+[hl]")


def printed(command, workspace):
    """Return what a command prints in a terminal, with its colours, and its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "FORCE_COLOR"}}
    running = subprocess.Popen(
        [SIGNALROOM, *command.split()], cwd=workspace, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**plain, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # Linux says so when the other end is closed
        pass
    finally:
        os.close(ours)
    text = MODES.sub("", b"".join(parts).decode())
    return REDRAWN.split(text)[-1].replace("\r\n", "\n").strip("\n"), running.wait()


def drawn(workspace, commands):
    """Return a page that shows a terminal in which ``commands`` were typed."""
    shown = []
    for command in commands:
        text, _ = printed(command, workspace)
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
        console.print(Text.from_ansi(text))
        body = console.export_html(theme=THEME, inline_styles=True, code_format="{code}")
        shown.append(f"<b>$</b> signalroom {html.escape(command)}\n{body.rstrip()}\n")
    return PAGE + "\n".join(shown) + "</pre></div></html>"


@contextmanager
def a_morning(demo):
    """Yield a copy of the demo's workspace after a morning, and the id of its run that failed."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder, "affiliates")
        shutil.copytree(demo, workspace)
        settings = workspace / "signalroom.toml"
        # Five attempts outlast six minutes; two show as much.
        settings.write_text(settings.read_text().replace("[jobs.hourly]\n", "[jobs.hourly]\nretries = 2\n"))
        state = DemoState.read(workspace)
        with serve(state.world()) as upstreams:
            write_environment(workspace, environment(upstreams))
            for job in ("exports", "daily_reports", "hourly"):
                printed(f"run {job}", workspace)
            upstreams.everflow.faults.push(status(503), times=200)
            printed("run hourly", workspace)
            printed("watch", workspace)
            yield workspace, failed_run(workspace)


def failed_run(workspace):
    """Return the id of the newest run that failed."""
    listed = subprocess.run(
        [SIGNALROOM, "runs", "list", "--status", "error", "--json"], cwd=workspace, capture_output=True, check=True
    )
    return json.loads(listed.stdout)["runs"][0]["run_id"]


def pages(demo):
    """Yield the name and the page of each screen."""
    with a_morning(demo) as (workspace, failed):
        for name, commands in SCREENS.items():
            yield name, drawn(workspace, [command.format(failed=failed) for command in commands])
