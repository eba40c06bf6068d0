"""Captured changes against the source's own table, on every engine, to the bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture_laws import Capture, Step, changes_of, check_capture
from property_profiles import examples

_folders = itertools.count(1)
_values = st.sampled_from([None, "", "a", "b", "c", "é", 'say "\'"', "\U0001f600"])
_steps = st.builds(
    Step,
    what=st.sampled_from([*["set"] * 6, "delete", "move", "truncate"]),
    k=st.integers(0, 4),
    new=st.integers(0, 4),
    sets=st.tuples(_values, _values, _values),
    left_out=st.frozensets(st.sampled_from(["w", "x"])),
)


@st.composite
def captures(draw: st.DrawFn) -> Capture:
    steps = tuple(draw(st.lists(_steps, max_size=24)))
    count = len(changes_of(steps)[0])
    ends = sorted(draw(st.lists(st.integers(0, count), max_size=4)))
    cuts = [tuple(range(a, b)) for a, b in itertools.pairwise([0, *ends, count])]
    in_order = draw(st.booleans())
    order = list(range(len(cuts)))
    if not in_order:  # told twice, in loads that overlap, late
        cuts += [
            tuple(sorted(draw(st.sets(st.integers(0, count - 1))))) for _ in range(count and draw(st.integers(0, 2)))
        ]
        order = draw(st.permutations(range(len(cuts))))
    merges: list[tuple[int, ...]] = []
    while order:
        taken = draw(st.integers(1, len(order)))
        merges.append(tuple(order[:taken]))
        order = order[taken:]
    return Capture(steps, tuple(cuts), tuple(merges), in_order)


@pytest.mark.slow
@examples(quick=8, many=20_000)
@given(capture=captures())
def test_the_table_equals_the_source(shared_duckdb, tmp_path_factory, capture) -> None:
    check_capture(shared_duckdb, folder(tmp_path_factory), capture)


@pytest.mark.slow
@examples(quick=3, many=5_000)
@given(capture=captures())
def test_engines_agree_on_the_source(shared_duckdb, shared_postgres, tmp_path_factory, capture) -> None:
    on_duckdb = check_capture(shared_duckdb, folder(tmp_path_factory), capture)
    assert check_capture(shared_postgres, folder(tmp_path_factory), capture) == on_duckdb


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / f"capture-{next(_folders)}"
