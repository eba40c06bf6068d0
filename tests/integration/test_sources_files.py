"""Files: every version of every object once, in order of file time, whatever its name says."""

import gzip
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from signalroom.clients.objects import ObjectInfo
from signalroom.errors import ConfigError, RetryableError
from signalroom.lake.lake import Lake, LakeSettings
from signalroom.position import Position
from signalroom.sources.base import Source
from signalroom.sources.files import Files, FileStream, file_time, glob_pattern
from signalroom.workspace.convert import Context, convert
from signalroom.workspace.settings import Secret

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
PATTERN = "report_%Y-%m-%dT%H%M_"


@dataclass
class HandClock:
    moment: datetime = NOW

    def now(self):
        return self.moment

    def monotonic(self):
        return self.moment.timestamp()

    def sleep(self, seconds):
        raise AssertionError(seconds)


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    (folder / "orders").mkdir(parents=True)
    return folder


@pytest.fixture
def lake(tmp_path):
    return Lake.open(LakeSettings(url="lake", root=tmp_path, clock=HandClock()))


def files(inbox, **settings) -> Files:
    spec = {"path": "orders/*.csv", "file_time": PATTERN} | settings
    return Files(
        url=str(inbox),
        streams_={"orders": FileStream(**spec)},
        client="713",
        name="crm",
        timezone="America/New_York",
        clock=HandClock(),
    )


def put(inbox, name, data=b"id\n1\n", at=1_700_000_000):
    path = inbox / "orders" / name
    path.write_bytes(data)
    os.utime(path, (at, at))
    return f"orders/{name}"


def sync(source, lake):
    """Read what is new into the lake, as `ingest` does; return the object keys that were read, and the load."""
    (stream,) = source.streams()
    since = Position().overlay(*(load.positions for load in lake.loads(stream.source, stream.name)))
    with lake.begin(stream) as writer:
        parts = writer.append_many(source.read(stream, since, None))
        return [part.object_key for part in parts], writer.commit()


def test_it_is_a_source(inbox):
    assert isinstance(files(inbox), Source)
    (stream,) = files(inbox).streams()
    assert (stream.title, stream.client, stream.tables[0].name) == ("crm.orders", "713", "orders")
    (other,) = files(inbox, client="9").streams()
    assert other.client == "9"


def test_each_version_is_read_once(inbox, lake):
    source = files(inbox)
    put(inbox, "report_2026-11-02T0000_a.csv")
    put(inbox, "report_2026-11-01T0000_b.csv")
    first, load = sync(source, lake)
    assert first == ["orders/report_2026-11-01T0000_b.csv", "orders/report_2026-11-02T0000_a.csv"]
    assert load.positions[first[0]]["file_time"] == "2026-11-01T00:00:00-04:00"
    assert load.positions[first[0]]["sha256"] == load.parts[0].sha256
    assert sync(source, lake) == ([], None)

    late = put(inbox, "report_2026-10-01T0000_late.csv")
    corrected = put(inbox, "report_2026-11-01T0000_b.csv", b"id\n2\n", at=1_700_000_001)
    assert sync(source, lake)[0] == [late, corrected]
    assert sync(source, lake) == ([], None)


def test_an_object_that_vanished_is_no_batch(inbox, lake):
    source = files(inbox)
    key = put(inbox, "report_2026-11-01T0000_a.csv")
    sync(source, lake)
    (inbox / key).unlink()
    assert sync(source, lake) == ([], None)


def test_what_a_batch_says(inbox, lake):
    put(inbox, "report_2026-11-01T0130_a.csv", b"id,n\n1,x\n")
    source = files(inbox)
    (stream,) = source.streams()
    (batch,) = source.read(stream, Position(), None)
    assert batch.table == "orders"
    assert batch.object_key == batch.source_ref == "orders/report_2026-11-01T0130_a.csv"
    assert batch.file_time == datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    (piece,) = batch.replaces
    assert (piece.object_key, piece.observed_at, piece.days()) == (batch.object_key, NOW, [])
    assert batch.position == {
        batch.object_key: {
            "etag": f"1700000000000000000-{len(b'id,n' + b'n1,xn')}",
            "size": 9,
            "file_time": "2026-11-01T01:30:00-04:00",
        }
    }
    assert b"".join(batch.content.chunks) == b"id,n\n1,x\n"


def test_empty_and_header_only_files_are_loads(inbox, lake):
    put(inbox, "report_2026-11-01T0000_a.csv", b"")
    put(inbox, "report_2026-11-02T0000_b.csv", b"id,name\r\n")
    _, load = sync(files(inbox), lake)
    assert [part.rows for part in load.parts] == [0, 0]
    assert sync(files(inbox), lake) == ([], None)


def test_a_file_that_cannot_be_read_is_set_aside_until_it_changes(inbox, lake):
    source = files(inbox, path="orders/*")
    good = put(inbox, "a.csv.gz", gzip.compress(b"id\n1\n"))
    bad = put(inbox, "b.csv.gz", gzip.compress(b"id\n1\n")[:-8])
    keys, load = sync(source, lake)
    assert keys == [good]
    assert "end early" in load.positions[f"unreadable|{bad}"]["reason"]
    assert sync(source, lake) == ([], None)
    put(inbox, "b.csv.gz", gzip.compress(b"id\n1\n2\n"), at=1_700_000_009)
    keys, load = sync(source, lake)
    assert (keys, load.rows) == ([bad], 2)


