"""What the five entities of the fundraising template are by the app's own queries, against what the warehouse has."""

from datetime import UTC, datetime
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

ENTITIES = ("page", "team", "user", "charity", "campaign")


def differing(room, url):
    """Return how many rows there are by the app's own queries, and how many the warehouse has otherwise."""
    rows = different = 0
    with psycopg.connect(url, row_factory=dict_row) as session:
        for name in ENTITIES:
            truth = by_id(session.execute(f"select * from public.reporting_{name}_source").fetchall())
            here = by_id(room.warehouse.query(f'SELECT * FROM app."{name}"').to_pylist())
            different += sum(truth.get(one) != here.get(one) for one in truth.keys() | here.keys())
            rows += len(truth)
    return rows, different


def by_id(rows):
    """Return id -> the app's own columns, as both sides spell them."""
    kept = [{key: plain(value) for key, value in row.items() if key == "_id" or key[0] != "_"} for row in rows]
    return {row.pop("_id"): row for row in kept}


def plain(value):
    """Return a value as both sides spell it."""
    match value:
        case UUID():
            return str(value)
        case datetime():
            return value.astimezone(UTC)
        case _:
            return value
