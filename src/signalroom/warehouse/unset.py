"""Rows that arrive without the values that did not change: each takes them from the row of its key before it.

A database's log leaves out a large value that an update did not touch (``_unset`` names it). It is never written as
NULL: it is the value of the nearest row of the key below that brought one, in the same loads or else in the table.
A row whose value nobody knows is set aside.

``<table>__filled`` keeps, for each row of the table with such a value, the place in the stream of the row it came with:
so a row that arrives late, between the two, still hands its value on. The SQL reads alike in DuckDB and Postgres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from signalroom.errors import ConfigError, DataError
from signalroom.stream import Column, Table
from signalroom.warehouse.changes import Drop, Run
from signalroom.warehouse.parts import Group
from signalroom.warehouse.quoting import ident, listed, literal, qualified
from signalroom.warehouse.staging import Stage, reject_staged
from signalroom.warehouse.textual import relation, unset_field

_REASON = (
    "did not arrive, and no earlier row of the key is known to take it from; the key's next whole row heals it, or a "
    "new snapshot, or `signalroom rejects retry` once the earlier row is merged"
)


def unset_columns(
    connection: Any, table: Table, columns: Sequence[Column], groups: Sequence[Group], title: str
) -> tuple[str, ...]:
    """Return the columns whose value is missing from some row of the groups; reads that list and nothing else.

    Raises:
        ConfigError: The table's settings do not say which row lies before another.
        DataError: The rows are a file's, which may be withdrawn.
    """
    found: set[str] = set()
    for group in groups:
        listing = unset_field(columns, group)
        if listing is None:
            continue
        names = f"SELECT DISTINCT unnest({listing}) FROM ({relation(group, ())})"
        named = {str(row[0]) for row in connection.execute(names).fetchall()}
        if named and any(part.part.object_key for part in group.parts):
            raise DataError(
                f"{title}: a file brings rows with values left out, and what they follow may be withdrawn.",
                mend="Nothing was loaded; read the changes as a stream.",
            )
        found |= named
    if found and (table.disposition != "merge" or table.order[:1] != ("_seq",)):
        raise ConfigError(
            f"{title} brings rows with values left out, which needs write = 'merge' and the stream's own order.",
            mend='Set order = ["_seq"], or REPLICA IDENTITY FULL on the table upstream.',
        )
    return tuple(column.name for column in columns if column.name in found and column.name not in table.key)


def fold(staged: Stage, parts: str, lose: str) -> None:
    """Give each staged row the values it left out that a staged row of its key below it brought.

    A row whose nearest such row is a delete, which leaves nothing out, is set aside: what the key held is gone.
    """
    if not staged.unset:
        return
    name, connection, columns = ident(staged.name), staged.connection, range(len(staged.unset))
    nearest = ", ".join(
        f"""CASE WHEN s._unset_{n} THEN last_value(
            CASE WHEN NOT s._unset_{n} THEN s.rowid END IGNORE NULLS) OVER w END AS b{n}"""
        for n in columns
    )
    below = ", ".join(
        [*(f"{staged.order_of(c)} NULLS FIRST" for c in staged.table.order), "s._part", staged.rows_of("s")]
    )
    missing = " OR ".join(f"s._unset_{n}" for n in columns)
    connection.execute(f"""CREATE OR REPLACE TEMP TABLE signalroom_fold AS
        SELECT s.rowid AS r, {nearest} FROM {name} s JOIN {parts} p USING (_part)
        WHERE s.rowid NOT IN (SELECT r FROM {lose})
        WINDOW w AS (PARTITION BY {listed(staged.table.key, "s.")} ORDER BY {below}
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) QUALIFY {missing}""")
    gone = " UNION ".join(
        f"SELECT f.r FROM signalroom_fold f JOIN {name} b ON b.rowid = f.b{n} WHERE b._op = 'delete'" for n in columns
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE signalroom_gone AS {gone}")
    if staged.count("SELECT count(*) FROM signalroom_gone"):
        _set_aside(staged, "signalroom_gone")
        connection.execute(f"DELETE FROM {name} WHERE rowid IN (SELECT r FROM signalroom_gone)")
    for n, column in enumerate(staged.unset):
        connection.execute(f"""UPDATE {name} AS n SET {ident(column)} = b.{ident(column)}, _unset_{n} = false,
            _from_{n} = b._seq FROM signalroom_fold f JOIN {name} b ON b.rowid = f.b{n} WHERE n.rowid = f.r""")
    connection.execute("DROP TABLE temp.signalroom_fold; DROP TABLE temp.signalroom_gone")


def _set_aside(staged: Stage, chosen: str) -> None:
    """Copy the staged rows whose rowids the table ``chosen`` holds (``r``) to the rejects."""
    for n, column in enumerate(staged.unset):
        reject_staged(staged, column, _REASON, f"s._unset_{n} AND s.rowid IN (SELECT r FROM {chosen})")


@dataclass(frozen=True, slots=True)
class Filling:
    """One table on its way through a merge, and the values that its new rows left out.

    Attributes:
        run: Runs a statement in the load's transaction.
        drop: Takes pending rows out of what is applied.
        title: ``source.table``.
        staged: The stage that the pending rows come from.
        survivors: The relation of what is to be applied.
        pending: The table that holds these rows, where their values can be written.
        alive: The condition that a row ``n`` of ``pending`` is one of the survivors.
        known: The columns of ``<table>__filled``; none where there is no such table.
    """

    run: Run
    drop: Drop
    title: str
    staged: Stage
    survivors: str
    pending: str
    alive: str
    known: tuple[str, ...]

    @classmethod
    def of(
        cls, run: Run, drop: Drop, title: str, staged: Stage, survivors: str, pending: str, alive: str
    ) -> Filling | None:
        """Return the filling of a table, or None for one whose rows always came whole."""
        schema, table = title.split(".", 1)
        named = f"table_schema = {literal(schema)} AND table_name = {literal(table + '__filled')}"
        found = run(f"SELECT column_name FROM information_schema.columns WHERE {named} ORDER BY ordinal_position")
        known = tuple(str(name) for (name,) in found if name not in staged.table.key)
        if not known and not staged.unset:
            return None
        return cls(run, drop, title, staged, survivors, pending, alive, known)

    @property
    def _target(self) -> str:
        return qualified(self.title)

    @property
    def _filled(self) -> str:
        return qualified(f"{self.title}__filled")

    def _same(self, a: str, b: str) -> str:
        return " AND ".join(f"{a}.{ident(key)} = {b}.{ident(key)}" for key in self.staged.table.key)

    def hand_on(self) -> None:
        """Write values of rows that come late into the table's rows above them that left these out."""
        unset = self.staged.unset
        for column in self.known:
            name = ident(column)
            place, brings = "n._seq", "n._op = 'upsert'"
            if column in unset:
                n = unset.index(column)
                place, brings = f"coalesce(n._from_{n}, n._seq)", f"{brings} AND NOT n._unset_{n}"
            late = f"{self._same('t', 'n')} AND {self._same('f', 'n')} AND n._seq < t._seq AND f.{name} < {place}"
            self.run(f"""UPDATE {self._target} AS t SET {name} = n.{name}
                FROM {self.survivors} AS n, {self._filled} AS f WHERE {late} AND {brings}""")
            self.run(f"""UPDATE {self._filled} AS f SET {name} = {place}
                FROM {self.survivors} AS n, {self._target} AS t WHERE {late} AND {brings}""")

    def settle(self) -> int:
        """Complete the pending rows from the table, once those that come late are gone.

        Returns how many were set aside, since nobody knows what they left out.
        """
        if not self.staged.unset:
            return 0
        self._make_room()
        self._take_over()
        return self._give_up()

    def _make_room(self) -> None:
        """Make the table of where values came with, or give it the columns that are left out for the first time."""
        table = self.staged.table
        if not self.known:
            self.run(f"CREATE TABLE {self._filled} AS SELECT {listed(table.key)} FROM {self._target} LIMIT 0")
        for column in self.staged.unset:
            if column not in self.known:
                self.run(f"ALTER TABLE {self._filled} ADD COLUMN {ident(column)} bigint")

    def _take_over(self) -> None:
        """Write the table's values into the pending rows that left them out, or that found only older ones."""
        unset = self.staged.unset
        held = "".join(f", t.{ident(c)} AS v{n}, coalesce(f.{ident(c)}, t._seq) AS p{n}" for n, c in enumerate(unset))
        wanted = [f"(n._unset_{n} OR n._from_{n} < b.p{n})" for n in range(len(unset))]
        values = ", ".join(
            f"""{ident(column)} = CASE WHEN {want} THEN b.v{n} ELSE n.{ident(column)} END,
            _from_{n} = CASE WHEN {want} THEN b.p{n} ELSE n._from_{n} END, _unset_{n} = false"""
            for n, (column, want) in enumerate(zip(unset, wanted, strict=True))
        )
        self.run(f"""UPDATE {self.pending} AS n SET {values} FROM (
            SELECT {listed(self.staged.table.key, "t.")}, t._seq{held}
            FROM {self._target} t LEFT JOIN {self._filled} f ON {self._same("f", "t")}) AS b
            WHERE {self._same("n", "b")} AND b._seq <= n._seq AND ({" OR ".join(wanted)}) AND {self.alive}""")

    def _give_up(self) -> int:
        """Set the rows aside that still lack a value; return how many they are."""
        import pyarrow as pa

        staged = self.staged
        missing = " OR ".join(f"n._unset_{n}" for n in range(len(staged.unset)))
        lost = self.run(f"SELECT n._r FROM {self.survivors} AS n WHERE {missing}")
        if not lost:
            return 0
        staged.connection.register("signalroom_lost", pa.table({"r": pa.array([r for (r,) in lost], pa.int64())}))
        _set_aside(staged, "signalroom_lost")
        staged.connection.unregister("signalroom_lost")
        return self.drop(f"({missing})")

    def remember(self) -> None:
        """Note, for the rows that enter, where the values they left out came from; called before they enter."""
        table, unset = self.staged.table, self.staged.unset
        self.run(f"""DELETE FROM {self._filled} AS f WHERE EXISTS (
            SELECT 1 FROM {self.survivors} AS n WHERE {self._same("f", "n")})""")
        if unset:
            places = listed([f"_from_{n}" for n in range(len(unset))])
            some = " OR ".join(f"_from_{n} IS NOT NULL" for n in range(len(unset)))
            self.run(f"""INSERT INTO {self._filled} ({listed(table.key)}, {listed(unset)})
                SELECT {listed(table.key)}, {places} FROM {self.survivors} AS n WHERE _op = 'upsert' AND ({some})""")
