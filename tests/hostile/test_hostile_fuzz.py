"""Mutated files: no record is lost, whatever the bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from handmade_loads import Loads
from hostile_loads import JSON_LINES, Loaded
from signalroom.errors import SignalRoomError
from signalroom.records import careful
from signalroom.stream import Batch, Column, Raw, Stream, Table
from signalroom.warehouse.base import Warehouse
from warehouse_laws import fresh_source

AB = (Column("a"), Column("b"))

BASE = (
    b'id,name,note\r\n1,"Smith, J","two\r\nlines"\r\n2,O\'Brien,"say ""hi"""\r\n3,caf\xc3\xa9,\r\n'
    b'"4",plain,\xf0\x9f\x98\x80\r\n5,"",end\r\n'
)
ODD = [
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b'""',
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b" ",
    b"\\",
    b"\x1f",
    b"\t",
    b"\x80",
]


def mutated(chance: random.Random) -> bytes:
    """Return the valid file with a few bytes cut, doubled, replaced or put in."""
    text = bytearray(BASE)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(14, len(text) + 1)  # the header is left alone: its columns are declared
        end = min(len(text), at + chance.choice([1, 1, 2, 5]))
        match chance.randrange(4):
            case 0:
                del text[at:end]
            case 1:
                text[at:at] = text[at:end]
            case 2:
                text[at:end] = chance.choice(ODD)
            case _:
                text[at:at] = chance.choice(ODD)
    return bytes(text[: chance.randrange(14, len(text))] if chance.random() < 0.1 else text)


@pytest.mark.slow
def test_fuzzed_files_lose_no_record(duckdb: Warehouse, tmp_path: Path) -> None:
    """Thousands of broken files: every record is in the table as the careful reader spells it, or in the rejects."""
    chance = random.Random(20_261_120)
    files = [mutated(chance) for _ in range(2_000)]
    batches = [Batch("t", Raw([text], "csv"), source_ref=f"{n:05d}") for n, text in enumerate(files)]
    columns = (Column("id"), Column("name"), Column("note"))
    loaded = Loaded(duckdb, tmp_path, *batches, columns=columns)
    expected: dict[tuple[str, int], tuple[str | None, ...]] = {}
    rejected: set[tuple[str, int]] = set()
    for part, text in zip(loaded.load.parts, files, strict=True):
        for record in careful([text], encoding=part.encoding):
            where = (part.source_ref, record.row)
            if record.fields is None:
                rejected.add(where)
            else:
                expected[where] = tuple(field or None for field in record.fields)
    table = loaded.query(f"SELECT _source_ref, _row, id, name, note FROM {loaded.stream.source}.t")
    found = {(ref.rsplit("#", 1)[0], row): cells for ref, row, *cells in table}
    assert {where: tuple(cells) for where, cells in found.items()} == expected
    kept = loaded.query(f"SELECT part, row_number FROM signalroom.rejects WHERE source = '{loaded.stream.source}'")
    assert {tuple(row) for row in kept} == rejected
    assert sum(part.irregular for part in loaded.load.parts) not in (0, len(files))


@pytest.mark.slow
def test_fuzzed_json_lines_lose_no_record(duckdb: Warehouse, tmp_path: Path) -> None:
    chance = random.Random(20_261_121)
    base = "\n".join(line for line, row, _ in JSON_LINES if row is not None).encode() + b"\n"
    batches = []
    for n in range(300):
        text = bytearray(base)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text))
            text[at : at + chance.choice([0, 1, 3])] = chance.choice([*ODD, b"{", b"}", b"[", b":", b"1e400", b"null"])
        batches.append(Batch("t", Raw([bytes(text)], "jsonl"), source_ref=f"{n:05d}"))
    loaded = Loaded(duckdb, tmp_path, *batches, columns=AB)
    assert loaded.result.rows_rejected > 0
    assert loaded.result.rows_merged > loaded.result.rows_rejected


def test_errors_are_ours(duckdb: Warehouse, tmp_path: Path) -> None:
    """A part that is gone or is no Parquet file raises an error with a mend, not an engine's own."""
    lake = Loads(tmp_path)
    stream = Stream(fresh_source(), "hostile", (Table("t"),))
    rows = Batch("t", pa.table({"a": [1]}), source_ref="wal")
    for spoil in (lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1 no PAR1")):
        load = lake.add(stream, rows)
        spoil(lake.local(load, load.parts[0]))
        with pytest.raises(SignalRoomError):
            duckdb.merge(stream, [load], lake)
