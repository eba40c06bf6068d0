"""Exports and the lake on a real S3 server: the same tables as from a folder, and errors that a person can mend."""

import csv
import gzip
import io
import itertools
import os
from pathlib import Path

import pytest

from affiliates import NAMES_OF_LOADS, Clock, checksums, make_affiliates, small_world
from signalroom.clients.objects import ObjectStore
from signalroom.engine import inline
from signalroom.errors import ConfigError, RetryableError
from signalroom.room import Room
from signalroom.simulators import write_exports

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("seaweed")]

ON_S3 = {
    'url = "env:EXPORTS_URL"           # s3://bucket or a folder': """url = "env:EXPORTS_URL"
endpoint = "env:EXPORTS_ENDPOINT"
access_key = "env:EXPORTS_ACCESS_KEY"
secret_key = "env:EXPORTS_SECRET_KEY\""""
}
LAKE_ON_S3 = {
    'url = ".signalroom/lake"          # or s3://bucket/prefix': """url = "env:LAKE_URL"
endpoint = "env:EXPORTS_ENDPOINT"
access_key = "env:EXPORTS_ACCESS_KEY"
secret_key = "env:EXPORTS_SECRET_KEY\""""
}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def exports(tmp_path, clock):
    folder = tmp_path / "exports"
    write_exports(small_world(clock), folder)
    return folder


@pytest.fixture
def bucket(seaweed, monkeypatch):
    """An empty place in a bucket, and the environment of a workspace that may use it."""
    monkeypatch.setenv("EXPORTS_ENDPOINT", seaweed.endpoint)
    monkeypatch.setenv("EXPORTS_ACCESS_KEY", seaweed.key)
    monkeypatch.setenv("EXPORTS_SECRET_KEY", seaweed.secret)
    monkeypatch.setenv("EVERFLOW_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("REDTRACK_BASE_URL", "http://127.0.0.1:1")
    return seaweed.place()


def upload(store: ObjectStore, folder: Path, *chosen: Path) -> None:
    """Put files of a folder (all, or those chosen) into a store, and give them the times that the store gave them."""
    for path in chosen or sorted(folder.rglob("*.csv*")):
        key = path.relative_to(folder).as_posix()
        store.put(key, [path.read_bytes()])
        found = store.head(key)
        assert found is not None
        os.utime(path, (found.last_modified.timestamp(),) * 2)


def synced(root, clock, *steps):
    """Run steps and return the checksums of the exports' tables without the columns that name loads."""
    with Room.open(root, clock=clock) as room:
        outcomes = [inline.run_step(room, step) for step in steps]
        return checksums(room, "s3_exports", exclude=NAMES_OF_LOADS), outcomes


def test_exports_on_s3_give_the_tables_of_a_folder(tmp_path, seaweed, bucket, exports, clock, monkeypatch):
    upload(seaweed.store(f"{bucket}/crm"), exports)
    monkeypatch.setenv("EXPORTS_URL", str(exports))
    from_folder, _ = synced(make_affiliates(tmp_path / "folder"), clock, "sync s3_exports")
    monkeypatch.setenv("EXPORTS_URL", f"{bucket}/crm")
    root = make_affiliates(tmp_path / "s3", ON_S3)
    from_s3, (outcome,) = synced(root, clock, "sync s3_exports")
    assert len(from_s3) == 4
    assert from_s3 == from_folder
    assert sum(one.merge.rows_in for one in outcome.streams) > 100
    # a second sync reads no object and makes no load; a corrected upload and a late file are read, the rest is not
    read: list[str] = []
    real = ObjectStore.read

    def reading(self, item, **options):
        read.append(item if isinstance(item, str) else item.key)
        return real(self, item, **options)

    monkeypatch.setattr(ObjectStore, "read", reading)
    again, (second,) = synced(root, clock, "sync s3_exports")
    assert read == []
    assert again == from_s3
    assert [one.merge.load_ids for one in second.streams] == [()] * 4
    newest = max(exports.glob("orders-create/*.csv"))
    late = newest.with_name("report_2026-11-01T0010_00000000.csv")
    late.write_bytes(max(exports.glob("orders-update/*.csv")).read_bytes())
    newest.write_bytes(b"".join(newest.read_bytes().splitlines(keepends=True)[:20]))
    for path in (newest, late):
        seaweed.store(f"{bucket}/crm").put(path.relative_to(exports).as_posix(), [path.read_bytes()])
    changed, _ = synced(root, clock, "sync s3_exports")
    assert sorted(read) == sorted(path.relative_to(exports).as_posix() for path in (newest, late))
    monkeypatch.setenv("EXPORTS_URL", str(exports))
    clean, _ = synced(make_affiliates(tmp_path / "clean"), clock, "sync s3_exports")
    assert (
        changed["s3_exports.orders_create"] == clean["s3_exports.orders_create"] != from_s3["s3_exports.orders_create"]
    )


def squeezed(path: Path) -> Path:
    """Put a gzip file in a file's place."""
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()
    return packed


def first_records(text: bytes, count: int) -> bytes:
    """Return a file's header and its first records; a record may have line breaks within quotes."""
    sink = io.StringIO(newline="")
    rows = csv.reader(io.StringIO(text.decode(), newline=""))
    csv.writer(sink).writerows(itertools.islice(rows, count + 1))
    return sink.getvalue().encode()


def test_gzipped_exports_and_their_corrections_on_s3_give_the_tables_of_a_folder(
    tmp_path, seaweed, bucket, exports, clock, monkeypatch
):
    first, *others = sorted(exports.glob("orders-*/*.csv"))
    packed = [squeezed(path) for path in others]  # one stays plain: both may meet in one stream
    store = seaweed.store(f"{bucket}/crm")
    upload(store, exports)
    anything = {f'path = "{name}/*.csv"': f'path = "{name}/*.csv*"' for name in ("orders-create", "orders-update")}
    folder, s3 = make_affiliates(tmp_path / "folder", anything), make_affiliates(tmp_path / "s3", ON_S3 | anything)

    def both():
        monkeypatch.setenv("EXPORTS_URL", f"{bucket}/crm")
        from_s3, (outcome,) = synced(s3, clock, "sync s3_exports")
        monkeypatch.setenv("EXPORTS_URL", str(exports))
        from_folder, _ = synced(folder, clock, "sync s3_exports")
        assert from_s3 == from_folder
        return from_s3, sum(one.merge.rows_in for one in outcome.streams)

    before, rows = both()
    assert rows > 100
    # corrected under its name, and a plain file that is replaced by other rows
    for path, kept in ((packed[0], 15), (first, 25)):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = first_records(text, kept)
        path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    upload(store, exports, packed[0], first)
    after, rows = both()
    assert rows == 15 + 25
    assert {name for name in after if after[name] != before[name]} == {"s3_exports.orders_create"}
    again, rows = both()
    assert (again, rows) == (after, 0)
    clean = make_affiliates(tmp_path / "clean", ON_S3 | anything)
    monkeypatch.setenv("EXPORTS_URL", f"{bucket}/crm")
    assert synced(clean, clock, "sync s3_exports")[0] == after


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("EXPORTS_SECRET_KEY", "wrong", "refused us"),
        ("EXPORTS_ACCESS_KEY", "nobody", "refused us"),
        ("EXPORTS_URL", "s3://there-is-no-such-bucket", "does not exist"),
    ],
)
def test_what_a_person_must_mend(tmp_path, seaweed, bucket, exports, clock, monkeypatch, variable, value, said):
    upload(seaweed.store(bucket), exports)
    monkeypatch.setenv("EXPORTS_URL", bucket)
    monkeypatch.setenv(variable, value)
    root = make_affiliates(tmp_path / "s3", ON_S3)
    with Room.open(root, clock=clock) as room:
        with pytest.raises(ConfigError, match=said) as caught:
            inline.run_step(room, "sync s3_exports.orders_create")
        assert caught.value.mend
        assert room.lake.committed("s3_exports", "orders_create") == []
        assert room.ledger.runs.list()[0].status == "error"
    monkeypatch.setenv("EXPORTS_SECRET_KEY", seaweed.secret)
    monkeypatch.setenv("EXPORTS_ACCESS_KEY", seaweed.key)
    monkeypatch.setenv("EXPORTS_URL", bucket)
    made, _ = synced(root, clock, "sync s3_exports.orders_create")
    assert int(made["s3_exports.orders_create"].partition(":")[0]) > 0


