"""`signalroom follow`: what a person sees of an app that is followed, and loops that follow it by themselves."""

from __future__ import annotations

import json
import threading

import psycopg
import pytest

from leader_app import ONE, TWO, installed
from shop_workspace import call
from signalroom.engine.following import Following, follower, projection
from signalroom.room import Room
from signalroom.web.metrics import exposition

pytestmark = pytest.mark.slow
TOML = """
name = "t"
timezone = "UTC"
[projections.app]
url = "env:LEADER_URL"
[projections.app.follow]
sweep_s = 3600
[projections.app.entities.page]
key = "uuid"
sql = "page.sql"
watch = [{ table = "pages", id = "uuid" }, { table = "donations", id = "page_uuid" }]
[projections.app.entities.team]
key = "uuid"
sql = "team.sql"
watch = [{ table = "teams", id = "uuid" }]
"""


@pytest.fixture
def root(tmp_path, postgres):
    url = postgres()
    (tmp_path / "signalroom.toml").write_text(TOML)
    (tmp_path / ".env").write_text(f"LEADER_URL={url}\n")
    with installed(tmp_path, url) as leader:
        leader.connection.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada runs'), ('{TWO}', 'Bo')")
        leader.drain()
    return tmp_path


def told(root, *words):
    return json.loads(call(root, *words, "--json").stdout)


def test_a_person_copies_looks_and_compares(root):
    assert told(root, "follow", "status")["entities"][0]["swept_at"] is None
    assert call(root, "follow", "--once").stdout.splitlines() == ["app.page: 2 applied", "app.team: nothing new"]
    assert told(root, "query", "select name from app.page order by 1")["rows"] == [["Ada runs"], ["Bo"]]
    page, team = told(root, "follow", "status")["entities"]
    assert (page["entity"], page["rows"], page["queued"], page["set_aside"]) == ("app.page", 2, 0, 0)
    assert (team["entity"], team["rows"]) == ("app.team", 0)
    assert "app.page" in call(root, "follow", "status").stdout
    assert told(root, "follow", "app.page", "--reconcile")["reconcile"] == [
        {"entity": "app.page", "rows": 2, "differing": 0, "repaired": 0, "undone": 0, "removed": 0, "purged": 0}
    ]
    assert told(root, "follow", "app.page", "--resync")["resync"][0]["stale"] == 2


def test_what_a_person_sees_before_and_after_the_first_copy(root):
    yet = "Nothing was brought yet: `signalroom follow`"
    assert yet in call(root, "follow", "status").output
    call(root, "follow", "--once")
    assert yet not in call(root, "follow", "status").output
    told = call(root, "leader", "status").stdout
    assert "1.1" in told.splitlines()[1], "epoch 1, first version"
    assert "until all have passed them: t.app (heard of just now)." in told


def test_what_is_not_followed_is_said_with_what_is(root):
    wrong = call(root, "follow", "app.pgae", "--once", code=2)
    assert "Did you mean 'app.page'?" in wrong.stderr
    assert "Add --once" in call(root, "follow", "app", code=2).stderr


def test_loops_bring_a_change_by_themselves(root):
    with Room.open(root) as room:
        assert room.warehouse.merged("", "") == set()
        room.ledger.runs.sweep()
        with Following(room) as following, psycopg.connect(room.workspace.environ["LEADER_URL"]) as session:
            session.execute(f"insert into donations (page_uuid, amount) values ('{ONE}', 250)")
            session.commit()
            waiting = threading.Event()
            while _totals(room).get(ONE) != 250:
                assert not waiting.wait(0.02)
            assert following.loops.problems() == []
            assert len(following.loops.loops) == 4
            told = exposition(room, following.loops.loops).decode()
    assert 'signalroom_projection_sweep_age_seconds{entity="app.page"}' in told
    assert 'signalroom_projection_queue_rows{entity="app.page"} ' in told


def test_a_hint_is_measured_and_an_entity_that_ails_is_named(root):
    with Room.open(root) as room:
        one = follower(room, projection(room, "app"))
        one.sweep("page")
        assert one.state("page").lag_s is None  # a copy of all measures nothing
        with psycopg.connect(room.workspace.environ["LEADER_URL"], autocommit=True) as session:
            session.execute(f"update pages set name = 'Ada swims' where uuid = '{ONE}'")
            one.hint(
                (entity, row, version) for entity, row, version in session.execute("select * from reporting_relay(9)")
            )
            assert one.pull().applied == 1
            lag_s = one.state("page").lag_s
            assert f'signalroom_projection_lag_seconds{{entity="app.page"}} {lag_s}' in exposition(room).decode()
            assert " s  " in call(root, "follow", "status").stdout
            session.execute("alter table reporting_page rename to away")
            one.hint([("page", TWO, 0)])
            (problem,) = one.pull().problems
            assert "no table public.reporting_page" in problem
            assert list(one.ailing.values()) == [problem]
            session.execute("alter table away rename to reporting_page")
            one.hint([("page", TWO, 0)])
            one.pull()
        assert not one.ailing
        one.close()


def _totals(room):
    there = room.warehouse.query("SELECT 1 FROM information_schema.tables WHERE table_schema = 'app'").num_rows
    rows = room.warehouse.query("SELECT _id, total FROM app.page").to_pylist() if there else []
    return {row["_id"]: row["total"] for row in rows}
