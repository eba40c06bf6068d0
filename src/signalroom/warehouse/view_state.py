"""Beside the views, in the warehouse itself: from which query and which inputs each was computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from signalroom.view import Pending
from signalroom.warehouse.bookkeeping import Execute

DDL = (
    "CREATE SCHEMA IF NOT EXISTS signalroom",
    """CREATE TABLE IF NOT EXISTS signalroom.views (
        view_name text PRIMARY KEY, query_hash text NOT NULL, inputs text NOT NULL,
        refreshed_at timestamptz NOT NULL)""",
)
"""In the same transaction as the rows, so that a lost tail takes its state with it."""


def schema_of(slug: str) -> str:
    """Return the schema that holds an agency's views."""
    return f"agency_{slug}"


def states(execute: Execute) -> dict[str, tuple[str, str]]:
    """Return view -> hash of its query and version of its inputs."""
    rows = execute("SELECT view_name, query_hash, inputs FROM signalroom.views", [])
    return {str(name): (str(query), str(inputs)) for name, query, inputs in rows}


def write_state(execute: Execute, one: Pending, now: datetime) -> None:
    """Record what a view was computed from, inside the transaction that changes its rows."""
    execute(
        """INSERT INTO signalroom.views (view_name, query_hash, inputs, refreshed_at) VALUES (?, ?, ?, ?)
            ON CONFLICT (view_name) DO UPDATE SET query_hash = excluded.query_hash, inputs = excluded.inputs,
                refreshed_at = excluded.refreshed_at""",
        [one.view.name, one.view.query_hash, one.inputs, now],
    )


def versions(execute: Execute, tables: Sequence[str]) -> Mapping[str, str]:
    """Return ``schema.table`` -> a text that changes whenever its rows may have.

    A source's table changes with the loads of the streams that feed it, a replay included, and where they are unknown
    with all of the source; a model's with builds, and since a model may be a view, with any load. Of a table that
    neither made, nothing is known, and its text is empty.
    """
    merges = execute(
        """SELECT source, stream, max(load_id), max(merged_at), count(*) FROM signalroom.loads
            GROUP BY source, stream ORDER BY source, stream""",
        [],
    )
    loads = {
        (source, stream): f"{newest} {merged.timestamp()} {number}" for source, stream, newest, merged, number in merges
    }
    feeds = execute(
        """SELECT DISTINCT s.source, s.table_name, l.stream FROM signalroom.schemas s
            JOIN signalroom.loads l ON l.load_id = s.load_id ORDER BY 1, 2, 3""",
        [],
    )
    built = execute("SELECT max(build_id) FROM signalroom.builds", [])[0][0]
    model = f"{built} {'; '.join(loads.values())}" if built else ""

    def version(table: str) -> str:
        source, _, name = table.partition(".")
        feeding = {stream for fed, held, stream in feeds if (fed, held) == (source, name)}
        mine = [text for (of, stream), text in loads.items() if of == source and (not feeding or stream in feeding)]
        return "; ".join(mine) or model

    return {table: version(table) for table in tables}
