"""What a capture should yield, worked out by other means: a table folded row by row, and the table itself as text."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from signalroom.position import Position
from signalroom.sources.postgres_cdc import CapturedTable, PostgresChanges
from signalroom.stream import Batch
from signalroom.workspace.settings import Secret

FLOATS = frozenset({"f4", "f8"})
"""Columns of floating point: compared as what they mean, however they are written."""


class Follower:
    """Reads a source again and again as a sync does, and keeps the tables as plain dictionaries.

    Attributes:
        tables: Table -> key -> row of spelt values.
        position: Where it stopped.
        batches: Every batch of the last read.
    """

    def __init__(self, source: PostgresChanges) -> None:
        self.source = source
        self.tables: dict[str, dict[tuple[str | None, ...], dict[str, str | None]]] = {
            name: {} for name in source.tables
        }
        self.seen: dict[str, dict[tuple[str | None, ...], int]] = {name: {} for name in source.tables}
        self.position = Position()
        self.batches: list[Batch] = []

    def sync(self, *, confirm: bool = True) -> int:
        """Read, fold, confirm; return the number of rows."""
        (stream,) = self.source.streams()
        self.batches = list(self.source.read(stream, self.position, None))
        for table in self.source.tables:
            self._fold(
                table, [row for batch in self.batches if batch.table == table for row in batch.content.to_pylist()]
            )
        for batch in self.batches:
            self.position = self.position.overlay(batch.position)
        if confirm:
            self.source.confirm(stream, self.position)
        return sum(batch.content.num_rows for batch in self.batches)

    def _fold(self, table: str, rows: list[dict[str, Any]]) -> None:
        key = self.source.tables[table].key
        held, seen = self.tables[table], self.seen[table]
        # at one address a change of the key is a delete and an upsert: of two keys, so their order is no matter
        for row in sorted(rows, key=lambda row: row["_seq"]):
            verb, seq, unset = row.pop("_op"), row.pop("_seq"), row.pop("_unset") or []
            if verb == "truncate":
                for one in [one for one, at in seen.items() if at < seq]:
                    held.pop(one, None)
                continue
            spelt = {name: spell(floating(name, value)) for name, value in row.items()}
            one = tuple(spelt[name] for name in key)
            assert seq >= seen.get(one, 0), "an older change came after a newer one"
            seen[one] = seq
            if verb == "delete":
                held.pop(one, None)
            else:
                before = held.get(one, {})
                held[one] = {**before, **{name: value for name, value in spelt.items() if name not in unset}}


def floating(name: str, value: Any) -> Any:
    """Return a value of a floating column as a double; the shortest spelling of a real means a double near it."""
    if name not in FLOATS or value is None:
        return value
    return float(np.float32(value)) if name == "f4" else float(value)


def spell(value: Any) -> str | None:
    """Return a value as Postgres casts it to text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.datetime):
        zone = "+00" if value.tzinfo else ""
        part = f".{value.microsecond:06d}".rstrip("0") if value.microsecond else ""
        return f"{value:%H:%M:%S}".join([f"{value.date().isoformat()} ", part]) + zone
    if isinstance(value, float):
        return f"float {value!r}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def rows_of(dsn: str, table: str, key: Iterable[str]) -> dict[tuple[str | None, ...], dict[str, str | None]]:
    """Return a table's rows, each value as text; floats as Python reads them."""
    with psycopg.connect(dsn, options="-c timezone=UTC -c extra_float_digits=1") as connection:
        columns = connection.execute(
            "SELECT attname, atttypid::regtype::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
            "AND NOT attisdropped AND attgenerated = ''",
            [table],
        ).fetchall()
        forms = {
            "real": '"{}"::float8',
            "double precision": '"{}"',
            "character": 'CASE WHEN "{0}" IS NOT NULL THEN format(\'%s\', "{0}") END',
        }
        selected = ", ".join(forms.get(kind, '"{}"::text').format(name.replace('"', '""')) for name, kind in columns)
        rows = connection.execute(f"SELECT {selected} FROM {table}").fetchall()
    names = [name for name, _ in columns]
    found = [{name: spell(value) for name, value in zip(names, row, strict=True)} for row in rows]
    return {tuple(row[name] for name in key): row for row in found}


def captured(dsn: str, root: Path, /, name: str = "app", **settings: Any) -> PostgresChanges:
    """Return a source; ``tables`` may be names, whose key is ``id``."""
    tables = settings.pop("tables")
    if not isinstance(tables, dict):
        tables = {one: CapturedTable() for one in tables}
    return PostgresChanges(url=Secret("env:APP_DATABASE", dsn), tables=tables, name=name, root=root, **settings)
