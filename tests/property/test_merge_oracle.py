"""The merge of decoded rows against a dict of winners, on every engine, to the bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from property_profiles import examples
from warehouse_laws import Change, ChangeHistory, Observed, SliceHistory, check_changes, check_slices

_folders = itertools.count(1)

texts = st.sampled_from(
    [None, "", "a", "A", "=cmd|'/c calc'!A0", "\U0001f600", "\u202eabc", "line\nbreak", "NaN", "0000-00-00", "1e400",
     "O'Brien", 'say ""', "a,b", "\t", " x ", "\x1e", "é", "é"]
)  # fmt: skip
changes = st.builds(
    Change,
    k=st.integers(0, 9),
    o=st.one_of(st.none(), st.integers(-1, 3)),
    p=st.sampled_from([None, "", "a", "b", "B", "é", "z"]),
    seq=st.integers(0, 6),
    op=st.sampled_from(["upsert", "upsert", "upsert", "delete", "truncate"]),
    v=texts,
)


@st.composite
def histories(draw: st.DrawFn) -> ChangeHistory:
    loads = tuple(tuple(draw(st.lists(changes, max_size=14))) for _ in range(draw(st.integers(1, 5))))
    order = list(draw(st.permutations(range(len(loads)))))
    merges: list[tuple[int, ...]] = []
    at = 0
    while at < len(order):
        taken = draw(st.integers(1, len(order) - at))
        again = draw(st.lists(st.sampled_from(order[: at + taken]), max_size=2))
        merges.append(tuple(dict.fromkeys([*order[at : at + taken], *again])))
        at += taken
    by = draw(st.sampled_from([("_seq",), ("_seq", "o"), ("o",), ("p",), ("o", "_seq"), ("p", "o"), ()]))
    if by[:1] != ("_seq",):  # a truncate is a place in the stream, so it asks for the stream's order
        loads = tuple(tuple(one for one in changes if one.op != "truncate") for changes in loads)
    return ChangeHistory(loads, tuple(merges), by)


@pytest.mark.slow
@examples(quick=25, many=20_000)
@given(history=histories())
def test_table_equals_the_dict_of_winners(shared_duckdb, tmp_path_factory, history) -> None:
    check_changes(shared_duckdb, folder(tmp_path_factory), history)


@pytest.mark.slow
@examples(quick=6, many=5_000)
@given(history=histories())
def test_engines_agree_on_the_winners(shared_duckdb, shared_postgres, tmp_path_factory, history) -> None:
    on_duckdb = check_changes(shared_duckdb, folder(tmp_path_factory), history)
    assert check_changes(shared_postgres, folder(tmp_path_factory), history) == on_duckdb


@st.composite
def windows(draw: st.DrawFn) -> SliceHistory:
    loads = tuple(draw(observations()) for _ in range(draw(st.integers(1, 6))))
    order = list(draw(st.permutations(range(len(loads)))))
    merges: list[tuple[int, ...]] = []
    while order:
        taken = draw(st.integers(1, len(order)))
        merges.append(tuple(order[:taken]))
        order = order[taken:]
    return SliceHistory(loads, tuple(merges))


@st.composite
def observations(draw: st.DrawFn) -> Observed:
    first, days = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    adv = draw(st.sampled_from([None, 1, 2]))
    cells = st.tuples(
        st.integers(max(0, first - draw(st.integers(0, 1))), first + days - 1),
        st.sampled_from([1, 2, 3] if adv is None else [adv, adv, adv, 3]),
        st.sampled_from(["1", "2.5", "0", "-3.25"]),
    )
    return Observed(draw(st.integers(0, 4)), first, days, adv, tuple(draw(st.lists(cells, max_size=6))))


@pytest.mark.slow
@examples(quick=25, many=10_000)
@given(history=windows())
def test_a_day_holds_what_its_newest_observation_saw(shared_duckdb, tmp_path_factory, history) -> None:
    check_slices(shared_duckdb, folder(tmp_path_factory), history)


@pytest.mark.slow
@examples(quick=6, many=2_000)
@given(history=windows())
def test_engines_agree_on_windows(shared_duckdb, shared_postgres, tmp_path_factory, history) -> None:
    on_duckdb = check_slices(shared_duckdb, folder(tmp_path_factory), history)
    assert check_slices(shared_postgres, folder(tmp_path_factory), history) == on_duckdb


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / f"oracle-{next(_folders)}"
