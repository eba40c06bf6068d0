"""Files, from the folder to the table, by the steps that people run: the law of files holds whatever arrives when.

The law: a table always equals a clean load of each object's newest version.
"""

import csv
import gzip
import io
import json
import os
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from affiliates import Clock
from signalroom.clients.objects import ObjectStore
from signalroom.engine import inline
from signalroom.errors import RetryableError
from signalroom.room import Room

WORKSPACE = """
name = "crm"
timezone = "UTC"

[warehouse]
{warehouse}

[sources.crm]
kind = "files"
url = "inbox"
client = "713"
[sources.crm.streams.orders]
path = "orders/*"
key = ["id"]
write = "merge"
order = ["_file_time", "_row"]
file_time = "%Y-%m-%d"
[sources.crm.streams.events]
path = "events/**/*"
client = "900"
[sources.crm.streams.people]
path = "people/*.csv"
key = ["id"]
write = "merge"
"""
WAREHOUSES = {"duckdb": 'kind = "duckdb"', "postgres": 'kind = "postgres"\nurl = "env:CRM_WAREHOUSE"'}
HEAD = "id,note,amount\r\n"


class Crm:
    """The workspace, its inbox, and what a person would ask of it."""

    def __init__(self, root, warehouse):
        self.root, self.clock, self._ticks = root, Clock(), 0
        self.inbox = root / "inbox"
        self.inbox.mkdir(parents=True)
        (root / "signalroom.toml").write_text(WORKSPACE.format(warehouse=WAREHOUSES[warehouse]), encoding="utf-8")
        self.room = Room.open(root, clock=self.clock)

    def put(self, name, data):
        """Write a file of the inbox, each one a second later than the one before; return its key."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        self._ticks += 1
        os.utime(path, (1_700_000_000 + self._ticks,) * 2)
        return name

    def sync(self, stream="orders"):
        """Sync one stream and return what the step says of it."""
        self.clock.sleep(60)
        (done,) = inline.run_step(self.room, f"sync crm.{stream}").streams
        merge = done.merge
        assert merge.rows_in == merge.rows_merged + merge.rows_superseded + merge.rows_rejected
        return merge

    def rows(self, stream="orders", columns="id, note"):
        """Return the rows of a table as sorted tuples."""
        found = self.room.warehouse.query(f"SELECT {columns} FROM crm.{stream}").to_pylist()
        return sorted(tuple(row.values()) for row in found)

    def positions(self, stream="orders"):
        return self.room.warehouse.positions("crm", stream).partitions

    def loads(self, stream="orders"):
        committed = self.room.lake.committed("crm", stream)
        assert set(committed) == self.room.warehouse.merged("crm", stream)
        return committed

    def clean(self, tmp_path):
        """Return the same rows from a workspace that sees the inbox for the first time."""
        other = Crm(tmp_path / f"clean{self._ticks}", "duckdb")
        other.inbox.rmdir()
        other.inbox.symlink_to(self.inbox)
        try:
            other.sync()
            return other.rows()
        finally:
            other.room.close()


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.slow)])
def crm(request, tmp_path, monkeypatch):
    if request.param == "postgres":
        monkeypatch.setenv("CRM_WAREHOUSE", request.getfixturevalue("postgres")())
    made = Crm(tmp_path / "crm", request.param)
    yield made
    made.room.close()


@pytest.fixture
def reads(monkeypatch):
    """The keys of the inbox whose bytes were asked for."""
    found, real = [], ObjectStore.read

    def read(self, item, **options):
        if self.url.rpartition("/")[2] == "inbox":
            found.append(item if isinstance(item, str) else item.key)
        return real(self, item, **options)

    monkeypatch.setattr(ObjectStore, "read", read)
    return found


def test_mistake_8_a_late_older_file_is_loaded_and_wins_nothing(crm, tmp_path):
    crm.put("orders/2026-11-02.csv", f"{HEAD}1,new,1\r\n2,two,2\r\n")
    crm.sync()
    crm.put("orders/2026-10-01.csv", f"{HEAD}1,old,1\r\n3,late,3\r\n")
    merge = crm.sync()
    assert (merge.rows_in, merge.rows_merged, merge.rows_superseded) == (2, 1, 1)
    assert crm.rows() == [(1, "new"), (2, "two"), (3, "late")] == crm.clean(tmp_path)


def test_mistake_8_the_newest_day_is_loaded_once(crm, reads):
    crm.put("orders/2026-11-01.csv", f"{HEAD}1,one,1\r\n")
    newest = crm.put("orders/2026-11-02.csv", f"{HEAD}2,two,2\r\n")
    crm.sync()
    assert newest in reads
    loads = crm.loads()
    reads.clear()
    for _ in range(3):
        merge = crm.sync()
        assert (merge.load_ids, merge.rows_in) == ((), 0)
    assert reads == []
    assert crm.loads() == loads
    assert crm.rows() == [(1, "one"), (2, "two")]


def test_mistake_8_a_corrected_upload_replaces_its_earlier_version(crm, tmp_path, reads):
    crm.put("orders/2026-10-01.csv", f"{HEAD}1,older,1\r\n")
    crm.put("orders/2026-11-01.csv", f"{HEAD}1,wrong,1\r\n2,gone,2\r\n3,kept,3\r\n")
    crm.sync()
    reads.clear()
    corrected = crm.put("orders/2026-11-01.csv", f"{HEAD}3,kept,3\r\n4,more,4\r\n")
    merge = crm.sync()
    assert reads == [corrected]
    assert (merge.rows_in, merge.rows_merged, merge.rows_restored) == (2, 2, 1)
    assert crm.rows() == [(1, "older"), (3, "kept"), (4, "more")] == crm.clean(tmp_path)


def test_mistake_8_a_corrected_upload_of_events_is_not_counted_twice(crm):
    crm.put("events/a.csv", "name\na\nb\n")
    crm.sync("events")
    crm.put("events/a.csv", "name\na\nb\nc\n")
    crm.sync("events")
    assert crm.rows("events", "name") == [("a",), ("b",), ("c",)]


def test_a_copy_under_a_new_name_is_skipped_and_recorded(crm):
    original = crm.put("orders/2026-11-01.csv", f"{HEAD}1,one,1\r\n2,two,2\r\n")
    crm.sync()
    copy = crm.put("orders/2026-11-05.csv", f"{HEAD}1,one,1\r\n2,two,2\r\n")
    merge = crm.sync()
    assert (merge.skipped_objects, merge.rows_in, merge.rows_superseded) == ((copy,), 2, 2)
    assert crm.positions()[copy]["loaded"] is False
    assert crm.positions()[copy]["same_as"] == original
    run = crm.room.ledger.runs.list()[0]
    assert run.result["streams"][0]["skipped_objects"] == [copy]
    assert crm.rows(columns="id, _source_ref") == [(1, f"{original}#1"), (2, f"{original}#2")]
    # the original is corrected: the copy comes into its own
    crm.put(original, f"{HEAD}1,corrected,1\r\n")
    crm.sync()
    assert crm.rows() == [(1, "one"), (2, "two")]
    assert crm.positions()[copy]["loaded"] is True


def test_the_same_bytes_for_another_client_are_that_clients(crm):
    crm.put("events/a.csv", "id,name\n1,a\n")
    crm.put("people/a.csv", "id,name\n1,a\n")
    crm.sync("events")
    crm.sync("people")
    assert crm.rows("events", "name, _client_id") == [("a", "900")]
    assert crm.rows("people", "name, _client_id") == [("a", "713")]


def test_the_same_update_twice_in_one_file_is_one_row(crm):
    crm.put("orders/2026-11-01.csv", f"{HEAD}1,first,1\r\n2,two,2\r\n1,last,1\r\n1,last,1\r\n")
    merge = crm.sync()
    assert (merge.rows_in, merge.rows_merged, merge.rows_superseded) == (4, 2, 2)
    assert crm.rows() == [(1, "last"), (2, "two")]
    assert crm.rows(columns="_row") == [(2,), (4,)]


@pytest.mark.parametrize("pack", [lambda data: gzip.compress(data, mtime=0), zstandard.compress], ids=["gz", "zst"])
def test_a_truncated_upload_is_set_aside_whole_until_it_is_replaced(crm, pack, request):
    ending = request.node.callspec.id.rpartition("-")[2]
    good = crm.put(f"orders/2026-11-01.csv.{ending}", pack(f"{HEAD}1,one,1\r\n".encode()))
    whole = pack("".join([HEAD, *(f"{n},row {n * n},{n}\r\n" for n in range(2, 400))]).encode())
    bad = crm.put(f"orders/2026-11-02.csv.{ending}", whole[: len(whole) // 2])
    merge = crm.sync()
    assert crm.rows() == [(1, "one")]
    assert [key for key in crm.positions() if not key.startswith("unreadable|")] == [good]
    # it is told, with where its bytes are and what reads it once it is mended
    (told,) = (note for note in merge.notes if bad in note)
    assert "cannot be read" in told
    assert "`signalroom sync crm.orders`" in told
    assert crm.room.ledger.runs.list()[0].result["streams"][0]["notes"] == list(merge.notes)
    kept = crm.positions()[f"unreadable|{bad}"]["archive"]
    assert kept in told
    assert b"".join(crm.room.lake.store.read(kept)) == whole[: len(whole) // 2]
    assert json.loads(b"".join(crm.room.lake.store.read(f"{kept}.json")))["retry"] == "signalroom sync crm.orders"
    assert crm.sync().load_ids == ()
    crm.put(f"orders/2026-11-02.csv.{ending}", whole)
    assert crm.sync().rows_merged == 398
    assert len(crm.rows()) == 399


def test_files_without_a_record_are_loads_without_rows(crm):
    crm.put("orders/2026-11-01.csv", b"")
    crm.put("orders/2026-11-02.csv", HEAD)
    crm.put("orders/2026-11-03.csv", HEAD.strip())
    merge = crm.sync()
    assert (len(merge.load_ids), merge.rows_in) == (1, 0)
    assert crm.sync().load_ids == ()
    crm.put("orders/2026-11-01.csv", f"{HEAD}1,one,1\r\n")
    crm.sync()
    assert crm.rows() == [(1, "one")]
    crm.put("orders/2026-11-01.csv", b"")  # and emptied again
    crm.sync()
    assert crm.rows() == []


def test_a_file_that_changes_while_it_is_read_stops_the_sync_and_is_read_again(crm, monkeypatch):
    crm.put("orders/2026-11-01.csv", f"{HEAD}1,one,1\r\n")
    crm.sync()
    busy = crm.put("orders/2026-11-02.csv", f"{HEAD}2,half,2\r\n")
    real = ObjectStore.read

    def read(self, item, **options):
        for chunk in real(self, item, **options):
            if getattr(item, "key", "") == busy and changing:
                crm.put(busy, f"{HEAD}2,whole,2\r\n3,three,3\r\n")  # its writer goes on
                changing.clear()
            yield chunk

    changing = [True]
    monkeypatch.setattr(ObjectStore, "read", read)
    loads = crm.loads()
    with pytest.raises(RetryableError, match="changed while it was read"):
        crm.sync()
    assert crm.loads() == loads
    assert crm.rows() == [(1, "one")]
    crm.sync()
    assert crm.rows() == [(1, "one"), (2, "whole"), (3, "three")]


def test_an_object_that_vanished_keeps_its_rows(crm):
    key = crm.put("orders/2026-11-01.csv", f"{HEAD}1,one,1\r\n")
    crm.sync()
    (crm.inbox / key).unlink()
    assert crm.sync().load_ids == ()
    assert crm.rows() == [(1, "one")]


RECORDS = [{"id": 1, "note": "one, with a comma"}, {"id": 2, "note": 'two "quoted"'}, {"id": 3, "note": "drei €"}]


def _written(delimiter):
    sink = io.StringIO()
    writer = csv.DictWriter(sink, ["id", "note"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(RECORDS)
    return sink.getvalue().encode()


def _lines():
    return "".join(json.dumps(record) + "\n" for record in RECORDS).encode()


def _parquet():
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", _written(",")),
        ("a.csv.gz", gzip.compress(_written(","))),
        ("a.csv.zst", zstandard.compress(_written(","))),
        ("a.tsv", _written("\t")),
        ("a.tsv.gz", gzip.compress(_written("\t"))),
        ("a.json", json.dumps(RECORDS).encode()),
        ("a.jsonl", _lines()),
        ("a.ndjson", _lines()),
        ("a.jsonl.gz", gzip.compress(_lines())),
        ("a.jsonl.zst", zstandard.compress(_lines())),
        ("a.parquet", _parquet()),
        ("deep/er/a.csv", _written(",")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_format_gives_the_same_rows_and_keeps_its_bytes(crm, name, data):
    key = crm.put(f"events/{name}", data)
    crm.sync("events")
    assert crm.rows("events", "id, note") == [(row["id"], row["note"]) for row in RECORDS]
    found = crm.rows("events", "_source_ref, _client_id, _load_id, _row")
    (load_id,) = crm.loads("events")
    assert found == [(f"{key}#{n}", "900", load_id, n) for n in (1, 2, 3)]
    (load,) = crm.room.lake.loads("crm", "events")
    assert crm.room.lake.verify(load) == []
    assert load.bytes == len(data)


def test_formats_may_meet_in_one_stream(crm):
    crm.put("events/a.csv", _written(","))
    crm.put("events/b.jsonl.gz", gzip.compress(_lines()))
    crm.put("events/c.parquet", _parquet())
    merge = crm.sync("events")
    assert merge.rows_merged == 9
    assert crm.rows("events", "id, note") == sorted([(row["id"], row["note"]) for row in RECORDS] * 3)


def test_every_row_knows_its_load_its_time_and_its_place(crm):
    crm.put("orders/2026-11-01.csv", f"{HEAD}1,one,1\r\n")
    crm.sync()
    (row,) = crm.room.warehouse.query("SELECT * FROM crm.orders").to_pylist()
    (load,) = crm.room.lake.loads("crm", "orders")
    assert row["_loaded_at"] == load.committed_at
    assert (row["_load_id"], row["_client_id"], row["_row"]) == (load.load_id, "713", 1)
    assert row["_file_time"] == datetime(2026, 11, 1, tzinfo=UTC)
    assert row["_source_ref"] == "orders/2026-11-01.csv#1"


def test_a_stream_that_fails_keeps_no_other_waiting(crm):
    crm.put("orders/2026-11-01.what", b"no format says what this is")
    crm.put("people/a.csv", "id,name\n1,a\n")
    with pytest.raises(Exception, match="Nothing says what"):
        inline.run_step(crm.room, "sync crm")
    assert crm.rows("people", "id, name") == [(1, "a")]
    assert crm.room.ledger.runs.list()[0].status == "error"