def test_a_server_that_is_down_may_be_asked_again(tmp_path, bucket, clock, monkeypatch):
    monkeypatch.setenv("EXPORTS_URL", bucket)
    monkeypatch.setenv("EXPORTS_ENDPOINT", "http://127.0.0.1:1")
    root = make_affiliates(tmp_path / "s3", ON_S3)
    with Room.open(root, clock=clock) as room, pytest.raises(RetryableError, match="could not be reached"):
        inline.run_step(room, "sync s3_exports.orders_create")


def test_a_lake_on_s3_is_a_lake(tmp_path, seaweed, bucket, exports, clock, monkeypatch):
    monkeypatch.setenv("EXPORTS_URL", str(exports))
    monkeypatch.setenv("LAKE_URL", f"{bucket}/raw")
    local, _ = synced(make_affiliates(tmp_path / "local"), clock, "sync s3_exports")
    root = make_affiliates(tmp_path / "remote", LAKE_ON_S3)
    remote, _ = synced(root, clock, "sync s3_exports")
    assert remote == local
    # a corrected upload brings back what its earlier version had displaced: older parts are fetched from the lake
    corrected = max(exports.glob("orders-update/*.csv"))
    corrected.write_bytes(b"".join(corrected.read_bytes().splitlines(keepends=True)[:5]))
    local, _ = synced(tmp_path / "local", clock, "sync s3_exports")
    remote, _ = synced(root, clock, "sync s3_exports")
    assert remote == local
    for path in exports.rglob("*.csv"):
        path.unlink()
    with Room.open(root, clock=clock) as room:
        before = checksums(room, "s3_exports")
        inline.run_step(room, "replay --source s3_exports")
        assert checksums(room, "s3_exports") == before
        loads = room.lake.loads("s3_exports", "orders_update")
        assert len(loads) == 2
        assert [word for load in loads for word in room.lake.verify(load)] == []
    kept = [info.key for info in seaweed.store(f"{bucket}/raw").list("s3_exports/orders_update")]
    assert sum(key.endswith("_load.json") for key in kept) == 2
    assert not (root / ".signalroom/lake").exists()


def test_a_lake_that_refuses_us_is_told_with_its_mend(tmp_path, bucket, exports, clock, monkeypatch):
    monkeypatch.setenv("EXPORTS_URL", str(exports))
    monkeypatch.setenv("LAKE_URL", f"{bucket}/raw")
    monkeypatch.setenv("EXPORTS_SECRET_KEY", "wrong")
    root = make_affiliates(tmp_path / "remote", LAKE_ON_S3)
    with Room.open(root, clock=clock) as room:
        with pytest.raises(ConfigError, match="refused us"):
            inline.run_step(room, "sync s3_exports.orders_create")
        assert room.warehouse.positions("s3_exports", "orders_create").partitions == {}
