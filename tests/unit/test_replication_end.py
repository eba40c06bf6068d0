"""How a stream of changes ends when its server does not."""

import contextlib
import socket
from types import SimpleNamespace

from signalroom.clients import replication


def test_a_server_that_is_out_of_reach_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(replication, "_FAREWELL_S", 0.01)
    told = []
    with contextlib.ExitStack() as sockets:
        ours, silent = (sockets.enter_context(one) for one in socket.socketpair())
        one = replication.Replication.__new__(replication.Replication)
        one._streaming = True
        one._wire = SimpleNamespace(
            socket=ours.fileno(), put_copy_end=lambda: told.append("end"), flush=lambda: None,
            get_copy_data=lambda _: (0, None), consume_input=lambda: None,
        )  # fmt: skip
        one._connection = SimpleNamespace(close=lambda: told.append("closed"))
        one.close()
        assert silent.fileno() > 0
    assert told == ["end", "closed"]
