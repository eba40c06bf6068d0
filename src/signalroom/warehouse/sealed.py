"""A sealed process for a manifest's SQL, as its parent sees it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Self

from signalroom.errors import DataError
from signalroom.view import ViewLimits

if TYPE_CHECKING:
    import pyarrow as pa

_PASSED_ON: Final = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV", "LANG",
    "LC_ALL", "LD_LIBRARY_PATH",
)  # fmt: skip
"""The environment it gets: enough to start Python. Secrets live in the rest."""

_STARTING_S = 60.0  # for Python to start and a table to be taken, on a busy machine; no time of a query


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of one query, and what the process measured while it ran."""

    rows: pa.Table
    seconds: float
    cpu_s: float
    memory_bytes: int


class Sealed:
    """A ``python -m signalroom.warehouse.sealed_worker`` and the pipes to it. Not for two threads at once.

    Tables are handed over before the first query; a query that breaks a limit ends the process.
    """

    def __init__(self, limits: ViewLimits) -> None:
        self._limits = limits
        self._last_words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        # -P keeps the current directory, often a workspace with files of its own, off the import path.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-X", "utf8", "-m", "signalroom.warehouse.sealed_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_words,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us: what it is at work on may end
            env={
                **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                "MALLOC_ARENA_MAX": "1",  # each further heap reserves address space, which is bounded
            },
        )
        memory = limits.memory_mb * 2**20
        # Beside DuckDB's memory, which is bounded by itself: the libraries, the rows as they come in and go out.
        asked = {
            "memory_mb": limits.memory_mb, "cpu_s": limits.timeout_s, "address_bytes": 3 * memory + 2**31,
            "zone": limits.zone,
        }  # fmt: skip
        self._send(json.dumps(asked).encode(), self._deadline())

    def give(self, name: str, rows: pa.Table) -> None:
        """Hand over one table; raises DataError where it does not fit into memory."""
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        deadline = self._deadline() + _STARTING_S
        self._send(json.dumps({"table": name}).encode(), deadline)
        self._send(sink.getvalue(), deadline)
        head = json.loads(self._receive(deadline))
        if "error" in head:
            raise DataError(f"Table {name} cannot be read by a view: {head['error'].rstrip('.')}.")

    def ask(self, sql: str) -> Answer:
        """Return the rows of one query.

        Raises:
            DataError: It is wrong, or broke a limit; in the latter case :attr:`alive` is false.
        """
        import pyarrow as pa

        deadline = self._deadline()
        self._send(json.dumps({"query": sql}).encode(), deadline)
        head = json.loads(self._receive(deadline))
        if "error" in head:
            raise DataError(f"The query failed: {head['error'].rstrip('.')}.", mend="Correct the manifest's SQL.")
        rows = pa.ipc.open_stream(self._receive(deadline)).read_all()
        return Answer(rows, head["seconds"], head["cpu_s"], head["memory_bytes"])

    @property
    def alive(self) -> bool:
        """Whether it can take another query."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process and give back its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._last_words):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._limits.timeout_s

    def _send(self, payload: Any, deadline: float) -> None:
        sink = self._fd(self._process.stdin)
        os.set_blocking(sink, False)
        for left in (memoryview(len(payload).to_bytes(8, "big")), memoryview(payload)):
            while left:
                self._wait([], [sink], deadline)
                try:
                    left = left[os.write(sink, left[: 1 << 20]) :]  # noqa: PLW2901 - what is left of it
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._died() from None

    def _receive(self, deadline: float) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(8, deadline), "big"), deadline)

    def _exactly(self, size: int, deadline: float) -> bytes:
        source, held = self._fd(self._process.stdout), bytearray()
        while len(held) < size:
            self._wait([source], [], deadline)
            piece = os.read(source, min(1 << 20, size - len(held)))
            if not piece:
                raise self._died()
            held += piece
        return bytes(held)

    def _wait(self, readable: list[int], writable: list[int], deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or select.select(readable, writable, [], left) == ([], [], []):
            self._process.kill()
            self._process.wait()
            raise self._too_long()

    def _too_long(self) -> DataError:
        return DataError(
            f"The query took longer than {self._limits.timeout_s} s.",
            mend="Build a model for what it adds up, or raise [views] timeout_s.",
        )

    def _died(self) -> DataError:
        code = self._process.wait()
        if code == -signal.SIGPROF:
            return self._too_long()
        self._last_words.seek(0)
        lines = self._last_words.read().decode(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "no word").strip()
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        return DataError(
            f"The query ended its process ({how}: {said}).", mend="Ask for less at once, or raise [views] memory_mb."
        )

    @staticmethod
    def _fd(pipe: IO[bytes] | None) -> int:
        if pipe is None:  # pragma: no cover - both are asked for when the process is started
            raise ValueError("The process has no pipe.")
        return pipe.fileno()
