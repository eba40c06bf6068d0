"""What a ledger promises of alerts, whatever database keeps it: run by the SQLite and by the Postgres tests."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest

from signalroom.alert import Finding, Kind
from signalroom.errors import ConfigError

ALL = get_args(Kind)
SETTLED_S = 601


class AlertLaws:
    """Alerts: needs a ``ledger`` opened with ``clock``."""

    @pytest.fixture
    def found(self, clock):
        since = clock.now() - timedelta(hours=1)
        return Finding(
            "failure", "source.a", "warning", "a fails\x00", "It timed out.", "Mend it.", since, channel="ops"
        )

    def test_found_opens_and_found_no_more_resolves_after_ten_minutes(self, ledger, clock, found):
        ledger.alerts.note([found], ALL)
        (opened,) = ledger.alerts.list()
        assert (opened.key, opened.state, opened.episode, opened.title) == ("source.a", "open", 1, "a fails\ufffd")
        assert (opened.since, opened.opened_at, opened.channel) == (found.since, clock.now(), "ops")
        clock.advance(60)
        ledger.alerts.note([found], ALL)
        (seen,) = ledger.alerts.list()
        assert (seen.opened_at, seen.seen_at, seen.episode) == (opened.opened_at, clock.now(), 1)
        ledger.alerts.note([], ALL)
        clock.advance(60)
        ledger.alerts.note([], ALL)
        assert [one.state for one in ledger.alerts.list()] == ["open"], "one quiet look is no proof"
        clock.advance(SETTLED_S)
        ledger.alerts.note([], ALL)
        assert ledger.alerts.list() == ()
        (over,) = ledger.alerts.list(since=opened.opened_at)
        assert (over.state, over.resolved_at) == ("resolved", clock.now())
        assert ledger.alerts.list(since=clock.now()) == ()

    def test_what_flickers_is_not_over(self, ledger, clock, found):
        for there in (True, False, True, False, True):
            ledger.alerts.note([found] if there else [], ALL)
            clock.advance(SETTLED_S)
        (one,) = ledger.alerts.list()
        assert (one.state, one.episode) == ("open", 1)

    def test_what_nobody_looked_at_stays_as_it_is(self, ledger, clock, found):
        ledger.alerts.note([replace(found, kind="freshness")], ALL)
        for _ in range(3):
            clock.advance(SETTLED_S)
            ledger.alerts.note([], {"failure", "missed"})
        assert len(ledger.alerts.list()) == 1

    def test_it_gets_worse_and_never_better_while_it_lasts(self, ledger, found):
        for level in ("warning", "critical", "warning"):
            ledger.alerts.note([replace(found, level=level, since=found.since + timedelta(minutes=5))], ALL)
        (one,) = ledger.alerts.list()
        assert one.level == "critical"

    def test_acknowledged_lasts_and_a_new_episode_is_open_again(self, ledger, clock, found):
        ledger.alerts.note([found], ALL)
        assert ledger.alerts.acknowledge("source.a", "I am at it").note == "I am at it"
        ledger.alerts.note([found], ALL)
        assert [one.state for one in ledger.alerts.list()] == ["acknowledged"]
        assert ledger.alerts.resolve("source.a").state == "resolved"
        clock.advance(1)
        ledger.alerts.note([found], ALL)
        (again,) = ledger.alerts.list()
        assert (again.state, again.episode, again.note, again.opened_at) == ("open", 2, "", clock.now())

    def test_snoozed_speaks_again_when_its_time_has_passed(self, ledger, clock, found):
        ledger.alerts.note([found], ALL)
        ledger.alerts.snooze("source.a", clock.now() + timedelta(hours=1))
        ledger.alerts.note([found], ALL)
        assert [one.state for one in ledger.alerts.list()] == ["snoozed"]
        clock.advance(3600)
        ledger.alerts.note([found], ALL)
        assert [one.state for one in ledger.alerts.list()] == ["open"]

    def test_no_such_alert_names_the_nearest(self, ledger, found):
        with pytest.raises(ConfigError, match="None is open"):
            ledger.alerts.acknowledge("x")
        ledger.alerts.note([found], ALL)
        with pytest.raises(ConfigError, match=r"Did you mean 'source\.a'"):
            ledger.alerts.resolve("source.b")
        assert ledger.alerts.get("x") is None

    def test_two_watches_at_once_open_it_once(self, ledger, found):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: ledger.alerts.note([found], ALL), range(8)))
        (one,) = ledger.alerts.list()
        assert one.episode == 1
