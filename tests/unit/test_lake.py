"""The lake: what was committed is there for good, and nothing else is seen."""

import contextlib
import gzip
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from signalroom.clock import SystemClock
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.lake import layout, manifest
from signalroom.lake.lake import Lake, LakeSettings
from signalroom.position import Slice
from signalroom.stream import Batch, Raw, Stream, Table

STREAM = Stream("crm", "orders", (Table("orders"),), client="713")
NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
CSV = b'id,name\r\n1,x\r\n2,"y\r\nz"\r\n'


@dataclass
class HandClock:
    moment: datetime = NOW
    slept: list[float] = field(default_factory=list)

    def now(self):
        return self.moment

    def monotonic(self):
        return self.moment.timestamp()

    def sleep(self, seconds):
        self.slept.append(seconds)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def lake(tmp_path, clock):
    opened = Lake.open(LakeSettings(url="lake", root=tmp_path, clock=clock))
    yield opened
    opened.close()


def batch(data=CSV, key="a.csv", **settings) -> Batch:
    raw = {"format": "csv", "compression": "none"} | settings
    return Batch(
        "orders",
        Raw([data[at : at + 7] for at in range(0, len(data), 7)], **raw),
        position={key: {"etag": "1", "size": len(data), "file_time": NOW.isoformat()}},
        replaces=(Slice(NOW, object_key=key),),
        object_key=key,
        file_time=NOW,
        source_ref=key,
        request={"url": f"s3://x/{key}"},
    )


def commit(lake, *batches, stream=STREAM):
    with lake.begin(stream) as writer:
        for one in batches:
            writer.append(one)
        return writer.commit()


def stored(lake, load, number=0) -> bytes:
    return lake.local(load, load.parts[number]).read_bytes()


def files(lake) -> list[str]:
    return [info.key for info in lake.store.list()]


def test_a_load_comes_back_as_it_was_committed(lake):
    load = commit(lake, batch(), batch(key="b.csv"))
    assert lake.loads("crm", "orders") == [load]
    assert lake.committed("crm", "orders") == [load.load_id]
    assert (load.source, load.stream, load.client, load.rows, load.bytes) == ("crm", "orders", "713", 4, 2 * len(CSV))
    part = load.parts[0]
    assert (part.name, part.rows, part.header, part.encoding) == ("part-00001.csv.zst", 2, ("id", "name"), "utf-8")
    assert part.sha256 == hashlib.sha256(CSV).hexdigest()
    assert zstandard.decompress(stored(lake, load), len(CSV)) == CSV
    known = {"sha256": part.sha256, "rows": 2, "load_id": load.load_id, "part": part.name}
    assert load.positions["a.csv"] == {"etag": "1", "size": len(CSV), "file_time": NOW.isoformat(), **known}
    assert load.slices == (Slice(NOW, object_key="a.csv"), Slice(NOW, object_key="b.csv"))
    assert lake.verify(load) == []


def test_nothing_appended_is_no_load(lake):
    assert commit(lake) is None
    assert files(lake) == []


def test_an_abandoned_load_leaves_nothing(lake):
    with contextlib.suppress(KeyError), lake.begin(STREAM) as writer:
        writer.append(batch())
        raise KeyError
    assert files(lake) == []
    assert list(lake.store.local_path("crm/orders").iterdir()) == []


def test_a_slice_without_rows_is_a_load(lake):
    empty = Batch("orders", Raw([b"[]"], "json", rows=0), replaces=(Slice(NOW, NOW.date(), NOW.date()),))
    load = commit(lake, empty)
    assert (load.rows, len(load.slices)) == (0, 1)
    assert lake.loads("crm", "orders") == [load]


