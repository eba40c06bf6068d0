"""Objects in a local folder: whole or not at all, and never a mixture of two versions."""

import os
from pathlib import Path

import pytest

from signalroom.clients import durable
from signalroom.clients.objects import ObjectStore, revealed
from signalroom.clients.s3 import refused
from signalroom.errors import ConfigError, RetryableError
from signalroom.workspace.settings import Secret


@pytest.fixture
def store(tmp_path):
    return ObjectStore.open(str(tmp_path))


def content(store, item) -> bytes:
    return b"".join(store.read(item, chunk_bytes=4))


def test_put_list_read_delete(store, tmp_path):
    assert store.put("b/c/two.csv", [b"12", b"345"]) == 5
    assert store.put("a.csv", []) == 0
    listed = store.list()
    assert [(info.key, info.size) for info in listed] == [("a.csv", 0), ("b/c/two.csv", 5)]
    found = tmp_path / "b/c/two.csv"
    assert listed[1].etag == f"{found.stat().st_mtime_ns}-5"
    assert listed[1].last_modified.tzinfo is not None
    assert content(store, listed[1]) == b"12345"
    assert [info.key for info in store.list("b")] == ["b/c/two.csv"]
    assert store.list("b/nothing") == []
    store.delete(["b/c/two.csv", "b/c/two.csv"])
    assert store.head("b/c/two.csv") is None
    assert store.head("a.csv") == listed[0]


def test_create_does_not_replace(store):
    store.put("a", [b"1"], create=True)
    with pytest.raises(FileExistsError):
        store.put("a", [b"2"], create=True)
    assert content(store, "a") == b"1"
    assert [info.key for info in store.list()] == ["a"]


def test_create_where_the_file_system_has_no_links(store, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(durable.os, "link", refuse)
    store.put("a", [b"1"], create=True)
    with pytest.raises(FileExistsError):
        store.put("a", [b"2"], create=True)
    assert content(store, "a") == b"1"


def test_a_put_that_fails_leaves_nothing(store, tmp_path):
    def broken():
        yield b"half"
        raise ValueError("upstream broke")

    store.put("a", [b"old"])
    with pytest.raises(ValueError, match="upstream broke"):
        store.put("a", broken())
    assert content(store, "a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_leftovers_of_a_crash_are_not_listed(store, tmp_path):
    (tmp_path / ".a.0123abcd.tmp").write_bytes(b"half")
    (tmp_path / ".hidden").write_bytes(b"1")
    assert [info.key for info in store.list()] == [".hidden"]


def test_a_change_between_listing_and_reading(store, tmp_path):
    store.put("a", [b"12345678"])
    (info,) = store.list()
    store.put("a", [b"other bytes"])
    with pytest.raises(RetryableError, match=r"a of .* changed while it was read"):
        content(store, info)


def test_a_change_during_reading(store, tmp_path):
    store.put("a", [b"12345678"])
    (info,) = store.list()
    chunks = store.read(info, chunk_bytes=4)
    next(chunks)
    with (tmp_path / "a").open("ab") as sink:
        sink.write(b"more")
    with pytest.raises(RetryableError, match="changed"):
        list(chunks)


def test_a_replacement_during_reading(store):
    store.put("a", [b"12345678"])
    chunks = store.read("a", chunk_bytes=4)
    next(chunks)
    store.put("a", [b"87654321x"])
    with pytest.raises(RetryableError, match="changed"):
        list(chunks)


def test_an_object_that_went_away(store):
    store.put("a", [b"1"])
    (info,) = store.list()
    store.delete(["a"])
    with pytest.raises(RetryableError, match="a is no longer in"):
        content(store, info)


def test_moving(store, tmp_path):
    store.put("a/b", [b"1"])
    store.move("a/b", "c/d/e")
    assert [info.key for info in store.list()] == ["c/d/e"]


def test_addresses(tmp_path):
    assert ObjectStore.open("raw", root=tmp_path).local_path("x") == tmp_path / "raw/x"
    assert ObjectStore.open(f"file://{tmp_path}/with%20space").local_path("x") == tmp_path / "with space/x"
    assert ObjectStore.open("s3://bucket/prefix", access_key="k", secret_key="s").local_path("x") is None
    for url in ("", "gs://bucket", "s3://", "ftp://host/x"):
        with pytest.raises(ConfigError, match="is no address of objects"):
            ObjectStore.open(url)


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        ObjectStore.open(str(tmp_path / "none")).list()


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x"])
def test_keys_do_not_lead_out(store, key):
    with pytest.raises(ConfigError, match="leads out of"):
        store.put(key, [b"1"])


def test_everything_is_synced_before_it_is_visible(store, tmp_path, monkeypatch):
    events = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor):
        events.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name[:2]))
        real_fsync(descriptor)

    def replace(self, target):
        events.append(("rename", target.name))
        return real_replace(self, target)

    monkeypatch.setattr(durable.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    (tmp_path / "in").mkdir()
    store.put("in/x", [b"1"])
    assert events == [("fsync", ".x"), ("rename", "x"), ("fsync", "in")]


def test_a_short_write_is_gone_on_with(store, tmp_path):
    class Sink:
        taken = b""

        def write(self, view):
            self.taken += bytes(view[:3])
            return min(3, len(view))

    sink = Sink()
    durable.write_all(sink, b"0123456789")
    assert sink.taken == b"0123456789"


def test_answers_of_a_store_become_our_errors():
    said = "status code: 403 Forbidden: <Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIDSECRET</AWSAccessKeyId>"
    for text, kind, words in [
        (said, ConfigError, "refused us: InvalidAccessKeyId"),
        ("status code: 404 Not Found: <Code>NoSuchBucket</Code>", ConfigError, "bucket .* does not exist"),
        ("status code: 301: <Code>PermanentRedirect</Code>", ConfigError, "another region"),
        ("status code: 404 Not Found: <html>", ConfigError, "No S3 store answers"),
        ("client error: dns error: failed", ConfigError, "No S3 store answers"),
        ("error sending request: connection refused", RetryableError, "could not be reached: no connection"),
        ("status code: 503: <Code>SlowDown</Code>", RetryableError, "could not be reached: SlowDown"),
    ]:
        problem = refused("s3://bucket", "k", text)
        assert type(problem) is kind
        with pytest.raises(kind, match=words):
            raise problem
        assert "AKIDSECRET" not in str(problem)
        assert problem.mend


def test_keys_that_nobody_gave_are_left_to_the_machine():
    assert revealed(None) is None
    assert revealed(Secret("env:AWS_ACCESS_KEY_ID")) is None
    assert revealed(Secret("env:MY_KEY", "abc")) == "abc"
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        revealed(Secret("env:MY_KEY"))
