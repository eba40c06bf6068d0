"""The warehouse's own tables (schema ``signalroom``): what is merged, where streams stopped, schemas, rejects, builds.

They live in the same database as the rows and change in the same transaction, so a lost tail takes its cursor with it.
The SQL reads alike in DuckDB and Postgres; parameters are written ``?``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from signalroom.load import Load
from signalroom.position import Json
from signalroom.stream import Column
from signalroom.warehouse.base import Ask, MergeResult
from signalroom.warehouse.schema import LINEAGE, VALIDITY

Execute: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs one statement with ``?`` parameters and returns its rows."""

DDL = (
    "CREATE SCHEMA IF NOT EXISTS signalroom",
    """CREATE TABLE IF NOT EXISTS signalroom.loads (
        load_id text PRIMARY KEY, source text NOT NULL, stream text NOT NULL, committed_at timestamptz NOT NULL,
        merged_at timestamptz NOT NULL, bytes bigint NOT NULL, rows_in bigint NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS signalroom.positions (
        source text NOT NULL, stream text NOT NULL, partition text NOT NULL, value text NOT NULL,
        load_id text NOT NULL, PRIMARY KEY (source, stream, partition))""",
    """CREATE TABLE IF NOT EXISTS signalroom.schemas (
        source text NOT NULL, table_name text NOT NULL, load_id text NOT NULL, columns text NOT NULL,
        PRIMARY KEY (source, table_name, load_id))""",
    """CREATE TABLE IF NOT EXISTS signalroom.rejects (
        load_id text NOT NULL, source text NOT NULL, stream text NOT NULL, table_name text NOT NULL,
        part text NOT NULL, row_number bigint NOT NULL, column_name text, value text, reason text NOT NULL,
        raw text NOT NULL, part_name text NOT NULL DEFAULT '')""",
    "ALTER TABLE signalroom.rejects ADD COLUMN IF NOT EXISTS part_name text DEFAULT ''",
    """CREATE TABLE IF NOT EXISTS signalroom.retries (
        source text NOT NULL, stream text NOT NULL, retried_at timestamptz NOT NULL, load_ids text NOT NULL,
        rows_in bigint NOT NULL, rows_merged bigint NOT NULL, rows_superseded bigint NOT NULL,
        rows_rejected bigint NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS signalroom.builds (
        build_id text PRIMARY KEY, started_at timestamptz NOT NULL, finished_at timestamptz NOT NULL,
        inputs text NOT NULL)""",
)


def positions(execute: Execute, source: str, stream: str) -> dict[str, Json]:
    """Return partition -> value of a stream."""
    import orjson

    rows = execute(
        "SELECT partition, value FROM signalroom.positions WHERE source = ? AND stream = ?", [source, stream]
    )
    return {str(name): orjson.loads(value) for name, value in rows}


def owners(execute: Execute, source: str, stream: str) -> dict[str, str]:
    """Return partition -> the load its value comes from."""
    rows = execute(
        "SELECT partition, load_id FROM signalroom.positions WHERE source = ? AND stream = ?", [source, stream]
    )
    return {str(name): str(load_id) for name, load_id in rows}


def merged(execute: Execute, source: str, stream: str) -> set[str]:
    """Return the ids of the merged loads of a stream."""
    rows = execute("SELECT load_id FROM signalroom.loads WHERE source = ? AND stream = ?", [source, stream])
    return {str(row[0]) for row in rows}


def columns_in_force(execute: Execute, source: str, table: str) -> tuple[Column, ...]:
    """Return the columns of a table as the newest load that changed them left them; empty before the first."""
    import orjson

    rows = execute(
        "SELECT columns FROM signalroom.schemas WHERE source = ? AND table_name = ? ORDER BY load_id DESC LIMIT 1",
        [source, table],
    )
    return tuple(Column(**one) for one in orjson.loads(rows[0][0])) if rows else ()


def write_load(execute: Execute, load: Load, now: datetime, *, replay: bool) -> bool:
    """Record a load under its unique key; return False when another process already did.

    The first statement of the load's transaction: a retry after a cut COMMIT blocks here on the key.
    """
    again = "DO UPDATE SET merged_at = excluded.merged_at" if replay else "DO NOTHING"
    rows = execute(
        f"""INSERT INTO signalroom.loads (load_id, source, stream, committed_at, merged_at, bytes, rows_in)
            VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (load_id) {again} RETURNING load_id""",
        [load.load_id, load.source, load.stream, load.committed_at, now, load.bytes, load.rows],
    )
    return bool(rows)


