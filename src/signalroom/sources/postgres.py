"""Postgres: tables and queries, read whole or from where a cursor column stopped, as the CSV that COPY writes.

Rows commit in another order than their ids and timestamps are drawn in, so each read begins ``lookback`` below the
greatest cursor value seen: what committed late is found, and what was read before is merged onto itself.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError, SignalRoomError, nearest
from signalroom.position import Json, Position
from signalroom.stream import Batch, Disposition, Raw, Stream, Table, Window, column_name
from signalroom.workspace.settings import Secret, injected, setting

if TYPE_CHECKING:
    from signalroom.clients.postgres import Connection, Cursor, Described

_TYPES: Mapping[int, str] = {
    16: "boolean", 20: "bigint", 21: "bigint", 23: "bigint", 26: "bigint", 114: "json", 3802: "json", 700: "double",
    701: "double", 790: "decimal(19,2)", 1082: "date", 1114: "timestamp", 1184: "timestamptz",
}  # fmt: skip
_NUMERIC, _MONEY = 1700, 790
_MOST_DIGITS = 38
_DAY_S = 86_400
_SETTINGS = {
    "datestyle": "ISO, YMD", "intervalstyle": "iso_8601", "bytea_output": "hex", "extra_float_digits": "1",
    "statement_timeout": "0", "search_path": "public",
}  # fmt: skip
_UNIQUE = """SELECT i.indisprimary, array_agg(a.attname ORDER BY a.attname)
    FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
    GROUP BY i.indexrelid, i.indisprimary ORDER BY i.indisprimary DESC"""


@dataclass(frozen=True, slots=True)
class PostgresStream:
    """One table or query; it feeds one table with the stream's name."""

    table: str = setting(
        "The table or view, as schema.name; the stream's name in public when left out.",
        default="",
        example='"shop.orders"',
    )
    query: str = setting("A SELECT to read instead of a table.", default="", example='"SELECT id, total FROM orders"')
    write: Disposition = setting(
        "How rows meet the table: merge (the latest of a key), replace (each read is the table), append, or history "
        "(each version of a key).",
        default="merge",
        example='"replace"',
    )
    key: tuple[str, ...] = setting(
        "Primary key columns; merge and history need them, and a table must have them under a unique index.",
        default=(),
        example='["id"]',
    )
    cursor: str = setting(
        "A column that never falls when a row changes: rows from its greatest value seen, less lookback, are read. "
        "Without one everything is read each time.",
        default="",
        example='"updated_at"',
    )
    lookback: int = setting(
        "How far below the greatest value seen a read begins: seconds of a time, else the difference of a number. At "
        "least the longest transaction that writes the table, because rows commit out of order.",
        default=600,
        example="3600",
    )

    def __post_init__(self) -> None:
        """Refuse settings that would lose or double rows."""
        if self.table and self.query:
            raise ConfigError("A stream has a table and a query.", mend="Keep one of them.")
        if self.write in ("merge", "history") and not self.key:
            raise ConfigError(f'write = "{self.write}" needs a key.', mend='Name the primary key: key = ["id"].')
        if self.write == "replace_slice" or (self.write == "replace" and self.cursor):
            raise ConfigError(
                f'write = "{self.write}" cannot be read from a cursor.', mend='Use write = "merge", or no cursor.'
            )
        if self.lookback < 0:
            raise ConfigError("lookback is less than 0.", mend="Use the length of the longest transaction, in seconds.")
        if self.write == "append" and (not self.cursor or self.lookback):
            raise ConfigError(
                'write = "append" would add the rows that are read again once more.',
                mend='Use write = "merge" with a key; or a cursor and lookback = 0, which misses what commits late.',
            )


