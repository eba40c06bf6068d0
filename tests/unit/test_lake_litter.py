"""What killed syncs leave in a lake, and when it goes."""

from ledger_laws import HandClock
from signalroom.clock import SystemClock
from signalroom.lake.lake import Lake, LakeSettings
from signalroom.stream import Batch, Raw, Stream, Table

STREAM = Stream("crm", "orders", (Table("orders"),))


def append(writer):
    writer.append(Batch("orders", Raw([b"id,name\r\n1,x\r\n"], "csv")))
    return writer


def test_what_a_killed_sync_left_goes_a_day_later_when_the_next_begins(tmp_path, caplog, monkeypatch):
    clock = HandClock()
    clock.moment = SystemClock().now()  # that of the files
    lake = Lake.open(LakeSettings(url="lake", root=tmp_path, clock=clock))
    kept = append(lake.begin(STREAM)).commit()
    killed = append(lake.begin(STREAM))
    folder = lake.store.local_path(f"crm/orders/{killed.load_id}")
    for hours, there in ((2, True), (23, False)):
        clock.advance(hours * 3600)
        lake.begin(STREAM)
        assert folder.exists() == there
    assert lake.committed("crm", "orders") == [kept.load_id]
    append(lake.begin(STREAM))
    clock.advance(25 * 3600)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.rmdir", refuse)
    with lake.begin(STREAM) as writer:  # where nobody may delete, it loads all the same
        assert append(writer).commit() is not None
    assert "is still there: " in caplog.text
    lake.close()