def write_positions(
    execute: Execute, source: str, stream: str, values: Mapping[str, Json], load_id: str | Mapping[str, str]
) -> None:
    """Upsert the partitions that changed, in one statement.

    Args:
        execute: Runs a statement.
        source: Source name.
        stream: Stream name.
        values: Partition -> its new value.
        load_id: The load they come from: one for all, or partition -> load.
    """
    import orjson

    if not values:
        return
    encoded = [orjson.dumps(value).decode() for value in values.values()]
    loads = [load_id if isinstance(load_id, str) else load_id[name] for name in values]
    execute(
        """INSERT INTO signalroom.positions (source, stream, partition, value, load_id)
            SELECT ?, ?, p, v, l FROM (SELECT unnest(CAST(? AS text[])) AS p, unnest(CAST(? AS text[])) AS v,
                unnest(CAST(? AS text[])) AS l) changed
            ON CONFLICT (source, stream, partition) DO UPDATE SET value = excluded.value, load_id = excluded.load_id""",
        [source, stream, list(values), encoded, loads],
    )


def write_columns(execute: Execute, source: str, table: str, load_id: str, columns: Sequence[Column]) -> None:
    """Record the columns in force from ``load_id`` on; those of a late load hold from the newest record on."""
    import dataclasses

    import orjson

    text = orjson.dumps([dataclasses.asdict(column) for column in columns]).decode()
    newest = execute(
        "SELECT max(load_id) FROM signalroom.schemas WHERE source = ? AND table_name = ?", [source, table]
    )[0][0]
    execute(
        """INSERT INTO signalroom.schemas (source, table_name, load_id, columns) VALUES (?, ?, ?, ?)
            ON CONFLICT (source, table_name, load_id) DO UPDATE SET columns = excluded.columns""",
        [source, table, max(load_id, str(newest or "")), text],
    )


def forget_rejects(
    execute: Execute, source: str, stream: str, table: str, parts: Sequence[tuple[str, str]] | None = None
) -> None:
    """Delete the rejects of a table: of the (load, part) pairs whose rows leave it, or all of them."""
    where = "source = ? AND stream = ? AND table_name = ?"
    if parts is None:
        execute(f"DELETE FROM signalroom.rejects WHERE {where}", [source, stream, table])
    for load_id, part in parts or ():
        execute(
            f"DELETE FROM signalroom.rejects WHERE {where} AND load_id = ? AND part = ?",
            [source, stream, table, load_id, part],
        )


def stored_columns(execute: Execute, source: str, table: str) -> tuple[Column, ...]:
    """Return the columns in force with the lineage columns the table stores."""
    columns = columns_in_force(execute, source, table)
    held = {str(row[0]) for row in execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ?", [source, table]
    )}  # fmt: skip
    return (*columns, *(column for column in (*LINEAGE, Column("_seq", "bigint"), *VALIDITY) if column.name in held))


def total(results: Sequence[MergeResult], loads: Sequence[Load], notes: Sequence[str]) -> MergeResult:
    """Return the sum of the tables' results for one merge of a stream."""
    return MergeResult(
        load_ids=tuple(load.load_id for load in loads),
        rows_in=sum(result.rows_in for result in results),
        rows_merged=sum(result.rows_merged for result in results),
        rows_superseded=sum(result.rows_superseded for result in results),
        rows_rejected=sum(result.rows_rejected for result in results),
        rows_restored=sum(result.rows_restored for result in results),
        skipped_objects=tuple(key for result in results for key in result.skipped_objects),
        notes=tuple(notes),
    )


def write_retry(execute: Execute, source: str, stream: str, now: datetime, done: MergeResult) -> None:
    """Record that rows set aside were typed again: what tells the rows that joined a table so from a sync's."""
    import orjson

    loads = orjson.dumps(done.load_ids).decode()
    counts = [done.rows_in, done.rows_merged, done.rows_superseded, done.rows_rejected]
    execute("INSERT INTO signalroom.retries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [source, stream, now, loads, *counts])


def newest_loads(execute: Execute) -> dict[str, str]:
    """Return ``source.stream`` -> id of its newest merged load."""
    rows = execute("SELECT source, stream, max(load_id) FROM signalroom.loads GROUP BY source, stream", [])
    return {f"{source}.{stream}": str(newest) for source, stream, newest in rows}


def write_build(
    execute: Execute, started_at: datetime, finished_at: datetime, before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """Record a build under an id that sorts by its start."""
    import orjson

    build_id = started_at.strftime("%Y%m%dT%H%M%S%fZ")
    inputs = orjson.dumps({"before": dict(before), "after": dict(after)}).decode()
    execute("INSERT INTO signalroom.builds VALUES (?, ?, ?, ?)", [build_id, started_at, finished_at, inputs])


def built_from(ask: Ask) -> tuple[str, ...]:
    """Return the newest load of each stream that the last build saw; where nothing was ever built, its newest load.

    Reports of a workspace without models read the tables themselves.
    """
    import orjson

    found = ask("SELECT inputs FROM signalroom.builds ORDER BY build_id DESC LIMIT 1").to_pylist()
    if not found:
        newest = ask("SELECT max(load_id) AS load_id FROM signalroom.loads GROUP BY source, stream")
        return tuple(sorted(row["load_id"] for row in newest.to_pylist()))
    record = orjson.loads(found[0]["inputs"])
    # Those of before where a load came in meanwhile.
    return tuple(sorted({*record["before"].values()} or {*record["after"].values()}))
