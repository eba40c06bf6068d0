"""A view built aside takes the place of another: with its grants, its indexes and whoever reads it.

Either may be a materialized view or a plain one. A swap waits for its lock in short turns, since whoever asks for the
view after it would wait behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError, RetryableError
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.quoting import ident, literal

if TYPE_CHECKING:
    import psycopg

_LOCK_MS = 50
_PAUSE_S = 0.05
_ATTEMPTS = 300
_KINDS = {"m": "MATERIALIZED VIEW", "v": "VIEW"}
_INDEXES = """SELECT c.relname, i.indisunique, pg_get_indexdef(i.indexrelid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = CAST(? AS regclass) ORDER BY 1"""
_GRANTS = """SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
        a.privilege_type, a.is_grantable
    FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = CAST(? AS regclass) AND a.grantee <> c.relowner"""
_READERS = """SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(v.relname), v.relkind,
        pg_get_viewdef(v.oid)
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
    JOIN pg_namespace n ON n.oid = v.relnamespace
    WHERE d.classid = CAST('pg_rewrite' AS regclass) AND d.refobjid = CAST(? AS regclass) AND v.oid <> d.refobjid"""


def exists(connection: psycopg.Connection[tuple[Any, ...]], schema: str, name: str) -> bool:
    """Tell whether there is a table or view ``schema.name``."""
    place = f"{ident(schema)}.{ident(name)}"
    return bool(session.execute(connection, "SELECT 1 WHERE to_regclass(?) IS NOT NULL", [place]))


def kind_of(connection: psycopg.Connection[tuple[Any, ...]], place: str) -> str:
    """Return what ``place``, quoted, is, in the words of a statement about it; raises ConfigError for another kind."""
    found = session.execute(connection, "SELECT relkind FROM pg_class WHERE oid = to_regclass(?)", [place])
    if not found or found[0][0] not in _KINDS:
        raise ConfigError(f"{place} is no view.", mend="Rename it, or the manifest that claims its name.")
    return _KINDS[found[0][0]]


@contextmanager
def brief_lock(connection: psycopg.Connection[tuple[Any, ...]]) -> Generator[None]:
    """Yield a transaction whose statements wait for a lock only as long as readers behind it may be held up."""
    with connection.transaction():
        session.execute(connection, f"SET LOCAL lock_timeout = {_LOCK_MS}", [])
        yield


def in_turns(connection: psycopg.Connection[tuple[Any, ...]], act: Callable[[], None]) -> None:
    """Run ``act`` in a transaction until it gets its locks, each time for a short turn.

    Raises:
        RetryableError: Somebody held them through all turns.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with session.explained("publish the view"), brief_lock(connection):
                act()
        except RetryableError:
            if attempt == _ATTEMPTS:
                raise
            session.execute(connection, f"SELECT pg_sleep({_PAUSE_S})", [])
        else:
            return


class Swap:
    """One swap, to be run inside a transaction with a lock timeout; all of it happens, or nothing."""

    def __init__(
        self, connection: psycopg.Connection[tuple[Any, ...]], schema: str, name: str, aside: str, role: str
    ) -> None:
        self._connection, self._schema, self._name, self._role = connection, schema, name, role
        self._old, self._next = (f"{ident(schema)}.{ident(one)}" for one in (name, aside))

    def run(self) -> None:
        """Swap.

        Raises:
            RetryableError: Readers held the view longer than the lock timeout.
            ConfigError: Another materialized view reads it, and would go on reading the old one.
        """
        with session.explained(f"swap {self._name}"):
            if exists(self._connection, self._schema, self._name):
                self._replace()
            else:
                self._run(f"ALTER {kind_of(self._connection, self._next)} {self._next} RENAME TO {ident(self._name)}")

    def _replace(self) -> None:
        old, new = kind_of(self._connection, self._old), kind_of(self._connection, self._next)
        self._run("SET LOCAL search_path = pg_catalog")  # what reads the view is then written with its schema
        indexes = self._ask(_INDEXES)
        grants = self._ask(_GRANTS)
        comment = self._ask("SELECT obj_description(CAST(? AS regclass), 'pg_class')")[0][0]
        readers = self._ask(_READERS)
        if materialized := [place for place, kind, _ in readers if kind == "m"]:
            raise ConfigError(
                f"{materialized[0]} is a materialized view that reads {self._name}, and would keep the old one.",
                mend="Make it a plain view, or drop it and make it again after the refresh.",
            )
        past = ident(f"{self._next.rpartition('.')[2][1:-1]}_past")
        self._run(f"ALTER {old} {self._old} RENAME TO {past}")
        self._run(f"ALTER {new} {self._next} RENAME TO {ident(self._name)}")
        for place, _, text in readers:  # keeps their grants; they find the new one under the name
            self._run(f"CREATE OR REPLACE VIEW {place} AS {text}")
        self._run(f"DROP {old} {ident(self._schema)}.{past}")
        for name, unique, text in indexes if new == _KINDS["m"] else ():  # a plain view has none
            self._keep_index(name, text.partition(" USING ")[2], unique=unique)
        self._run(f"SET LOCAL ROLE {ident(self._role)}")
        for grantee, privilege, grantable in grants:
            more = " WITH GRANT OPTION" if grantable else ""
            self._run(f"GRANT {privilege} ON {self._old} TO {grantee}{more}")
        self._run("RESET ROLE")
        if comment is not None:
            self._run(f"COMMENT ON {new} {self._old} IS {literal(comment)}")

    def _keep_index(self, name: str, text: str, *, unique: bool) -> None:
        """Give the new view an index of the old one: unless it has its like, or its columns are no more."""
        import psycopg

        held = self._ask(_INDEXES)
        like = next((one for one, _, made in held if made.partition(" USING ")[2] == text), None)
        if like is not None:
            if like != name and name not in [one for one, _, _ in held]:
                self._run(f"ALTER INDEX {ident(self._schema)}.{ident(like)} RENAME TO {ident(name)}")
            return
        try:
            with self._connection.transaction():
                self._run(f"CREATE {'UNIQUE ' if unique else ''}INDEX {ident(name)} ON {self._old} USING {text}")
        except (psycopg.errors.UndefinedColumn, psycopg.errors.UniqueViolation):
            return  # the query that it was made for is no more

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        return session.execute(self._connection, sql, [self._old])

    def _run(self, sql: str) -> None:
        session.execute(self._connection, sql, [])
