"""Rows that moved to another key without their large values: these are asked for, since no row of the new key has them.

An update of the key tells the old key and the new row, and leaves out large values that it did not touch. They are read
from the table as it is now. Where they have changed since, the change comes later in the stream, with the value; where
the row is gone, so does its delete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from signalroom.capture.rows import copied
from signalroom.capture.shapes import Field, Shape
from signalroom.clients.replication import Database, quoted
from signalroom.sources.postgres_catalog import Catalogue, table_sql

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 1_024  # rows of a question


@dataclass(frozen=True, slots=True)
class Moved:
    """Completes the rows that moved; connects when there are any.

    Attributes:
        url: The database.
        timeout_s: Seconds for a connection.
        catalogue: The tables as they are now.
    """

    url: str
    timeout_s: int
    catalogue: Catalogue

    def complete(self, shape: Shape, key: Sequence[str], found: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """Return what ``capture.rows.changes`` returned, with the values that moved rows left out.

        A row that the table no longer has stays as it is.

        Args:
            shape: The table as the changes tell it.
            key: Its key columns.
            found: Upserts, and the deletes of the keys they left.

        Raises:
            SignalRoomError: The server does not answer, or refuses us.
        """
        if len(found) < 2:
            return list(found)
        upserts, deletes = found
        names, rows = _lacking(upserts, deletes)
        now = {field.name: field for field in self.catalogue.tables[shape.title].shape.fields}
        if not names or not {*names, *key} <= now.keys():
            return list(found)
        asked = Shape(shape.oid, shape.schema, shape.name, tuple(now[name] for name in dict.fromkeys([*key, *names])))
        texts = [_text(upserts.column(name)).take(rows).to_pylist() for name in key]
        held = self._ask(asked, key, list(zip(*texts, strict=True)))
        return [_filled(upserts, rows, names, held, key[0]), deletes]

    def _ask(self, asked: Shape, key: Sequence[str], rows: Sequence[Sequence[str]]) -> pa.RecordBatch:
        """Return one row of the table for each key of ``rows``; of null where there is none."""
        with Database(self.url, timeout_s=self.timeout_s) as database:
            kinds = {field.name: field for field in asked.fields}
            casts = [_kind(database, kinds[name]) for name in key]
            records: list[bytes] = []
            for first in range(0, len(rows), _AT_ONCE):
                for some in database.copy(_question(asked, key, casts, rows[first : first + _AT_ONCE])):
                    records += some
        return copied(asked, records, 0)


def _lacking(upserts: pa.RecordBatch, deletes: pa.RecordBatch) -> tuple[list[str], Any]:
    """Return the columns that some moved row left out, and the indexes of these rows."""
    import numpy as np
    import pyarrow.compute as pc

    unset: Any = upserts.column("_unset")
    lengths: Any = pc.list_value_length(unset)
    moved: Any = pc.is_in(upserts.column("_seq"), value_set=deletes.column("_seq"))  # both halves have one address
    rows: Any = np.flatnonzero(np.asarray(moved) & (np.asarray(lengths.fill_null(0)) > 0))
    names: Any = pc.unique(pc.list_flatten(unset.take(rows)))
    return names.to_pylist(), rows


def _kind(database: Database, field: Field) -> str:
    """Return a column's type in SQL."""
    return str(database.rows("SELECT format_type(%s::bigint::oid, %s)", field.oid, field.modifier)[0][0])


def _question(asked: Shape, key: Sequence[str], casts: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    values = ", ".join(f"({n}, {', '.join(map(_literal, row))})" for n, row in enumerate(rows))
    columns = ", ".join(f"t.{quoted(one.name)}" + ("" if one.kind else "::text") for one in asked.fields)
    named = ", ".join(f"k{n}" for n in range(len(key)))
    same = " AND ".join(f"t.{quoted(name)} = CAST(w.k{n} AS {casts[n]})" for n, name in enumerate(key))
    selected = f"SELECT {columns} FROM (VALUES {values}) AS w (n, {named}) LEFT JOIN {table_sql(asked)} AS t ON {same}"
    return f"COPY ({selected} ORDER BY w.n) TO STDOUT (FORMAT binary)"


def _literal(text: str) -> str:
    doubled = text.replace("'", "''").replace("\\", "\\\\")
    return f"E'{doubled}'"


def _text(values: Any) -> Any:
    """Return values as Postgres writes them, in the type of text that can be taken from and filled in."""
    import pyarrow as pa

    return values.cast(pa.large_string())


def _filled(upserts: pa.RecordBatch, rows: Any, names: Sequence[str], held: pa.RecordBatch, key: str) -> pa.RecordBatch:
    """Return the upserts with the values that were found, in the rows that left them out."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    there: Any = np.asarray(held.column(key).is_valid())
    place: Any = np.full(upserts.num_rows, -1, np.int64)
    place[rows[there]] = np.flatnonzero(there)
    unset: Any = upserts.column("_unset")
    spelt: Any = pc.list_flatten(unset)
    parents = np.asarray(pc.list_parent_indices(unset))
    columns: dict[str, Any] = {name: upserts.column(name) for name in upserts.schema.names}
    for name in names:
        lacking = np.zeros(upserts.num_rows, bool)
        lacking[parents[np.asarray(spelt) == name]] = True
        lacking &= place >= 0
        new, old = held.column(name), columns[name]
        if new.type != old.type or pa.types.is_string_view(old.type):
            new, old = _text(new), _text(old)
        columns[name] = pc.replace_with_mask(old, pa.array(lacking), new.take(place[lacking]))
    none: Any = pa.scalar(None, unset.type)
    columns["_unset"] = pc.if_else(pa.array(place >= 0), none, unset)
    return pa.RecordBatch.from_pydict(columns)
