"""The rate limit of the HTTP client; nobody sleeps."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalroom.clients.rate import RateLimit
from upstream_laws import WaitingClock, clock

__all__ = ["clock"]  # a fixture


@given(
    requests=st.integers(1, 5),
    per_s=st.floats(0.1, 100),
    start=st.floats(0, 1e6),
    steps=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 1), st.floats(0, 5)), min_size=1, max_size=40),
)
def test_the_limit_holds_in_every_window_wherever_a_request_is_on_its_way(requests, per_s, start, steps):
    clock = WaitingClock()
    clock.seconds = start
    rate = RateLimit(requests, per_s)
    arrivals = []
    for idle_s, share, latency_s in steps:
        clock.seconds += idle_s
        with rate.turn(clock):
            arrivals.append(clock.seconds + share * latency_s)
            clock.seconds += latency_s
    for first, next_but in zip(arrivals, arrivals[requests:], strict=False):
        assert next_but - first >= per_s


def test_a_limit_wastes_nothing(clock):
    rate = RateLimit(3, 10)
    for _ in range(9):
        with rate.turn(clock):
            pass
    assert clock.seconds == pytest.approx(20, abs=0.1)
    clock.advance(100)
    with rate.turn(clock):
        pass
    assert len(clock.waits) == 2


def test_threads_share_a_limit():
    class Still(WaitingClock):
        """Waits are only written down, so that threads cannot disturb one another."""

        def advance(self, seconds):
            pass

    clock = Still()
    rate = RateLimit(4, 10)

    def use():
        for _ in range(5):
            with rate.turn(clock):
                pass

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(round(wait) for wait in clock.waits) == [10] * 4 + [20] * 4 + [30] * 4 + [40] * 4
