"""Seeded chance: every day of every kind of thing draws from a stream of its own.

A day's numbers therefore depend on the seed and the date alone, never on which day was asked for first
or on how many days the world has.
"""

from __future__ import annotations

from random import Random


def stream(seed: int, *names: object) -> Random:
    """Return the random stream called `names` under `seed`; equal in every process."""
    return Random("/".join(map(str, (seed, *names))))
