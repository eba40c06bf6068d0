"""What a ledger tells of many runs, and for how long, whatever database keeps it."""

from datetime import timedelta


class ManyRunsLaws:
    """Runs over time: needs a ``ledger`` opened with ``clock``."""

    def test_what_runs_all_the_time_hides_nothing_that_runs_rarely(self, ledger, clock):
        def ran(job, step, status="success"):
            run = ledger.runs.start(job, step)
            clock.advance(60)
            return ledger.runs.finish(run, status) if status else run

        weekly, going = ran("weekly", "report rollup", "error"), ran("slow", "build", "")
        by_hand = ran("", "report rollup --date 2026-01-01")
        often = [ran("often", "sync feed") for _ in range(5)]
        assert ledger.runs.recent(3) == (*often[:1:-1], going, weekly)
        assert by_hand in ledger.runs.recent(6)
        bounds = {"since": weekly.started_at, "before": often[1].started_at}
        assert [run.step for run in ledger.runs.list(**bounds)] == [
            "sync feed", by_hand.step, "build", "report rollup"
        ]  # fmt: skip
        assert ledger.runs.list(since=often[4].started_at) == (often[4],)
        assert ledger.figures.runs_by_status(**bounds) == {"error": 1, "running": 1, "success": 2}

    def test_what_ended_long_ago_is_forgotten_bit_by_bit(self, ledger, clock):
        going = ledger.runs.start("slow", "build")
        for _ in range(5):
            ledger.runs.finish(ledger.runs.start("often", "sync feed"), "success")
            clock.advance(86_400)
        kept = [run for run in ledger.runs.list() if run.started_at >= clock.now() - timedelta(days=2)]
        assert ledger.runs.forget(clock.now() - timedelta(days=2), most=2) == 2
        assert ledger.runs.forget(clock.now() - timedelta(days=2), most=2) == 1
        assert ledger.runs.forget(clock.now() - timedelta(days=2), most=2) == 0
        assert ledger.runs.list() == (*kept, ledger.runs.get(going.run_id))
