"""Which days of a report changed on DuckDB, told by the rows themselves.

Beside each view stands what each of its days was computed from: the number of rows, and the sum of their hashes, over
the columns that its query names. A refresh asks for the same again, which is one scan where the rows lie, and has only
those days computed where it differs. So it does not matter who changed a table: a merge, dbt, a person; rows that came
again as they were change nothing; and what is not known is a day that differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from signalroom.view import AGENCY_COLUMN, Pending, ViewLimits
from signalroom.warehouse import duckdb_rows, view_parser
from signalroom.warehouse.quoting import ident, qualified
from signalroom.warehouse.shared_sql import shared_query

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

DDL = (
    """CREATE TABLE IF NOT EXISTS signalroom.view_days (
        view_name text NOT NULL, day date, asked text NOT NULL, content text NOT NULL)""",
)
"""Of each day of a view: from which query and which rows it was computed."""

# One agency may have one report under two names: whatever changed for one of them is computed for both.
_CHANGED = """
WITH present AS (
    SELECT TRY_CAST({whose} AS BIGINT) AS agency_id, {day} AS day, count(*) || ':' || sum(hash({columns})) AS content
    FROM {table} WHERE {whose} IN (SELECT agency_id FROM signalroom_asking) GROUP BY ALL),
wanted AS (SELECT a.view_name, a.asked, a.anew, p.* FROM signalroom_asking a JOIN present p USING (agency_id)),
known AS (SELECT d.*, a.agency_id FROM signalroom.view_days d JOIN signalroom_asking a USING (view_name)),
differing AS (
    SELECT DISTINCT coalesce(w.agency_id, k.agency_id) AS agency_id, coalesce(w.day, k.day) AS day
    FROM wanted w FULL JOIN known k ON w.view_name = k.view_name AND w.day IS NOT DISTINCT FROM k.day
    WHERE w.anew OR w.asked IS DISTINCT FROM k.asked OR w.content IS DISTINCT FROM k.content)
SELECT d.agency_id, d.day, p.content FROM differing d
LEFT JOIN present p ON p.agency_id = d.agency_id AND p.day IS NOT DISTINCT FROM d.day"""
_DAY_OF = "{place} IN (SELECT day FROM {days}) OR ({place} IS NULL AND EXISTS (FROM {days} WHERE day IS NULL))"


@dataclass(frozen=True, slots=True)
class Days:
    """What has to be computed of one report of several agencies.

    Attributes:
        changed: ``agency_id``, ``day`` and ``content`` of each day that differs; no content where no row is left.
        whole: Names of the views of which every day is computed: they are new, ask for something else, or are forced.
        shown: The views' column of days.
    """

    changed: pa.Table
    whole: frozenset[str]
    shown: str
    _asking: pa.Table
    _source: str
    _day: str
    _columns: tuple[str, ...]

    @classmethod
    def of(
        cls, connection: duckdb.DuckDBPyConnection, pending: Sequence[Pending], limits: ViewLimits,
        there: AbstractSet[str],
    ) -> Days | None:  # fmt: skip
        """Return what changed since the views were computed; None where a group does not lie within one day.

        Args:
            connection: Sees one moment: the rows have to be read by it too.
            pending: Views that ask the same of their agencies' rows.
            limits: Says which tables they read.
            there: Names of the views that have a table.
        """
        import duckdb
        import pyarrow as pa

        query = shared_query(pending[0].query)
        if query is None:
            return None
        source = limits.tables[query.table]
        columns = duckdb_rows.wanted(connection, source, [one.query for one in pending])
        held = {name.lower(): name for name, kind in columns.items() if kind == "DATE"}
        found = next(((held[column], shown) for column, shown in query.days if column in held), None)
        if found is None:
            return None
        day, shown = found
        said = f"{duckdb.__version__}\0{source}\0{columns}\0{view_parser.write(pending[0].query.tree)}"
        asked = {one.view.name: _hash(f"{one.view.agency_id}\0{said}") for one in pending}
        whole = {one.view.name for one in pending if one.anew or one.view.name not in there}
        whole |= asked.keys() - _known(connection, asked)
        asking = pa.table(
            {
                "view_name": [one.view.name for one in pending],
                "agency_id": pa.array([one.view.agency_id for one in pending], pa.int64()),
                "asked": [asked[one.view.name] for one in pending],
                "anew": [one.view.name in whole for one in pending],
            }
        )
        connection.register("signalroom_asking", asking)
        sql = _CHANGED.format(
            whose=ident(AGENCY_COLUMN), day=ident(day), columns=", ".join(map(ident, columns)), table=qualified(source)
        )
        changed = connection.sql(sql).to_arrow_table()
        return cls(changed, frozenset(whole), shown, asking, source, day, tuple(columns))

    def rows(self, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        """Return the rows of the days that changed."""
        connection.register("signalroom_changed", self.changed)
        whose, day = ident(AGENCY_COLUMN), ident(self._day)
        return connection.sql(
            f"""SELECT {", ".join(f"t.{ident(one)}" for one in self._columns)} FROM {qualified(self._source)} t
            SEMI JOIN signalroom_changed c ON t.{whose} = c.agency_id AND t.{day} IS NOT DISTINCT FROM c.day"""
        ).to_arrow_table()

    def clear(self, connection: duckdb.DuckDBPyConnection, one: Pending, place: str) -> None:
        """Remove the days that changed from a view's table, quoted."""
        connection.register("signalroom_changed", self.changed)
        days = f"(SELECT day FROM signalroom_changed WHERE agency_id = {int(one.view.agency_id)})"
        connection.execute(f"DELETE FROM {place} WHERE {_DAY_OF.format(place=ident(self.shown), days=days)}")

    def write(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Record what the days that changed were computed from, in the transaction that changes the views' rows."""
        connection.register("signalroom_changed", self.changed)
        connection.register("signalroom_asking", self._asking)
        forget(connection, sorted(self.whole))
        connection.execute(
            """DELETE FROM signalroom.view_days d USING signalroom_asking a, signalroom_changed c
            WHERE d.view_name = a.view_name AND a.agency_id = c.agency_id AND d.day IS NOT DISTINCT FROM c.day"""
        )
        connection.execute(
            """INSERT INTO signalroom.view_days SELECT a.view_name, c.day, a.asked, c.content
            FROM signalroom_asking a JOIN signalroom_changed c USING (agency_id) WHERE c.content IS NOT NULL"""
        )


def forget(connection: duckdb.DuckDBPyConnection, views: Sequence[str]) -> None:
    """Remove what is known of views that are computed in another way from now on."""
    connection.execute("DELETE FROM signalroom.view_days WHERE view_name IN (SELECT unnest(?))", [list(views)])


def _known(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, str]) -> set[str]:
    """Return the views all of whose days were computed for what they ask now."""
    sql = """SELECT view_name, min(asked) FROM signalroom.view_days WHERE view_name IN (SELECT unnest(?))
        GROUP BY view_name HAVING min(asked) = max(asked)"""
    found: list[Any] = connection.execute(sql, [list(asked)]).fetchall()
    return {str(name) for name, said in found if asked[name] == said}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
