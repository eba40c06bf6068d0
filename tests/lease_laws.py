"""What a ledger promises of leases and schedules when clocks are set and processes end: on SQLite and on Postgres."""

from datetime import timedelta

import pytest

from signalroom.ledger.runs import Runs
from signalroom.run import Occasion


class LeaseLaws:
    """Leases of runs: needs a ``ledger`` opened with ``clock``, leases of 300 s."""

    @pytest.mark.parametrize("hours", [1, -1])
    def test_a_clock_that_is_set_makes_nobody_lost_who_lives_and_keeps_nobody_who_does_not(self, ledger, clock, hours):
        living, dead = ledger.runs.start("daily", "living"), ledger.runs.start("daily", "dead")
        clock.moment += timedelta(hours=hours)
        lost = list(ledger.runs.sweep())
        for _ in range(3):
            assert not lost
            clock.advance(140)
            assert ledger.runs.heartbeat(living)
            lost += ledger.runs.sweep()
        for _ in range(3):
            clock.advance(140)
            assert ledger.runs.heartbeat(living)
            lost += ledger.runs.sweep()
        assert [run.run_id for run in lost] == [dead.run_id]
        assert ledger.runs.finish(living, "success").status == "success"

    def test_a_lease_from_before_the_clock_was_set_back_ends_for_who_came_later(self, ledger, clock):
        clock.moment += timedelta(hours=1)
        dead = ledger.runs.start("daily", "dead")
        clock.moment -= timedelta(hours=1)
        later = Runs(ledger.runs._store, ledger.runs.lease_s)
        assert later.sweep() == ()
        clock.advance(299)
        assert later.sweep() == ()
        clock.advance(2)
        (lost,) = later.sweep()
        assert (lost.run_id, lost.status) == (dead.run_id, "lost")

    def test_what_a_process_still_has_is_let_go_of_at_once(self, ledger, clock):
        ended, taken, mine = (ledger.runs.start("daily", step, Occasion(run_id=step)) for step in ("a", "b", "c"))
        ledger.runs.finish(ended, "success")
        ledger.runs.start("daily", "b", Occasion(run_id="b"))  # by another attempt, under a higher fence
        released = ledger.runs.release("It was cut off.")
        assert [(run.run_id, run.status, run.error) for run in released] == [
            ("b", "lost", "It was cut off."), ("c", "lost", "It was cut off."),
        ]  # fmt: skip
        assert ledger.runs.finish(taken, "success").status == "lost"
        assert ledger.runs.finish(mine, "success").status == "lost"
        assert ledger.runs.release("Again.") == ()
        again = ledger.runs.start("daily", "c", Occasion(run_id="c"))
        assert [failure.error for failure in again.failures] == ["It was cut off."]

    def test_schedules_count_from_when_they_were_made_changed_or_resumed(self, ledger, clock):
        first = clock.now()
        ledger.schedules.seen({"hourly": ("15 * * * *", "UTC"), "daily": ("0 7 * * *", "UTC")})
        clock.advance(60)
        second = clock.now()
        ledger.schedules.seen(
            {"hourly": ("15 * * * *", "UTC"), "daily": ("0 8 * * *", "UTC"), "new": ("@daily", "UTC")}
        )
        known = ledger.schedules.known()
        assert {name: (one.line, one.since, one.seen_at) for name, one in known.items()} == {
            "hourly": ("15 * * * *", first, second), "daily": ("0 8 * * *", second, second),
            "new": ("@daily", second, second),
        }  # fmt: skip
        clock.advance(60)
        ledger.schedules.renew("hourly")
        assert ledger.schedules.known()["hourly"].since == clock.now()
        ledger.schedules.seen({"hourly": ("15 * * * *", "UTC")})
        assert list(ledger.schedules.known()) == ["hourly"]
