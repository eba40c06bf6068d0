"""Types for a table nobody declared: guessed from samples of every part, then proved on every value.

A column gets a type only when all its values, in all parts of the first load, fit it exactly; otherwise it stays text.
Numbers with leading zeros are text (a postcode is not a number), decimals keep the largest scale seen, and yes/no words
are text: only ``true`` and ``false`` make a boolean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from signalroom.stream import Column
from signalroom.warehouse.careful import careful_tables
from signalroom.warehouse.casts import cast
from signalroom.warehouse.parts import Group
from signalroom.warehouse.quoting import literal
from signalroom.warehouse.textual import bindings, relation, text_of, unreadable

if TYPE_CHECKING:
    import duckdb

_SAMPLE_ROWS = 2_000
_WHOLE = "-?(0|[1-9][0-9]{0,17})"  # a plus is a telephone's
_DECIMAL = r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?"
_DIGITS = r"0\.[0-9]{1,17}|(0|[1-9][0-9]{0,2})(\.[0-9]{1,14})?|[1-9][0-9]{3,8}(\.[0-9]{1,8})?|[1-9][0-9]{9,16}"
_DOUBLE = rf"-?({_DIGITS})([eE][+-]?[0-9]{{1,3}})?"  # at most 17 digits: what a double gives back
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_CANDIDATES = (
    ("boolean", "(?i:true|false)"),
    ("bigint", _WHOLE),
    ("decimal", _DECIMAL),
    ("date", _DATE),
    ("timestamp", f"{_DATE}{_CLOCK}"),
    ("timestamptz", rf"{_DATE}{_CLOCK} ?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)"),
)


def infer(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], groups: Sequence[Group], nulls: Sequence[str]
) -> dict[str, str]:
    """Return column name -> type for ``columns`` over all ``groups``."""
    sampled = _kinds(connection, columns, groups, nulls, sample=True)
    guesses = [replace(column, type=sampled[column.name]) for column in columns]
    doubtful = _misfits(connection, guesses, groups, nulls)
    again = _kinds(connection, [c for c in columns if c.name in doubtful], groups, nulls, sample=False)
    final = {column.name: again.get(column.name, column.type) for column in guesses}
    proved = _misfits(
        connection, [replace(c, type=final[c.name]) for c in columns if c.name in doubtful], groups, nulls
    )
    return {name: "text" if name in proved else kind for name, kind in final.items()}


def told_types(columns: Sequence[Column], groups: Sequence[Group]) -> dict[str, str]:
    """Return column name -> type for the ``columns`` whose type the upstream itself told, in what was asked of it."""
    told: dict[str, str] = {}
    for part in sorted((part for group in groups for part in group.parts), key=lambda one: one.load.load_id):
        types = part.part.request.get("types")
        if isinstance(types, Mapping):
            told.update({str(spelling): str(kind) for spelling, kind in types.items()})
    spelt = {column.name: column.path or column.name for column in columns}
    return {name: told[spelling] for name, spelling in spelt.items() if spelling in told}


def _texts(group: Group, columns: Sequence[Column], nulls: Sequence[str]) -> str:
    """Return a SELECT of one text column for each of ``columns``, named ``v0``, ``v1`` and so on."""
    bound = bindings(columns, group)
    texts = [text_of(column, group, bound, nulls) or "CAST(NULL AS VARCHAR)" for column in columns]
    return (
        "SELECT " + ", ".join(f"{text} AS v{n}" for n, text in enumerate(texts)) + f" FROM ({relation(group, nulls)})"
    )


def _each(
    connection: duckdb.DuckDBPyConnection, asked: str, group: Group, columns: Sequence[Column], nulls: Sequence[str],
    *, sample: bool = False,
) -> list[tuple[object, ...]]:  # fmt: skip
    """Run an aggregate over a group's texts; a careful group is read in bounded pieces, one answer each."""
    import duckdb

    if not group.careful:
        limit = f" LIMIT {_SAMPLE_ROWS * max(1, len(group.parts))}" if sample else ""
        try:
            return connection.execute(f"SELECT {asked} FROM ({_texts(group, columns, nulls)}{limit})").fetchall()
        except duckdb.Error as problem:
            if group.kind not in ("csv", "jsonl"):
                raise unreadable(group, problem) from problem
    answers: list[tuple[object, ...]] = []
    sql = f"SELECT {asked} FROM ({_texts(replace(group, careful=True), columns, nulls)})"
    for records, _ in careful_tables(group.parts):
        connection.register("signalroom_careful", records)
        answers += connection.execute(sql).fetchall()
        connection.unregister("signalroom_careful")
    return answers


def _kinds(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], groups: Sequence[Group], nulls: Sequence[str],
    *, sample: bool,
) -> dict[str, str]:  # fmt: skip
    """Return the narrowest type that fits what was looked at; text where nothing was seen."""
    if not columns:
        return {}
    tests = [pattern for _, pattern in _CANDIDATES] + [_DOUBLE]
    seen: list[list[object]] = [[None] * (len(tests) + 1) for _ in columns]
    for group in groups:
        asked = ", ".join(
            ", ".join([*(f"bool_and(regexp_full_match(v{n}, {literal(p)}))" for p in tests),
                       f"max(CASE WHEN contains(v{n}, '.') THEN length(v{n}) - strpos(v{n}, '.') ELSE 0 END)"])
            for n in range(len(columns))
        )  # fmt: skip
        for answer in _each(connection, asked, group, columns, nulls, sample=sample):
            _fold(seen, answer, len(tests))
    return {column.name: _narrowest(facts) for column, facts in zip(columns, seen, strict=True)}


def _fold(seen: list[list[object]], answer: tuple[object, ...], tests: int) -> None:
    """Fold one group's answers into what is known: every test must hold everywhere, the scale is the largest."""
    width = tests + 1
    for n, facts in enumerate(seen):
        found = answer[n * width : (n + 1) * width]
        for test in range(tests):
            if found[test] is not None:
                facts[test] = found[test] if facts[test] is None else facts[test] and found[test]
        scale, known = found[tests], facts[tests]
        if isinstance(scale, int):
            facts[tests] = max(scale, known) if isinstance(known, int) else scale


def _narrowest(facts: Sequence[object]) -> str:
    for (kind, _), holds in zip(_CANDIDATES, facts, strict=False):
        if holds is True:
            scale = facts[-1] if isinstance(facts[-1], int) else 0
            return f"decimal({18 if scale <= 3 else 38},{max(2, scale)})" if kind == "decimal" else kind
    return "double" if facts[len(_CANDIDATES)] is True else "text"


def _misfits(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], groups: Sequence[Group], nulls: Sequence[str]
) -> set[str]:
    """Return the names of the columns that some value does not fit."""
    typed = [column for column in columns if column.type != "text"]
    if not typed:
        return set()
    found: set[str] = set()
    for group in groups:
        tests = ", ".join(f"bool_or({cast(column, f'v{n}').misfit})" for n, column in enumerate(typed))
        for answer in _each(connection, tests, group, typed, nulls):
            found |= {column.name for column, misfit in zip(typed, answer, strict=True) if misfit}
    return found
