"""The checks, the causes they are grouped by, and who hears of them."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalroom.alert import Alert, Finding
from signalroom.alerts import checks
from signalroom.alerts.causes import grouped
from signalroom.alerts.checks import StreamLoad
from signalroom.alerts.routes import notices, refuse_clients
from signalroom.errors import ConfigError
from signalroom.message import Delivery
from signalroom.run import Failure, Run
from signalroom.workspace.jobs import Job, parse_step
from signalroom.workspace.parts import AlertSettings

NOW = datetime(2026, 11, 20, 13, 5, tzinfo=UTC)  # 08:05 in New York
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def job(name="hourly", schedule="15 7-23 * * *", steps=("sync everflow",), retries=3, alert=""):
    return Job(name, schedule, "America/New_York", tuple(map(parse_step, steps)), retries=retries, alert=alert)


JOBS = (job(),)


def run(status, minutes_ago, step="sync everflow --window today", name="hourly", error="It timed out."):
    at = NOW - minutes_ago * MINUTE
    ended = None if status == "running" else at + MINUTE
    return Run(f"{minutes_ago}", name, step, status, at, ended, "" if status == "success" else error)


def failing(*runs, needs=None, jobs=None):
    return list(checks.failures(runs, jobs or {"hourly": job()}, needs or {}, NOW))


def test_what_failed_for_good_is_one_finding_with_its_error():
    (found,) = failing(run("error", 1), run("lost", 2), run("error", 3), run("success", 60))
    assert (found.kind, found.cause, found.level) == ("failure", "source.everflow", "warning")
    assert found.details == "It timed out. Attempts in a row: 3."
    assert found.since == NOW - 3 * MINUTE
    (found,) = failing(run("error", 1), run("error", 130), run("error", 131))
    assert found.level == "critical", "it has failed for two hours"


def test_a_job_that_may_still_try_and_what_has_succeeded_since_are_silent():
    assert failing(run("error", 2)) == []
    assert failing(run("running", 1), run("error", 2), run("success", 9)) == []
    assert failing(run("error", 30), run("success", 60)) != [], "nobody tries any more"
    assert failing(run("success", 1, name=""), run("error", 2), run("error", 3), run("error", 4)) == []
    assert failing(run("error", 30, name="")) == [], "who started it saw it fail"
    assert failing(run("error", 30, step="watch"), run("error", 30, step="run other")) == []


def test_a_run_whose_attempts_are_used_up_is_told_at_once_and_stays_told_while_the_next_one_tries():
    tried = tuple(Failure(NOW - MINUTE, "It timed out.") for _ in range(2))
    spent = replace(run("error", 2), failures=tried)
    (found,) = failing(spent)
    assert found.details == "It timed out. Attempts in a row: 3."
    assert failing(replace(spent, failures=tried[1:])) == [], "one attempt is left"
    (found,) = failing(run("error", 2), run("error", 62), jobs={"hourly": job(retries=5)})
    assert found.since == NOW - 62 * MINUTE, "it did not recover because it is tried again"


def test_a_report_that_fails_is_critical_and_belongs_to_the_source_it_waits_for():
    (found,) = failing(run("error", 30, step="report daily_ccw"), needs={"daily_ccw": ("everflow.daily_stats",)})
    assert (found.cause, found.level) == ("report.daily_ccw", "critical")
    assert found.upstream == ("source.everflow", "build")
    (found,) = failing(run("error", 30, name="loud"), jobs={"loud": job("loud", alert="pager")})
    assert found.channel == "pager"


def test_a_report_that_a_failed_step_kept_from_being_made_is_critical_until_it_is_tried():
    daily = job("daily", "0 7 * * *", ("sync everflow", "build", "report daily_ccw"))
    lost = replace(run("error", 30, "sync everflow", "daily"), execution="job:daily-1")
    (found,) = failing(lost, jobs={"daily": daily})
    assert (found.level, found.details) == ("critical", "It timed out. Attempts in a row: 1. Not sent: daily_ccw.")
    (found,) = failing(replace(lost, started_at=NOW - 3 * MINUTE, finished_at=NOW - MINUTE), jobs={
        "daily": replace(daily, retries=1),
    })  # fmt: skip
    assert found.level == "warning", "the report may be about to begin"
    went = replace(run("success", 20, "report daily_ccw", "daily"), execution="job:daily-1")
    (found,) = failing(went, lost, jobs={"daily": daily})
    assert found.level == "warning", "it went out and said what was late"
    (found,) = failing(replace(went, execution="", job=""), lost, jobs={"daily": daily})
    assert found.level == "warning", "a person sent it"


def missing_starts(*runs, jobs=JOBS, first=NOW - 99 * HOUR, now=NOW):
    return checks.missed([(one, first) for one in jobs], runs, 15 * MINUTE, now)


def test_a_job_that_was_due_and_did_not_start_is_missed_after_its_grace():
    due = datetime(2026, 11, 20, 12, 15, tzinfo=UTC)
    (found,) = missing_starts()
    assert (found.cause, found.since, found.upstream) == ("job.hourly", due, ("scheduler",))
    assert found.details == "It was due 2026-11-20 07:15 (America/New_York)."
    assert missing_starts(now=due + 10 * MINUTE)[0].since < due, "the one before was missed; this one has grace"
    started = run("success", 49)
    assert missing_starts(started) == []
    assert missing_starts(run("running", 600)) == [], "an overlap is skipped, not missed"
    assert missing_starts(first=NOW - MINUTE) == missing_starts(first=None) == [], "nobody was there"
    assert missing_starts(jobs=[job(schedule="")]) == []


def test_nothing_starting_at_all_is_one_critical_finding():
    jobs = [job(), job("daily", "0 7 * * *", ("report daily_ccw",))]
    (found,) = missing_starts(jobs=jobs)
    assert (found.cause, found.level) == ("scheduler", "critical")
    assert "daily, hourly" in found.details
    assert [one.level for one in missing_starts(run("success", 20, name="other"), jobs=jobs)] == ["warning", "critical"]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 7 * * 1", datetime(2026, 11, 16, 12, 30, tzinfo=UTC)),
        ("0 6 1 * *", datetime(2026, 11, 1, 11, 0, tzinfo=UTC)),
        ("0 6 1 3 *", None),
        ("*/15 * * * *", datetime(2026, 11, 20, 13, 0, tzinfo=UTC)),
    ],
)
def test_the_last_time_a_job_was_due(schedule, expected):
    assert checks.last_due(job(schedule=schedule), NOW) == expected


def loads(*rows, stream="everflow.daily_stats", every=HOUR, end=NOW):
    first = end - every * (len(rows) - 1)
    return [StreamLoad(stream, first + every * n, count) for n, count in enumerate(rows)]


def test_stale_data_by_what_is_declared_and_by_what_was_usual():
    fed = loads(*[5] * 24, end=NOW - 5 * HOUR)
    (found,) = checks.stale(fed, {}, NOW)
    assert (found.kind, found.cause, found.since) == ("freshness", "source.everflow", NOW - 3 * HOUR)
    assert list(checks.stale(fed, {"everflow.daily_stats": 6 * HOUR}, NOW)) == []
    (never,) = checks.stale([], {"everflow.daily_stats": HOUR}, NOW)
    assert never.details == "Nothing of it was ever loaded; 60 min is allowed."


def test_two_empty_loads_where_none_was_empty_before():
    (found,) = checks.without_rows(loads(*[7] * 10, 0, 0))
    assert (found.kind, found.details) == ("zero rows", "The last two loads have no row; usual are about 7.")
    for rows in ([7] * 11 + [0], [7] * 9 + [0, 0, 0], [0] * 12, [7, 0]):
        assert list(checks.without_rows(loads(*rows))) == []


def test_a_day_that_was_never_read_is_named_with_the_command_that_reads_it():
    days = [date(2026, 11, 1) + timedelta(days=n) for n in range(18)]
    names = [f"{day}|advertiser_id={n}" for day in days for n in (1, 2) if (day.day, n) not in {(10, 2), (12, 2)}]
    (found,) = checks.missing({"everflow.daily_stats": names, "files.orders": ["a/b.csv"]}, date(2026, 11, 19), "UTC")
    assert found.details == "Not loaded: 2026-11-10, 2026-11-12 of advertiser_id=2."
    assert "sync everflow.daily_stats --window 2026-11-10..2026-11-12" in found.mend


def test_far_fewer_rows_than_on_that_weekday():
    day = date(2026, 11, 19)
    usual = [
        StreamLoad("f.orders", datetime(2026, 11, 19, 12, tzinfo=UTC) - timedelta(days=n), 5000 + n) for n in range(60)
    ][::-1]
    assert list(checks.volumes(usual, day, "UTC")) == []
    (found,) = checks.volumes([*usual[:-1], replace(usual[-1], rows=1200)], day, "UTC")
    assert (found.kind, found.cause) == ("volume", "source.f")
    (found,) = checks.volumes(usual[:-1], day, "UTC")
    assert "brought 0 rows" in found.details


def test_messages_that_did_not_arrive_are_one_finding_a_channel():
    base = Delivery("k", "daily_ccw", NOW - HOUR, "team", "x", "failed", error="Refused.")
    others = [base, replace(base, report="daily_exp", state="unknown"), replace(base, channel="mail", state="sent"),
              replace(base, channel="old", due_at=NOW - 72 * HOUR)]  # fmt: skip
    (found,) = checks.undelivered(others, NOW)
    assert (found.cause, found.level) == ("channel.team", "critical")
    assert found.details == "daily_ccw is failed: Refused. daily_exp is unknown: Refused."


def finding(kind, cause, upstream=(), level="warning", since=NOW):
    return Finding(kind, cause, level, f"{kind} of {cause}", "It is so.", "Mend it.", since, upstream)


def test_an_outage_is_one_alert_whatever_it_breaks():
    found = [
        finding("figure", "check.revenue", ("source.everflow", "build")),
        finding("failure", "report.daily_ccw", ("source.everflow", "build"), "critical"),
        finding("freshness", "source.everflow", since=NOW - HOUR),
        finding("failure", "source.everflow"),
        finding("rejects", "rejects.files.orders", ("source.files",)),
    ]
    first, second = grouped(found)
    assert (first.cause, second.cause) == ("rejects.files.orders", "source.everflow")
    assert (second.kind, second.title, second.level) == ("failure", "failure of source.everflow", "critical")
    assert second.since == NOW - HOUR
    for one in found[:3]:
        assert one.title in second.details


CAUSES = st.sampled_from(["a", "b", "c", "d"])
FOUND = st.builds(
    finding, st.sampled_from(["missed", "failure", "figure"]), CAUSES, st.lists(CAUSES, max_size=3).map(tuple),
    st.sampled_from(["warning", "critical"]),
)  # fmt: skip


@given(st.lists(FOUND, max_size=12), st.randoms())
def test_grouping_ends_keeps_the_worst_and_does_not_mind_the_order(found, chance):
    groups = grouped(found)
    causes = [one.cause for one in groups]
    assert len(set(causes)) == len(causes)
    assert set(causes) <= {one.cause for one in found}
    assert bool(groups) == bool(found)
    assert any(one.level == "critical" for one in groups) == any(one.level == "critical" for one in found)
    again = list({one.cause: one for one in found}.values())
    shuffled = list(again)
    chance.shuffle(shuffled)
    assert {(g.cause, g.level, g.since) for g in grouped(shuffled)} == {
        (g.cause, g.level, g.since) for g in grouped(again)
    }


def alert(state="open", level="warning", channel="", **more):
    seen = {"opened_at": NOW, "seen_at": NOW, "channel": channel, **more}
    return Alert("source.a", "failure", level, "It fails", "So.", "Mend.", NOW, state, 1, **seen)


def told(one, now=NOW, **settings):
    found = notices([one], AlertSettings(**({"channel": "ops", "critical": "phone"} | settings)), now)
    return [(notice.what, notice.channel) for notice in found]


def test_only_what_is_critical_reaches_the_phone():
    assert told(alert()) == [("open", "ops")]
    assert told(alert(level="critical")) == [("open", "ops"), ("critical", "phone")]
    assert told(alert(level="critical"), critical="") == [("open", "ops")]
    assert told(alert(channel="pager")) == [("open", "pager")]
    assert told(alert(), channel="") == []
    assert told(alert("acknowledged")) == told(alert("snoozed")) == []
    over = alert("resolved", resolved_at=NOW)
    assert told(over) == [("resolved", "ops")]
    assert told(replace(over, level="critical")) == [("resolved", "ops"), ("resolved", "phone")]
    assert told(over, now=NOW + 50 * HOUR) == []


def test_no_alert_goes_to_a_clients_channel():
    clients = {"client": "daily_ccw"}
    refuse_clients(AlertSettings("ops", "phone"), ["pager"], clients)
    for settings, more in (
        (AlertSettings("client"), []),
        (AlertSettings("ops", "client"), []),
        (AlertSettings("ops"), ["client"]),
    ):
        with pytest.raises(ConfigError, match="which report 'daily_ccw' is sent to"):
            refuse_clients(settings, more, clients)
