"""A first load's files, copied into Postgres byte for byte: nothing is formatted that somebody formatted already.

DuckDB has read every value before and found that it fits (``Prepared.verbatim``), so Postgres, which rounds and
forgives in its own ways, can only read it as the same value or refuse it; where it refuses, the rows go the typed way.
Lineage comes from the columns' defaults, which each file sets for its own transaction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalroom.errors import DataError
from signalroom.failpoints import failpoint
from signalroom.stream import Column
from signalroom.warehouse import postgres_session as session
from signalroom.warehouse.merge import Prepared
from signalroom.warehouse.parts import Group, StagedPart
from signalroom.warehouse.plan import TablePlan
from signalroom.warehouse.postgres_copy import send, write_csv
from signalroom.warehouse.quoting import ident, literal
from signalroom.warehouse.textual import bindings

if TYPE_CHECKING:
    import psycopg

# Evaluated once a row, so: no name is looked up (oid), no text is parsed that is the same in all files. currval would
# be one counter less, and make COPY insert row by row; nextval does not.
_COUNTER = "nextval(CAST(CAST(current_setting('signalroom.{}') AS oid) AS regclass))"
_COUNTERS = ("ref_counter", "row_counter")
_DEFAULTS = {
    "_load_id": "current_setting('signalroom._load_id')",
    "_loaded_at": "CAST(current_setting('signalroom._loaded_at') AS timestamptz)",
    "_client_id": "nullif(current_setting('signalroom._client_id'), '')",
    "_source_ref": f"current_setting('signalroom._source_ref') || {_COUNTER.format('ref_counter')}",
    "_file_time": "CAST(nullif(current_setting('signalroom._file_time'), '') AS timestamptz)",
    "_row": _COUNTER.format("row_counter"),
}


class RefusedError(Exception):
    """Postgres read a file otherwise than DuckDB did: its rows must go the typed way."""


def verbatim(plan: TablePlan, columns: Sequence[Column], groups: Sequence[Group]) -> bool:
    """Return whether Postgres's own CSV reader finds the fields that DuckDB's finds, for all ``groups``."""
    table = plan.table
    if table.disposition not in ("append", "merge") or any(one.restored for one in plan.parts):
        return False
    if any(spelling for spelling in table.nulls) or "_seq" in table.order:
        return False
    if any(column.format or column.type == "json" for column in columns):
        return False
    return bool(groups) and all(
        # with one column alone, a line `\.` would end the file
        group.kind == "csv" and not group.careful and len(group.fields) > 1
        and len(bindings(columns, group)) == len(group.fields)
        and group.parts[0].part.encoding in ("utf-8", "utf-8-sig")
        for group in groups
    )  # fmt: skip


def ship_bytes(prepared: Prepared, url: str, incoming: str, *, connections: int, timeout_s: int) -> int:
    """Fill the empty table ``incoming``, made of the stored columns, with the survivors; return how many there are.

    Raises:
        RefusedError: Postgres refused a value, or found another number of rows; nothing of use was written.
    """
    parts = [part for part in prepared.stage.parts if part.part.rows]
    with session.connect(url, timeout_s=timeout_s) as admin, session.explained(f"prepare {incoming}"):
        session.execute(admin, _altered(incoming, "SET DEFAULT", parts), [])
    failpoint("warehouse.copy.begin")
    try:
        with ThreadPoolExecutor(connections, "copy") as pool:
            # the largest first, so that no connection ends long after the others
            parts.sort(key=lambda part: part.part.bytes, reverse=True)
            waiting = iter(parts)
            shares = [pool.submit(_send, url, incoming, prepared, waiting, timeout_s) for _ in range(connections)]
            shipped = sum(share.result() for share in shares)
    except DataError as problem:
        raise RefusedError from problem
    with session.connect(url, timeout_s=timeout_s, autocommit=False) as admin:
        with session.explained(f"prepare {incoming}"):
            session.execute(admin, _altered(incoming, "DROP DEFAULT"), [])
        shipped -= _delete_losers(prepared, admin, incoming)
    failpoint("warehouse.copy.end")
    return shipped


def _lineage(part: StagedPart) -> dict[str, str]:
    """Return what the rows of a part say about themselves; empty text stands for null."""
    return {
        "_load_id": part.load.load_id,
        "_loaded_at": part.load.committed_at.isoformat(),
        "_client_id": part.load.client,
        "_source_ref": f"{part.source_ref}#",
        "_file_time": part.file_time.isoformat() if part.file_time else "",
    }


def _altered(incoming: str, verb: str, parts: Sequence[StagedPart] = ()) -> str:
    values = [_lineage(part) for part in parts]
    actions: list[str] = []
    for name, asked in _DEFAULTS.items():
        told = {value[name] for value in values if name in value}
        known = name != "_source_ref" and len(told) == 1
        default = f"nullif({literal(told.pop())}, '')" if known else asked
        cast = f"CAST({default} AS timestamptz)" if known and name in ("_loaded_at", "_file_time") else default
        actions.append(f"ALTER COLUMN {name} {verb}{f' {cast}' if values else ''}")
    return f"ALTER TABLE {incoming} {', '.join(actions)}"


def _send(url: str, incoming: str, prepared: Prepared, waiting: Iterator[StagedPart], timeout_s: int) -> int:
    """Copy files as long as there are any; return how many rows they had."""
    sent = 0
    with session.connect(url, timeout_s=timeout_s, autocommit=False) as connection:
        with session.explained("number rows"):
            for counter in _COUNTERS:
                connection.execute(f"CREATE TEMP SEQUENCE signalroom_{counter} CACHE 100000")
        for part in waiting:  # iterators of lists are safe to share between threads: each next() is one step
            sent += _send_part(connection, incoming, prepared, part)
        with session.explained("number rows"):
            connection.execute(f"DROP SEQUENCE {', '.join(f'pg_temp.signalroom_{counter}' for counter in _COUNTERS)}")
    return sent


def _send_part(
    connection: psycopg.Connection[tuple[Any, ...]], incoming: str, prepared: Prepared, part: StagedPart
) -> int:
    group = Group("csv", (part,), part.part.header)
    named = {place: name for name, place in bindings(prepared.stage.columns, group).items()}
    names = ", ".join(ident(named[place]) for place in range(len(part.part.header)))
    texts = {column.name for column in prepared.stage.columns if column.type == "text" and part.part.empty_texts}
    null = ", ".join(ident(name) for name in named.values() if name not in texts)
    values = _lineage(part)
    copy: Any = f"""COPY {incoming} ({names}) FROM STDIN
        (FORMAT csv, HEADER, DELIMITER {literal(part.part.delimiter)}{f", FORCE_NULL ({null})" if null else ""})"""
    with session.explained(f"copy into {incoming}"), connection.cursor() as cursor:
        for counter in _COUNTERS:
            cursor.execute(
                "SELECT set_config(%s, CAST(CAST(%s AS regclass) AS oid)::text, true), setval(%s, 1, false)",
                [f"signalroom.{counter}", *[f"pg_temp.signalroom_{counter}"] * 2],
            )
        cursor.execute(
            "SELECT set_config('signalroom.' || name, value, true) FROM unnest(%s::text[], %s::text[]) s(name, value)",
            [list(values), list(values.values())],
        )
        with cursor.copy(copy) as sink:
            for chunk in part.chunks():
                sink.write(chunk)
        if cursor.rowcount != part.part.rows:
            raise DataError(f"{part.source_ref}: {cursor.rowcount} rows instead of {part.part.rows}.", mend="")
        return cursor.rowcount


def _delete_losers(prepared: Prepared, connection: psycopg.Connection[tuple[Any, ...]], incoming: str) -> int:
    """Delete the rows that lost to other rows of this load; return how many there were."""
    staged = prepared.stage
    name = ident(staged.name)
    select = f"""SELECT p.load_id, p.source_ref || '#' || {staged.rows_of("s")} FROM {name} s
        JOIN {ident(staged.name + "_parts")} p USING (_part)
        WHERE s.rowid IN (SELECT r FROM {ident(staged.name + "_lose")})"""
    with session.explained(f"delete from {incoming}"), tempfile.TemporaryDirectory(prefix="signalroom-copy-") as folder:
        connection.execute("CREATE TEMP TABLE signalroom_losers (load_id text, source_ref text) ON COMMIT DROP")
        write_csv(staged.connection, select, Path(folder, "rows"))
        files = sorted(Path(folder, "rows").glob("*.csv"))
        losers = sum(send(connection, "signalroom_losers", "load_id, source_ref", file) for file in files)
        connection.execute("ANALYZE signalroom_losers")
        statement: Any = f"""DELETE FROM {incoming} AS t USING signalroom_losers AS l
            WHERE t._load_id = l.load_id AND t._source_ref = l.source_ref"""
        if connection.execute(statement).rowcount != losers:
            raise RefusedError
        return losers
