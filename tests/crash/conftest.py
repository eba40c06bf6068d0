"""Explorers for the tests: on DuckDB, and on a Postgres whose databases are copied from templates."""

import importlib.util

import psycopg
import pytest
from crash.explorer import Explorer
from psycopg import sql

POSTGRES = importlib.util.find_spec("signalroom.warehouse.postgres") is not None


@pytest.fixture
def explorer(request):
    """Return a function that starts an explorer and has it record; they end with the test."""
    started = []

    def start(warehouse, **options):
        if warehouse == "postgres":
            if not POSTGRES:
                pytest.skip("the Postgres warehouse is not written yet")
            options |= databases(request.getfixturevalue("postgres_server"))
        started.append(Explorer(warehouse, **options))
        started[-1].record()
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


def databases(server):
    """Return what an explorer needs to copy databases on a server."""

    def create(template):
        made = server.create_database() if not template else server.dsn(f"c{len(dropped)}_{template.rpartition('/')[2]}"[:60])
        return made

    dropped = []
    del psycopg, sql
    return {"database": create, "drop": dropped.append}
