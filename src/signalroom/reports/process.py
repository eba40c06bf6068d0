"""One process that renders, as its parent sees it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import IO, Any, Final

from signalroom.position import Json
from signalroom.reports.limits import Limits
from signalroom.reports.wire import encode

_PASSED_ON: Final = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX",
    "VIRTUAL_ENV",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
)
"""The environment it gets: enough to start Python. Secrets live in the rest."""


class Breach(Exception):  # noqa: N818 - it is not an error of ours: it becomes one with the report's name
    """The process broke a limit or died.

    Attributes:
        at: The template or chart it was working on.
        why: What happened, as the end of a sentence.
        mend: What a person can do about it.
    """

    def __init__(self, at: str, why: str, mend: str = "Look for a loop or a repetition without bound.") -> None:
        super().__init__(f"{at} {why}")
        self.at = at
        self.why = why
        self.mend = mend


class Worker:
    """A ``python -m signalroom.reports.worker`` and the pipes to it. Not for two threads at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last_words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        # -P keeps the current directory, often a workspace with files of its own, off the import path.
        self._process = subprocess.Popen(  # noqa: S603 - our own module, by the interpreter that runs us
            [sys.executable, "-P", "-X", "utf8", "-m", "signalroom.reports.worker", str(limits.memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_words,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us: what it is at work on may end
            env={
                **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                # One heap: each further one reserves 64 MB of the address space that is bounded.
                "MALLOC_ARENA_MAX": "1",
            },
        )
        self._buffer = bytearray()
        self.at = ""

    def ask(self, request: Mapping[str, Json]) -> dict[str, Any]:
        """Return the answer to one request.

        Raises:
            Breach: It took too long, used too much, or died.
        """
        self.at = ""
        deadline = time.monotonic() + self._limits.wall_s
        allowed: dict[str, Json] = {"cpu_s": self._limits.cpu_s, "output_chars": self._limits.output_chars}
        self._write(encode({**request, **allowed}), deadline)
        while True:
            answer = self._read(deadline)
            if "at" not in answer:
                return answer
            self.at = answer["at"]

    def close(self) -> None:
        """End the process and give back its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._last_words):
            if pipe is not None:
                pipe.close()

    def _write(self, framed: bytes, deadline: float) -> None:
        sink = self._fd(self._process.stdin)
        left = memoryview(framed)
        while left:
            self._wait([], [sink], deadline)
            try:
                left = left[os.write(sink, left[:65_536]) :]
            except BrokenPipeError:
                raise self._died() from None

    def _read(self, deadline: float) -> dict[str, Any]:
        """Return the next frame of the answer."""
        source = self._fd(self._process.stdout)
        while len(self._buffer) < 4 or len(self._buffer) < 4 + int.from_bytes(self._buffer[:4], "big"):
            self._wait([source], [], deadline)
            piece = os.read(source, 1 << 20)
            if not piece:
                raise self._died()
            self._buffer += piece
        end = 4 + int.from_bytes(self._buffer[:4], "big")
        frame = json.loads(self._buffer[4:end])
        del self._buffer[:end]
        return frame

    def _wait(self, readable: list[int], writable: list[int], deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or select.select(readable, writable, [], left) == ([], [], []):
            raise Breach(self.at, f"took longer than {self._limits.wall_s:g} s")

    def _died(self) -> Breach:
        code = self._process.wait()
        if code == -signal.SIGPROF:
            return Breach(self.at, f"used more than {self._limits.cpu_s:g} s of processor time")
        self._last_words.seek(0)
        lines = self._last_words.read().decode(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "")
        if "memory" in said.lower():  # a library in Rust or C ends the process when it cannot allocate
            return Breach(self.at, f"needed more than {self._limits.memory_bytes // 2**20} MB of memory")
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        return Breach(
            self.at, f"ended its process ({how}: {said.strip() or 'no word'})", "Try again; the next has its own."
        )

    @staticmethod
    def _fd(pipe: IO[bytes] | None) -> int:
        if pipe is None:  # pragma: no cover - both are asked for when the process is started
            raise ValueError("The process has no pipe.")
        return pipe.fileno()
