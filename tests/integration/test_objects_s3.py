"""Objects, lake and files on a real S3 server."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from seaweed_server import SeaweedServer
from signalroom.clients.objects import ObjectStore
from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.lake.lake import Lake, LakeSettings
from signalroom.position import Position
from signalroom.sources.files import Files, FileStream
from signalroom.stream import Batch, Raw, Stream, Table
from signalroom.workspace.settings import Secret

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("seaweed")]

KEY, SECRET = SeaweedServer.key, SeaweedServer.secret
STREAM = Stream("crm", "orders", (Table("orders"),))


@pytest.fixture(scope="module")
def endpoint(seaweed):
    return seaweed.endpoint


def open_store(address, url="s3://bucket-one", **settings):
    given = {"access_key": KEY, "secret_key": SECRET, "endpoint": address} | settings
    return ObjectStore.open(url, **given)


@pytest.fixture
def prefix(request):
    return f"s3://bucket-one/{abs(hash(request.node.nodeid))}"


@pytest.fixture
def store(endpoint, prefix):
    return open_store(endpoint, prefix)


def test_objects(store):
    big = [bytes([n]) * 1_000_000 for n in range(12)]
    assert store.put("b/big", big) == 12_000_000
    assert store.put("a b+ü.csv", [b"1", b"2"]) == 2
    assert store.put("empty", []) == 0
    listed = store.list()
    assert [(info.key, info.size) for info in listed] == [("a b+ü.csv", 2), ("b/big", 12_000_000), ("empty", 0)]
    assert b"".join(store.read(listed[1])) == b"".join(big)
    assert [info.key for info in store.list("b")] == ["b/big"]
    assert store.head("a b+ü.csv") == listed[0]
    assert store.head("none") is None
    store.move("b/big", "c/big")
    store.delete(["empty", "none"])
    assert [info.key for info in store.list()] == ["a b+ü.csv", "c/big"]


def test_create_does_not_replace(store):
    store.put("a", [b"1"], create=True)
    with pytest.raises(FileExistsError):
        store.put("a", [b"2"], create=True)
    assert b"".join(store.read("a")) == b"1"


def test_an_upload_that_breaks_leaves_nothing(store):
    def chunks():
        yield b"x" * 6_000_000
        raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        store.put("a", chunks())
    assert store.head("a") is None


def test_changes_are_noticed(store):
    store.put("a", [b"1"])
    (info,) = store.list()
    store.put("a", [b"2"])
    with pytest.raises(RetryableError, match=r"a of .* changed"):
        list(store.read(info))
    store.delete(["a"])
    with pytest.raises(RetryableError, match="a is no longer in"):
        list(store.read(info))


def test_what_a_person_must_mend(endpoint):
    for settings, words in [
        ({"secret_key": "wrong"}, "refused us: SignatureDoesNotMatch"),
        ({"access_key": "wrong"}, "refused us: InvalidAccessKeyId"),
        ({"url": "s3://no-such-bucket"}, "bucket of s3://no-such-bucket does not exist"),
    ]:
        with pytest.raises(ConfigError, match=words) as caught:
            open_store(endpoint, **settings).list()
        assert caught.value.mend
        assert "wrong" not in str(caught.value)
    with pytest.raises(RetryableError, match="could not be reached"):
        open_store("http://127.0.0.1:1").list()


def test_a_lake(endpoint, prefix):
    settings = LakeSettings(
        url=f"{prefix}/raw", endpoint=endpoint, access_key=Secret("env:K", KEY), secret_key=Secret("env:S", SECRET)
    )
    lake = Lake.open(settings)
    data = b"id\n" + b"".join(b"%d\n" % n for n in range(100_000))
    with lake.begin(STREAM) as writer:
        parts = writer.append_many(
            Batch("orders", Raw([data], "csv"), object_key=f"{n}.csv", position={f"{n}.csv": {"etag": "1"}})
            for n in range(4)
        )
        with pytest.raises(DataError, match="not gzip"):
            writer.append(Batch("orders", Raw([b"no"], "csv", "gzip"), source_ref="bad"))
        load = writer.commit()
    assert [part.rows for part in parts] == [100_000] * 4
    assert lake.loads("crm", "orders") == [load]
    path = lake.local(load, load.parts[0])
    assert path.stat().st_size == load.parts[0].stored_bytes
    assert lake.local(load, load.parts[0]) == path
    assert lake.verify(load) == []
    other = lake.begin(STREAM)
    other.append(Batch("orders", Raw([data], "csv")))
    assert lake.committed("crm", "orders") == [load.load_id]
    assert lake.sweep(3600) == []
    assert lake.sweep(-3600) == [f"crm/orders/{other.load_id}"]
    with pytest.raises(RetryableError, match="was removed or cut"):
        other.commit()
    lake.store.delete([f"crm/orders/{load.load_id}/{load.parts[1].name}"])
    with pytest.raises(DataError, match="is gone from the lake"):
        lake.local(load, load.parts[1])
    assert lake.verify(load) == [f"crm/orders/{load.load_id}/{load.parts[1].name} is gone."]
    lake.close()
    assert not path.exists()


def test_a_lost_answer_to_the_commit_is_no_second_load(endpoint, prefix):
    lake = Lake.open(
        LakeSettings(url=prefix, endpoint=endpoint, access_key=Secret("env:K", KEY), secret_key=Secret("env:S", SECRET))
    )
    with lake.begin(STREAM) as writer:
        writer.append(Batch("orders", Raw([b"id\n1\n"], "csv")))
        load = writer.commit()
    lake.layout.mark(load)  # the store refuses the repetition, and what it holds is ours
    with pytest.raises(DataError, match="describes another load"):
        lake.layout.mark(replace(load, client="9"))


def test_files(endpoint, prefix, store):
    for day in (2, 1):
        store.put(f"orders/report_2026-11-0{day}T0000_x.csv", [b"id\n1\n"])
    source = Files(
        url=prefix,
        streams_={"orders": FileStream(path="orders/*.csv", file_time="report_%Y-%m-%dT%H%M_")},
        endpoint=endpoint,
        access_key=Secret("env:K", KEY),
        secret_key=Secret("env:S", SECRET),
    )
    (stream,) = source.streams()
    batches = list(source.read(stream, Position(), None))
    assert [batch.file_time for batch in batches] == [datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2)]
    assert [b"".join(batch.content.chunks) for batch in batches] == [b"id\n1\n"] * 2
    since = Position().overlay(*(batch.position for batch in batches))
    assert list(source.read(stream, since, None)) == []
    assert source.check() == []
