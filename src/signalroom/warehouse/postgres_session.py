"""Statements on Postgres: ``?`` and ``:name`` parameters, rows as Arrow; connections are those of all stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from signalroom.clients.postgres import connect, explained

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

__all__ = ["connect", "execute", "explained", "named", "to_arrow"]

_ARROW = {16: "bool_", 20: "int64", 21: "int64", 23: "int64", 700: "float64", 701: "float64", 1082: "date32"}
_DIGITS = 38
_NUMERIC, _TIMESTAMP, _TIMESTAMPTZ = 1700, 1114, 1184


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
    """Return a cursor's rows; numbers with decimals keep their declared scale, times are UTC.

    A column of numbers of which one does not fit 38 digits, or is NaN or infinite, is their exact text.
    """
    import pyarrow as pa

    rows = cursor.fetchall()
    columns = cursor.description or ()
    values = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
    fields = [pa.field(column.name, _kind(column, held)) for column, held in zip(columns, values, strict=True)]
    arrays = [
        pa.array([value if _keeps(field.type) or value is None else _spelt(value) for value in held], field.type)
        for field, held in zip(fields, values, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _keeps(kind: pa.DataType) -> bool:
    return str(kind) != "string"


def _spelt(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)  # never with an exponent


def _kind(column: psycopg.Column, held: Sequence[Any]) -> pa.DataType:
    import pyarrow as pa

    if column.type_code in (_TIMESTAMP, _TIMESTAMPTZ):
        return pa.timestamp("us", "UTC") if column.type_code == _TIMESTAMPTZ else pa.timestamp("us")
    if column.type_code == _NUMERIC:
        numbers: list[Decimal] = [value for value in held if value is not None]
        if not all(one.is_finite() for one in numbers):
            return pa.string()
        scale = max([column.scale or 0, 0, *(-int(one.as_tuple().exponent) for one in numbers)])
        whole = max([one.adjusted() + 1 for one in numbers if one], default=1)
        return pa.decimal128(_DIGITS, scale) if max(whole, 0) + scale <= _DIGITS else pa.string()
    return getattr(pa, _ARROW[column.type_code])() if column.type_code in _ARROW else pa.string()
