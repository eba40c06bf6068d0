"""Commands of other processes while one process owns the workspace's DuckDB file."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shop_workspace import make_shop
from signalroom.cli import handover
from signalroom.cli.handover import HandOverError, listening
from signalroom.cli.session import Session
from signalroom.errors import RetryableError

COMMAND = Path(sys.executable).with_name("signalroom")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")]


# A process of its own: pytest keeps putting its own standard output back.
OWNER = """
import sys
from pathlib import Path
from signalroom.cli.door import Door
from signalroom.room import Room

with Room.open(Path(sys.argv[1])) as room:
    room.warehouse.merged("", "")  # the file is open, so nobody else can
    with Door(room):
        print("ready", flush=True)
        sys.stdin.read()
        print("still mine", flush=True)
"""


@pytest.fixture
def owned(tmp_path):
    """A workspace that another process owns, at a path longer than a socket's address may be."""
    root = make_shop(tmp_path / ("a-long-name-" * 9))
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", OWNER, root], stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdout.readline() == "ready\n"
        yield root
        said, _ = owner.communicate("", timeout=30)
        assert said == "still mine\n"  # nothing that belonged to a caller
    assert not handover.address_of(root).exists()


def call(root, *words, **options):
    return subprocess.run(
        [COMMAND, *words], cwd=root, capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_a_command_runs_in_the_owner_and_is_shown_by_the_caller(owned):
    synced = call(owned, "sync", "shop", "--json")
    assert synced.returncode == 0, synced.stderr
    assert sum(one["rows_in"] for one in json.loads(synced.stdout)["streams"]) > 0
    counted = call(owned, "query", "-", "--json", input="select count(*) as n from shop.orders")
    assert json.loads(counted.stdout)["rows"][0][0] > 0, counted.stderr
    assert "shop.orders" in call(owned, "status").stdout


def test_errors_and_exit_codes_come_back(owned):
    wrong = call(owned, "query", "select * from nowhere")
    assert wrong.returncode != 0
    assert wrong.stdout == ""
    assert "nowhere" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert call(owned, "sync", "shpo").returncode == 2


def test_many_callers_at_once_each_get_their_own_answer(owned):
    queries = [
        subprocess.Popen([COMMAND, "query", f"select {n} as n", "--json"], cwd=owned, stdout=subprocess.PIPE)
        for n in range(6)
    ]
    answers = [json.loads(query.communicate(timeout=60)[0])["rows"] for query in queries]
    assert answers == [[[n]] for n in range(6)]


def test_a_reader_that_leaves_does_not_hurt_the_owner(owned):
    left = subprocess.Popen(
        [COMMAND, "query", "select * from range(200000)", "--limit", "0"], cwd=owned, stdout=subprocess.PIPE
    )
    left.stdout.read(100)
    left.stdout.close()
    left.wait(60)
    assert call(owned, "query", "select 1").returncode == 0


def test_the_door_is_for_its_owner_and_leaves_nothing(owned, tmp_path):
    address = handover.address_of(owned)
    assert stat.S_IMODE(address.stat().st_mode) == 0o600
    assert listening(owned) == address
    with pytest.raises(HandOverError), Session(workspace=owned).room():
        pass
    with Session(workspace=owned).room(here=True):
        pass


def test_a_door_that_is_left_over_is_none(tmp_path):
    root = make_shop(tmp_path / "shop")
    assert listening(root) is None
    address = handover.address_of(root)
    address.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(os.path.relpath(address))
    assert listening(root) is None
    with pytest.raises(RetryableError, match="ended while it was at it"):
        handover.hand_over(address, ["status"])
    assert call(root, "sync", "shop").returncode == 0
