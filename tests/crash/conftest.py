"""Explorers for the tests."""

import pytest

from crash.databases import Databases
from crash.explorer import Explorer


@pytest.fixture(scope="session")
def explorer(request):
    """Return a function that returns a warehouse's explorer, which has recorded; they end with the session."""
    started = {}

    def start(warehouse):
        if warehouse not in started:
            databases = Databases(request.getfixturevalue("postgres_server")) if warehouse == "postgres" else None
            started[warehouse] = Explorer(warehouse, databases)
            started[warehouse].record()
        return started[warehouse]

    yield start
    for one in started.values():
        one.close()
