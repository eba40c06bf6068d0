"""Jobs in this process: attempts that share a run, executions repeated in part, heartbeats from a thread."""

import threading

import pytest

from ledger_laws import HandClock
from shop_workspace import ask, call, make_shop
from signalroom.engine import inline
from signalroom.engine.executions import plan
from signalroom.engine.heartbeat import Heartbeat
from signalroom.errors import ConfigError, RetryableError
from signalroom.ledger.ledger import Ledger, LedgerSettings
from signalroom.room import Room
from signalroom.run import Occasion


@pytest.fixture
def shop(tmp_path):
    return make_shop(tmp_path)


def runs(root, *more):
    return [(one["step"].split()[0], one["status"]) for one in ask(root, "runs", *more)["runs"]][::-1]


def test_a_job_goes_on_from_the_step_that_failed(shop):
    call(shop, "run", "broken", code=1)
    assert runs(shop) == [("sync", "success"), ("report", "error")]
    (shop / "reports/sick/sick.sql").write_text("-- name: overall one\nselect 1 as one;\n")
    done = ask(shop, "run", "broken", "--from-failed")["steps"]
    failed = ask(shop, "runs", "--status", "error")["runs"][0]
    (again,) = done
    assert (again["status"], again["repeat_of"]) == ("success", failed["run_id"])
    assert again["due_at"] == failed["due_at"]
    assert again["execution"] != failed["execution"]
    refused = call(shop, "run", "broken", "--from-failed", code=2)
    assert "The last execution of job 'broken' succeeded. To repeat a part of it, use --from STEP." in refused.output


def test_a_job_is_repeated_from_a_step_by_number_or_text(shop):
    call(shop, "run", "morning")
    for wanted in ("2", "report pulse --date 2026-11-19"):
        assert [one["step"].split()[0] for one in ask(shop, "run", "morning", "--from", wanted)["steps"]] == ["report"]
    refused = call(shop, "run", "morning", "--from", "3", code=2)
    assert "Job 'morning' has no step '3'. Its steps: 1 sync shop; 2 report pulse" in refused.output
    assert "exclude each other" in call(shop, "run", "morning", "--from", "1", "--from-failed", code=2).output


def test_a_job_that_never_ran_has_nothing_to_repeat(shop):
    assert "has not run yet" in call(shop, "run", "morning", "--from-failed", code=2).output


def test_yesterday_is_meant_as_of_the_moment_a_run_was_due(shop):
    clock = HandClock()
    with Room.open(shop, clock=clock) as room:
        late = Occasion(clock.moment, "job:late", "job:late/1")
        clock.advance(3 * 86400)
        inline.run_step(room, "sync shop")
        (sent,) = inline.run_step(room, "report pulse", occasion=late).deliveries
        assert sent.due_at.date().isoformat() == "2026-03-08"  # the day before 8 March is over then
        again = inline.run_step(room, "report pulse", occasion=late)
        assert (again.run.status, again.run.fence, again.deliveries) == ("success", 1, ())


def test_attempts_share_a_run(shop, monkeypatch):
    clock = HandClock()
    tries = iter([RetryableError("Busy."), RetryableError("Busy.", retry_after_s=400), None])

    def flaky(room, call, at, progress):
        if problem := next(tries):
            raise problem
        return inline.Outcome(inline._NO_RUN)

    monkeypatch.setitem(inline._VERBS, "sync", flaky)
    monkeypatch.setitem(inline._VERBS, "report", lambda *_: inline.Outcome(inline._NO_RUN))
    began = clock.moment
    with Room.open(shop, clock=clock) as room:
        first, second = inline.run_job(room, "morning")
        assert (first.run.status, first.run.fence, second.run.fence) == ("success", 3, 1)
        assert len(room.ledger.runs.list()) == 2
    assert (clock.moment - began).total_seconds() >= 400


def test_two_executions_of_one_moment_are_two(shop):
    with Room.open(shop, clock=HandClock()) as room:
        assert plan(room, "morning").name != plan(room, "morning").name
        with pytest.raises(ConfigError, match="Did you mean 'morning'"):
            plan(room, "mornign")


def test_a_silent_step_is_kept_alive_and_a_lost_one_hears_of_it(tmp_path):
    clock, beats = HandClock(), threading.Semaphore(0)
    with Ledger.open(LedgerSettings(tmp_path, clock, "l.sqlite", run_lease_s=0.06)) as ledger:
        run = ledger.runs.start("j", "build")
        with Heartbeat(ledger.runs, run, beats.release) as heart:
            for _ in range(3):
                clock.advance(0.05)  # three times most of a lease, and not a word from the step
                assert beats.acquire(timeout=5)
                assert beats.acquire(timeout=5)
            assert ledger.runs.sweep() == ()
            clock.advance(1)
            ledger.runs.sweep(clock.moment.replace(year=2027))
            with pytest.raises(RetryableError, match="was given up for lost"):
                heart.check()
        assert ledger.runs.get(run.run_id).status == "lost"


def test_a_step_that_ends_after_it_was_given_up_is_no_success(shop, monkeypatch):
    with Room.open(shop, clock=HandClock()) as room:

        def outlived(room, call, at, progress):
            room.ledger.runs.sweep(room.clock.now().replace(year=2027))
            return inline.Outcome(inline._NO_RUN)

        monkeypatch.setitem(inline._VERBS, "refresh", outlived)
        with pytest.raises(RetryableError, match="finished after it had been given up"):
            inline.run_step(room, "refresh")
        assert room.ledger.runs.list()[0].status == "lost"
