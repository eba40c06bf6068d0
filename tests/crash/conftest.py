"""Explorers for the tests."""

import pytest
from crash.databases import Databases
from crash.explorer import Explorer


@pytest.fixture
def explorer(request):
    """Return a function that starts an explorer of a warehouse and has it record; they end with the test."""
    started = []

    def start(warehouse):
        databases = Databases(request.getfixturevalue("postgres_server")) if warehouse == "postgres" else None
        started.append(Explorer(warehouse, databases))
        started[-1].record()
        return started[-1]

    yield start
    for one in started:
        one.close()
