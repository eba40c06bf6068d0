"""A process with everything imported, which forks a child for each request: a killed sync costs no start of Python.

``python zygote.py``: a JSON object a line in, one a line out. A child never returns into the loop; what it said is in
the answer, so that a passing test prints nothing.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Libraries that start threads when they are imported; a fork would lose those.
os.environ |= {"OPENBLAS_NUM_THREADS": "1"}
os.environ |= {f"JE_ARROW_{name}MALLOC_CONF": "background_thread:false" for name in ("", "PRIVATE_JE_")}

from crash import mutants, scene, state
from signalroom import failpoints
from signalroom.engine import inline
from signalroom.errors import RetryableError
from signalroom.room import Room

_IMPORTED = (
    "alembic.command", "alembic.operations", "duckdb", "jinja2.sandbox", "msgspec", "numpy", "orjson",
    "pyarrow.parquet", "sqlalchemy.dialects.sqlite", "zstandard", "signalroom.channels.file",
    "signalroom.ledger.ledger", "signalroom.lake.lake", "signalroom.reports.render", "signalroom.reports.stage",
    "signalroom.sources.files", "signalroom.warehouse.duckdb",
)  # fmt: skip


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Do what the request asks, in the child."""
    root = Path(request["root"])
    os.environ |= request.get("environ", {})
    failpoints.arm(log=request.get("log", ""), kill_at=request.get("kill_at", 0), only=request.get("only", ""))
    mutants.apply(request.get("mutant", ""))
    waited = 0
    for phase in request["phases"]:
        scene.arrive(root, phase)
        with Room.open(root, clock=scene.Clock(phase, request.get("attempt_s", 0))) as room:
            for step in scene.STEPS[phase]:
                try:
                    inline.run_step(room, step)
                except RetryableError as problem:
                    # What a scheduler does: the same step again, once the other side's time has passed.
                    waited += 1
                    room.clock.sleep(problem.retry_after_s or 1200)
                    inline.run_step(room, step)
    failpoints.arm()
    return {"state": state.read_state(root) if request.get("state") else None, "waited": waited}


def fork(request: dict[str, Any]) -> dict[str, Any]:
    """Run one request in a child and return how it ended."""
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as words:
        child = os.fork()
        if child == 0:
            _child(request, answer.fileno(), words.fileno())
        if "after_s" in request:
            _kill_after(child, request["after_s"])
        _, status, used = os.wait4(child, 0)
        words.seek(0)
        answer.seek(0)
        text = answer.read().decode()
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return {
            "killed": killed,
            "answer": json.loads(text) if text else None,
            "said": words.read().decode(),
            "cpu_s": used.ru_utime + used.ru_stime,
        }


def _child(request: dict[str, Any], answer: int, words: int) -> None:
    code = 1
    try:
        os.dup2(words, 1)
        os.dup2(words, 2)
        random.seed()
        with os.fdopen(os.dup(answer), "w") as sink:
            json.dump(work(request), sink)
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _kill_after(child: int, seconds: float) -> None:
    """Kill the child at a moment nobody chose; it may be done by then."""
    ended = os.pidfd_open(child)
    try:
        if not select.select([ended], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(ended)


class Here:
    """Stands in for the confined process that renders: it has tests of its own, and starts Python each time."""

    at = ""

    def __init__(self, limits: Any) -> None:
        self._limits = limits

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        from signalroom.reports.stage import Stage
        from signalroom.reports.wire import encode, unpack

        sent = json.loads(encode(request)[4:])
        return {"made": Stage().render(unpack(sent), self._limits.output_chars)}

    def close(self) -> None:
        """Nothing was started."""


def stand_ins() -> None:
    """Put in place what a crash of ours cannot reach: dbt's own work, and the process that renders."""
    import signalroom.models.dbt
    import signalroom.reports.render

    signalroom.models.dbt.build = lambda *_, **__: SimpleNamespace(models=(), tests=())
    signalroom.reports.render.Worker = Here


def warm(warehouse: str) -> None:
    """Import everything a run imports, without a thread that a fork would lose."""
    import pyarrow as pa

    for name in (*_IMPORTED, *([] if warehouse == "duckdb" else ["psycopg", "signalroom.warehouse.postgres"])):
        importlib.import_module(name)
    for name in ("pandas", "pyarrow.pandas_compat"):  # pyarrow imports them where they are installed
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from signalroom.ledger.ledger import Ledger
    from signalroom.workspace.plugins import available

    for role in ("source", "channel", "warehouse"):
        available(role)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory() as folder:  # Alembic, SQLAlchemy and Jinja compile what they run once
        Ledger.open(f"{folder}/ledger.sqlite").close()
    gc.collect()
    gc.freeze()
    tasks = Path("/proc/self/task")
    threads = len(list(tasks.iterdir())) if tasks.is_dir() else 1
    if threads > 1:
        raise RuntimeError(f"the zygote has {threads} threads; a fork would lose all but one")


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    warnings.simplefilter("error")
    stand_ins()
    warm(sys.argv[1])
    say({"ready": True})
    for line in sys.stdin:
        began = time.perf_counter()
        answer = fork(json.loads(line))
        say({**answer, "seconds": time.perf_counter() - began})
    os._exit(0)  # what is frozen cannot be torn down in order


if __name__ == "__main__":
    main()
