"""Loops: they wait longer after trouble, are woken, and say how they are."""

from __future__ import annotations

import threading

from ledger_laws import HandClock
from signalroom.engine.loops import Loop, Loops
from signalroom.errors import RetryableError


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