@pytest.mark.parametrize("data", [b"", b"id,name\r\n"])
@pytest.mark.parametrize("compress", [None, gzip.compress, zstandard.compress])
def test_files_without_records_are_parts(lake, data, compress):
    how = {None: "none", gzip.compress: "gzip", zstandard.compress: "zstd"}[compress]
    load = commit(lake, batch(compress(data) if compress else data, compression=how))
    assert load.parts[0].rows == 0
    assert lake.verify(load) == []


@pytest.mark.parametrize(("how", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_compressed_bytes_land_as_they_came(lake, how, compress):
    data = compress(CSV) + compress(b"3,w\r\n")  # two members are one file
    load = commit(lake, batch(data, compression=how))
    assert stored(lake, load) == data
    assert (load.parts[0].rows, load.parts[0].sha256) == (3, hashlib.sha256(data).hexdigest())
    assert lake.verify(load) == []


def test_every_format_is_counted(lake):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1, 2, 3]}), sink)
    load = commit(
        lake,
        batch(b'{"a": 1}\n\n{"a": 2}\n', "a.jsonl", format="jsonl"),
        batch(b'{"data": {"rows": [1, 2, 3]}}', "a.json", format="json", records="$.data.rows"),
        batch(b'{"table": []}', "b.json", format="json", records="$.table", rows=7),
        batch(sink.getvalue().to_pybytes(), "a.parquet", format="parquet"),
        Batch("orders", pa.table({"a": [1, 2]})),
        batch("a;b\n1;é\n".encode("utf-16"), "c.csv", delimiter=";"),
        batch(b'a,b\n1,"x\n2,y\n', "d.csv"),
    )
    assert [part.rows for part in load.parts] == [2, 3, 7, 3, 2, 1, 2]
    assert [part.name.partition(".")[2] for part in load.parts] == [
        "jsonl.zst", "json.zst", "json.zst", "parquet", "parquet", "csv.zst", "csv.zst",
    ]  # fmt: skip
    assert [part.irregular for part in load.parts] == [False] * 5 + [True, True]
    assert (load.parts[5].header, load.parts[5].encoding) == (("a", "b"), "utf-16")
    assert lake.loads("crm", "orders") == [load]
    assert lake.verify(load) == []


@pytest.mark.parametrize(
    ("data", "settings", "reason"),
    [
        (gzip.compress(CSV, mtime=0)[:-9], {"compression": "gzip"}, "end early"),
        (b"not gzip at all", {"compression": "gzip"}, "not gzip"),
        (zstandard.compress(CSV)[:-3], {"compression": "zstd"}, "end early"),
        (b"not zstd at all", {"compression": "zstd"}, "not zstd"),
        (b'{"table": [1, 2', {"format": "json", "records": "$.table"}, "not JSON"),
        (b'{"other": []}', {"format": "json", "records": "$.table"}, "no array at $.table"),
        (b"PAR1 half a file", {"format": "parquet"}, "not Parquet"),
        (b"", {"format": "parquet"}, "not Parquet"),
    ],
)
def test_what_cannot_be_read_is_archived_and_the_others_go_on(lake, data, settings, reason, caplog):
    with lake.begin(STREAM) as writer:
        told = []
        parts = writer.append_many([batch(), batch(data, "bad", **settings), batch(key="c.csv")], told.append)
        (aside,) = writer.unreadable
        load = writer.commit()
    assert [part.object_key for part in parts] == ["a.csv", "c.csv"]
    assert told == parts == list(load.parts)
    assert (aside.source_ref, aside.bytes) == ("bad", len(data))
    assert reason in aside.reason
    assert f"crm.orders: bad {aside.reason} Its bytes are kept as {aside.archive}." in caplog.messages
    kept = b"".join(lake.store.read(aside.archive))
    assert kept == data or zstandard.decompress(kept, 1000) == data
    about = json.loads(b"".join(lake.store.read(aside.archive + ".json")))
    assert about["object_key"] == "bad"
    assert about["retry"] == "signalroom sync crm.orders"
    assert "bad" not in load.positions  # the table goes on holding the version before
    assert load.positions["unreadable|bad"]["size"] == len(data)
    assert [one.object_key for one in load.slices] == ["a.csv", "c.csv"]
    with pytest.raises(DataError, match=r"bad cannot be read: .* Its bytes are kept as _unreadable/"):
        commit(lake, batch(data, "bad", **settings))


