"""A hash of a table's rows that ignores their order and is equal on every engine that holds the same values."""

from __future__ import annotations

from collections.abc import Sequence

from signalroom.stream import Column
from signalroom.warehouse.quoting import ident


def row_text(columns: Sequence[Column], dialect: str) -> str:
    """Return the expression of a row's canonical text: every value spelt alike in both dialects."""
    cells = ", ".join(f"coalesce({_canonical(column, dialect)}, chr(30))" for column in columns)
    return f"array_to_string(ARRAY[{cells}], chr(31))"  # not ||: DuckDB nests at most a thousand of those


def _canonical(column: Column, dialect: str) -> str:
    name = ident(column.name)
    if column.type in ("timestamp", "timestamptz"):
        if dialect == "duckdb":
            return f"CAST(epoch_us({name}) AS VARCHAR)"
        return f"CAST(CAST(extract(epoch FROM {name}) * 1000000 AS bigint) AS text)"
    if column.type == "double":  # by its bits: engines print floats differently
        if dialect == "duckdb":
            return f"CAST(CAST({name} AS BIT) AS VARCHAR)"
        return f"CAST(CAST('x' || encode(float8send({name}), 'hex') AS bit(64)) AS text)"
    return f"CAST({name} AS {'VARCHAR' if dialect == 'duckdb' else 'text'})"


def checksum_sql(table: str, columns: Sequence[Column], dialect: str) -> str:
    """Return the SELECT of (rows, sum of 60-bit row hashes) of a quoted table."""
    digest = f"substr(md5({row_text(columns, dialect)}), 1, 15)"
    number = (
        f"CAST('0x' || {digest} AS UBIGINT)"
        if dialect == "duckdb"
        else f"CAST(CAST('x' || {digest} AS bit(60)) AS bigint)"
    )
    return f"SELECT count(*), coalesce(sum({number}), 0) FROM {table}"