def test_a_file_that_is_still_written_stops_the_sync(inbox, lake):
    source = files(inbox)
    key = put(inbox, "a.csv", b"id\n1\n")
    (stream,) = source.streams()
    (batch,) = source.read(stream, Position(), None)
    with (inbox / key).open("ab") as sink:
        sink.write(b"2\n")
    with pytest.raises(RetryableError, match=r"a\.csv of .* changed"), lake.begin(stream) as writer:
        writer.append(batch)
    assert lake.loads("crm", "orders") == []


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("a.csv", {}, ("csv", "none", ",")),
        ("a.TSV.gz", {}, ("csv", "gzip", "\t")),
        ("a.ndjson.zst", {}, ("jsonl", "zstd", ",")),
        ("a.json", {"records": "$.data"}, ("json", "none", ",")),
        ("a.parquet", {}, ("parquet", "none", ",")),
        ("a.dat", {"format": "csv", "delimiter": ";"}, ("csv", "none", ";")),
        ("a.gz", {"format": "jsonl"}, ("jsonl", "gzip", ",")),
        ("export.2026.csv", {}, ("csv", "none", ",")),
    ],
)
def test_formats(inbox, name, settings, expected):
    put(inbox, name)
    source = files(inbox, path="orders/*", **settings)
    (batch,) = source.read(source.streams()[0], Position(), None)
    assert (batch.content.format, batch.content.compression, batch.content.delimiter) == expected
    assert batch.content.records == settings.get("records", "$")


@pytest.mark.parametrize("name", ["a.dat", "noextension", "a.gz", "a.parquet.gz"])
def test_formats_that_nothing_says(inbox, name):
    put(inbox, name)
    source = files(inbox, path="orders/*")
    with pytest.raises(ConfigError, match=f"orders/{name}"):
        list(source.read(source.streams()[0], Position(), None))


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        (PATTERN, "x/report_2026-11-01T1530_ab.csv", "2026-11-01T15:30:00-05:00"),
        (PATTERN, "x/other.csv", "2026-01-01T00:00:00+00:00"),
        (PATTERN, "x/report_2026-13-45T9999_a.csv", "2026-01-01T00:00:00+00:00"),
        ("", "x/report_2026-11-01T1530_ab.csv", "2026-01-01T00:00:00+00:00"),
        ("%Y%m%d", "x/20260704.csv", "2026-07-04T00:00:00-04:00"),
        ("%Y-%m-%dT%H:%M%z", "x/2026-07-04T05:00+0000.csv", "2026-07-04T05:00:00+00:00"),
        (PATTERN, "x/report_2026-11-01T0130_a.csv", "2026-11-01T01:30:00-04:00"),  # twice that day: the first
    ],
)
def test_file_times(pattern, name, expected):
    info = ObjectInfo(name, 1, "e", datetime(2026, 1, 1, tzinfo=UTC))
    assert file_time(pattern, info, ZoneInfo("America/New_York")).isoformat() == expected


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("orders/*.csv", ["orders/a.csv"], ["orders/a/b.csv", "orders/a.csv.gz", "x/orders/a.csv"]),
        ("**/*.csv", ["a.csv", "a/b/c.csv"], ["a.txt"]),
        ("a/**", ["a/b", "a/b/c"], ["b/a"]),
        ("a?.csv", ["ab.csv"], ["a/.csv", "abc.csv"]),
        ("a+(1).csv", ["a+(1).csv"], ["aa1.csv"]),
    ],
)
def test_globs(glob, yes, no):
    pattern = glob_pattern(glob)
    assert [key for key in yes + no if pattern.fullmatch(key)] == yes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"write": "merge"}, "needs a key"),
        ({"delimiter": ";;"}, "not one plain character"),
        ({"delimiter": '"'}, "not one plain character"),
        ({"file_time": "%Q"}, "names no part of a time"),
        ({"path": "../*.csv"}, "leads out of the source's url"),
        ({"path": "/etc/*"}, "leads out of the source's url"),
        ({"records": "data[0]"}, "not a path of names"),
    ],
)
def test_settings_that_cannot_work(settings, words):
    with pytest.raises(ConfigError, match=words) as caught:
        FileStream(**{"path": "*.csv"} | settings)
    assert caught.value.mend


def test_an_unknown_encoding_is_refused():
    with pytest.raises(ValueError, match="'klingon' is not known"):
        FileStream(path="*.csv", encoding="klingon")


def test_the_workspace_form(tmp_path):
    table = {
        "url": "inbox",
        "client": "713",
        "access_key": "env:MY_KEY",
        "streams": {
            "orders": {"path": "orders/*.csv", "key": ["id"], "write": "merge", "order": ["_file_time", "_row"]},
        },
    }
    context = Context("crm", tmp_path, "America/New_York", HandClock(), {"MY_KEY": "k"})
    source = convert(Files, table, "sources.crm", context)
    (stream,) = source.streams()
    assert (stream.source, stream.tables[0].disposition, stream.tables[0].key) == ("crm", "merge", ("id",))
    assert source.access_key == Secret("env:MY_KEY", "k")
    table["streams"]["orders"]["write2"] = "append"
    with pytest.raises(ConfigError, match=r"sources\.crm\.streams\.orders: unknown setting 'write2'"):
        convert(Files, table, "sources.crm", context)


def test_check_says_what_is_missing(inbox, tmp_path):
    assert files(inbox).check() == [
        f"crm.orders: nothing in {inbox} matches 'orders/*.csv'; correct `path`.",
    ]
    put(inbox, "a.csv")
    assert files(inbox).check() == []
    (problem,) = files(tmp_path / "none").check()
    assert "does not exist" in problem


def test_an_unknown_stream_is_named(inbox):
    source = files(inbox)
    (stream,) = source.streams()
    with pytest.raises(ConfigError, match=r"Did you mean 'orders'\?"):
        next(source.read(type(stream)("crm", "ordres", stream.tables), Position(), None))
