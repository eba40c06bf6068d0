"""The law of files: after any history the table equals a clean load of each object's newest version."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import example, given

from file_histories import histories
from property_profiles import examples
from warehouse_laws import FileHistory, Upload, check_files

_folders = itertools.count(1)

# A re-upload with nothing new in it withdraws a row: those that come back for its key were not ranked.
_ONLY_OLDER_ROWS = FileHistory(
    loads=(
        (Upload("a.csv", 0, (), blank=True), Upload("b.csv", 0, (("1", "", ""), ("1", "", "")))),
        (Upload("c.csv", 1, (("1", "", ""),)),),
        (Upload("c.csv", 0, (), blank=True),),
    ),
    merges=((0,), (1,), (2,)),
    disposition="merge",
    order=("_file_time", "_row"),
)


@pytest.mark.slow
@examples(quick=25, many=5_000)
@given(history=histories())
@example(history=_ONLY_OLDER_ROWS)
def test_table_equals_a_clean_load_of_the_newest_versions(shared_duckdb, tmp_path_factory, history) -> None:
    check_files(shared_duckdb, folder(tmp_path_factory), history)


@pytest.mark.slow
@examples(quick=6, many=2_000)
@given(history=histories())
def test_engines_agree_on_the_law_of_files(shared_duckdb, shared_postgres, tmp_path_factory, history) -> None:
    on_duckdb = check_files(shared_duckdb, folder(tmp_path_factory), history)
    assert check_files(shared_postgres, folder(tmp_path_factory), history) == on_duckdb


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / f"files-law-{next(_folders)}"
