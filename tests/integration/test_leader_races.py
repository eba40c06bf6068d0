"""Races of the leader kit, each played out step by step by sessions that wait for one another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from leader_app import ONE, TWO, call, installed, page_rows, short
from signalroom.errors import DataError, RetryableError
from signalroom.projections.leader import Leader
from signalroom.projections.leader_relay import Relay

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres):
    return postgres()


@pytest.fixture
def leader(tmp_path, url):
    with installed(tmp_path, url) as one:
        one.connection.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada'), ('{TWO}', 'Ben')")
        one.drain()
        yield one


@pytest.fixture
def second(url, leader):
    with Leader(url) as one:
        yield one


@pytest.fixture
def app(url):
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def elsewhere():
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def until_it_waits(app, session):
    """Return once a session waits for a lock."""
    while not app.execute(
        "select exists (select from pg_locks where pid = %s and not granted)", [session.connection.info.backend_pid]
    ).fetchone()[0]:
        pass


def donate(app, page, amount):
    app.execute("insert into donations (page_uuid, amount) values (%s, %s)", [page, amount])


def race_to_compute(leader, second, app, elsewhere):
    """Let one session wait for an entity while the other computes it newer; return the total that is left."""
    with leader.connection.transaction():
        call(leader, "reporting_lock('{page}', %s)", [ONE])
        waiting = elsewhere(second.connection.execute, "select * from reporting_project('page', %s)", [[ONE]])
        until_it_waits(app, second)
        donate(app, ONE, 500)
        assert leader.connection.execute("select version from reporting_project('page', %s)", [[ONE]]).rowcount == 1
    waiting.result(20)
    return page_rows(leader)[ONE][2]


def test_a_row_is_computed_after_its_lock_is_had(leader, second, app, elsewhere):
    assert race_to_compute(leader, second, app, elsewhere) == 500


def test_computing_first_and_locking_then_would_bring_the_old_row_back(leader, second, app, elsewhere):
    body = call(leader, "pg_get_functiondef('reporting_project_page'::regproc)")
    lock = "perform public.reporting_lock(array['page'], ids);"
    assert lock in body
    late = body.replace(lock, "").replace(
        "from (select distinct unnest(ids) as id) w",
        "from (select distinct unnest(ids) as id from (select public.reporting_lock(array['page'], ids) offset 0) l) w",
    )
    leader.connection.execute(late)
    assert race_to_compute(leader, second, app, elsewhere) == 0


def test_what_is_rolled_back_leaves_nothing(leader, app):
    with app.transaction(force_rollback=True):
        donate(app, ONE, 500)
        app.execute("select reporting_touch('page', %s)", [TWO])
    assert leader.status().intentions.pending == 0


def test_two_relays_share_the_work_and_neither_waits(leader, second, app):
    donate(app, ONE, 500)
    donate(app, TWO, 700)
    with leader.connection.transaction():
        assert short(leader.relay(1)) == [("page", "1", 2)]
        assert short(second.relay(1)) == [("page", "2", 2)]
        assert second.relay(1) == [], "what is claimed is left alone"
    assert leader.status().intentions.pending == 0


def test_two_relays_with_intentions_of_one_entity_take_turns(leader, second, app, elsewhere):
    donate(app, ONE, 500)
    donate(app, ONE, 700)
    with leader.connection.transaction():
        assert short(leader.relay(1)) == [("page", "1", 2)]
        waiting = elsewhere(second.relay, 1)
        until_it_waits(app, second)
    assert waiting.result(20) == [], "the first had seen both donations"
    assert page_rows(leader)[ONE][2:4] == (1200, 2)


def test_a_relay_that_dies_has_claimed_nothing(leader, second, app):
    donate(app, ONE, 500)
    leader.connection.execute("begin")
    assert short(leader.relay()) == [("page", "1", 2)]
    app.execute("select pg_terminate_backend(%s, 10000)", [leader.connection.info.backend_pid])
    assert short(second.drain()) == [("page", "1", 2)]
    with pytest.raises(RetryableError):
        leader.relay()


def test_a_lock_that_is_not_had_is_held_against_nobody(leader, second, app):
    donate(app, ONE, 500)
    second.connection.execute("set lock_timeout = '10ms'")
    with leader.connection.transaction():
        call(leader, "reporting_lock('{page}', %s)", [ONE])
        with pytest.raises(RetryableError, match="lock timeout"):
            second.relay()
    assert leader.status().intentions.failed == ()
    assert short(second.drain()) == [("page", "1", 2)]


def test_what_cannot_be_computed_is_set_aside_and_heals(leader, app):
    app.execute(f"insert into teams (uuid, name) values ('{ONE}', ''), ('{TWO}', 'Swift')")
    assert short(leader.drain()) == [("team", "2", 1)]
    ((entity, _, reason),) = leader.status().intentions.failed
    assert (entity, reason) == ("team", "division by zero")
    assert leader.relay() == [], "not before it is due again"
    app.execute("update reporting_intentions set not_before = now()")
    app.execute(f"update teams set name = name where uuid = '{ONE}'")
    assert leader.drain() == []
    assert app.execute("select state, attempts, not_before > now() from reporting_intentions").fetchall() == [
        ("failed", 2, True)
    ]
    app.execute(f"update teams set name = 'Brisk' where uuid = '{ONE}'")
    assert short(leader.drain()) == [("team", "1", 1)]
    assert leader.status().intentions.failed == ()


def test_an_entity_that_nobody_declared_is_set_aside(leader, app):
    app.execute("select reporting_touch('pgae', 'x'), reporting_touch('page', 'no uuid')")
    assert leader.drain() == []
    reasons = [reason for _, _, reason in leader.status().intentions.failed]
    assert reasons[0].startswith('invalid input syntax for type uuid: "no uuid"')
    assert reasons[1] == "reporting: there is no entity 'pgae'"


def test_another_server_begins_another_epoch(leader, app):
    app.execute(f"delete from pages where uuid = '{TWO}'")
    leader.drain()
    (before,) = app.execute("select max(_version), max(_txid::text::bigint) from reporting_page").fetchall()
    app.execute("update reporting_state set timeline = timeline - 1")
    assert leader.drain() == [], "nothing is due, and the epoch begins when a relay looks"
    leader.relay()
    assert leader.status().epoch == 2
    after = app.execute("select min(_version), min(_txid::text::bigint) from reporting_page").fetchone()
    assert after[0] == 2 * 2**40 + 1 > before[0] + 2**39, "above whatever the lost server gave"
    assert after[1] > before[1], "and every row is swept"
    donate(app, ONE, 500)
    assert [one.version for one in leader.drain()] == [2 * 2**40 + 2]
    assert leader.relay() == []
    assert leader.status().epoch == 2


def test_two_relays_begin_one_epoch(leader, second, app, elsewhere):
    app.execute("update reporting_state set timeline = timeline - 1")
    with leader.connection.transaction():
        leader.relay()
        waiting = elsewhere(second.relay)
        until_it_waits(app, second)
    assert waiting.result(20) == []
    assert leader.status().epoch == 2


def test_a_relay_whose_snapshot_would_be_from_before_the_lock_is_refused(leader, app):
    donate(app, ONE, 1)
    leader.connection.execute("set default_transaction_isolation = 'repeatable read'")
    with pytest.raises(DataError, match="read committed"):
        leader.relay()
    leader.connection.execute("reset default_transaction_isolation")
    assert short(leader.drain()) == [("page", "1", 2)]


def test_whoever_writes_while_a_relay_waits_notifies_and_nobody_else(leader, second, app):
    leader.listen()
    donate(app, ONE, 1)
    assert list(leader.connection.notifies(timeout=0)) == [], "nobody waits"
    assert leader.next() == "again"
    leader.drain()
    with psycopg.connect(app.info.dsn) as slow:
        donate(slow, ONE, 1)
        assert leader.next() == "soon", "it notifies nobody, and is not committed"
    assert leader.next() == "again"
    leader.drain()
    assert leader.next() == "wait"
    assert second.next() == "wait", "it is told too"
    donate(app, ONE, 1)
    assert len(list(leader.connection.notifies(timeout=20, stop_after=1))) == 1
    leader.drain()
    assert leader.next() == "wait", "what came with the notification is done"
    donate(app, ONE, 1)
    assert leader.next() == "again", "there is a backlog: nobody need notify"
    donate(app, ONE, 1)
    assert len(list(leader.connection.notifies(timeout=0))) == 1


def test_the_loop_relays_what_is_written_and_survives_its_connection(leader, url, app):
    stop, seen, arrived = threading.Event(), [], threading.Semaphore(0)

    def told(changes):
        seen.extend(short(changes))
        arrived.release()

    running = threading.Thread(target=Relay(url).run, args=(stop, told))
    running.start()
    try:
        donate(app, ONE, 1)
        assert arrived.acquire(timeout=60)
        app.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where query like '%reporting_next%'"
            " and pid <> pg_backend_pid() and datname = current_database()"
        )
        donate(app, ONE, 1)
        assert arrived.acquire(timeout=60)
    finally:
        stop.set()
        running.join(60)
    assert seen == [("page", "1", 2), ("page", "1", 3)]
