"""Processor time of the server's process behind a connection: read from this machine, or not at all.

SQL does not tell it, and what log settings tell is for who may change them. Where the server runs on this machine, the
kernel counts it. Parallel workers are processes of their own, and what they use is not in it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalroom.warehouse import postgres_session as session

if TYPE_CHECKING:
    import psycopg

_PROCESSES = Path("/proc")
_WHO = "SELECT pg_backend_pid(), session_user, current_database(), inet_client_port()"


class Spent:
    """What has passed since it was made: time, and processor time of one connection's server process."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._began = time.monotonic()
        self._process = process_of(connection)
        self._cpu_s = _cpu_s(self._process)

    def so_far(self) -> tuple[float, int | None]:
        """Return seconds, and processor time by them in per cent; None where it cannot be measured."""
        seconds, cpu_s = time.monotonic() - self._began, _cpu_s(self._process)
        if cpu_s is None or self._cpu_s is None or not seconds:
            return seconds, None
        return seconds, round(100 * (cpu_s - self._cpu_s) / seconds)


def process_of(connection: psycopg.Connection[tuple[Any, ...]]) -> Path | None:
    """Return the folder in which the kernel tells of a connection's server process.

    None where that process is not of this machine, or not this connection's alone: its number is another machine's, or
    another container's, and whoever has it here is somebody else; or a pooler lends it.
    """
    pid, user, database, port = session.execute(connection, _WHO, [])[0]
    folder = _PROCESSES / str(pid)
    try:
        title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    client = "[local]" if port is None else f"({port})"
    ours = title.startswith("postgres:") and f" {user} {database} " in title and client in title
    return folder if ours and pid == connection.info.backend_pid else None


def _cpu_s(process: Path | None) -> float | None:
    """Return the seconds a process has had a processor; None where the kernel does not tell."""
    try:
        return None if process is None else int((process / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return None
