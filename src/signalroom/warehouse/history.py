"""The ``history`` disposition: every version of a key with the time it held (slowly changing dimension, type 2).

A table's versions follow from all that was seen of a key, whatever the order in which it arrived: a row between two
others may make a version of a later row that was none. So each row seen is kept in ``<table>__seen``, and a merge works
out anew the versions of the keys it touches. The SQL reads alike in DuckDB and Postgres.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from signalroom.errors import ConfigError
from signalroom.failpoints import failpoint
from signalroom.stream import Column
from signalroom.warehouse.base import MergeResult
from signalroom.warehouse.merge import Prepared, tie
from signalroom.warehouse.quoting import ident, listed, literal, qualified
from signalroom.warehouse.schema import VALIDITY

Run: TypeAlias = Callable[[str], list[tuple[Any, ...]]]
"""Runs one statement in the load's transaction and returns its rows."""

_SEEN = "__seen"
_KEYS, _ROWS = "signalroom_touched_keys", "signalroom_touched_rows"


@dataclass(frozen=True, slots=True)
class History:
    """One history table on its way through a merge.

    Attributes:
        run: Runs a statement.
        prepared: What is to be applied.
        incoming: A relation of the survivors: the stored columns, ``_op``, ``_restored`` and ``_part_name``.
        withdrawn: The condition that a row comes from a version of an object that leaves; empty when none leaves.
        column_sql: Returns a column of a CREATE TABLE.
        indexed: Whether the engine finds the rows of few keys by an index; a columnar one scans.
    """

    run: Run
    prepared: Prepared
    incoming: str
    withdrawn: str
    column_sql: Callable[[Column], str]
    indexed: bool = False

    @property
    def target(self) -> str:
        """The quoted name of the table."""
        return qualified(self.prepared.plan.title)

    @property
    def seen(self) -> str:
        """The quoted name of the table of all rows seen."""
        return qualified(self.prepared.plan.title + _SEEN)

    def apply(self, load_ids: Sequence[str]) -> MergeResult:
        """Take the survivors in and return the counts; ``rows_in`` is the lake's.

        A row that makes a version, or ends one, is merged; one that says nothing new is superseded.
        """
        plan, prepared = self.prepared.plan, self.prepared
        merged = unchanged = restored = 0
        if prepared.schema.columns:
            self._shape()
            failpoint("warehouse.apply.delete")
            restored = self._take_in()
            merged, unchanged = self._work_out(load_ids)
            self._index()
        failpoint("warehouse.apply.insert")
        return MergeResult(
            load_ids=tuple(load_ids),
            rows_in=sum(part.part.rows for part in plan.parts if not part.restored) + plan.superseded,
            rows_merged=merged,
            rows_superseded=plan.superseded + prepared.superseded + unchanged,
            rows_rejected=prepared.rejected,
            rows_restored=restored,
            skipped_objects=tuple(version.key for version in plan.objects.skipped),
        )

    def _shape(self) -> None:
        """Give the table its times, and make the table of what was seen with the same columns."""
        for column in VALIDITY:
            self.run(f"ALTER TABLE {self.target} ADD COLUMN IF NOT EXISTS {self.column_sql(column)}")
        names = listed(self.prepared.columns)
        self.run(f"CREATE TABLE IF NOT EXISTS {self.seen} AS SELECT {names} FROM {self.target} LIMIT 0")
        extra = (Column("_op"), Column("_part_name"))
        for column in (*self.prepared.schema.added, *extra):
            self.run(f"ALTER TABLE {self.seen} ADD COLUMN IF NOT EXISTS {self.column_sql(column)}")

    def _take_in(self) -> int:
        """Move the survivors to what was seen, withdrawn rows out of it; note the keys and return the rows restored."""
        key = self.prepared.plan.table.key
        for name in (_KEYS, _ROWS):
            self.run(f"DROP TABLE IF EXISTS {name}")
        leaving = f" UNION SELECT {listed(key)} FROM {self.seen} WHERE {self.withdrawn}" if self.withdrawn else ""
        self.run(f"CREATE TEMP TABLE {_KEYS} AS SELECT {listed(key)} FROM {self.incoming} AS n{leaving}")
        if self.indexed:  # how few keys there are decides for the index or against it
            self.run(f"ANALYZE {_KEYS}")
        if self.withdrawn:
            self.run(f"DELETE FROM {self.seen} WHERE {self.withdrawn}")
        names = f"{listed(self.prepared.columns)}, _op, _part_name"
        self.run(f"INSERT INTO {self.seen} ({names}) SELECT {names} FROM {self.incoming} AS n")
        found = self.run(f"SELECT count(*) FROM {self.incoming} AS n WHERE _restored")
        return int(found[0][0])

    def _work_out(self, load_ids: Sequence[str]) -> tuple[int, int]:
        """Write the versions of the keys touched; return how many pending rows say something new, and how many not."""
        key = self.prepared.plan.table.key
        self.run(f"CREATE TEMP TABLE {_ROWS} AS {self._told()}")
        touched = " AND ".join(f"k.{ident(name)} = t.{ident(name)}" for name in key)
        self.run(f"DELETE FROM {self.target} AS t WHERE EXISTS (SELECT 1 FROM {_KEYS} k WHERE {touched})")
        names = listed(self.prepared.columns)
        times = listed([column.name for column in VALIDITY])
        self.run(f"""INSERT INTO {self.target} ({names}, {times}) SELECT {names}, {times} FROM (
            SELECT r.*, lead(_valid_from) OVER w AS _valid_to, lead(_op) OVER w IS NULL AS _is_current
            FROM {_ROWS} r WHERE _tells WINDOW w AS (PARTITION BY {listed(key)} ORDER BY _valid_from NULLS FIRST)) v
            WHERE _op <> 'delete'""")
        pending = ", ".join(map(literal, load_ids)) or "NULL"
        counted = f"SELECT count(*) FROM {_ROWS} WHERE _load_id IN ({pending}) AND "
        merged, unchanged = (int(self.run(counted + told)[0][0]) for told in ("_tells", "NOT _tells"))
        for name in (_KEYS, _ROWS):
            self.run(f"DROP TABLE {name}")
        return merged, unchanged

    def _index(self) -> None:
        """Index both tables by the key, once: after their first rows are in, because an index is built faster then.

        They are counted too, or the planner takes each key for a great part of the table and scans until it knows.
        """
        schema, _, table = self.prepared.plan.title.partition(".")
        key = listed(self.prepared.plan.table.key)
        for name in (table, table + _SEEN) if self.indexed else ():
            index = f"signalroom_key_{hashlib.sha256(f'{name} ({key})'.encode()).hexdigest()[:16]}"
            if self.run(f"SELECT to_regclass({literal(qualified(f'{schema}.{index}'))}) IS NULL")[0][0]:
                self.run(f"CREATE INDEX {index} ON {qualified(f'{schema}.{name}')} ({key})")
                self.run(f"ANALYZE {qualified(f'{schema}.{name}')} ({key})")

    def _told(self) -> str:
        """Return the SELECT of all that was seen of the keys touched: since when, and whether it says something new.

        Of several rows about one moment the winner of the usual order speaks. A row says something new when the one
        before it was of another kind, or had another value outside the key and the order.
        """
        table, columns = self.prepared.plan.table, self.prepared.schema.columns
        best = [*(f"{ident(name)} DESC NULLS LAST" for name in table.order), "_file_time DESC NULLS LAST"]
        best += [f"{tie('t')} DESC", '_part_name COLLATE "C" DESC', "_row DESC"]
        compared = [column for column in columns if column.name not in (*table.key, *table.order)]
        values = [f"CAST({ident(c.name)} AS text)" if c.type == "json" else ident(c.name) for c in compared]
        differs = " OR ".join(["false", *(f"lag({value}) OVER w IS DISTINCT FROM {value}" for value in values)])
        touched = " AND ".join(f"k.{ident(name)} = t.{ident(name)}" for name in table.key)
        return f"""SELECT d.*, _place = 1 AND CASE WHEN lag(_op) OVER w IS DISTINCT FROM _op THEN true
                WHEN _op = 'delete' THEN false ELSE {differs} END AS _tells
            FROM (SELECT t.*, row_number() OVER (PARTITION BY {listed(table.key)}, _valid_from
                    ORDER BY {", ".join(best)}) AS _place
                FROM (SELECT t.*, {self._moment()} AS _valid_from FROM {self.seen} t
                    WHERE EXISTS (SELECT 1 FROM {_KEYS} k WHERE {touched})) t) d
            WINDOW w AS (PARTITION BY {listed(table.key)}, _place = 1 ORDER BY _valid_from NULLS FIRST)"""

    def _moment(self) -> str:
        """Return the expression of the moment a row speaks of: its first order column, in UTC where it has no zone."""
        name = self.prepared.plan.table.order[0]
        kinds = {column.name: column.type for column in self.prepared.schema.columns}
        return f"CAST({ident(name)} AS timestamp) AT TIME ZONE 'UTC'" if kinds.get(name) in _ZONELESS else ident(name)


