"""Turns: whoever asked first is first, however often another asks."""

from __future__ import annotations

import threading

from signalroom.warehouse.turns import Turns


def until_waiting(turns, number):
    while turns.waiting < number:
        pass


def test_whoever_asks_again_waits_behind_those_who_asked_before():
    turns, order = Turns(), []

    def take(name):
        with turns:
            order.append(name)

    with turns:
        threads = [threading.Thread(target=take, args=(name,)) for name in ("first", "second")]
        for number, one in enumerate(threads, 1):
            one.start()
            until_waiting(turns, number)
    take("again")
    for one in threads:
        one.join()
    assert order == ["first", "second", "again"]


def test_one_at_a_time_and_free_again_after_trouble():
    turns, inside, most = Turns(), 0, 0

    def work():
        nonlocal inside, most
        for _ in range(200):
            with turns:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (most, turns.waiting) == (1, 0)
    try:
        with turns:
            raise ValueError
    except ValueError:
        pass
    with turns:
        assert turns.waiting == 0