def test_many_are_written_in_order_and_told_in_order(lake):
    with lake.begin(STREAM) as writer:
        told = []
        parts = writer.append_many((batch(CSV * (9 - n), f"{n}.csv") for n in range(9)), told.append)
        load = writer.commit()
    assert [part.object_key for part in told] == [f"{n}.csv" for n in range(9)]
    assert list(load.parts) == parts == told
    assert [part.name for part in parts] == sorted(part.name for part in parts)


def test_a_page_is_written_before_the_next_is_asked_for(lake):
    written = []

    def pages():
        for number in range(3):
            assert len(written) == number
            yield Batch("orders", Raw([b"[]"], "json", rows=0), source_ref=str(number))

    with lake.begin(STREAM) as writer:
        writer.append_many(pages(), written.append)


def test_a_failure_cancels_the_load(lake):
    def chunks():
        yield b"id\n"
        raise RetryableError("it changed while it was read")

    broken = replace(batch(), content=Raw(chunks(), "csv"))
    with pytest.raises(RetryableError, match="it changed"), lake.begin(STREAM) as writer:
        writer.append_many([batch(key=f"{n}") for n in range(5)] + [broken])
    assert files(lake) == []


def test_progress_may_cancel(lake):
    def stop(part):
        raise InterruptedError

    with pytest.raises(InterruptedError), lake.begin(STREAM) as writer:
        writer.append_many([batch(key=f"{n}") for n in range(9)], stop)
    assert files(lake) == []


def test_ids_rise_whatever_the_clock_does(lake, clock):
    first = commit(lake, batch())
    clock.moment -= timedelta(hours=1)
    second = commit(lake, batch())
    clock.moment += timedelta(days=1)
    third = commit(lake, batch())
    assert first.load_id < second.load_id < third.load_id
    assert first.committed_at < second.committed_at < third.committed_at
    assert third.load_id.startswith("20261121T050000000000Z-")


@pytest.mark.parametrize("where", ["fsync", "write"])
def test_a_full_disk_is_one_clear_error_and_no_load(lake, monkeypatch, where):
    def full(*_):
        raise OSError(28, "No space left on device")

    if where == "fsync":
        monkeypatch.setattr(layout.os, "fsync", full)
    else:
        monkeypatch.setattr(layout, "write_all", full)
    with pytest.raises(RetryableError, match=r"part-00001.* cannot be written: No space left on device"):
        commit(lake, batch())
    assert files(lake) == []


def test_two_syncs_at_once_do_not_both_commit(lake):
    with lake.begin(STREAM) as slow:
        slow.append(batch())
        commit(lake, batch(key="b.csv"))
        with pytest.raises(RetryableError, match=r"Another sync of crm\.orders committed"):
            slow.commit()
    assert len(lake.loads("crm", "orders")) == 1


def test_pending_and_named_loads(lake):
    one, two = commit(lake, batch()), commit(lake, batch())
    assert lake.pending("crm", "orders", {one.load_id}) == [two.load_id]
    assert lake.loads("crm", "orders", [two.load_id, one.load_id]) == [one, two]
    assert lake.loads("crm", "other") == []
    with pytest.raises(DataError, match=r"_load\.json is gone from the lake"):
        lake.loads("crm", "orders", ["20200101T000000000000Z-00000000"])


def test_a_torn_manifest_is_named(lake):
    load = commit(lake, batch())
    path = lake.store.local_path(f"crm/orders/{load.load_id}/_load.json")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=rf"crm/orders/{load.load_id}/_load\.json cannot be read"):
        lake.loads("crm", "orders")


