"""The process in which a manifest's SQL runs: an in-memory DuckDB that holds the rows it may see and nothing else.

``python -m signalroom.warehouse.sealed_worker``, started by :class:`signalroom.warehouse.sealed.Sealed`; it ends when
its input does. Frames are eight bytes of length and a payload. In: the limits; then ``{"table": name}`` and an Arrow
stream, or ``{"query": sql}``. Out: ``{}`` for a table; for a query ``{"seconds": …, …}`` and an Arrow stream; for
either ``{"error": text}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from typing import Any, BinaryIO


def main() -> None:
    """Answer queries until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints goes the way of its errors
    import duckdb
    import pyarrow as pa

    pa.cpu_count()  # imported before the limits hold: under them it could not be
    sys.dont_write_bytecode = True
    limits = json.loads(_read(sys.stdin.buffer) or b"{}")
    _confine(int(limits["address_bytes"]))
    # No file, no extension, no variable of this process is in reach, and no statement can change that.
    connection = duckdb.connect(
        config={
            "enable_external_access": "false", "autoinstall_known_extensions": "false", "threads": "1",
            "autoload_known_extensions": "false", "memory_limit": f"{limits['memory_mb']}MB", "temp_directory": "",
            "python_enable_replacements": "false",
        }
    )  # fmt: skip
    connection.execute("SET TimeZone = ?", [limits["zone"]])  # in which a moment is of a day
    connection.execute("SET lock_configuration = true")
    while (frame := _read(sys.stdin.buffer)) is not None:
        request = json.loads(frame)
        if "table" in request:
            _take(connection, request["table"], _read(sys.stdin.buffer) or b"", answers)
            answers.flush()
            continue
        # Its default action ends the process, even inside a call that no Python code could interrupt.
        signal.setitimer(signal.ITIMER_PROF, limits["cpu_s"])
        _answer(connection, request["query"], answers)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.flush()


def _take(connection: Any, name: str, stream: bytes, answers: BinaryIO) -> None:
    import duckdb
    import pyarrow as pa

    try:
        connection.register("signalroom_rows", pa.ipc.open_stream(stream).read_all())
        quoted = '"' + name.replace('"', '""') + '"'
        connection.execute(f"CREATE TABLE {quoted} AS SELECT * FROM signalroom_rows")
        connection.unregister("signalroom_rows")
    except (duckdb.Error, pa.ArrowException, MemoryError) as problem:
        _write(answers, json.dumps({"error": _first_line(problem)}).encode())
        return
    _write(answers, b"{}")


def _first_line(problem: BaseException) -> str:
    return str(problem).strip().partition("\n")[0] or type(problem).__name__


def _answer(connection: Any, sql: str, answers: BinaryIO) -> None:
    import duckdb
    import pyarrow as pa

    began, cpu = time.monotonic(), time.process_time()
    try:
        rows = connection.execute(sql).to_arrow_table()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        payload = sink.getvalue()
    except (duckdb.Error, pa.ArrowException, MemoryError) as problem:
        _write(answers, json.dumps({"error": _first_line(problem)}).encode())
        return
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    measured = {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu, "memory_bytes": most}
    _write(answers, json.dumps(measured).encode())
    _write(answers, payload)


def _confine(address_bytes: int) -> None:
    """Bound memory, and take away files to write, descriptors and core dumps."""
    for limit, value in (
        (resource.RLIMIT_AS, address_bytes),
        (resource.RLIMIT_FSIZE, 65_536),  # its own last words, which its parent reads
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError):  # macOS refuses to bound the address space; DuckDB's own limit holds
            resource.setrlimit(limit, (allowed, allowed))


def _read(source: BinaryIO) -> bytes | None:
    """Return the next frame, or None at the end of the input."""
    head = source.read(8)
    return source.read(int.from_bytes(head, "big")) if len(head) == 8 else None


def _write(sink: BinaryIO, payload: Any) -> None:
    sink.write(len(payload).to_bytes(8, "big"))
    sink.write(payload)


if __name__ == "__main__":
    main()
