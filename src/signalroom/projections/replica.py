"""Reading an app's reporting rows: from its replica, in bulk, each row with its version in one statement."""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from signalroom.clients.postgres import connect, explained
from signalroom.errors import ConfigError
from signalroom.projection import CHANGED_AT, VERSION_COLUMNS, Bucket, Entity
from signalroom.stream import Column

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

_CHUNK_BYTES: Final = 4 << 20
"""What a copy brings at once. Between two chunks the rows that somebody waits for have their turn."""
_KIT: Final = ("_id", "_version", "_txid", "_deleted", "_hash", "_updated_at")
_TYPES: Final[Mapping[str, str]] = {
    "smallint": "bigint", "integer": "bigint", "bigint": "bigint", "boolean": "boolean", "date": "date",
    "real": "double", "double precision": "double", "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz", "json": "json", "jsonb": "json",
}  # fmt: skip
_NUMERIC: Final = re.compile(r"numeric\((\d+),(\d+)\)")
_WIDEST, _SCALE = 38, 9


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one moment of the database is.

    Attributes:
        xmin: Transaction id below which every transaction has ended: its changes are seen here or never.
        leader: System identifier, timeline and epoch of the leader that wrote it.
    """

    xmin: int
    leader: str


class Replica:
    """A connection to an app's database or its replica, opened where it is needed and again after it broke.

    Args:
        url: Address of the database.
        schema: Schema of the leader's kit.
        timeout_s: How long connecting may take.
    """

    def __init__(self, url: str, schema: str = "public", *, timeout_s: int = 15) -> None:
        self._url, self._schema, self._timeout_s = url, schema, timeout_s
        self._opened: psycopg.Connection[tuple[Any, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next question opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @contextmanager
    def moment(self) -> Generator[Snapshot]:
        """Yield a snapshot; what is asked within the block sees that moment.

        Raises:
            RetryableError: The database does not answer, or replay ended the snapshot.
            ConfigError: The kit is not installed there, or it refuses us.
        """
        connection = self._connection()
        with explained("read the app's reporting rows"), connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield self._snapshot()

    def entity(self, projection: str, name: str) -> Entity:
        """Return an entity with the columns its reporting table has now."""
        rows = self._rows(
            """SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
                WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (%s)
                ORDER BY a.attnum""",
            [f"{self._schema}.reporting_{name}", list(_KIT)],
        )
        if not rows:
            raise ConfigError(
                f"The leader has no table {self._schema}.reporting_{name}.",
                mend="Run `signalroom leader install`, and look whether the replica has replayed it.",
            )
        return Entity(projection, name, tuple(Column(column, _type(kind)) for column, kind in rows))

    @staticmethod
    def none(entity: Entity) -> pa.Table:
        """Return no rows, with an entity's columns."""
        return _arrow(_names(entity), b"")

    def rows(self, entity: Entity, ids: Sequence[str]) -> pa.Table:
        """Return the rows of some ids, tombstones included, and when each was changed; unknown ids are left out."""
        import pyarrow as pa

        names = [*_names(entity), CHANGED_AT]
        return pa.concat_tables([_arrow(names, b""), *self._copy(entity, names, "_id = ANY(%s)", [list(ids)])])

    def changed(self, entity: Entity, since: str, before: int) -> Iterator[pa.Table]:
        """Yield the rows whose last change is of a transaction from ``since`` (all, where empty) up to ``before``.

        Rows that changed since come with the moment they did; in a copy of all, that would be no measure of anything.
        """
        names = [*_names(entity), *([CHANGED_AT] if since else [])]
        return self._copy(
            entity, names, "_txid >= %s::text::xid8 AND _txid < %s::text::xid8", [since or "0", str(before)]
        )

    def purged(self, name: str) -> int:
        """Return the last transaction of an entity's tombstones that were purged; -1 where there was none."""
        # Asked so that a kit from before there was such a column has an answer too.
        asked = f"SELECT to_jsonb(e) ->> 'purged_xid' FROM {self._schema}.reporting_entities e WHERE entity = %s"
        found = self._rows(asked, [name])
        return int(found[0][0]) if found and found[0][0] is not None else -1

    def buckets(self, entity: Entity, digits: int, within: Sequence[str]) -> Mapping[str, Bucket]:
        """Return the checksums of rows; see :meth:`signalroom.projection.ProjectionStore.buckets`."""
        rows = self._rows(
            f"SELECT left(md5(_id), {digits:d}), count(*), sum(_version), sum(_hash) FROM {self._table(entity)} "
            f"WHERE {_within(within)} GROUP BY 1",
            _by_length(within),
        )
        return {name: Bucket(int(count), int(versions), int(hashes)) for name, count, versions, hashes in rows}

    def versions(
        self, entity: Entity, within: Sequence[str], ids: Sequence[str] | None = None
    ) -> Mapping[str, tuple[int, int]]:
        """Return id -> version and hash: of the rows of some buckets, or of some ids."""
        test, params = _within(within), _by_length(within)
        if ids is not None:
            test, params = "_id = ANY(%s)", [list(ids)]
        rows = self._rows(f"SELECT _id, _version, _hash FROM {self._table(entity)} WHERE {test}", params)
        return {name: (int(version), int(hashed)) for name, version, hashed in rows}

    def _snapshot(self) -> Snapshot:
        found = self._rows(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text, system_identifier, timeline, epoch "
            f"FROM {self._schema}.reporting_state"
        )
        xmin, *leader = found[0]
        return Snapshot(int(xmin), "/".join(str(one) for one in leader))

    def _copy(self, entity: Entity, names: Sequence[str], test: str, params: Sequence[Any]) -> Iterator[pa.Table]:
        """Yield rows as text, some megabytes at a time: what arrives for one is a row of CSV, so none is cut."""
        listed = ", ".join(map(_quoted, names))
        statement: Any = f"COPY (SELECT {listed} FROM {self._table(entity)} WHERE {test}) TO STDOUT (FORMAT csv)"
        with explained(f"read rows of {entity.title}"), self._connection().cursor() as cursor:
            with cursor.copy(statement, list(params)) as rows:
                held = io.BytesIO()
                for row in rows:
                    held.write(row)
                    if held.tell() >= _CHUNK_BYTES:
                        yield _arrow(names, held.getvalue())
                        held = io.BytesIO()
            if held.tell():
                yield _arrow(names, held.getvalue())

    def _table(self, entity: Entity) -> str:
        return f"{self._schema}.{_quoted(f'reporting_{entity.name}')}"

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        statement: Any = sql
        with explained("read the app's reporting rows"):
            return self._connection().execute(statement, list(params) or None).fetchall()

    def _connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._opened is None or self._opened.closed:
            self._opened = connect(self._url, timeout_s=self._timeout_s)
        return self._opened


