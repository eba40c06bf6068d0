"""A report of several agencies in one table: computed by one query, kept by days, shown to each agency as its own view.

The table says of each row whose it is. An agency's view belongs to its role, which sees its own rows of the table and
no others: by the view's condition, and by a policy that is bound to the role. Where a group of the query lies within
one day, only the days whose rows changed are computed again: deleted and inserted in one transaction, so a reader sees
the report before or after, waits for nobody, and nobody waits for a reader.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from signalroom.failpoints import failpoint
from signalroom.view import Pending, Refreshed, ViewLimits
from signalroom.warehouse import postgres_changes, view_state
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.postgres_cpu import Spent
from signalroom.warehouse.postgres_limits import bound_spill, limited
from signalroom.warehouse.postgres_plans import run_measured
from signalroom.warehouse.postgres_roles import SHARES, all_rows, grant_reading, prepare, prepare_reports, role_of
from signalroom.warehouse.postgres_swap import Swap, brief_lock, exists, in_turns
from signalroom.warehouse.quoting import ident, listed, literal, qualified
from signalroom.warehouse.shared_sql import WHOSE, SharedQuery, among, on_days

if TYPE_CHECKING:
    import psycopg

DDL = (
    """CREATE TABLE IF NOT EXISTS signalroom.view_shares (
        share text NOT NULL, agency_id bigint NOT NULL, query text NOT NULL, base text NOT NULL, base_oid oid,
        snapshot pg_snapshot NOT NULL, rows bigint NOT NULL, bytes bigint NOT NULL, PRIMARY KEY (share, agency_id))""",
)
"""Of each agency's rows in a shared table: from which query, table and snapshot they were computed."""

_VIEWS = """SELECT n.nspname, v.relname FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace
    WHERE d.classid = CAST('pg_rewrite' AS regclass) AND d.refobjid = to_regclass(?) AND v.relkind = 'v'"""
_BENEATH = """SELECT DISTINCT t.relname FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid
    JOIN pg_class t ON t.oid = d.refobjid
    WHERE r.ev_class = to_regclass(?) AND d.classid = CAST('pg_rewrite' AS regclass) AND t.relkind = 'r'
        AND t.relnamespace = to_regnamespace(?)"""


@dataclass(frozen=True, slots=True)
class _Held:
    """What one agency's rows in a share were computed from, and how many there are."""

    query: str
    base: str
    snapshot: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Task:
    """Agencies whose rows are computed alike: of some days, or of all (None)."""

    agencies: tuple[int, ...]
    days: frozenset[date | None] | None


