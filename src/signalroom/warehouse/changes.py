"""Truncates: one change that removes every row before it, those too that arrive later.

A truncate is kept as a tombstone of every key, in ``<table>__deleted`` with its key null. Only the newest counts. The
SQL reads alike in DuckDB and Postgres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from signalroom.errors import ConfigError, DataError
from signalroom.stream import Table
from signalroom.warehouse.parts import Group
from signalroom.warehouse.quoting import ident
from signalroom.warehouse.staging import Stage
from signalroom.warehouse.textual import control_of, relation

Run: TypeAlias = Callable[[str], list[tuple[Any, ...]]]
"""Runs one statement in the load's transaction and returns its rows."""

BESIDE = ("__deleted", "__filled")
"""Ends of the names of the tables that a merged table may have beside it; a replay makes them anew."""

Drop: TypeAlias = Callable[[str], int]
"""Takes the pending rows ``n`` that meet a condition out of what is applied; returns how many that were."""


def require_known(connection: Any, table: Table, groups: Sequence[Group], title: str) -> None:
    """Stop before a change that the table cannot take: a wrong table would be worse than none.

    Raises:
        DataError: An ``_op`` that is none, or a truncate without its ``_seq``.
        ConfigError: A delete, or a truncate, of a table whose settings give it no meaning.
    """
    for group in groups:
        if group.kind != "parquet" or "_op" not in group.fields:
            continue
        found = connection.execute(f"""SELECT op, count(*), count(*) FILTER (WHERE seq IS NULL) FROM (
            SELECT {control_of("_op", group)} AS op, {control_of("_seq", group)} AS seq FROM ({relation(group, ())}))
            GROUP BY op""").fetchall()
        unplaced = {str(op): int(without) for op, _, without in found}
        _require_operations(table, unplaced, title)
        if "truncate" in unplaced and any(part.part.object_key for part in group.parts):
            raise DataError(
                f"{title}: a file brings a truncate, and a file may be withdrawn, which a truncate cannot be.",
                mend="Nothing was loaded; read the changes as a stream, or leave the truncates out of the file.",
            )


def _require_operations(table: Table, unplaced: dict[str, int], title: str) -> None:
    if unknown := sorted(unplaced.keys() - {"upsert", "delete", "truncate"}):
        raise DataError(
            f"{title} brings changes of a kind that is none: {', '.join(map(repr, unknown))}.",
            mend="Nothing was loaded; let the source write upsert, delete or truncate into _op.",
        )
    if "delete" in unplaced and table.disposition not in ("merge", "history"):
        raise ConfigError(
            f"{title} brings deletes, and is written as {table.disposition!r}, where nothing says which row leaves.",
            mend="Set a key and write = 'merge'.",
        )
    if "truncate" not in unplaced:
        return
    if table.disposition not in ("merge", "append") or table.order[:1] != ("_seq",):
        raise ConfigError(
            f"{title} brings a truncate, which needs write = 'merge' or 'append' and the stream's own order.",
            mend='Set order = ["_seq"], or leave the table out of the stream.',
        )
    if unplaced["truncate"]:
        raise DataError(
            f"{title} brings a truncate without _seq: nothing says which rows it removes.",
            mend="Nothing was loaded; let the source write its place in the stream into _seq.",
        )


def cut_stage(staged: Stage, parts: str, lose: str) -> None:
    """Let the staged rows before the newest staged truncate lose, and every truncate but that one."""
    name = ident(staged.name)
    newest = staged.connection.execute(
        f"SELECT rowid, _seq FROM {name} WHERE _op = 'truncate' ORDER BY _seq DESC, _part DESC, _row DESC LIMIT 1"
    ).fetchall()
    for rowid, seq in newest:
        staged.connection.execute(f"""INSERT INTO {lose} SELECT s.rowid, p.restored FROM {name} s JOIN {parts} p
            USING (_part) WHERE coalesce(s._seq < {seq}, true) OR (s._op = 'truncate' AND s.rowid <> {rowid})""")


def cut_table(run: Run, drop: Drop, table: Table, target: str, tombstones: str, survivors: str) -> int:
    """Remove what lies before the newest truncate, and return how many pending rows came after one that is kept.

    Args:
        run: Runs a statement.
        drop: Takes pending rows out.
        table: The table.
        target: Its quoted name.
        tombstones: The quoted name of its table of tombstones, which exists.
        survivors: The relation of what is to be applied.
    """
    keyless = " AND ".join(["true", *(f"{ident(key)} IS NULL" for key in table.key)])
    known = run(f"SELECT max(_seq) FROM {tombstones} WHERE {keyless}")[0][0]
    late = 0
    if known is not None:
        late = drop(f"(coalesce(n._seq < {known}, true) OR (n._op = 'truncate' AND n._seq = {known}))")
    newest = run(f"SELECT max(_seq) FROM {survivors} AS n WHERE _op = 'truncate'")[0][0]
    if newest is not None:
        for held_in in (target, tombstones):
            run(f"DELETE FROM {held_in} WHERE coalesce(_seq < {newest}, true)")
    return late
