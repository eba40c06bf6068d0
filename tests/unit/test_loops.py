"""Loops: they wait longer after trouble, are woken, and say how they are."""

from __future__ import annotations

import threading

from ledger_laws import HandClock
from shop_workspace import make_shop
from signalroom.engine.following import Following
from signalroom.engine.loops import Loop, Loops
from signalroom.errors import RetryableError
from signalroom.room import Room
from signalroom.workspace.workspace import Workspace


def test_a_loop_waits_longer_after_each_failure_and_not_after_it_is_well_again():
    outcomes = [RetryableError("no answer."), ValueError("odd"), 3.0, RetryableError("again.")]

    def turn(stop):
        del stop
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    loop, clock, stop = Loop("app pull", turn), HandClock(), threading.Event()
    assert (loop.once(stop, clock), loop.failures, loop.problem) == (1.0, 1, "no answer.")
    assert (loop.once(stop, clock), loop.failures, loop.problem) == (2.0, 2, "ValueError: odd")
    assert (loop.once(stop, clock), loop.failures, loop.problem) == (3.0, 0, "")
    assert loop.ended_at == clock.now()
    assert (loop.once(stop, clock), loop.failures) == (1.0, 1)


def test_a_wait_is_at_most_a_minute():
    def turn(stop):
        raise RetryableError("no answer.")

    loop = Loop("app pull", turn)
    assert [loop.once(threading.Event(), HandClock()) for _ in range(20)][-1] == 60.0


def test_loops_are_woken_and_all_of_them_end():
    turns, second = [], threading.Event()

    def turn(stop):
        turns.append(stop.is_set())
        if len(turns) == 2:
            second.set()
        return 3600.0

    ailing = Loop("ailing", lambda _: 1 / 0)
    woken = Loop("woken", turn)
    with Loops([woken, ailing], HandClock()) as loops:
        woken.wake()  # before its first turn or after it: there is a second
        while not second.wait(0.01):
            woken.wake()
        while not loops.problems():
            second.wait(0.01)
        assert loops.problems() == ["ailing: ZeroDivisionError: division by zero"]
    assert not [one for one in threading.enumerate() if one.name in {"woken", "ailing"}]


def test_the_same_trouble_is_said_once_and_its_end_too(caplog):
    outcomes = [RetryableError("no answer."), RetryableError("no answer."), ValueError("odd"), 1.0, 1.0]

    def turn(stop):
        del stop
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    loop = Loop("app pull", turn)
    while outcomes:
        loop.once(threading.Event(), HandClock())
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [
        "app pull: it is tried again in 1 s: no answer.",
        "app pull: it is tried again in 4 s: ValueError: odd",
        "app pull: all is well again, after 3 failures.",
    ]


SOURCES = """
[sources.sheet]
kind = "redtrack"
timezone = "env:UNSET_ZONE"
api_key = "env:UNSET_KEY"
[sources.odd]
kind = "odd"
[sources.app]
kind = "postgres_cdc"
url = "env:APP_URL"
publication = "env:UNSET_PUBLICATION"
tables = { orders = { key = ["id"] } }
"""


def test_only_what_is_followed_is_missed_and_it_is_said_once(tmp_path, caplog):
    with Room(Workspace.readable(make_shop(tmp_path, SOURCES)), HandClock()) as room:
        (loop,) = Following(room).loops.loops
        for _ in range(3):
            loop.once(threading.Event(), room.clock)
    assert loop.name == "app"
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "UNSET_PUBLICATION" in said
