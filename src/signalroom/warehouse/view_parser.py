"""SQL text to a tree and back, by DuckDB's own parser; nothing is bound or run."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from signalroom.errors import DataError

_lock = threading.Lock()
_connections: list[Any] = []


def parse(sql: str) -> Any:
    """Return the statements of ``sql`` as the parser serializes them.

    Raises:
        DataError: It cannot be read, or is no SELECT.
    """
    answer = json.loads(_ask("SELECT json_serialize_sql(CAST(? AS VARCHAR))", sql))
    if answer.get("error"):
        said = str(answer.get("error_message", "")).strip().partition("\n")[0].rstrip(".!")
        if "Only SELECT" in said:
            raise DataError("A manifest is one SELECT and nothing else.", mend="Write SELECT or WITH … SELECT.")
        raise DataError(f"The SQL of the manifest cannot be read: {said}.", mend="Mend the SQL.")
    return answer["statements"]


def write(statement: Mapping[str, Any]) -> str:
    """Return the SQL of one parsed statement: what was checked is what runs, whatever the text looked like."""
    return _ask("SELECT json_deserialize_sql(CAST(? AS JSON))", json.dumps({"error": False, "statements": [statement]}))


def for_all_agencies(statement: Mapping[str, Any], column: str, alias: str) -> dict[str, Any]:
    """Return a grouped SELECT that also groups by ``column`` and shows it, last, as ``alias``."""
    node = statement["node"]
    place = {"query_location": 0, "query_location_length": 0}
    group = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", **place, "column_names": [column]}
    groups = [*node["group_expressions"], group]
    changed = {
        "select_list": [*node["select_list"], {**group, "alias": alias}],
        "group_expressions": groups,
        "group_sets": [list(range(len(groups)))],
    }
    return {**statement, "node": {**node, **changed}}


def _ask(sql: str, value: str) -> str:
    import duckdb

    with _lock:
        if not _connections:
            _connections.append(duckdb.connect(config={"enable_external_access": "false", "threads": "1"}))
        try:
            return str(_connections[0].execute(sql, [value]).fetchone()[0])
        except duckdb.Error as problem:
            said = str(problem).partition("\n")[0].rstrip(".")
            raise DataError(f"The SQL of the manifest cannot be read: {said}.", mend="Mend the SQL.") from problem