def _type(kind: str) -> str:
    """Return what a type of Postgres is in a warehouse; what has no like is text, as Postgres writes it."""
    if kind == "numeric":  # of any size, which no other engine has
        return f"decimal({_WIDEST},{_SCALE})"
    found = _NUMERIC.fullmatch(kind)
    if found and int(found[1]) <= _WIDEST:
        return f"decimal({found[1]},{found[2]})"
    bare = re.sub(r"\(\d+\)", "", kind)
    return _TYPES.get(bare, "text")


def _names(entity: Entity) -> list[str]:
    return [*VERSION_COLUMNS, *(one.name for one in entity.columns)]


def _arrow(names: Sequence[str], rows: bytes) -> pa.Table:
    """Return rows of CSV as text columns: a field that is empty is null, one of empty quotes is empty text."""
    import pyarrow as pa
    from pyarrow import csv

    if not rows:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    return csv.read_csv(
        io.BytesIO(rows),
        read_options=csv.ReadOptions(column_names=list(names), block_size=len(rows) + 1, use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip


def _by_length(prefixes: Sequence[str]) -> list[list[str]]:
    """Return prefixes in one list a length, the shortest first."""
    return [[one for one in prefixes if len(one) == size] for size in sorted({len(one) for one in prefixes})]


def _within(prefixes: Sequence[str]) -> str:
    tests = [f"left(md5(_id), {len(same[0]):d}) = ANY(%s)" for same in _by_length(prefixes)]
    return f"({' OR '.join(tests)})" if tests else "true"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
