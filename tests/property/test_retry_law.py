"""The law of retries: afterwards the table and its rejects equal a clean load under the pin and settings of today."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from file_histories import histories
from handmade_loads import Loads
from property_profiles import examples
from signalroom.stream import Column, Disposition, Stream, Table
from signalroom.warehouse.base import Warehouse
from warehouse_laws import FileHistory, file_batch, fresh_source

_folders = itertools.count(1)
_LINEAGE = ("_load_id", "_loaded_at")


@dataclasses.dataclass(frozen=True)
class Mend:
    """What a person changed once they had seen the rejects."""

    o_type: str
    nulls: tuple[str, ...]

    def table(self, history: FileHistory) -> Table:
        columns = (Column("k", "bigint"), Column("o", self.o_type), Column("v"))
        disposition: Disposition = history.disposition
        order = history.order
        return Table("t", columns, key=("k",), order=order, disposition=disposition, nulls=self.nulls)


_FIRST = Mend("bigint", ())
mends = st.builds(
    Mend, st.sampled_from(["bigint", "text", "double", "decimal(4,1)"]),
    st.sampled_from([(), ("12.7",), ("a",), ("12.7", "b"), ("x", "3")]),
)  # fmt: skip


def check_retry(warehouse: Warehouse, folder: Path, history: FileHistory, mend: Mend) -> str:
    """Assert the law for one history that is merged, mended and retried; return the table's checksum."""
    lake = Loads(folder)
    stream = Stream(fresh_source(), "files", (_FIRST.table(history),), client="713")
    loads = [lake.add(stream, *(file_batch(upload) for upload in uploads)) for uploads in history.loads]
    for chosen in history.merges:
        warehouse.merge(stream, [loads[index] for index in chosen], lake)
    before = warehouse.checksum(f"{stream.source}.t"), rejects(warehouse, stream)
    rows_aside = len({(load_id, part, row) for load_id, part, row, _, _ in rejects_by_load(warehouse, stream)})
    mended = dataclasses.replace(stream, tables=(mend.table(history),))
    result = warehouse.retry(mended, lake)
    assert result.rows_in == rows_aside
    assert result.rows_in == result.rows_merged + result.rows_superseded + result.rows_rejected
    after = warehouse.checksum(f"{stream.source}.t"), rejects(warehouse, stream)
    if result.rows_rejected == result.rows_in:
        assert after == before
        return after[0].partition(":")[0]
    clean = dataclasses.replace(mended, source=fresh_source())
    again = [lake.add(clean, *(file_batch(upload) for upload in uploads)) for uploads in history.loads]
    warehouse.merge(clean, again, lake)
    assert rejects(warehouse, clean) == after[1]
    found = warehouse.checksum(f"{stream.source}.t", exclude=_LINEAGE)
    assert warehouse.checksum(f"{clean.source}.t", exclude=_LINEAGE) == found
    second = warehouse.retry(mended, lake)
    assert (second.rows_merged, second.rows_superseded) == (0, 0)
    return found


def rejects(warehouse: Warehouse, stream: Stream) -> list[tuple[object, ...]]:
    return sorted((row[1:] for row in rejects_by_load(warehouse, stream)), key=str)


def rejects_by_load(warehouse: Warehouse, stream: Stream) -> list[tuple[object, ...]]:
    found = warehouse.query(
        "SELECT load_id, part, row_number, column_name, reason FROM signalroom.rejects WHERE source = :source",
        {"source": stream.source},
    )
    return [tuple(row.values()) for row in found.to_pylist()]


@pytest.mark.slow
@examples(quick=20, many=10_000)
@given(history=histories(), mend=mends)
def test_a_retry_equals_a_clean_load(shared_duckdb, tmp_path_factory, history, mend) -> None:
    check_retry(shared_duckdb, folder(tmp_path_factory), history, mend)


@pytest.mark.slow
@examples(quick=6, many=2_000)
@given(history=histories(), mend=mends)
def test_engines_agree_on_retries(shared_duckdb, shared_postgres, tmp_path_factory, history, mend) -> None:
    on_duckdb = check_retry(shared_duckdb, folder(tmp_path_factory), history, mend)
    assert check_retry(shared_postgres, folder(tmp_path_factory), history, mend) == on_duckdb


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / f"retry-{next(_folders)}"
