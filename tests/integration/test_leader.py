"""The leader kit: an app's writes become intentions with them, and intentions rows with exact versions."""

from __future__ import annotations

import psycopg
import pytest

from leader_app import ONE, installed, page_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres):
    return postgres()


@pytest.fixture
def leader(tmp_path, url):
    with installed(tmp_path, url) as one:
        yield one


@pytest.fixture
def other(url):
    """Return a session of the app's own."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def test_a_write_becomes_a_row_with_a_version(leader, other):
    other.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada runs')")
    assert [(one.entity, one.entity_id, one.version - 2**40) for one in leader.drain()] == [("page", ONE, 1)]
    other.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 500), ('{ONE}', 250)")
    assert [one.version - 2**40 for one in leader.drain()] == [2]
    assert page_rows(leader) == {ONE: ("Ada runs", None, 750, 2, False)}
    assert leader.status().intentions.pending == 0


def test_what_changes_nothing_raises_no_version(leader, other):
    other.execute(f"insert into pages (uuid, name, note) values ('{ONE}', 'Ada runs', '{{}}')")
    leader.drain()
    other.execute("update pages set name = name")
    assert leader.status().intentions.pending == 1
    assert leader.drain() == []
    assert page_rows(leader)[ONE][3] == 1
