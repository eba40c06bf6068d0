"""What the warehouse's own tables tell: how fresh streams are, what was set aside, which columns are in force.

Asked through :meth:`~signalroom.warehouse.base.Warehouse.query`, so that every adapter answers without code of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from signalroom.stream import Column
from signalroom.warehouse.base import Ask, Warehouse
from signalroom.warehouse.quoting import literal, qualified


@dataclass(frozen=True, slots=True)
class StreamLoads:
    """What is merged of one stream.

    Attributes:
        stream: ``source.stream``.
        loads: How many loads.
        newest: Id of the newest.
        committed_at: When the newest was committed to the lake.
        rows_in: Records in all of them.
        bytes: Their size as they arrived.
    """

    stream: str
    loads: int
    newest: str
    committed_at: datetime
    rows_in: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that was set aside.

    Attributes:
        stream: ``source.stream``.
        table: The stream's table it was meant for.
        load_id: The load it is in.
        part: The object or request it came from.
        row: Its number in that.
        column: The column whose value did not fit; empty when the row could not be read at all.
        value: That value.
        reason: Why.
        raw: The row as it arrived.
    """

    stream: str
    table: str
    load_id: str
    part: str
    row: int
    column: str
    value: str
    reason: str
    raw: str


def stream_loads(warehouse: Warehouse) -> Mapping[str, StreamLoads]:
    """Return ``source.stream`` -> what is merged of it."""
    found = warehouse.query("""
        SELECT source || '.' || stream AS stream, count(*) AS loads, max(load_id) AS newest,
            max(committed_at) AS committed_at, CAST(sum(rows_in) AS bigint) AS rows_in,
            CAST(sum(bytes) AS bigint) AS bytes
        FROM signalroom.loads GROUP BY 1 ORDER BY 1""")
    return {row["stream"]: StreamLoads(**row) for row in found.to_pylist()}


def committed(ask: Ask, load_ids: Iterable[str]) -> Mapping[str, datetime]:
    """Return ``source.stream`` -> when the newest of its loads among ``load_ids`` was committed to the lake."""
    wanted = ", ".join(literal(load_id) for load_id in load_ids)
    if not wanted:
        return {}
    found = ask(
        "SELECT source || '.' || stream AS stream, max(committed_at) AS committed_at FROM signalroom.loads "
        f"WHERE load_id IN ({wanted}) GROUP BY 1"
    )
    return {row["stream"]: row["committed_at"] for row in found.to_pylist()}


def rows_of(warehouse: Warehouse, tables: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], int]:
    """Return (schema, table) -> its rows, for those of ``tables`` that exist."""
    found = warehouse.query("SELECT table_schema, table_name FROM information_schema.tables").to_pylist()
    held = {(row["table_schema"], row["table_name"]) for row in found}
    wanted = [table for table in dict.fromkeys(tables) if table in held]
    if not wanted:
        return {}
    counted = " UNION ALL ".join(
        f"SELECT {number} AS number, count(*) AS counted FROM {qualified('.'.join(table))}"
        for number, table in enumerate(wanted)
    )
    return {wanted[row["number"]]: row["counted"] for row in warehouse.query(counted).to_pylist()}


def reject_counts(warehouse: Warehouse) -> Sequence[Mapping[str, object]]:
    """Return stream, table, column, reason and how many rows were set aside for it, the most first."""
    return warehouse.query("""
        SELECT source || '.' || stream AS stream, table_name AS "table", coalesce(column_name, '') AS "column",
            reason, count(*) AS "rows", max(load_id) AS newest_load_id
        FROM signalroom.rejects GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4""").to_pylist()


def rejects(warehouse: Warehouse, source: str, stream: str, limit: int) -> list[Reject]:
    """Return rows that were set aside, those of the newest loads first; an empty name means any."""
    found = warehouse.query(
        f"""
        SELECT source || '.' || stream AS stream, table_name AS "table", load_id, part, row_number AS "row",
            coalesce(column_name, '') AS "column", coalesce(value, '') AS value, reason, raw
        FROM signalroom.rejects
        WHERE {_equals("source", source)} AND {_equals("stream", stream)}
        ORDER BY load_id DESC, part, row_number, column_name LIMIT {limit:d}"""
    )
    return [Reject(**row) for row in found.to_pylist()]


def columns_in_force(warehouse: Warehouse, source: str, table: str) -> tuple[Column, ...]:
    """Return a table's columns as the newest load that changed them left them; empty before the first."""
    import orjson

    found = warehouse.query(
        "SELECT columns FROM signalroom.schemas WHERE source = :source AND table_name = :table "
        "ORDER BY load_id DESC LIMIT 1",
        {"source": source, "table": table},
    ).to_pylist()
    return tuple(Column(**one) for one in orjson.loads(found[0]["columns"])) if found else ()


def _equals(column: str, name: str) -> str:
    return f"{column} = {literal(name)}" if name else "true"
