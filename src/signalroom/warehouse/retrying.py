"""Rows that were set aside, typed again: whether any of them fits now, and what became of each.

A retry rebuilds the stream's tables from the lake, as a replay does, so what it leaves equals a clean load under the
pins and settings of today: the rows that were merged all along mean the same as those that join them. Only the parts
with rows set aside are typed first; where none of those fits, nothing is rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signalroom.load import Load, Part
from signalroom.stream import Column, Stream
from signalroom.warehouse.base import LakeReader, MergeResult
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.merge import Prepared, assert_conserved
from signalroom.warehouse.plan import ranked
from signalroom.warehouse.quoting import ident
from signalroom.warehouse.schema import resolve
from signalroom.warehouse.staging import Stage, stage
from signalroom.warehouse.textual import data_fields, group_parts

if TYPE_CHECKING:
    import duckdb

_TALLY = """SELECT count(*) FILTER (WHERE found AND NOT lost) AS merged, count(*) FILTER (WHERE lost) AS superseded,
    count(*) FILTER (WHERE refused) AS rejected FROM {tallied}"""


@dataclass(frozen=True, slots=True)
class SetAside:
    """Rows of one stream in ``signalroom.rejects``, each once however many of its values do not fit.

    Attributes:
        rows: (table, load id, name of the part, row number in it), sorted.
    """

    rows: tuple[tuple[str, str, str, int], ...]

    @classmethod
    def of(cls, execute: Execute, stream: Stream, load_id: str = "") -> SetAside:
        """Return the rows of ``stream`` that are set aside; those of one load where it is named."""
        found = execute(
            """SELECT DISTINCT table_name, load_id, part_name, row_number FROM signalroom.rejects
                WHERE source = ? AND stream = ? AND (load_id = ? OR ? = '') ORDER BY 1, 2, 3, 4""",
            [stream.source, stream.name, load_id, load_id],
        )
        return cls(tuple((str(table), str(load), str(part), int(row)) for table, load, part, row in found))

    @property
    def load_ids(self) -> tuple[str, ...]:
        """The loads they are in."""
        return tuple(sorted({load_id for _, load_id, _, _ in self.rows}))

    def unchanged(self) -> MergeResult:
        """Return the result of a retry that found nothing to merge."""
        return MergeResult(self.load_ids, rows_in=len(self.rows), rows_rejected=len(self.rows))

    def some_fit(
        self, connection: duckdb.DuckDBPyConnection, stream: Stream, lake: LakeReader,
        in_force: Callable[[str], Sequence[Column]],
    ) -> bool:  # fmt: skip
        """Return whether any of the rows fits the columns that a merge would give their table now.

        Args:
            connection: A DuckDB connection for the stage.
            stream: The stream.
            lake: Where the parts are read.
            in_force: Returns a table's columns in the warehouse.
        """
        loads = lake.loads(stream.source, stream.name, self.load_ids) if self.rows else ()
        for table in stream.tables:
            named = {(load_id, part) for name, load_id, part, _ in self.rows if name == table.name}
            parts = [(load, part, False) for load in loads for part in load.parts if _id(load, part) in named]
            if not parts:
                continue
            staged_parts = ranked(parts, lake)
            groups = group_parts(connection, staged_parts)
            title = f"{stream.source}.{table.name}"
            schema = resolve(table, in_force(table.name), [data_fields(group) for group in groups], title)
            probe = stage(connection, f"retry_{title}", table, schema.columns, groups, staged_parts)
            try:
                if self._tally(probe, lose="")[0]:
                    return True
            finally:
                probe.drop()
        return False

    def became(self, prepared: Sequence[Prepared]) -> MergeResult:
        """Return what became of the rows in a rebuild that is ready to be applied; raises DataError if one is missing.

        The rows are those the warehouse recorded; where each of them ended is counted in the stages. A row that
        a history takes in counts as merged, whether or not it says something new.
        """
        total = MergeResult(self.load_ids)
        for one in prepared:
            merged, superseded, rejected = self._tally(one.stage, lose=f"{one.stage.name}_lose")
            aside = [row for row in self.rows if row[0] == one.plan.table.name]
            read = {_id(part.load, part.part) for part in one.stage.parts}
            unread = sum((load_id, part) not in read for _, load_id, part, _ in aside)  # a snapshot's, replaced since
            result = MergeResult(
                self.load_ids,
                rows_in=len(aside),
                rows_merged=merged,
                rows_superseded=superseded + unread,
                rows_rejected=rejected,
            )
            assert_conserved(f"The retry of {one.plan.title}", result)
            total = MergeResult(
                self.load_ids,
                rows_in=total.rows_in + result.rows_in,
                rows_merged=total.rows_merged + result.rows_merged,
                rows_superseded=total.rows_superseded + result.rows_superseded,
                rows_rejected=total.rows_rejected + result.rows_rejected,
            )
        return total

    def _tally(self, staged: Stage, *, lose: str) -> tuple[int, int, int]:
        """Return how many of the rows are in a stage and win, are in it and lose, or are in its rejects."""
        import pyarrow as pa

        number = {_id(part.load, part.part): part.number for part in staged.parts}
        places = [
            (number[load_id, part], row)
            for table, load_id, part, row in self.rows
            if table == staged.table.name and (load_id, part) in number
        ]
        kinds = (("part", pa.int32()), ("row", pa.int64()))
        columns = {name: pa.array([place[at] for place in places], kind) for at, (name, kind) in enumerate(kinds)}
        connection, name = staged.connection, staged.name
        connection.register("signalroom_aside", pa.table(columns))
        lost = f"s.rowid IN (SELECT r FROM {ident(lose)})" if lose else "false"
        tallied = f"""(SELECT s._part IS NOT NULL AS found, s._part IS NOT NULL AND {lost} AS lost,
                r._part IS NOT NULL AS refused
            FROM signalroom_aside a
            LEFT JOIN (SELECT s.rowid, s._part, {staged.rows_of("s")} AS place FROM {ident(name)} s
                JOIN {ident(name + "_parts")} p USING (_part)) s ON s._part = a.part AND s.place = a.row
            LEFT JOIN (SELECT DISTINCT _part, _row FROM {ident(name + "_rejects")}) r
                ON r._part = a.part AND r._row = a.row)"""
        merged, superseded, rejected = connection.execute(_TALLY.format(tallied=tallied)).fetchall()[0]
        connection.unregister("signalroom_aside")
        return int(merged), int(superseded), int(rejected)


def _id(load: Load, part: Part) -> tuple[str, str]:
    return load.load_id, part.name
