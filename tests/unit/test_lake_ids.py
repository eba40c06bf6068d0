"""Load ids sort by the moment they were made."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from signalroom.errors import DataError
from signalroom.lake.ids import Ids, is_id, moment_of

NOW = datetime(2026, 11, 20, 6, 59, 59, 999_999, tzinfo=UTC)


def test_ids_of_many_threads_rise():
    found, ids = [], Ids()
    threads = [threading.Thread(target=lambda: found.extend(ids.next(NOW) for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.rpartition("-")[0] for one in found}) == 200


def test_an_id_is_after_another_process_whose_clock_is_ahead():
    ahead = Ids().next(NOW + timedelta(days=400))
    assert Ids().next(NOW, after=ahead) > ahead
    assert moment_of(Ids().next(NOW, after=ahead)) > moment_of(ahead)


def test_a_clock_that_steps_back():
    ids = Ids()
    found = [ids.next(NOW - timedelta(seconds=number)) for number in range(5)]
    assert found == sorted(set(found))


def test_what_is_no_id():
    assert is_id(Ids().next(NOW))
    for name in ("", "_load.json", "20261120", "20261120T055959999999Z-xyz"):
        assert not is_id(name)
        with pytest.raises(DataError, match="is no load id"):
            moment_of(name)
