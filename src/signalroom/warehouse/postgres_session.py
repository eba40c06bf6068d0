"""Connections to Postgres: errors typed by what to do, ``?`` parameters, rows as Arrow."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

_RETRYABLE = ("08", "40", "53", "55P03", "57", "58", "25006")
"""SQLSTATE classes that may pass: connection, rollback, resources, locks, shutdown, I/O; a standby is read-only."""
_ARROW = {16: "bool_", 20: "int64", 21: "int64", 23: "int64", 700: "float64", 701: "float64", 1082: "date32"}
_NUMERIC, _TIMESTAMP, _TIMESTAMPTZ = 1700, 1114, 1184


def connect(url: str, *, timeout_s: int, autocommit: bool = True) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a connection whose text is UTF-8, whose zone is UTC and which prepares nothing (safe behind a pooler)."""
    try:
        import psycopg
        import psycopg.conninfo
        import psycopg.types.string
    except ModuleNotFoundError:
        raise ConfigError(
            "The Postgres driver is not installed.", mend="Install it: pip install 'signalroom[postgres]'."
        ) from None
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # What the driver says of it would quote it, password and all.
        raise ConfigError(
            "The address of the Postgres database cannot be read.",
            mend="Write postgresql://user:password@host/database with what is special in the password %-encoded.",
        ) from None
    with explained("connect"):
        connection = psycopg.connect(
            url, autocommit=autocommit, connect_timeout=timeout_s, prepare_threshold=None,
            application_name="signalroom", client_encoding="utf8",
        )  # fmt: skip
        connection.execute("SET timezone = 'UTC'")
        for kind in ("json", "jsonb"):  # as it is written, not as Python objects
            connection.adapters.register_loader(kind, psycopg.types.string.TextLoader)
        return connection


@contextmanager
def explained(what: str) -> Generator[None]:
    """Turn psycopg's errors into ours; the sentence is the server's and never holds the address."""
    import psycopg

    try:
        yield
    except psycopg.Error as problem:
        raise _typed(problem, what) from problem


def _typed(problem: psycopg.Error, what: str) -> SignalRoomError:
    import psycopg

    state = problem.sqlstate or ""
    said = (problem.diag.message_primary or str(problem)).strip().split("\n", 1)[0].rstrip(".")
    sentence = f"Postgres could not {what}: {said}."
    if state.startswith("28") or state in ("3D000", "42501") or "password authentication failed" in str(problem):
        return ConfigError(sentence, mend="Check the user, its password and its rights.")
    # a merge whose lock is lost fills a table that the merge after it may drop
    lost = state == "42P01" and "signalroom.incoming_" in said
    if lost or state.startswith(_RETRYABLE) or isinstance(problem, psycopg.OperationalError):
        return RetryableError(sentence, mend="Try again later.")
    return DataError(sentence, mend="Correct the SQL or the data.")


def execute(connection: psycopg.Connection[tuple[Any, ...]], sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run one statement with ``?`` parameters and return its rows."""
    statement: Any = sql.replace("%", "%%").replace("?", "%s") if params else sql
    cursor = connection.execute(statement, list(params) if params else None)
    return cursor.fetchall() if cursor.description else []


def named(sql: str, params: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any] | None]:
    """Return a statement with ``:name`` parameters in the driver's spelling, and the values it uses."""
    import re

    found = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)", re.IGNORECASE)
    bound = {name: (params or {})[name] for name in set(found.findall(sql)) & set(params or {})}
    if not bound:
        return sql, None
    spelt = found.sub(lambda one: f"%({one[1]})s" if one[1] in bound else one[0], sql.replace("%", "%%"))
    return spelt, bound


def to_arrow(cursor: psycopg.Cursor[tuple[Any, ...]]) -> pa.Table:
    """Return a cursor's rows; numbers with decimals keep their declared scale, times are UTC."""
    import pyarrow as pa

    rows = cursor.fetchall()
    columns = cursor.description or ()
    values = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
    fields = [pa.field(column.name, _kind(column, held)) for column, held in zip(columns, values, strict=True)]
    arrays = [
        pa.array([value if _keeps(field.type) or value is None else str(value) for value in held], field.type)
        for field, held in zip(fields, values, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _keeps(kind: pa.DataType) -> bool:
    return str(kind) != "string"


def _kind(column: psycopg.Column, held: Sequence[Any]) -> pa.DataType:
    import pyarrow as pa

    if column.type_code in (_TIMESTAMP, _TIMESTAMPTZ):
        return pa.timestamp("us", "UTC") if column.type_code == _TIMESTAMPTZ else pa.timestamp("us")
    if column.type_code == _NUMERIC:
        exponents = [value.as_tuple().exponent for value in held if value is not None]
        seen = max([-exponent for exponent in exponents if isinstance(exponent, int)], default=0)
        scale = max(0, seen, column.scale or 0)
        return pa.decimal128(38, scale) if scale <= 20 else pa.float64()
    return getattr(pa, _ARROW[column.type_code])() if column.type_code in _ARROW else pa.string()
