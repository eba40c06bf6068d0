"""What a ledger promises about refreshes that somebody asked for, whatever database keeps it."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

from signalroom.errors import DataError
from signalroom.view import Refreshed
from view_laws import GIVEN, OWN


class RequestLaws:
    """Requests and what the monitor shows: needs a ``ledger`` opened with ``clock``."""

    def job(self, ledger, name="acme_top", agency_id=None):
        return ledger.monitor.job(name, agency_id)

    def test_asking_again_names_the_refresh_that_waits(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        job = self.job(ledger)
        with ThreadPoolExecutor(4) as pool:
            asked = list(pool.map(lambda _: ledger.requests.ask(job), range(8)))
        assert sorted(new for _, new in asked) == [False] * 7 + [True]
        (run_id,) = {run_id for run_id, _ in asked}
        assert [(one.run_id, one.name) for one in ledger.requests.waiting()] == [(run_id, "acme_top")]
        (row,) = ledger.monitor.history("acme_top", 7, limit=9)
        assert (row["run_id"], row["status"], row["start_time"], row["finish_time"]) == (
            run_id,
            "pending",
            clock.now(),
            None,
        )
        assert self.job(ledger)["status"] == "pending"

    def test_whoever_claims_the_view_takes_the_refresh_that_waits(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        asked, _ = ledger.requests.ask(self.job(ledger))
        clock.advance(5)
        runs = {run.view.name: run for run in ledger.views.claim(GIVEN.views(), 60)}
        assert runs["acme_top"].run_id == asked
        assert runs["daily__acme"].run_id != asked
        assert ledger.requests.waiting() == []
        (row,) = ledger.monitor.history("acme_top", 7, limit=9)
        assert (row["status"], row["start_time"]) == ("running", clock.now())
        ledger.views.finish([(runs["acme_top"], Refreshed(OWN, rows=3, bytes=24, seconds=1.6))])
        (row,) = ledger.monitor.history("acme_top", 7, limit=9)
        assert (row["run_id"], row["status"], row["records_processed"], row["duration_seconds"]) == (
            asked,
            "success",
            3,
            2,
        )

    def test_what_is_asked_for_during_a_refresh_comes_after_it(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        (run,) = ledger.views.claim([OWN], 60)
        asked, new = ledger.requests.ask(self.job(ledger))
        assert new
        assert self.job(ledger)["status"] == "running"
        assert ledger.requests.waiting() == []  # not while another has the view
        ledger.views.finish([(run, Refreshed(OWN))])
        assert [one.run_id for one in ledger.requests.waiting()] == [asked]
        assert ledger.views.claim([OWN], 60)[0].run_id == asked

    def test_a_claim_that_is_given_back_leaves_what_waited(self, ledger):
        ledger.manifests.bring(GIVEN)
        asked, _ = ledger.requests.ask(self.job(ledger))
        ledger.views.release(ledger.views.claim([OWN], 60))
        assert [one.run_id for one in ledger.requests.waiting()] == [asked]
        taken = ledger.views.claim([OWN], 60)
        again, _ = ledger.requests.ask(self.job(ledger))
        ledger.views.release(taken)
        assert [one.run_id for one in ledger.requests.waiting()] == [again]

    def test_a_claim_that_was_taken_over_gives_nothing_back(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        lost = ledger.views.claim([OWN], 60)
        clock.advance(61)
        (held,) = ledger.views.claim([OWN], 60)
        ledger.views.release(lost)
        assert ledger.views.claim([OWN], 60) == ()
        assert self.job(ledger)["status"] == "running"
        assert ledger.views.finish([(held, Refreshed(OWN, rows=3))]) == 1
        found = [(row["run_id"], row["status"]) for row in ledger.monitor.history("acme_top", 7, limit=9)]
        assert found == [(held.run_id, "success"), (lost[0].run_id, "error")]

    def test_what_cannot_be_done_ends_with_its_reason(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        ledger.requests.ask(self.job(ledger))
        (waiting,) = ledger.requests.waiting()
        clock.advance(3)
        assert ledger.requests.give_up(waiting, "It is gone.")
        assert not ledger.requests.give_up(waiting, "Once more.")
        (row,) = ledger.monitor.history("acme_top", None, limit=9)
        assert (row["status"], row["errors"], row["finish_time"]) == ("error", "It is gone.", clock.now())
        assert (self.job(ledger)["status"], self.job(ledger)["last_errors"]) == ("error", "It is gone.")

    def test_an_agency_is_shown_what_is_its_own_now_and_was_then(self, ledger):
        ledger.manifests.bring(GIVEN)
        (run,) = ledger.views.claim([OWN], 60)
        ledger.views.finish([(run, Refreshed(OWN, error=DataError("Of acme's rows.")))])
        names = {
            agency: [job["table_name"] for job in ledger.monitor.jobs(agency, limit=9)] for agency in (7, 8, 9, None)
        }
        assert names == {
            7: ["acme_top", "daily__acme"], 8: ["daily__bolt"], 9: [], None: ["acme_top", "daily__acme", "daily__bolt"],
        }  # fmt: skip
        moved = dataclasses.replace(OWN, agency_id=8, agency_slug="bolt")
        ledger.manifests.bring(dataclasses.replace(GIVEN, custom=(moved,)))
        for agency in (7, 8):  # it was acme's, it is bolt's: neither is shown what was said of it
            assert self.job(ledger, agency_id=agency) is None
        assert ledger.monitor.history("acme_top", 8, limit=9) == []
        (run,) = ledger.views.claim([moved], 60)
        ledger.views.finish([(run, Refreshed(moved))])
        assert self.job(ledger, agency_id=8)["agency_name"] == "Bolt & Sons"
        assert self.job(ledger, agency_id=7) is None
        assert len(ledger.monitor.history("acme_top", 8, limit=9)) == 1
        ledger.manifests.bring(dataclasses.replace(GIVEN, custom=()))
        assert self.job(ledger) is None

    def test_pages_of_jobs_and_history_hold_each_row_once(self, ledger, clock):
        ledger.manifests.bring(GIVEN)
        for number in range(7):
            clock.advance(number % 3 == 0)
            (run,) = ledger.views.claim([OWN], 60)
            ledger.views.finish([(run, Refreshed(OWN))])
        whole = [row["id"] for row in ledger.monitor.history("acme_top", 7, limit=99)]
        assert whole == sorted(whole, reverse=True)
        assert len(whole) == 7
        paged, before = [], None
        while rows := ledger.monitor.history("acme_top", 7, limit=2, before=before):
            paged += [row["id"] for row in rows]
            before = (rows[-1]["start_time"], rows[-1]["id"])
        assert paged == whole
        first = ledger.monitor.jobs(None, limit=2)
        rest = ledger.monitor.jobs(None, limit=2, after=first[-1]["table_name"])
        assert [job["table_name"] for job in (*first, *rest)] == ["acme_top", "daily__acme", "daily__bolt"]

    def test_what_runs_far_longer_than_usual_is_told(self, ledger, clock):
        ledger.manifests.bring(GIVEN)

        def refresh(seconds, **result):
            (run,) = ledger.views.claim([OWN], 9_999)
            clock.advance(seconds)
            ledger.views.finish([(run, Refreshed(OWN, **result))])

        (first,) = ledger.views.claim([OWN], 9_999)
        clock.advance(5_000)
        assert ledger.monitor.lingering(clock.now()) == {}  # nobody knows yet what is usual
        ledger.views.finish([(first, Refreshed(OWN, rows=1))])
        for seconds in (40, 50, 30, 50, 40):
            refresh(seconds)
        refresh(900, error=DataError("No such column."))  # how long it took to fail says nothing
        ledger.views.claim([OWN], 9_999)
        clock.advance(130)
        assert ledger.monitor.lingering(clock.now()) == {}
        clock.advance(10)
        assert ledger.monitor.lingering(clock.now()) == {"acme_top": (140.0, 45.0)}
