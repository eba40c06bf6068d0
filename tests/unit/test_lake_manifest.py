"""``_load.json``: read back exactly, or refused by name."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from signalroom.errors import DataError
from signalroom.lake import manifest
from signalroom.load import Load, Part
from signalroom.position import Slice

NOW = datetime(2026, 11, 20, 6, 0, 0, 123, tzinfo=UTC)
PART = Part(
    "part-00001.csv.zst", "orders", "csv", "zstd", 2, 30, 20, "ab" * 32, "utf-8-sig", ";", ("id", "n ü"),
    irregular=True, empty_texts=True, records="$.data", object_key="a.csv", file_time=NOW, source_ref="a.csv", request={"url": "s3://x"},
)  # fmt: skip
LOAD = Load(
    "20261120T060000000123Z-0123abcd", "crm", "orders", "713", NOW,
    (PART, Part("part-00002.parquet", "orders", "parquet", "none", 0, 0, 0, "")),
    {"2026-11-20|a=1": {"n": [1, 2.5, None, True, "ü"]}, "lsn": 2**60},
    (
        Slice(NOW, date(2026, 11, 1), date(2026, 11, 2), (("advertiser_id", 1), ("label", "ü"))),
        Slice(NOW, object_key="a.csv"),
    ),
    "0.1.0",
)  # fmt: skip


def changed(**change) -> bytes:
    return json.dumps(json.loads(manifest.encode(LOAD)) | change).encode()


def test_every_field_comes_back():
    assert manifest.decode(manifest.encode(LOAD), "x/_load.json") == LOAD


def test_it_can_be_read_by_a_person():
    assert b'\n "source": "crm",\n' in manifest.encode(LOAD)


def test_a_file_torn_anywhere_is_refused_by_name():
    data = manifest.encode(LOAD)
    for size in range(len(data)):
        with pytest.raises(DataError, match=r"x/_load\.json cannot be read") as caught:
            manifest.decode(data[:size], "x/_load.json")
        assert caught.value.mend


@pytest.mark.parametrize(
    "change",
    [
        {"committed_at": "yesterday"},
        {"committed_at": 1},
        {"parts": [{"name": "x"}]},
        {"parts": None},
        {"client": 713},
        {"slices": [{}]},
        {"positions": 1},
    ],
)
def test_what_is_not_ours_is_refused(change):
    with pytest.raises(DataError, match="cannot be read"):
        manifest.decode(changed(**change), "x/_load.json")


def test_another_format_is_refused():
    with pytest.raises(DataError, match="is of format 2, and this version reads 1"):
        manifest.decode(changed(format=2), "x/_load.json")


@pytest.mark.parametrize("data", [b"[]", b"1", b"{}", b"null", b"\xff"])
def test_json_that_is_no_load(data):
    with pytest.raises(DataError, match="cannot be read"):
        manifest.decode(data, "x/_load.json")


def test_a_load_of_before_says_nothing_of_empty_texts():
    record = json.loads(manifest.encode(LOAD))
    for part in record["parts"]:
        del part["empty_texts"]
    before = manifest.decode(json.dumps(record).encode(), "x/_load.json")
    assert before == replace(LOAD, parts=tuple(replace(part, empty_texts=False) for part in LOAD.parts))


def test_what_a_later_version_adds_to_a_load_is_no_harm():
    assert manifest.decode(changed(note="hello"), "x/_load.json") == LOAD
