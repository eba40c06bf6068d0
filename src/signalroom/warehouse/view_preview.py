"""Two states of a view held against each other, by SQL that both engines read alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from signalroom.view import Preview, View
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.quoting import ident

Columns: TypeAlias = tuple[tuple[str, str], ...]

_WITHOUT_EQUALITY = {"json", "xml", "point"}  # Postgres: compared by their text


def compare(
    execute: Execute, view: View, before: tuple[str, Columns], after: tuple[str, Columns], samples: int, seconds: float
) -> Preview:
    """Return what differs between a view as it is and as it would be.

    Args:
        execute: Runs one statement.
        view: The view, with the query that was tried.
        before: Where it is, quoted, and its columns; no columns where it is not there.
        after: Where its new rows are, quoted, and their columns.
        samples: How many rows of each side to show at most.
        seconds: How long the query took.
    """
    (old, now), (new, then) = before, after
    rows_after = _count(execute, f"SELECT 1 FROM {new}")
    rows_before = _count(execute, f"SELECT 1 FROM {old}") if now else 0
    compared = _compared(dict(now), dict(then))
    if not compared:
        shown = _sample(execute, f"SELECT {', '.join(ident(name) for name, _ in then)} FROM {new}", dict(then), samples)
        gone = f"SELECT {', '.join(ident(name) for name, _ in now)} FROM {old}" if now else ""
        lost = _sample(execute, gone, dict(now), samples) if now else ()
        return Preview(view, now, then, rows_before, rows_after, rows_after, rows_before, shown, lost, seconds)
    listed = ", ".join(compared.values())
    appearing = f"SELECT {listed} FROM {new} EXCEPT ALL SELECT {listed} FROM {old}"
    vanishing = f"SELECT {listed} FROM {old} EXCEPT ALL SELECT {listed} FROM {new}"
    return Preview(
        view, now, then, rows_before, rows_after, _count(execute, appearing), _count(execute, vanishing),
        _sample(execute, appearing, compared, samples), _sample(execute, vanishing, compared, samples), seconds,
    )  # fmt: skip


def _compared(now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    """Return each column that both states have -> the SQL by which its values are compared."""
    both = [name for name in then if name in now]
    same = {name: now[name] == then[name] and now[name] not in _WITHOUT_EQUALITY for name in both}
    return {name: ident(name) if same[name] else f"CAST({ident(name)} AS text) AS {ident(name)}" for name in both}


def _count(execute: Execute, sql: str) -> int:
    return int(execute(f"SELECT count(*) FROM ({sql}) counted", [])[0][0])


def _sample(execute: Execute, sql: str, columns: Mapping[str, str], samples: int) -> tuple[Mapping[str, Any], ...]:
    names: Sequence[str] = list(columns)
    order = ", ".join(f"CAST({ident(name)} AS text)" for name in names)  # the same rows each time, whatever their types
    rows = execute(f"SELECT * FROM ({sql}) sampled ORDER BY {order} LIMIT {samples}", [])
    return tuple(dict(zip(names, row, strict=True)) for row in rows)
