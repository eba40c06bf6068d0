"""New SQLite ledgers get their tables from what the migrations made once: running them costs more than most tests.

Fixtures (loaded by ``tests/conftest.py``):

* ``ledgers_made_once``: in every test; an empty ledger file gets the statements, any other goes through the migrations.
* ``migrations``: for tests of the migrations themselves; they run for each file, as they do outside the tests.
"""

import functools

import pytest
import sqlalchemy as sa

from signalroom.ledger import ledger
from signalroom.ledger.upgrade import upgrade, version

__all__ = ["ledgers_made_once", "migrations"]


@functools.cache
def _statements():
    """Return what makes the tables, the indexes and the row that names the revision."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection:
        dumped = [*connection.connection.driver_connection.iterdump()]
    engine.dispose()
    assert (dumped[0], dumped[-1]) == ("BEGIN TRANSACTION;", "COMMIT;")  # the caller's transaction is meant
    return dumped[1:-1]


def _make_once(connection):
    if connection.dialect.name != "sqlite" or version(connection):
        upgrade(connection)
        return
    for statement in _statements():
        connection.exec_driver_sql(statement)


@pytest.fixture(scope="session", autouse=True)
def ledgers_made_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "upgrade", _make_once)
        yield


@pytest.fixture
def migrations(monkeypatch):
    monkeypatch.setattr(ledger, "upgrade", upgrade)