class Share:
    """One query that several views ask, on one connection."""

    def __init__(
        self, connection: psycopg.Connection[tuple[Any, ...]], pending: Sequence[Pending], query: SharedQuery,
        limits: ViewLimits,
    ) -> None:  # fmt: skip
        self._connection, self._pending, self._query, self._limits = connection, pending, query, limits
        self._table = limits.tables[query.table]
        self._source = f"{all_rows()}.{ident(query.table)}"

    def refresh(self) -> list[Refreshed]:
        """Bring every view to its query and its inputs.

        Raises:
            SignalRoomError: The query failed, or a view could not be published; all of them are as they were, but for
                those published before.
        """
        spent = Spent(self._connection)
        failpoint("views.publish.before")
        with session.explained(f"refresh {self._pending[0].view.name}"):
            role = prepare_reports(self._connection, self._limits.tables)
            columns, name = self._described()
            self._place = f"{ident(SHARES)}.{ident(name)}"
            self._name, self._role, self._columns = name, role, columns
            self._day, self._shown = self._watched()
            self._make()
            published = set(session.execute(self._connection, _VIEWS, [self._place]))
            due, done = [], []
            for one in self._pending:
                view = one.view
                there = (view_state.schema_of(view.agency_slug), view.name) in published
                (done if there else due).append(one)
            memory = self._compute(done)
            self._publish(due)
            failpoint("views.publish.after")
            held = self._held()
        seconds, cpu = spent.so_far()
        memory_mb = None if memory is None else max(1, round(memory / 2**20))
        return [
            Refreshed(one.view, held[one.view.agency_id].rows, held[one.view.agency_id].bytes, seconds, memory_mb, cpu)
            for one in self._pending
        ]

    def _described(self) -> tuple[tuple[str, ...], str]:
        """Return the columns of the answer, and the name of the table that holds it: other types are another table."""
        nobody = self._query.select(self._source, [0])
        with limited(self._connection, self._limits):
            cursor = self._connection.execute(_text(f"SELECT * FROM ({nobody}) AS answer LIMIT 0"))
        shape = [
            (one.name, one.type_code, one.precision, one.scale, one.internal_size) for one in cursor.description or ()
        ]
        said = f"{self._pending[0].query.text}\0{self._table}\0{shape}"
        return tuple(one[0] for one in shape[:-1]), f"s_{hashlib.sha256(said.encode()).hexdigest()[:24]}"

    def _watched(self) -> tuple[str, str]:
        """Return the table's column of days and the answer's; empty where nothing notes which of them change."""
        if all(one.inputs for one in self._pending):  # else who writes it may write it past every trigger
            for column, shown in self._query.days:
                if postgres_changes.watched(self._connection, self._table, column):
                    return column, shown
        return "", ""

    def _make(self) -> None:
        """Make the table with its policies, or find it there."""
        if exists(self._connection, SHARES, self._name):
            may = "SELECT 1 WHERE has_table_privilege(?, ?, 'DELETE')"
            if not session.execute(self._connection, may, [self._role, self._place]):  # an older release made it
                self._run(f"GRANT DELETE ON {self._place} TO {ident(self._role)}")
        else:
            with self._connection.transaction():
                self._run("SELECT pg_advisory_xact_lock(7348)")  # two may begin with it at once
                empty = f"{self._query.select(self._source, [0])} WITH NO DATA"
                self._run(f"CREATE TABLE IF NOT EXISTS {self._place} AS {empty}")
                keys = [WHOSE, *([self._shown] if self._day else [])]
                if session.execute(
                    self._connection, "SELECT 1 FROM pg_index WHERE indrelid = CAST(? AS regclass)", [self._place]
                ):
                    return
                self._run(f"CREATE INDEX ON {self._place} ({listed(keys)})")
                self._run(f"ALTER TABLE {self._place} ENABLE ROW LEVEL SECURITY")
                self._run(f"GRANT SELECT, INSERT, DELETE ON {self._place} TO {ident(self._role)}")
                self._run(
                    f"CREATE POLICY computes ON {self._place} TO {ident(self._role)} USING (true) WITH CHECK (true)"
                )

    def _compute(self, published: Sequence[Pending]) -> int | None:
        """Compute what changed, in one transaction with the state of the views that show it already."""
        agencies = sorted({one.view.agency_id for one in self._pending})
        with limited(self._connection, self._limits):
            self._run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # Before the snapshot is taken: who waits here sees what the one before it wrote, and nobody empties the
            # table, which no snapshot holds against.
            self._run(f"LOCK TABLE {self._place} IN SHARE UPDATE EXCLUSIVE MODE")
            self._run("SET LOCAL jit = off")  # it would begin over what the planner fears, which is seldom so
            if self._day:
                self._run(f"LOCK TABLE {qualified(self._table)} IN ACCESS SHARE MODE")
            base = postgres_changes.identity(self._connection, self._table, self._day)
            held = dict(self._held())
            bound_spill(self._connection, self._limits)
            memory = [self._apply(task, held) for task in self._tasks(agencies, held, base)]
            failpoint("views.publish.computed")
            for agency in agencies:
                self._write(agency, held[agency], base)
            for one in published:
                view_state.write_state(partial(session.execute, self._connection), one, datetime.now(UTC))
            failpoint("views.publish.commit")
        measured = [one for one in memory if one is not None]
        return max(measured) if measured else None

    def _tasks(self, agencies: Sequence[int], held: Mapping[int, _Held], base: str) -> list[_Task]:
        """Return what has to be computed: of agencies whose rows are of this query and table, the days that changed."""
        known = [one for one in agencies if base and one in held and held[one].base == base]
        anew = {one.view.agency_id for one in self._pending if one.anew}
        known = [one for one in known if held[one].query == self._said() and one not in anew]
        wholly = [one for one in agencies if one not in known]
        tasks: list[_Task] = []
        for snapshot in sorted({held[one].snapshot for one in known}):
            alike = [one for one in known if held[one].snapshot == snapshot]
            days = postgres_changes.changed_days(self._connection, self._table, self._day, snapshot)
            if days is None:
                wholly += alike
            elif days:
                tasks.append(_Task(tuple(alike), frozenset(days)))
        return [*([_Task(tuple(wholly), None)] if wholly else []), *tasks]

    def _apply(self, task: _Task, held: dict[int, _Held]) -> int | None:
        """Bring the rows of one task to the query and count them; return the memory it took."""
        some = task.days is not None
        mine = among(f"s.{ident(WHOSE)}", task.agencies)
        mine += f" AND {on_days(f's.{ident(self._shown)}', task.days)}" if task.days is not None else ""
        gone = self._counted(mine) if some else {}
        rows = self._query.select(self._source, task.agencies, self._day if some else "", task.days or ())
        if not some and self._query.keys and not held.keys().isdisjoint(task.agencies):
            memory = self._run_as_role(self._difference(rows, mine))
        else:
            self._run(f"DELETE FROM {self._place} AS s WHERE {mine}")
            memory = self._run_as_role(f"INSERT INTO {self._place} ({self._names()}) {rows}")
        come = self._counted(mine)
        for agency in task.agencies:
            before = held[agency] if some else _Held("", "", "", 0, 0)
            (less, fewer), (more, larger) = gone.get(agency, (0, 0)), come.get(agency, (0, 0))
            held[agency] = _Held("", "", "", before.rows - less + more, before.bytes - fewer + larger)
        return memory

    def _difference(self, rows: str, mine: str) -> str:
        """Return the statement that writes the rows that differ, and no others, from all rows of the answer.

        Most rows of a report that is computed anew are what they were, and to write them costs more than to compare:
        the log, the index, and the vacuum afterwards. Rows meet by what they are grouped by; one with a null there
        meets none, and is written again. They are compared byte by byte, so 1.0 is not 1.00.
        """
        keys = " AND ".join(f"come.{ident(one)} = held.{ident(one)}" for one in (*self._query.keys, WHOSE))
        held = ", ".join(f"held.{ident(one)}" for one in (*self._columns, WHOSE))
        whose = ident(WHOSE)
        return f"""WITH changed AS MATERIALIZED (
                SELECT held.signalroom_gone, come.* FROM ({rows}) AS come
                FULL JOIN (SELECT s.ctid AS signalroom_gone, s.* FROM {self._place} AS s WHERE {mine}) AS held ON {keys}
                WHERE come.{whose} IS NULL OR held.{whose} IS NULL OR come *<> ROW({held})),
            gone AS (DELETE FROM {self._place} AS s USING changed WHERE s.ctid = changed.signalroom_gone)
            INSERT INTO {self._place} ({self._names()}) SELECT {self._names()} FROM changed WHERE {whose} IS NOT NULL"""

    def _run_as_role(self, sql: str) -> int | None:
        """Run what holds a manifest's query as the role that may read the tables; return the memory it took."""
        self._run(f"SET LOCAL ROLE {ident(self._role)}")
        memory = run_measured(self._connection, sql)
        self._run("RESET ROLE")
        return memory

    def _names(self) -> str:
        return listed([*self._columns, WHOSE])

    def _counted(self, which: str) -> dict[int, tuple[int, int]]:
        """Return agency -> rows of the table and bytes of their values, of those that a condition names."""
        whose = f"s.{ident(WHOSE)}"
        size = " + ".join(f"coalesce(pg_column_size(s.{ident(one)}), 0)" for one in self._columns)
        sql = f"SELECT {whose}, count(*), sum({size}) FROM {self._place} AS s WHERE {which} GROUP BY {whose}"
        return {
            int(agency): (int(rows), int(held)) for agency, rows, held in session.execute(self._connection, sql, [])
        }

    def _said(self) -> str:
        """Return a hash of what is asked, with what today means in it, and in which zone moments are of a day."""
        return hashlib.sha256(f"{self._limits.zone}\0{self._query.select(self._source, [])}".encode()).hexdigest()

    def _held(self) -> Mapping[int, _Held]:
        sql = """SELECT agency_id, query, base, CAST(snapshot AS text), rows, bytes FROM signalroom.view_shares
            WHERE share = ?"""
        return {int(row[0]): _Held(*row[1:]) for row in session.execute(self._connection, sql, [self._name])}

    def _write(self, agency: int, held: _Held, base: str) -> None:
        sql = """INSERT INTO signalroom.view_shares (share, agency_id, query, base, base_oid, snapshot, rows, bytes)
            VALUES (?, ?, ?, ?, to_regclass(?), pg_current_snapshot(), ?, ?) ON CONFLICT (share, agency_id) DO UPDATE
            SET query = excluded.query, base = excluded.base, base_oid = excluded.base_oid,
                snapshot = excluded.snapshot, rows = excluded.rows, bytes = excluded.bytes"""
        values = [self._name, agency, self._said(), base, qualified(self._table), held.rows, held.bytes]
        session.execute(self._connection, sql, values)

    def _publish(self, due: Sequence[Pending]) -> None:
        """Put a plain view of the table under the name of each view that does not read it yet."""
        for one in due:
            prepare(self._connection, one.view.agency_id, one.view.agency_slug, self._limits)
        if due:
            in_turns(self._connection, partial(self._admit, due))
        replaced: set[str] = set()
        for one in due:
            public = f"{ident(view_state.schema_of(one.view.agency_slug))}.{ident(one.view.name)}"
            replaced |= shares_beneath(self._connection, public)
            in_turns(self._connection, partial(self._show, one))
        for name in replaced - {self._name}:
            drop_unused(self._connection, name)

    def _admit(self, due: Sequence[Pending]) -> None:
        """Let each agency's role see its own rows of the table: all at once, as a policy locks the table."""
        self._run(f"LOCK TABLE {self._place} IN SHARE UPDATE EXCLUSIVE MODE")  # two that grant at once would collide
        there = "SELECT polname FROM pg_policy WHERE polrelid = CAST(? AS regclass)"
        held = {str(row[0]) for row in session.execute(self._connection, there, [self._place])}
        for agency, slug in sorted({(one.view.agency_id, one.view.agency_slug) for one in due}):
            role, name = ident(role_of(slug)), f"agency_{agency}_{slug}"
            others = [one for one in held - {name} if re.fullmatch(rf"agency_-?\d+_{slug}", one)]
            for other in others:  # the slug went to another agency
                self._run(f"DROP POLICY {ident(other)} ON {self._place}")
            if name not in held:
                own = f"USING ({ident(WHOSE)} = {literal(agency)})"
                self._run(f"CREATE POLICY {ident(name)} ON {self._place} FOR SELECT TO {role} {own}")
                self._run(f"GRANT SELECT ON {self._place} TO {role}")

    def _show(self, one: Pending) -> None:
        view = one.view
        schema, role = view_state.schema_of(view.agency_slug), role_of(view.agency_slug)
        aside = f"signalroom_next_{hashlib.sha256(view.name.encode()).hexdigest()[:16]}"
        place = f"{ident(schema)}.{ident(aside)}"
        own = f"WHERE {ident(WHOSE)} = {literal(view.agency_id)}"
        self._run(f"SET LOCAL ROLE {ident(role)}")
        self._run(f"DROP VIEW IF EXISTS {place}")
        shown = f"SELECT {listed(self._columns)} FROM {self._place} {own}"
        self._run(f"CREATE VIEW {place} WITH (security_barrier) AS {shown}")
        self._run("RESET ROLE")
        grant_reading(self._connection, view.agency_slug, place)
        Swap(self._connection, schema, view.name, aside, role).run()
        view_state.write_state(partial(session.execute, self._connection), one, datetime.now(UTC))
        failpoint("views.publish.shown")

    def _run(self, sql: str) -> None:
        session.execute(self._connection, sql, [])


def shares_beneath(connection: psycopg.Connection[tuple[Any, ...]], public: str) -> set[str]:
    """Return the names of the shared tables that a view, quoted, reads."""
    return {str(row[0]) for row in session.execute(connection, _BENEATH, [public, SHARES])}


def drop_unused(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> None:
    """Drop a shared table that no view reads any more; one that somebody reads just now is left for another time."""
    import psycopg

    place = f"{ident(SHARES)}.{ident(name)}"
    if session.execute(connection, _VIEWS, [place]):
        return
    try:
        with brief_lock(connection):
            connection.execute(_text(f"DROP TABLE IF EXISTS {place}"))
            session.execute(connection, "DELETE FROM signalroom.view_shares WHERE share = ?", [name])
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DependentObjectsStillExist):
        return


def _text(sql: str) -> Any:
    return sql  # made of quoted names and our own words; the driver's types want a literal