@dataclass(frozen=True, slots=True)
class Postgres:
    """Reads tables and queries of a Postgres database, 12 or later; a standby will do."""

    url: Secret = setting("The database; the user needs SELECT.", example='"env:APP_DATABASE"')
    streams_: dict[str, PostgresStream] = setting("The streams, by name.", factory=dict)
    client: str = setting("Tag stamped on every row as _client_id.", default="", example='"713"')
    connect_timeout_s: int = setting("How long to wait for the server.", default=10, unit="s")
    name: str = injected("postgres")

    def streams(self) -> Sequence[Stream]:
        """Return one stream, with one table of its name, for each that is configured; talks to no server."""
        return [
            Stream(self.name, name, (_table(name, spec),), client=self.client) for name, spec in self.streams_.items()
        ]

    def read(self, stream: Stream, since: Position, window: Window | None) -> Iterator[Batch]:  # noqa: ARG002 - see below
        """Yield the rows that are new, all of one moment, as CSV; a window means nothing here.

        Nothing is yielded where the rows from the lookback on are those that were read last.

        Raises:
            ConfigError: The table, the key or the cursor is not as the settings say, or a right is missing.
            RetryableError: The connection was lost.
            DataError: The query fails.
        """
        spec = self._spec(stream.name)
        with self._snapshot() as connection:
            found = _Relation.of(connection, stream.name, spec)
            found.require_key(connection, spec)
            if not spec.cursor:
                yield self._batch(connection, found, "", {})
                return
            partition = f"cursor:{spec.cursor}"
            kind, held = found.kind(spec.cursor), since.get(partition)
            newest = _ask(connection, found.sql("SELECT CAST(max({cursor}) AS text) FROM {from}", spec)).fetchone()
            upto = newest[0] if newest else None
            if upto is None:
                return
            last = str(held["upto"]) if isinstance(held, Mapping) else None
            begin = found.sql(f"{{cursor}} >= {_below(last, kind, spec.lookback)}", spec) if last else "true"
            tail = found.sql(f"{{cursor}} >= {_below(upto, kind, spec.lookback)}", spec)
            seen = _fingerprint(connection, found, tail)
            position: dict[str, Json] = {"upto": upto, "seen": seen}
            if not isinstance(held, Mapping) or dict(held) != position:
                yield self._batch(connection, found, begin, {partition: position})

    def confirm(self, stream: Stream, position: Position) -> None:
        """Do nothing: the database forgets nothing."""

    def check(self) -> Sequence[str]:
        """Return what is wrong with the connection, a table, its key or its cursor."""
        problems: list[str] = []
        for name, spec in self.streams_.items():
            try:
                with self._snapshot() as connection:
                    found = _Relation.of(connection, name, spec)
                    found.require_key(connection, spec)
                    if spec.cursor:
                        _below("0", found.kind(spec.cursor), spec.lookback)
                        missing = found.sql("SELECT 1 FROM {from} WHERE {cursor} IS NULL LIMIT 1", spec)
                        if _ask(connection, missing).fetchone():
                            problems.append(
                                f"{self.name}.{name}: rows without {spec.cursor!r} are never read. Use another cursor."
                            )
            except SignalRoomError as problem:
                problems.append(f"{self.name}.{name}: {problem}")
        return problems

    def _spec(self, name: str) -> PostgresStream:
        if name not in self.streams_:
            raise ConfigError(f"Source {self.name!r} has no stream {name!r}.", mend=nearest(name, self.streams_))
        return self.streams_[name]

    @contextmanager
    def _snapshot(self) -> Generator[Connection]:
        """Yield a connection that sees one moment, writes nothing, and writes values one way whatever its defaults."""
        from signalroom.clients.postgres import connect, explained

        with (
            connect(self.url.reveal(), timeout_s=self.connect_timeout_s) as connection,
            explained("read"),
            connection.transaction(),
        ):
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for name, value in _SETTINGS.items():
                _ask(connection, f"SET LOCAL {name} = {_literal(value)}")
            yield connection

    def _batch(
        self,
        connection: Connection,
        found: _Relation,
        where: str,
        position: Mapping[str, Json],
    ) -> Batch:
        def chunks() -> Iterator[bytes]:
            rows = f"SELECT {found.selected} FROM {found.rows} WHERE {where or 'true'}"
            statement: Any = f"COPY ({rows}) TO STDOUT (FORMAT csv, HEADER)"
            with connection.cursor().copy(statement) as out:
                for chunk in out:
                    yield bytes(chunk)

        request: dict[str, Json] = {"relation": found.title, "where": where, "types": dict(found.types)}
        return Batch(
            found.stream,
            Raw(chunks(), "csv", encoding="utf-8", empty_texts=True),  # COPY quotes an empty text, and never a null
            position,
            source_ref=found.title,
            request=request,
        )


