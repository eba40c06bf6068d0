"""The whole demo, run as a person runs it, on a smaller world: its numbers, its second run, and its teeth."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# One process runs them: the first run is the others' starting point.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo"), pytest.mark.timeout(600)]

SIGNALROOM = str(Path(sys.executable).parent / "signalroom")
STREAMS = {
    "s3_exports.orders_create", "s3_exports.orders_update", "s3_exports.prospects_create",
    "s3_exports.internal_affiliates", "everflow.daily_stats", "redtrack.daily_spend",
}  # fmt: skip
COST = "case when is_internal then redtrack_cost else everflow_payout end as cost"


def signalroom(*args, code=0, **more):
    """Run a command with ``more`` in its environment; return its standard output."""
    # A vendor's key in the environment of whoever runs the demo must not leave it.
    environ = {
        **os.environ,
        "EVERFLOW_API_KEY": "a-real-key",
        "EVERFLOW_BASE_URL": "http://127.0.0.1:9",
        "NO_COLOR": "1",
    }
    environ |= more
    done = subprocess.run([SIGNALROOM, *map(str, args)], env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def demo(folder, *more, code=0):
    """Run the demo of a small world in ``folder``."""
    return signalroom("demo", "--dir", folder, "--orders-per-day", "60", *more, code=code)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The first run: its folder and what it printed as JSON."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, json.loads(demo(folder, "--json"))


def test_every_number_equals_the_upstreams_truth(first):
    folder, told = first
    assert (told["numbers_checked"], told["differ"]) == (148, [])
    assert {stream["stream"] for stream in told["streams"]} == STREAMS
    for stream in told["streams"]:
        assert stream["rows_in"] > 0
        assert stream["rows_in"] == stream["rows_merged"] + stream["rows_superseded"] + stream["rows_rejected"]
    assert told["report"]["data"]["overall"]["conversions"] > 0
    assert len(told["report"]["data"]["trend"]) == 14
    assert told["delivered_before"] is False
    html = Path(told["email"]).read_text(encoding="utf-8")
    assert "CCW" in html
    written = [folder / ".env", folder / "signalroom.toml"]
    assert "everflow-network-key" not in written[1].read_text()
    assert all("a-real-key" not in file.read_text() for file in written)


def test_a_second_run_loads_nothing_and_shows_the_same_report(first):
    folder, told = first
    again = json.loads(demo(folder, "--json"))
    assert [stream["rows_in"] for stream in again["streams"]] == [0] * len(STREAMS)
    assert all(stream["load_id"] is None for stream in again["streams"])
    assert again["report"] == told["report"]
    assert (again["numbers_checked"], again["differ"], again["delivered_before"]) == (148, [], True)
    assert len(list((folder / ".signalroom/outbox/daily_ccw").rglob("email.html"))) == 1


def test_the_other_commands_work_in_a_demos_workspace(first):
    folder, told = first
    status = json.loads(signalroom("--workspace", folder, "status", "--json"))
    assert {stream["stream"] for stream in status["streams"]} == STREAMS
    assert all(stream["pending"] == 0 and 0 <= stream["age_seconds"] < 86_400 for stream in status["streams"])
    shown = json.loads(signalroom("--workspace", folder, "report", "daily_ccw", "--json"))
    assert shown["data"]["overall"] == told["report"]["data"]["overall"], "yesterday is the world's, not the machine's"


def test_truth_check_sees_a_wrong_model(first, tmp_path):
    folder = tmp_path / "demo"
    shutil.copytree(first[0], folder)
    model = folder / "models/marts/daily_performance.sql"
    right = model.read_text()
    assert COST in right
    model.write_text(right.replace(COST, "cast(0 as decimal(18, 2)) as cost"))
    (folder / "models/tests/total_cost_is_conserved.sql").unlink()  # which sees it too, and would stop the build
    signalroom("--workspace", folder, "build", "--full-refresh")
    printed = demo(folder, code=1)
    assert "nothing new in 6 streams" in printed
    assert "was delivered before, and was not sent again" in printed
    compared = printed[printed.index("figure") :].splitlines()
    wrong = [
        line.split("  ")[0] for line in compared if line.startswith(("overall", "internal", "previous", "trend", "EXP"))
    ]
    assert {"overall cost", "overall cpa", "internal cost", "previous day cost"} <= set(wrong)
    assert len([figure for figure in wrong if figure.startswith("trend")]) == 14
    assert len([figure for figure in wrong if figure.startswith("EXP trend")]) == 14
    assert "overall revenue" not in wrong
    assert "✗ 148 numbers checked against the upstreams' truth, " in printed


def test_the_same_on_postgres(first, postgres, tmp_path):
    folder = tmp_path / "demo"
    url = {"DEMO_WAREHOUSE_URL": postgres()}
    more = ("--orders-per-day", "60", "--warehouse-url", "env:DEMO_WAREHOUSE_URL", "--json")
    told = json.loads(signalroom("demo", "--dir", folder, *more, **url))
    assert (told["numbers_checked"], told["differ"]) == (148, [])
    ours = {key: value for key, value in told["report"]["data"].items() if key not in {"freshness", "_report"}}
    assert ours == {key: first[1]["report"]["data"][key] for key in ours}
    counts = [{key: stream[key] for key in stream if key.startswith("rows_")} for stream in told["streams"]]
    assert counts == [{key: one[key] for key in one if key.startswith("rows_")} for one in first[1]["streams"]]
    assert url["DEMO_WAREHOUSE_URL"] not in (folder / "signalroom.toml").read_text()
