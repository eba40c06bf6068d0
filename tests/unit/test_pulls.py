"""The queue of rows that are wanted: one place for each, the greatest version, nothing forgotten that is newer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ledger_laws import HandClock
from signalroom.ledger.ledger import Ledger
from signalroom.ledger.pulls import Pull


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def ledger(tmp_path, clock):
    with Ledger.open(str(tmp_path / "ledger.sqlite"), clock=clock) as opened:
        yield opened


def queued(ledger):
    return [(one.entity, one.id, one.version) for one in ledger.pulls.due("app", 10)]


def test_a_row_is_queued_once_with_the_greatest_version(ledger):
    assert ledger.pulls.want("app", [("page", "a", 3), ("page", "a", 5), ("page", "b", 0)]) == 2
    ledger.pulls.want("app", [("page", "a", 4), ("team", "a", 1)])
    ledger.pulls.want("other", [("page", "c", 9)])
    assert sorted(queued(ledger)) == [("page", "a", 5), ("page", "b", 0), ("team", "a", 1)]
    assert {name: one.rows for name, one in ledger.pulls.backlog("app").items()} == {"page": 2, "team": 1}


def test_what_is_wanted_anew_outlives_the_settling_of_what_was(ledger):
    ledger.pulls.want("app", [("page", "a", 3), ("page", "b", 3)])
    due = ledger.pulls.due("app", 10)
    ledger.pulls.want("app", [("page", "a", 4)])
    ledger.pulls.settle("app", due)
    assert queued(ledger) == [("page", "a", 4)]


def test_what_was_not_there_waits_and_what_is_wanted_anew_does_not(ledger, clock):
    ledger.pulls.want("app", [("page", "a", 3), ("page", "b", 3)])
    due = ledger.pulls.due("app", 10)
    ledger.pulls.defer("app", {one: clock.now() + timedelta(seconds=5) for one in due})
    assert queued(ledger) == []
    ledger.pulls.want("app", [("page", "b", 1)])
    assert queued(ledger) == [("page", "b", 3)]
    clock.sleep(5)
    assert {(one.id, one.attempts) for one in ledger.pulls.due("app", 10)} == {("a", 1), ("b", 0)}


def test_the_queue_tells_since_when_its_oldest_waits(ledger, clock):
    first = clock.now()
    ledger.pulls.want("app", [("page", "a", 1)])
    clock.sleep(60)
    ledger.pulls.want("app", [("page", "a", 2), ("page", "b", 1)])
    assert ledger.pulls.backlog("app")["page"].since == first
    assert [one.since for one in ledger.pulls.due("app", 1)] == [first]


def test_nothing_is_written_where_nothing_is_wanted(ledger):
    assert ledger.pulls.want("app", []) == 0
    ledger.pulls.settle("app", [])
    ledger.pulls.defer("app", {})
    assert ledger.pulls.due("app", 1) == []
    assert ledger.pulls.backlog("app") == {}
    ledger.pulls.settle("app", [Pull("page", "never", 1)])