@dataclass(frozen=True, slots=True)
class _Relation:
    """A table or query as the catalogue describes it.

    Attributes:
        stream: Name of the stream.
        title: What it is called in messages.
        rows: It in SQL, behind FROM.
        types: Column -> its type in the warehouse.
        selected: What to select, so that each value is written as the warehouse reads it.
    """

    stream: str
    title: str
    rows: str
    types: Mapping[str, str]
    selected: str

    @classmethod
    def of(cls, connection: Connection, stream: str, spec: PostgresStream) -> _Relation:
        """Return what the catalogue says; raises ConfigError for a relation that cannot be a stream."""
        title = "the query" if spec.query else (spec.table or f"public.{stream}")
        named = ".".join(map(_ident, title.split(".", 1)))
        rows = f"({spec.query.strip().rstrip(';')}) AS q" if spec.query else named
        columns = _ask(connection, f"SELECT * FROM {rows} LIMIT 0").description or []
        if len(columns) < 2:  # a line with one null would be a line with nothing
            raise ConfigError(f"{title} has fewer than two columns.", mend="Select another one beside it.")
        nested = {
            oid
            for (oid,) in connection.execute(
                "SELECT oid::bigint FROM pg_type WHERE oid = ANY (%s) AND (typcategory = 'A' OR typtype = 'c')",
                [[column.type_code for column in columns]],
            )
        }
        types: dict[str, str] = {}
        selected: list[str] = []
        for column in columns:
            name = _ident(column.name)
            types[column.name] = "json" if column.type_code in nested else _type(column)
            if column.type_code in nested:
                name = f"to_json({name}) AS {name}"
            elif column.type_code == _MONEY:
                name = f"CAST({name} AS numeric) AS {name}"
            selected.append(name)
        return cls(stream, title, rows, types, ", ".join(selected))

    def kind(self, column: str) -> str:
        """Return the type of a column; raises ConfigError where there is none."""
        if column not in self.types:
            raise ConfigError(f"{self.title} has no column {column!r}.", mend=nearest(column, self.types))
        return self.types[column]

    def sql(self, text: str, spec: PostgresStream) -> str:
        """Return ``text`` with the relation and its cursor put in."""
        return text.replace("{from}", self.rows).replace("{cursor}", _ident(spec.cursor))

    def require_key(self, connection: Connection, spec: PostgresStream) -> None:
        """Refuse a key that does not tell a table's rows apart; a query's and a view's is taken at its word."""
        for column in spec.key:
            self.kind(column)
        found = [] if spec.query else connection.execute(_UNIQUE, [self.rows]).fetchall()
        if spec.key and found and not any(set(columns) <= set(spec.key) for _, columns in found):
            primary = ", ".join(f'"{column}"' for column in found[0][1])
            raise ConfigError(f"The key of {self.title} does not tell its rows apart.", mend=f"Set key = [{primary}].")


def _table(name: str, spec: PostgresStream) -> Table:
    order = (column_name(spec.cursor),) if spec.cursor else ("_loaded_at",) if spec.write == "history" else ()
    return Table(name, key=tuple(map(column_name, spec.key)), order=order, disposition=spec.write)


def _type(column: Described) -> str:
    """Return the warehouse's type; what has no like there is text, as the server writes it."""
    if column.type_code != _NUMERIC:
        return _TYPES.get(column.type_code, "text")
    precision, scale = column.precision, column.scale
    if precision is None or scale is None:
        return "decimal(38,9)"
    return f"decimal({precision},{scale})" if 0 <= scale <= precision <= _MOST_DIGITS else "text"


def _below(value: str, kind: str, lookback: int) -> str:
    """Return ``value`` less the lookback in SQL; raises ConfigError for a type that has no differences."""
    if kind in ("timestamp", "timestamptz"):
        return f"CAST({_literal(value)} AS {kind}) - interval '{lookback} seconds'"
    if kind == "date":
        return f"CAST({_literal(value)} AS date) - {-(-lookback // _DAY_S)}"
    if kind in ("bigint", "double") or kind.startswith("decimal"):
        return f"CAST({_literal(value)} AS numeric) - {lookback}"
    if lookback:
        raise ConfigError(
            f"A cursor of type {kind} has no lookback.",
            mend="Use a number or a time; or lookback = 0, which misses rows that commit late.",
        )
    return _literal(value)


def _fingerprint(connection: Connection, found: _Relation, where: str) -> str:
    """Return a hash of the rows that a next read would read again, whatever their order."""
    rows = f"SELECT {found.selected} FROM {found.rows} WHERE {where}"
    hashed = "sum(CAST(hashtextextended(CAST(r AS text), 0) AS numeric))"
    row = _ask(connection, f"SELECT count(*), {hashed} FROM ({rows}) AS r").fetchone()
    return f"{row[0]}:{row[1]}" if row else ""


def _ask(connection: Connection, sql: str) -> Cursor:
    statement: Any = sql
    return connection.execute(statement)


def _ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
