"""What Postgres measured while it ran a statement: read off its plan, never estimated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from signalroom.warehouse import postgres_session as session

if TYPE_CHECKING:
    import psycopg

_MEMORY_KB = ("Peak Memory Usage", "Sort Space Used")


def run_measured(connection: psycopg.Connection[tuple[Any, ...]], sql: str) -> int | None:
    """Run one statement and return the memory in bytes that its hash tables and sorts held; None where it had none."""
    explain = "EXPLAIN (ANALYZE, BUFFERS, WAL, TIMING OFF, FORMAT JSON)"
    found = session.execute(connection, f"{explain} {sql}", [])
    return memory_bytes(json.loads(found[0][0]))


def memory_bytes(plan: Any) -> int | None:
    """Return the memory that the operations of a plan held, all of them together, in bytes; None where none said."""
    kilobytes = [
        node[name] for node in _nodes(plan) for name in _MEMORY_KB
        if name in node and node.get("Sort Space Type", "Memory") == "Memory"
    ]  # fmt: skip
    return 1024 * sum(kilobytes) if kilobytes else None


def _nodes(plan: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(plan, dict):
        yield plan
    for one in plan.values() if isinstance(plan, dict) else plan if isinstance(plan, list) else ():
        yield from _nodes(one)
