"""The same bytes put under the same name once more, in a folder and in a bucket: one law for both."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from affiliates import Clock
from signalroom.clients.objects import ObjectStore
from signalroom.engine import inline
from signalroom.room import Room

OLD, NEW = b"source,affiliate\ns1,North\ns2,South\n", b"source,affiliate\ns1,West\n"
WORKSPACE = """
name = "again"
timezone = "UTC"
[warehouse]
kind = "duckdb"
[sources.crm]
kind = "files"
url = "env:EXPORTS_URL"
endpoint = "env:EXPORTS_ENDPOINT"
access_key = "env:EXPORTS_ACCESS_KEY"
secret_key = "env:EXPORTS_SECRET_KEY"
[sources.crm.streams.mapping]
path = "mapping/*.csv"
write = "replace"
[sources.crm.streams.latest]
path = "mapping/*.csv"
key = ["source"]
write = "merge"
order = ["_file_time", "_row"]
[sources.crm.streams.dated]
path = "dated/*.csv"
write = "append"
file_time = "%Y-%m-%d"
"""


class Folder:
    """A folder; its times are set, so that nobody waits for them to pass."""

    def __init__(self, root):
        self.url, self._root, self._moment = str(root), root, datetime(2026, 11, 1, tzinfo=UTC)

    def put(self, key, data):
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._moment += timedelta(hours=1)
        os.utime(path, (self._moment.timestamp(),) * 2)


class Bucket:
    """A bucket, whose clock counts seconds: a file is put until its time is later than all others."""

    def __init__(self, server):
        self.url = server.place()
        self._store = ObjectStore.open(
            self.url, endpoint=server.endpoint, access_key=server.key, secret_key=server.secret
        )

    def put(self, key, data):
        newest = max((one.last_modified for one in self._store.list()), default=datetime.min.replace(tzinfo=UTC))
        until = time.monotonic() + 30
        while self._store.put(key, [data]) and self._store.head(key).last_modified <= newest:
            assert time.monotonic() < until, "the store's clock stands still"


@pytest.fixture(params=["folder", pytest.param("bucket", marks=[pytest.mark.slow, pytest.mark.xdist_group("seaweed")])])
def place(request, tmp_path, monkeypatch):
    for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY"):
        monkeypatch.setenv(f"EXPORTS_{name}", "unused")
    if request.param == "folder":
        found = Folder(tmp_path / "files")
    else:
        server = request.getfixturevalue("seaweed")
        monkeypatch.setenv("EXPORTS_ENDPOINT", server.endpoint)
        monkeypatch.setenv("EXPORTS_ACCESS_KEY", server.key)
        monkeypatch.setenv("EXPORTS_SECRET_KEY", server.secret)
        found = Bucket(server)
    monkeypatch.setenv("EXPORTS_URL", found.url)
    return found


def opened(folder):
    folder.mkdir()
    (folder / "signalroom.toml").write_text(WORKSPACE, encoding="utf-8")
    return Room.open(folder, clock=Clock())


def synced(room, stream):
    (done,) = inline.run_step(room, f"sync crm.{stream}").streams
    found = room.warehouse.query(f"SELECT * EXCLUDE (_load_id, _loaded_at) FROM crm.{stream}").to_pylist()
    return sorted(map(repr, found)), len(done.merge.load_ids)


def test_a_file_put_back_is_the_newest_file_again(place, tmp_path):
    place.put("mapping/old.csv", OLD)
    place.put("mapping/new.csv", NEW)
    with opened(tmp_path / "live") as room:
        assert [synced(room, stream)[1] for stream in ("mapping", "latest")] == [1, 1]
        assert room.warehouse.query("SELECT affiliate FROM crm.mapping").to_pylist() == [{"affiliate": "West"}]
        assert [synced(room, stream)[1] for stream in ("mapping", "latest")] == [0, 0]
        place.put("mapping/old.csv", OLD)
        live = {stream: synced(room, stream) for stream in ("mapping", "latest")}
        assert [loads for _, loads in live.values()] == [1, 1]
        assert [synced(room, stream)[1] for stream in ("mapping", "latest")] == [0, 0]
    with opened(tmp_path / "clean") as room:
        assert {stream: synced(room, stream)[0] for stream in live} == {name: rows for name, (rows, _) in live.items()}
        found = room.warehouse.query("SELECT source, affiliate FROM crm.latest ORDER BY source").to_pylist()
        assert [tuple(row.values()) for row in found] == [("s1", "North"), ("s2", "South")]


def test_a_file_with_its_time_in_its_name_is_not_newer_for_being_put_again(place, tmp_path):
    place.put("dated/2026-11-01.csv", OLD)
    with opened(tmp_path / "live") as room:
        first, loads = synced(room, "dated")
        assert loads == 1
        place.put("dated/2026-11-01.csv", OLD)
        again, loads = synced(room, "dated")
        assert again == first
        assert loads == (
            1 if isinstance(place, Folder) else 0
        )  # a folder knows no hash: it is read, and found the same
