"""The wall around the tests: what the conftest refuses, and what it lets through."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import settings


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.com"])
def test_other_machines_are_out_of_reach(host):
    with pytest.raises(RuntimeError, match="this machine only"):
        socket.create_connection((host, 80), timeout=1)


def test_datagrams_stay_too():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        pytest.raises(RuntimeError, match="this machine only"),
    ):
        sender.sendto(b"x", ("192.0.2.1", 9))


def test_this_machine_is_in_reach(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))


def test_the_profile_is_the_one_asked_for():
    assert settings.get_current_profile_name() == os.environ.get("HYPOTHESIS_PROFILE", "quick")