_ZONELESS = ("date", "timestamp")


def settle_kind(run: Run, prepared: Prepared, *, replay: bool) -> None:
    """Refuse to go on with a table whose rows another disposition wrote; a replay makes it anew.

    Raises:
        ConfigError: The stream's table became a history, or ceased to be one, since its rows were merged.
    """
    title, wanted = prepared.plan.title, prepared.plan.table.disposition == "history"
    schema, table = title.split(".", 1)
    named = f"table_schema = {literal(schema)} AND table_name = {literal(table)}"
    there = run(f"""SELECT count(*), count(*) FILTER (WHERE column_name = '_valid_from')
        FROM information_schema.columns WHERE {named}""")[0]
    known, was = there[0] > 0, there[1] > 0
    if replay:
        if was:
            run(f"DROP TABLE IF EXISTS {qualified(title + _SEEN)}")
        for column in VALIDITY if was and not wanted else ():
            run(f"ALTER TABLE {qualified(title)} DROP COLUMN {ident(column.name)}")
    elif known and was != wanted and run(f"SELECT 1 FROM {qualified(title)} LIMIT 1"):
        kinds = ("history", "another disposition")
        now, before = kinds if wanted else kinds[::-1]
        raise ConfigError(
            f"{title} is to be written as {now}, and its rows were written as {before}.",
            mend=f"Run `signalroom replay --source {schema}` to write them anew.",
        )
