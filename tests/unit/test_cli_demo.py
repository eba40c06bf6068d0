"""The demo's parts: its clock, its workspace, and the comparison with the truth (the whole demo is in tests/walk)."""

import copy
import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from click.testing import CliRunner

from signalroom.cli import exits
from signalroom.cli.app import app
from signalroom.cli.demo_truth import compare
from signalroom.cli.demo_world import DemoClock, DemoState, clock_of, prepare
from signalroom.clock import SystemClock
from signalroom.errors import ConfigError
from signalroom.workspace.workspace import Workspace

STATE = DemoState(7, date(2026, 11, 20), 60, datetime(2026, 11, 20, 12, tzinfo=UTC))


@pytest.fixture(scope="module")
def truth():
    world = STATE.world()
    return world.truth_daily("CCW", date(2026, 11, 19)), world.truth_daily("CCW", date(2026, 11, 18))


def shown_by(truth):
    """Return what a right report shows, its numbers as a report's JSON has them."""
    day, before = copy.deepcopy(truth)
    data = {key: day[key] for key in ("overall", "internal", "external", "top", "trend", "orders")}
    data |= {"previous": before["overall"], "unmapped": {"spend": day["unmapped_spend"]}}
    for record in (data["overall"], data["orders"], *data["trend"]):
        for name in ("conversions", "orders"):
            if name in record:
                record[name] = int(record[name])
    return data


def differing(data, truth):
    return [one.where for one in compare(data, *truth) if not one.agrees]


def test_a_right_report_agrees_in_every_number(truth):
    found = compare(shown_by(truth), *truth)
    assert [one for one in found if not one.agrees] == []
    assert sum(one.is_number for one in found) == 4 + 3 + 3 + 4 + 7 + 1 + 5 * 2 + 14 * 3


def test_a_number_counts_whatever_its_spelling_and_a_cent_is_a_difference(truth):
    data = shown_by(truth)
    data["overall"]["cost"] = f"{Decimal(data['overall']['cost']):.4f}"
    data["overall"]["cpa"] = str(Decimal(data["overall"]["cpa"]) + Decimal("0.004"))
    assert differing(data, truth) == []
    data["overall"]["cost"] = str(Decimal(truth[0]["overall"]["cost"]) + Decimal("0.01"))
    assert differing(data, truth) == ["overall cost"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data["trend"][3].update(revenue=0), ["trend 2026-11-09 revenue"]),
        (lambda data: data["overall"].update(cpa=None), ["overall cpa"]),
        (lambda data: data["overall"].pop("revenue"), ["overall revenue"]),
        (lambda data: data.update(unmapped=None), ["unmapped spend"]),
        (lambda data: data["orders"].update(chargebacks="many"), ["orders chargebacks"]),
        (lambda data: data["previous"].update(conversions=0), ["previous day conversions"]),
        (lambda data: data["top"][0].update(label="Somebody"), ["top Social Main label"]),
        (lambda data: data["top"][0].update(is_internal=False), ["top Social Main is_internal"]),
        (lambda data: data["top"].append(data["top"][0]), ["top, how many"]),
    ],
)
def test_whatever_differs_is_named(truth, spoil, said):
    data = shown_by(truth)
    spoil(data)
    assert differing(data, truth) == said


def test_a_missing_list_and_a_missing_day_differ(truth):
    data = shown_by(truth)
    data["trend"].pop()
    assert "trend, how many" in differing(data, truth)
    assert "trend 2026-11-19 revenue" in differing(data, truth)
    assert len(differing({}, truth)) >= 74


def test_the_clock_never_stands_and_never_leaves_its_day(monkeypatch):
    class Machine(datetime):
        passed = timedelta()

        @classmethod
        def now(cls, tz=None):
            return STATE.made_at + cls.passed

    monkeypatch.setattr("signalroom.cli.demo_world.datetime", Machine)
    clock = DemoClock(STATE.moment, STATE.made_at)
    seen = []
    for Machine.passed in (timedelta(seconds=-5), timedelta(0), timedelta(seconds=1), timedelta(hours=1),
                           timedelta(days=1), timedelta(days=365), timedelta(days=365, seconds=1)):  # fmt: skip
        seen.append(clock.now())
    assert seen[0] == seen[1] == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert all(one < other for one, other in itertools.pairwise(seen[1:]))
    assert seen[-1] < datetime(2026, 11, 21, 5, tzinfo=UTC), "the day ends at five in New York's winter"


def test_a_demo_is_made_once_and_found_again(tmp_path):
    made, new = prepare(tmp_path / "demo", STATE, "affiliates")
    assert (made, new) == (STATE, True)
    later = DemoState(7, STATE.today, 60, STATE.made_at + timedelta(days=3))
    found, new = prepare(tmp_path / "demo", later, "affiliates")
    assert (found, new) == (STATE, False), "the world is the one of the first run"
    assert isinstance(clock_of(tmp_path / "demo"), DemoClock)
    assert isinstance(clock_of(tmp_path), SystemClock)
    with pytest.raises(ConfigError, match="holds another demo: seed 7, 2026-11-20, 60 orders a day"):
        prepare(tmp_path / "demo", DemoState(8, STATE.today, 60, STATE.made_at), "affiliates")


def test_a_demo_overwrites_no_workspace(tmp_path):
    (tmp_path / "signalroom.toml").write_text('name = "mine"\n')
    found = CliRunner().invoke(app, ["demo", "--dir", str(tmp_path)])
    assert found.exit_code == exits.CONFIG
    assert "holds a workspace that is no demo. Name another folder with --dir." in found.stderr
    assert (tmp_path / "signalroom.toml").read_text() == 'name = "mine"\n'


def test_a_demo_on_postgres_refers_to_the_address_and_does_not_hold_it(tmp_path):
    state = DemoState(7, STATE.today, 60, STATE.made_at, "env:DEMO_PG")
    prepare(tmp_path / "demo", state, "affiliates")
    workspace = Workspace.load(tmp_path / "demo", {"DEMO_PG": "postgresql://demo@localhost/demo"})
    assert (workspace.warehouse.kind, workspace.warehouse.settings) == ("postgres", {"url": "env:DEMO_PG"})
    assert workspace.lake.settings, "the sections after it are still there"
    found = CliRunner().invoke(
        app, ["demo", "--dir", str(tmp_path / "other"), "--warehouse-url", "postgresql://u:hunter22@h/d"]
    )
    assert found.exit_code == exits.CONFIG
    assert "takes a reference" in found.stderr
    assert "hunter22" not in found.output
    assert not (tmp_path / "other").exists()


def test_a_state_nobody_wrote_is_told(tmp_path):
    prepare(tmp_path, STATE, "affiliates")
    (tmp_path / ".signalroom/demo/world.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not what a demo wrote"):
        clock_of(tmp_path)
