"""One hostile load at a time: how it is made, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handmade_loads import Loads
from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.warehouse.base import MergeResult, Warehouse
from warehouse_laws import fresh_source


class Loaded:
    """One load merged into a table of its own, and what became of it."""

    def __init__(
        self, warehouse: Warehouse, folder: Path, *batches: Batch, columns: Sequence[Column] = (), **table: Any
    ):
        self.warehouse = warehouse
        self.lake = Loads(folder)
        self.stream = Stream(fresh_source(), "hostile", (Table("t", tuple(columns), **table),))
        self.load = self.lake.add(self.stream, *batches)
        self.result: MergeResult = warehouse.merge(self.stream, [self.load], self.lake)
        assert self.result.rows_in == self.load.rows
        out = self.result.rows_merged + self.result.rows_superseded + self.result.rows_rejected
        assert out == self.result.rows_in
        kept = self.query(f"SELECT count(*) AS n FROM {self.stream.source}.t")[0][0]
        lost = self.query(
            f"SELECT count(*) FROM (SELECT DISTINCT part, row_number FROM signalroom.rejects"
            f" WHERE source = '{self.stream.source}') r"
        )[0][0]
        assert (kept, lost) == (self.result.rows_merged, self.result.rows_rejected)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.warehouse.query(sql).to_pylist()]

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        named = ", ".join(f'"{column}"' for column in columns)
        return self.query(f"SELECT {named} FROM {self.stream.source}.t ORDER BY _row, _source_ref")

    @property
    def rejects(self) -> list[tuple[Any, ...]]:
        return self.query(
            "SELECT row_number, column_name, value, reason FROM signalroom.rejects"
            f" WHERE source = '{self.stream.source}' ORDER BY row_number, column_name"
        )


def page(content: bytes | str, **raw: Any) -> Batch:
    data = content if isinstance(content, bytes) else content.encode()
    return Batch("t", Raw([data], raw.pop("format", "csv"), **raw), source_ref="page")


JSON_LINES = [
    ('{"a": "1", "b": "x"}', ("1", "x"), ""),
    ('  {"a": "2"}  ', ("2", None), ""),
    ('{"a": "3", "b": {"c": [1, "d"]}}', ("3", '{"c":[1,"d"]}'), ""),
    ('{"a": "4", "b": "\\u00e9\\ud83d\\ude00"}', ("4", "é\U0001f600"), ""),
    ('{"a": "5", "b": null}', ("5", None), ""),
    ('{"a": 6, "b": true}', ("6", "true"), ""),
    ('{"a": "7", "b": 12345678901234567890.12}', ("7", "12345678901234567890.12"), ""),
    ('{"a": "8", "b": "x, 12345678901234567890.12"}', ("8", "x, 12345678901234567890.12"), ""),
    ('{"a": "9", "b": 123456789012345678901234567890}', ("9", "123456789012345678901234567890"), ""),
    ("{}", (None, None), ""),
    ("{broken", None, "is not a JSON object"),
    ("[1, 2]", None, "is not a JSON object"),
    ('"text"', None, "is not a JSON object"),
    ("{'a': 1}", None, "is not a JSON object"),
    ('{"a": 1} {"a": 2}', None, "is not a JSON object"),
    ('{"a": "1", "a": "2"}', None, "a key stands twice"),
    ('{"a": "\\ud800"}', None, "is not a JSON object"),
    ('{"a": "x\\u0000"}', None, "NUL"),
    ("null", None, "is not a JSON object"),
]
