"""Which failures a step bears, how often it is tried, how long is waited; and a morning whose source is out."""

from datetime import UTC, datetime

import pytest

from ledger_laws import HandClock
from shop_workspace import make_shop
from signalroom.engine import inline
from signalroom.engine.attempts import attempts_of, borne_by, wait_s
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.room import Room
from signalroom.workspace.jobs import Job, parse_step
from signalroom.workspace.parts import ReportSettings

FRANK = ReportSettings(name="frank", channels=("c",), needs={"a": "2h", "b.rows": "2h"}, deadline="07:45")
PATIENT = ReportSettings(name="patient", channels=("c",), needs={"a": "2h"})


def borne(*steps):
    job = Job("daily", "0 7 * * *", "UTC", tuple(map(parse_step, steps)))
    return [sorted(one) for one in borne_by(job, {"frank": FRANK, "patient": PATIENT})]


def test_a_report_with_a_deadline_bears_the_syncs_it_names_and_so_does_what_leads_to_it():
    assert borne("sync a", "sync b.rows", "build", "report frank") == [[], [0], [0, 1], [0, 1]]
    assert borne("sync a", "sync c", "build", "report frank") == [[], [0], [0], [0]], "nobody would say that c is late"
    assert borne("sync a", "build", "report patient") == [[], [], []], "it waits for as long as its job tries"
    assert borne("sync a", "build", "report frank")[2] == [0], "it would not say that the models failed"
    assert borne("sync a", "report frank", "build") == [[], [0], [1]], "nothing after the build says what is late"


def test_reports_do_not_wait_for_one_another():
    assert borne("build", "report patient", "report other", "watch", "refresh") == [[], [], [1], [1, 2], [1, 2, 3]]
    assert borne("report patient", "replay", "run other") == [[], [], []]


def test_attempts_outlast_a_short_outage_and_a_reports_looks_do_not_use_them_up():
    job = Job("daily", "", "UTC", (), retries=5)
    assert 350 < sum(wait_s(attempt) for attempt in range(1, job.retries)) < 400
    assert wait_s(100) == 300
    assert attempts_of(job, parse_step("report patient"), {"patient": PATIENT}) == 5
    assert attempts_of(job, parse_step("sync frank"), {"frank": FRANK}) == 5
    looks = attempts_of(job, parse_step("report frank"), {"frank": FRANK}) - job.retries
    assert 7.5 * 2**looks > 24 * 60, "each look halves the minutes that are left"


MORNING = """
[jobs.daily]
steps = ["sync shop", "report pulse", "report sick"]
[jobs.reports]
steps = ["report sick --date 2026-11-19", "report pulse --date 2026-11-19"]
"""


@pytest.fixture
def shop(tmp_path):
    root = make_shop(tmp_path, MORNING)
    file = root / "signalroom.toml"
    wanted = '[reports.pulse]\nneeds = { shop = "2h" }\ndeadline = "12:00"\n'
    file.write_text(file.read_text().replace("[reports.pulse]\n", wanted))
    return root


@pytest.mark.parametrize("problem", [RetryableError("The shop is shut."), ConfigError("The key was revoked.")])
def test_a_report_goes_out_at_its_deadline_though_its_source_is_out(shop, monkeypatch, problem):
    clock = HandClock()
    clock.moment = datetime(2026, 11, 20, 1, tzinfo=UTC)

    def shut(*_):
        raise problem

    with Room.open(shop, clock=clock) as room:
        inline.run_step(room, "sync shop")
        clock.moment = datetime(2026, 11, 20, 7, tzinfo=UTC)  # five hours before the deadline
        monkeypatch.setitem(inline._VERBS, "sync", shut)
        with pytest.raises(type(problem), match=problem.message):
            inline.run_job(room, "daily")
        (sent,) = room.ledger.deliveries.list(state="sent")
        told = room.ledger.archive.get(sent.digest).message.text
        assert (sent.report, "shop.orders is late: its newest data came 01:00 UTC" in told) == ("pulse", True)
        assert datetime(2026, 11, 20, 12, tzinfo=UTC) <= clock.moment <= datetime(2026, 11, 20, 12, 1, tzinfo=UTC)
        assert [run.step for run in room.ledger.runs.list()] == ["report pulse", "sync shop", "sync shop"], (
            "sick needs it"
        )


def test_one_report_that_cannot_be_made_keeps_no_other_back(shop):
    clock = HandClock()
    clock.moment = datetime(2026, 11, 20, 13, tzinfo=UTC)
    with Room.open(shop, clock=clock) as room:
        inline.run_step(room, "sync shop")
        with pytest.raises((ConfigError, DataError), match="nowhere"):
            inline.run_job(room, "reports")
        assert [one.report for one in room.ledger.deliveries.list(state="sent")] == ["pulse"]
