"""The process that renders: requests in on standard input, answers out on standard output, under limits.

``python -m signalroom.reports.worker MEMORY_BYTES``. It is started by :class:`signalroom.reports.render.Renderer`, ends
when its input does, and is never given anything but templates and rows. Frames are four bytes of length and JSON:

* in: a request, see :meth:`signalroom.reports.stage.Stage.render`, and its limits;
* out: any number of ``{"at": name}``, then ``{"made": …}`` or ``{"error": …, "message": …, "mend": …}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

from signalroom.errors import ConfigError, SignalRoomError
from signalroom.reports.wire import encode, unpack


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    # Nothing else may write into the answers: what a library prints goes the way of its errors.
    os.dup2(2, 1)
    # Everything is imported before the limits hold: under them Python would leave half-written bytecode behind.
    import mrml
    import resvg_py
    import slackblocks

    from signalroom.reports.stage import Stage

    del mrml, resvg_py, slackblocks  # each is imported again where it is used
    sys.dont_write_bytecode = True
    _confine(int(sys.argv[1]))

    def at(name: str) -> None:
        answers.write(encode({"at": name}))
        answers.flush()

    stage = Stage(at)
    while (request := _read(sys.stdin.buffer)) is not None:
        # Its default action ends the process, even inside a single C call that no Python code could interrupt.
        signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])
        answer = _answer(stage, request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(answer)
        answers.flush()


def _answer(stage: Any, request: dict[str, Any]) -> bytes:
    try:
        return encode({"made": stage.render(unpack(request), request["output_chars"])})
    except SignalRoomError as error:
        kind = "config" if isinstance(error, ConfigError) else "data"
        return encode({"error": kind, "message": error.message, "mend": error.mend})
    except MemoryError:
        return encode({"error": "memory", "message": "", "mend": ""})
    except RecursionError:
        return encode({"error": "depth", "message": "", "mend": ""})


def _confine(memory_bytes: int) -> None:
    """Bound memory, and take away what rendering never needs: large files, many descriptors, core dumps."""
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 65_536),  # its own last words, which its parent reads
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError):  # macOS refuses to bound the address space; time is bounded anyway
            resource.setrlimit(limit, (allowed, allowed))


def _read(source: BinaryIO) -> dict[str, Any] | None:
    """Return the next request, or None at the end of the input."""
    head = source.read(4)
    if len(head) < 4:
        return None
    return json.loads(source.read(int.from_bytes(head, "big")))


if __name__ == "__main__":
    main()