def test_a_manifest_of_another_load_is_named(lake):
    load, other = commit(lake, batch()), commit(lake, batch())
    path = lake.store.local_path(f"crm/orders/{load.load_id}/_load.json")
    path.write_bytes(manifest.encode(other))
    with pytest.raises(DataError, match="describes another load"):
        lake.loads("crm", "orders")


def test_verify_finds_what_changed(lake):
    load = commit(
        lake, batch(), batch(CSV, "b", compression="none"), batch(gzip.compress(CSV, mtime=0), "c", compression="gzip")
    )
    paths = [lake.local(load, part) for part in load.parts]
    body = bytearray(paths[0].read_bytes())
    body[-1] ^= 1
    paths[0].write_bytes(body)
    paths[1].write_bytes(paths[1].read_bytes() + b"\0")
    paths[2].unlink()
    found = lake.verify(load)
    assert len(found) == 3
    assert "part-00001" in found[0]
    assert "part-00003.csv.gz is gone" in found[2]
    with pytest.raises(DataError, match="gone from the lake"):
        lake.local(load, load.parts[2])


def test_sweep_removes_what_was_never_committed(lake, clock):
    clock.moment = SystemClock().now()
    kept = commit(lake, batch())
    writer = lake.begin(STREAM)
    writer.append(batch())
    folder = lake.store.local_path(f"crm/orders/{writer.load_id}")
    (folder / ".part.0123abcd.tmp").write_bytes(b"half")
    litter = lake.store.local_path(f"crm/orders/{kept.load_id}/._load.json.0123abcd.tmp")
    litter.write_bytes(b"{")
    assert lake.sweep(3600) == []
    clock.moment += timedelta(hours=2)
    assert lake.committed("crm", "orders") == [kept.load_id]
    assert lake.sweep(3600) == [f"crm/orders/{writer.load_id}"]
    assert not folder.exists()
    assert lake.verify(kept) == []
    assert not litter.exists()
    with pytest.raises(RetryableError, match="was removed or cut while its load was written"):
        writer.commit()


def test_a_committed_load_is_never_removed(lake):
    load = commit(lake, batch())
    with pytest.raises(DataError, match="is never removed"):
        lake.layout.remove("crm", "orders", load.load_id)


def test_quarantine_keeps_bytes_and_reason(lake):
    key = lake.quarantine(STREAM, "POST /report page 3", [b"<html>", b"login"], "HTML where JSON was expected.")
    assert key.startswith("_unreadable/crm/orders/")
    assert b"".join(lake.store.read(key)) == b"<html>login"
    about = json.loads(b"".join(lake.store.read(f"{key}.json")))
    assert (about["source_ref"], about["reason"]) == ("POST /report page 3", "HTML where JSON was expected.")
    assert lake.loads("crm", "orders") == []


@pytest.mark.parametrize("name", ["", "../x", "_unreadable", "a/b", ".x"])
def test_names_that_cannot_be_folders(lake, name):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        lake.begin(replace(STREAM, name=name))


def test_a_lake_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be made"):
        Lake.open(LakeSettings(url="file/lake", root=tmp_path))


def test_the_marker_comes_after_everything_is_durable(lake, monkeypatch):
    events = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_fsync(descriptor)

    def link(old, new):
        events.append(f"link {new.name}")
        real_link(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    load = commit(lake, batch(), batch(key="b"))
    assert events[:2] == ["lake", "crm"]  # the entries of the folders made, one below the other
    marker = events.index("link _load.json")
    before = events[:marker]
    assert {"part-00001.csv.zst", "part-00002.csv.zst", "orders"} <= set(before)
    assert before.index(load.load_id) > before.index("part-00002.csv.zst")
    assert before[-1].startswith("._load.json.")
    assert events[marker + 1 :] == [load.load_id]


def test_a_clock_that_stands_still(lake):
    ids = [commit(lake, batch()).load_id for _ in range(3)]
    assert sorted(set(ids)) == ids
