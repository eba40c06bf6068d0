"""What a ledger promises, whatever database keeps it: run by the SQLite and by the Postgres tests."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from signalroom.errors import ConfigError, DataError
from signalroom.message import Delivery, Image, Message, delivery_key
from signalroom.run import Occasion

DUE = datetime(2026, 3, 8, 11, 0, tzinfo=UTC)


class HandClock:
    """A clock that a test moves."""

    def __init__(self):
        self.moment = datetime(2026, 3, 8, 11, 0, 0, 123456, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self):
        return self.moment

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.advance(seconds)

    def advance(self, seconds):
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


def delivery(recipient="a@x.io", **values):
    key = delivery_key("daily", DUE, "mail", recipient)
    return Delivery(key, "daily", DUE, "mail", recipient, "pending", **values)


class RunLaws:
    """Runs: needs a ``ledger`` opened with ``clock``, leases of 300 s."""

    def test_a_run_from_start_to_end(self, ledger, clock):
        run = ledger.runs.start("hourly", "sync feed --window today")
        assert (run.status, run.started_at, run.finished_at, run.fence) == ("running", clock.now(), None, 1)
        clock.advance(5)
        done = ledger.runs.finish(run, "success", {"rows": 3, "loads": ["a"], "note": "\x00ß"})
        assert (done.status, done.finished_at, done.result) == (
            "success", clock.now(), {"rows": 3, "loads": ["a"], "note": "\x00ß"},
        )  # fmt: skip
        assert ledger.runs.get(run.run_id) == done
        assert ledger.runs.get("nothing") is None

    def test_ids_sort_by_time(self, ledger, clock):
        ids = []
        for _ in range(3):
            ids.append(ledger.runs.start("j", "s").run_id)
            clock.advance(0.001)
        assert sorted(ids) == ids
        assert [run.run_id for run in ledger.runs.list()] == ids[::-1]

    def test_lists_are_filtered(self, ledger, clock):
        for job, step in (("a", "build"), ("b", "build"), ("a", "refresh")):
            run = ledger.runs.start(job, step)
            ledger.runs.finish(run, "success" if job == "a" else "error", error="No.")
            clock.advance(1)
        assert [(run.job, run.step) for run in ledger.runs.list(job="a")] == [("a", "refresh"), ("a", "build")]
        assert [run.job for run in ledger.runs.list(status="error")] == ["b"]
        assert [run.job for run in ledger.runs.list(step="build")] == ["b", "a"]
        assert len(ledger.runs.list(1)) == 1

    def test_success_is_terminal(self, ledger):
        run = ledger.runs.start("j", "s")
        ledger.runs.finish(run, "success", {"rows": 1})
        assert ledger.runs.finish(run, "error", error="late").status == "success"
        assert ledger.runs.sweep() == ()
        again = ledger.runs.start("j", "s", Occasion(run_id=run.run_id))
        assert (again.status, again.fence, again.result) == ("success", 1, {"rows": 1})

    def test_a_silent_run_is_swept_and_cannot_come_back(self, ledger, clock):
        silent, alive = ledger.runs.start("j", "silent"), ledger.runs.start("j", "alive")
        clock.advance(200)
        assert ledger.runs.heartbeat(alive)
        clock.advance(200)
        (lost,) = ledger.runs.sweep()
        assert (lost.run_id, lost.status, lost.fence) == (silent.run_id, "lost", 2)
        assert "2026-03-08T11:00:00+00:00" in lost.error
        assert ledger.runs.sweep() == ()
        assert not ledger.runs.heartbeat(silent)
        assert ledger.runs.finish(silent, "success").status == "lost"
        assert ledger.runs.heartbeat(alive)
        assert ledger.runs.finish(alive, "success").status == "success"

    def test_a_run_that_was_taken_over_belongs_to_the_later(self, ledger, clock):
        first = ledger.runs.start("j", "s", Occasion(run_id="wf-1"))
        clock.advance(400)
        ledger.runs.sweep()
        second = ledger.runs.start("j", "s", Occasion(run_id="wf-1"))
        assert (second.status, second.fence, second.error, second.finished_at) == ("running", 3, "", None)
        assert ledger.runs.finish(first, "success").status == "running"
        assert ledger.runs.finish(second, "error", error="No.").status == "error"
        assert ledger.runs.finish(first, "success").status == "error"

    def test_each_attempt_keeps_how_it_ended(self, ledger, clock):
        wanted = Occasion(run_id="wf-2")
        first = ledger.runs.start("j", "s", wanted)
        ledger.runs.finish(first, "error", error="Busy. Try later.")
        ended = clock.now()
        clock.advance(60)
        ledger.runs.start("j", "s", wanted)  # killed, and tried again before anybody saw that it was silent
        clock.advance(1)
        ledger.runs.start("j", "s", wanted)
        clock.advance(1000)
        (lost,) = ledger.runs.sweep()
        last = ledger.runs.finish(ledger.runs.start("j", "s", wanted), "success")
        assert [one.error for one in last.failures] == [
            "Busy. Try later.",
            "It was taken over by another attempt: its process had stopped reporting.",
            lost.error,
        ]
        assert last.failures[0].ended_at == ended
        assert (last.status, last.error) == ("success", "")
        assert ledger.runs.get("wf-2") == last

    def test_heartbeats_are_written_rarely(self, ledger, clock):
        run = ledger.runs.start("j", "s")
        assert ledger.runs.heartbeat(run)
        other = ledger.runs.start("j", "s", Occasion(run_id=run.run_id))
        clock.advance(10)
        assert ledger.runs.heartbeat(run)  # too soon to ask
        clock.advance(21)
        assert not ledger.runs.heartbeat(run)
        assert ledger.runs.heartbeat(other)

    def test_repeats_count_the_same_ending_in_a_row(self, ledger, clock):
        endings = ["success", "error", "error", "error", "success"]
        found = []
        for status in endings:
            found.append(ledger.runs.finish(ledger.runs.start("j", "s"), status).repeats)
            ledger.runs.finish(ledger.runs.start("j", "other"), "success")
            clock.advance(1)
        assert found == [0, 0, 1, 2, 0]

    def test_the_newest_execution_is_the_one_that_was_due_last(self, ledger, clock):
        for hour in (2, 1, 3):
            due = DUE + timedelta(hours=hour)
            for step in ("sync", "build"):
                occasion = Occasion(due, f"hourly-{hour}", f"hourly-{hour}/{step}", "earlier" if hour == 3 else "")
                ledger.runs.finish(ledger.runs.start("hourly", step, occasion), "success")
                clock.advance(1)
        found = ledger.runs.execution("hourly")
        assert [(run.step, run.execution, run.due_at, run.repeat_of) for run in found] == [
            ("sync", "hourly-3", DUE + timedelta(hours=3), "earlier"),
            ("build", "hourly-3", DUE + timedelta(hours=3), "earlier"),
        ]
        assert ledger.runs.execution("daily") == ()

    def test_pauses_are_remembered(self, ledger):
        ledger.pauses.pause("hourly", "vendor outage")
        ledger.pauses.pause("daily")
        ledger.pauses.pause("hourly", "still")
        assert ledger.pauses.notes() == {"daily": "", "hourly": "still"}
        ledger.pauses.resume("hourly")
        ledger.pauses.resume("nothing")
        assert ledger.pauses.notes() == {"daily": ""}

    def test_figures_count_what_is_there(self, ledger):
        for status in ("success", "error", "success"):
            ledger.runs.finish(ledger.runs.start("j", "s"), status)
        ledger.deliveries.claim(delivery())
        assert ledger.figures.runs_by_status() == {"error": 1, "success": 2}
        assert ledger.figures.deliveries_by_state() == {"inflight": 1}

    def test_what_cannot_be_kept_is_refused(self, ledger):
        run = ledger.runs.start("j", "s")
        for bad in ({"x": float("nan")}, {"x": {1, 2}}):
            with pytest.raises(DataError, match="is no JSON"):
                ledger.runs.finish(run, "success", bad)
        with pytest.raises(DataError, match="no run 'nothing'"):
            ledger.runs.finish(dataclasses.replace(run, run_id="nothing"), "success")
        assert ledger.runs.finish(run, "error", error="a\x00b").error == "a\ufffdb"


class DeliveryLaws:
    """Deliveries: needs a ``ledger`` opened with ``clock``, leases of 600 s."""

    def test_claim_send_settle(self, ledger):
        claimed = ledger.deliveries.claim(delivery(digest="d1"))
        assert (claimed.state, claimed.attempt, claimed.digest, claimed.due_at) == ("inflight", 1, "d1", DUE)
        assert ledger.deliveries.claim(delivery()) is None
        sent = ledger.deliveries.settle(claimed, "sent", "message-1")
        assert (sent.state, sent.receipt, sent.digest) == ("sent", "message-1", "d1")
        assert ledger.deliveries.claim(delivery()) is None
        assert ledger.deliveries.get(claimed.key) == sent
        assert ledger.deliveries.get("nothing") is None

    def test_planned_deliveries_are_seen_and_claimed(self, ledger):
        due = [delivery("a"), delivery("b")]
        assert ledger.deliveries.plan([]) == 0
        assert ledger.deliveries.plan(due) == 2
        claimed = ledger.deliveries.claim(due[0])
        assert (claimed.state, claimed.attempt) == ("inflight", 1)
        assert ledger.deliveries.plan([*due, delivery("c")]) == 1
        listed = [(found.recipient, found.state) for found in ledger.deliveries.list("daily")]
        assert listed == [("a", "inflight"), ("b", "pending"), ("c", "pending")]
        assert [found.recipient for found in ledger.deliveries.list(state="inflight")] == ["a"]
        assert ledger.deliveries.list("other") == ()

    def test_what_somebody_has_of_a_report_is_told_once_the_latest_first(self, ledger):
        def sent(recipient, day, digest, state="sent"):
            due = DUE + timedelta(days=day)
            one = dataclasses.replace(delivery(recipient, digest=digest), key=f"{recipient}{day}", due_at=due)
            ledger.deliveries.settle(ledger.deliveries.claim(one), state)

        for recipient in "abc":
            sent(recipient, 1, "first")
            sent(recipient, 2, "second")
        sent("a", 3, "nobody's", "failed")
        assert ledger.deliveries.digests("daily", DUE) == ("second", "first")
        assert ledger.deliveries.digests("daily", DUE + timedelta(days=1)) == ("second",)
        assert ledger.deliveries.digests("weekly", DUE) == ()
        (failed,) = ledger.deliveries.list(state="failed", since=DUE)
        assert ledger.deliveries.list(state="failed", since=failed.due_at) == ()

    def test_a_failed_one_is_tried_again(self, ledger):
        claimed = ledger.deliveries.claim(delivery(digest="d1"))
        failed = ledger.deliveries.settle(claimed, "failed", error="Refused.")
        assert (failed.state, failed.error) == ("failed", "Refused.")
        again = ledger.deliveries.claim(delivery(digest="d2"))
        assert (again.state, again.attempt, again.fence, again.digest, again.error) == ("inflight", 2, 2, "d2", "")

    def test_one_given_back_is_free_again(self, ledger):
        ledger.deliveries.settle(ledger.deliveries.claim(delivery()), "pending")
        assert ledger.deliveries.claim(delivery()).state == "inflight"

    def test_an_unknown_one_is_reconciled_before_any_resend(self, ledger):
        claimed = ledger.deliveries.claim(delivery(digest="d1"))
        ledger.deliveries.settle(claimed, "unknown", error="The wire was cut.")
        again = ledger.deliveries.claim(delivery(digest="d2"))
        assert (again.state, again.digest, again.error) == ("unknown", "d1", "The wire was cut.")
        assert ledger.deliveries.claim(delivery()) is None
        resent = ledger.deliveries.settle(dataclasses.replace(again, digest="d2"), "sent", "m")
        assert (resent.state, resent.digest, resent.error) == ("sent", "d2", "")

    def test_a_crash_between_claim_and_settle(self, ledger, clock):
        first = ledger.deliveries.claim(delivery(digest="d1"))
        clock.advance(600)
        assert ledger.deliveries.claim(delivery()) is None
        assert ledger.deliveries.get(first.key).state == "inflight"
        clock.advance(1)
        second = ledger.deliveries.claim(delivery(digest="d2"))
        assert (second.state, second.attempt, second.digest) == ("unknown", 2, "d1")
        assert ledger.deliveries.claim(delivery()) is None
        clock.advance(601)
        assert ledger.deliveries.claim(delivery()).state == "unknown"

    def test_a_late_settler_is_fenced_but_a_receipt_counts(self, ledger, clock):
        first = ledger.deliveries.claim(delivery())
        clock.advance(601)
        second = ledger.deliveries.claim(delivery())
        for state in ("failed", "unknown", "pending"):
            assert ledger.deliveries.settle(first, state).state == "inflight"
        assert ledger.deliveries.settle(first, "sent", "m1").receipt == "m1"
        assert ledger.deliveries.settle(second, "failed").state == "sent"
        assert ledger.deliveries.settle(second, "sent", "m1").error == ""
        doubled = ledger.deliveries.settle(second, "sent", "m2")
        assert (doubled.receipt, "also accepted as m2" in doubled.error) == ("m1", True)

    def test_who_comes_second_waits_a_moment_for_the_first(self, ledger, clock, monkeypatch):
        first = ledger.deliveries.claim(delivery())
        begun = clock.monotonic()
        assert ledger.deliveries.claim(delivery(), patience_s=10) is None
        assert 10 <= clock.monotonic() - begun < 11
        waited = []
        monkeypatch.setattr(clock, "sleep", lambda seconds: waited.append(ledger.deliveries.settle(first, "sent", "m")))
        assert ledger.deliveries.claim(delivery(), patience_s=10) is None
        assert (len(waited), ledger.deliveries.get(first.key).state) == (1, "sent")

    def test_settling_what_nobody_claimed(self, ledger):
        with pytest.raises(DataError, match="no delivery of daily"):
            ledger.deliveries.settle(delivery(), "sent")

    def test_what_may_be_arriving_is_left_alone_for_a_while(self, ledger, clock):
        claimed = ledger.deliveries.claim(delivery())
        ledger.deliveries.settle(claimed, "unknown", error="Silence.", ask_in_s=60)
        assert (ledger.deliveries.claim(delivery()), ledger.deliveries.free_in_s(claimed.key)) == (None, 60)
        clock.advance(61)
        assert ledger.deliveries.free_in_s(claimed.key) == 0
        assert ledger.deliveries.claim(delivery()).state == "unknown"

    def test_a_person_decides(self, ledger, clock):
        claimed = ledger.deliveries.claim(delivery(digest="d1"))
        with pytest.raises(ConfigError, match="being sent"):
            ledger.deliveries.decide(claimed.key, "sent", "Ann saw it.")
        ledger.deliveries.settle(claimed, "unknown", error="Silence.", ask_in_s=60)
        failed = ledger.deliveries.decide(claimed.key, "failed", "Ann has nothing.")
        assert (failed.state, failed.error, failed.receipt) == ("failed", "Ann has nothing.", "")
        again = ledger.deliveries.claim(delivery())
        assert again.state == "inflight"
        clock.advance(601)  # its sender died, so anybody may decide
        sent = ledger.deliveries.decide(claimed.key, "sent", "Ann saw it.")
        assert (sent.state, sent.error, sent.receipt, sent.digest) == ("sent", "", "Ann saw it.", "d1")
        assert ledger.deliveries.settle(again, "failed").state == "sent"
        with pytest.raises(ConfigError, match="was sent: Ann saw it"):
            ledger.deliveries.decide(claimed.key, "failed", "No.")
        with pytest.raises(ConfigError, match="no delivery 'nothing'"):
            ledger.deliveries.decide("nothing", "sent", "")

    def test_exactly_one_of_many_gets_each_key(self, ledger):
        wanted = [delivery(f"r{n}@x.io") for n in range(200)]
        barrier = threading.Barrier(8)

        def sender(number):
            barrier.wait()
            order = wanted[number * 25 :] + wanted[: number * 25] if number % 2 else wanted
            claimed = [found for one in order if (found := ledger.deliveries.claim(one)) is not None]
            for found in claimed:
                ledger.deliveries.settle(found, "sent", f"by {number}")
            return [found.key for found in claimed]

        with ThreadPoolExecutor(8) as pool:
            won = [key for keys in pool.map(sender, range(8)) for key in keys]
        assert sorted(won) == sorted(one.key for one in wanted)
        rows = ledger.deliveries.list(limit=1000)
        assert {(row.state, row.attempt, row.fence) for row in rows} == {("sent", 1, 1)}
        assert len(rows) == 200


class ArchiveLaws:
    """The archive: needs a ``ledger`` opened with ``clock``."""

    def test_a_message_comes_back_as_it_was(self, ledger, clock):
        message = Message(
            report="daily", subject="CCW 03/08", text="text ✓", html="<p>\x00</p>", blocks=({"type": "divider"},),
            sms="sms", images=(Image("b", b"\x89PNG\x00", "b"), Image("a", b"", "a")),
            data={"rows": [{"z": 1, "a": "12.30", "n": None}]}, load_ids=("l2", "l1"),
        )  # fmt: skip
        digest = ledger.archive.put(message, DUE)
        found = ledger.archive.get(digest)
        assert (found.message, found.due_at, found.created_at) == (message, DUE, clock.now())
        assert list(found.message.data["rows"][0]) == ["z", "a", "n"]
        assert ledger.archive.put(message, DUE) == digest
        assert ledger.archive.get("nothing") is None

    def test_each_difference_is_another_message(self, ledger):
        message = Message("daily", "s", "t", images=(Image("a", b"1", "a"),), data={"x": 1, "y": 2})
        others = [
            dataclasses.replace(message, data={"x": 1, "y": 3}),
            dataclasses.replace(message, images=(Image("a", b"2", "a"),)),
            dataclasses.replace(message, load_ids=("l",)),
            dataclasses.replace(message, report="weekly"),
        ]
        digests = {ledger.archive.put(one, DUE) for one in (message, *others)}
        digests.add(ledger.archive.put(message, DUE + timedelta(days=1)))
        assert len(digests) == 6
        turned = dataclasses.replace(message, data={"y": 2, "x": 1})
        assert ledger.archive.put(turned, DUE) in digests

    def test_the_archive_is_listed_latest_first(self, ledger):
        for n in range(3):
            ledger.archive.put(Message("daily", f"s{n}", "t"), DUE + timedelta(days=n))
        ledger.archive.put(Message("weekly", "w", "t"), DUE)
        assert [title.subject for title in ledger.archive.list("daily", limit=2)] == ["s2", "s1"]
        assert len(ledger.archive.list()) == 4

    def test_what_cannot_be_kept_is_refused(self, ledger):
        for bad in (object(), float("inf")):
            with pytest.raises(DataError, match="'daily' cannot be archived"):
                ledger.archive.put(Message("daily", "s", "t", data={"x": bad}), DUE)
