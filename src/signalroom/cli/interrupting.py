"""Ctrl-C while the warehouse computes: Python hears of it only once that has ended, DuckDB can be told at once."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from signalroom.room import Room

_AGAIN_S: Final = 0.1  # a query may begin after it was told to end, and Python hears of it after that one only


@contextmanager
def interruptible(room: Room) -> Generator[None]:
    """Let Ctrl-C end what a room's embedded warehouse computes within the block; KeyboardInterrupt is raised as ever.

    Elsewhere than in the main thread, where signals are nobody's, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = threading.Event()
    signals, writer = socket.socketpair()
    writer.setblocking(False)

    def hear(number: int, frame: Any) -> None:
        heard.set()
        room.interrupt()  # DuckDB asks Python, gives up, and then waits for threads of its own that nobody told
        signal.default_int_handler(number, frame)

    def watch() -> None:
        while arrived := signals.recv(16):  # written by the interpreter's own handler, whatever the main thread is at
            while signal.SIGINT in arrived and not heard.wait(_AGAIN_S):
                room.interrupt()

    thread = threading.Thread(target=watch, name="interrupting", daemon=True)
    handler = signal.signal(signal.SIGINT, hear)
    descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGINT, handler)
        heard.set()
        writer.close()
        thread.join()
        signals.close()
