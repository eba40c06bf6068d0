"""The soak of projections: an app with a real standby is written to while everything that may fail does.

``python tests/soak/projections.py --seconds 60`` prints the figures for both warehouses; the suite runs the same program
for a few seconds. Writers with rollbacks, deletes, rebirths and re-parented rows; relays that are killed in the middle of
a transaction; hints over HTTP that are lost, doubled and shuffled; a replica whose replay is paused; followers that are
dropped and begun anew; one that was away for three days; and at the end the standby takes over from a leader that died
with commits nobody else has. The law: no row differs from what the app's own query says, and no row that a reader sees
ever goes back to an older version.
"""

import argparse
import contextlib
import dataclasses
import random
import signal
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from api_site import ApiSite
from leader_app import installed
from postgres_server import PostgresServer
from signalroom.errors import RetryableError
from signalroom.projection import FollowState
from signalroom.projections.follower import Follower
from signalroom.projections.leader import Leader
from signalroom.projections.listening import Hints
from signalroom.simulators.private_postgres import PrivatePostgres, binaries
from signalroom.web.projections import signature
from signalroom.workspace.following import FollowSettings
from signalroom.workspace.projections import ProjectionSettings
from signalroom.workspace.settings import Secret
from soak.watched_stores import Slow, Watch
from warehouses import duckdb_warehouse, postgres_warehouse

PAGES, SECRET = 60, "a-secret-of-the-app"
TOML = """
[projections.app]
url = "env:LEADER_URL"
[projections.app.follow]
secret = "env:PULL_SECRET"
requests_per_s = 100000
"""
ENTITY = '[projections.app.entities.{}]\nkey = "uuid"\nsql = "{}.sql"\nwatch = [{{ table = "pages", id = "uuid" }}]\n'


@dataclasses.dataclass
class Figures:
    """What a soak saw."""

    warehouse: str
    commits: int = 0
    rollbacks: int = 0
    relayed: int = 0
    relays_killed: int = 0
    hints: int = 0
    lost: int = 0
    doubled: int = 0
    applied: int = 0
    late: int = 0
    rounds: int = 0
    copies: int = 0
    conflicts: int = 0
    restarts: int = 0
    swept: int = 0
    lost_commits: int = 0
    differing_before_sweep: int = 0
    differing: int = 0
    backward: int = 0
    tombstones: int = 0
    seconds: float = 0.0

    def told(self):
        return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(self).items())


class Scene:
    """An app, its standby, and one follower's ledger and warehouse."""

    def __init__(self, folder, leader_server, standby, database, warehouse, figures, seed):
        self.folder, self.leader_server, self.standby = folder, leader_server, standby
        self.url = leader_server.dsn(database)
        self.replica = standby.dsn(database)
        self.warehouse, self.figures, self.chance = warehouse, figures, random.Random(seed)
        (folder / "site").mkdir()
        toml = TOML + ENTITY.format("page", "page") + ENTITY.format("team", "team")
        self.site = ApiSite(folder / "site", toml, {"LEADER_URL": self.url, "PULL_SECRET": SECRET})
        self.queue, self.clock = self.site.ledger.pulls, self.site.clock
        self.watch = Watch(figures)
        self.store = Slow(warehouse.projections(), self.chance, self.watch)
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.held = []

    def follower(self, url="", replica=""):
        settings = ProjectionSettings(
            Secret("env:LEADER_URL", url or self.url), {"page": None, "team": None},
            Secret("env:REPLICA_URL", replica or self.replica), name="app",
            follow=FollowSettings(leader_after_s=1e9, batch_rows=50),
        )  # fmt: skip
        return Follower(settings, self.store, self.queue, self.clock)

    def count(self, name, number=1):
        with self.lock:
            setattr(self.figures, name, getattr(self.figures, name) + number)

    def write(self, seed):
        """Write as an app does, rollbacks included."""
        chance = random.Random(seed)
        with psycopg.connect(self.url) as session:
            while not self.stop.is_set():
                try:
                    for _ in range(chance.randint(1, 3)):
                        session.execute(*statement(chance))
                    if chance.random() < 0.1:
                        session.rollback()
                        self.count("rollbacks")
                    else:
                        session.commit()
                        self.count("commits")
                except psycopg.errors.DeadlockDetected:
                    session.rollback()

    def relay(self, seed):
        """Relay, and now and then die in the middle of a transaction."""
        chance = random.Random(seed)
        while not self.stop.is_set():
            with Leader(self.url) as leader, contextlib.suppress(psycopg.Error, RetryableError):
                while not self.stop.is_set() and chance.random() > 0.05:
                    changed = leader.relay(20)
                    self.count("relayed", len(changed))
                    self.stop.wait(0 if changed else 0.005)
                with leader.connection.transaction():
                    leader.relay(20)
                    self.count("relays_killed")
                    leader.connection.close()

    def listen(self):
        """Send each hint over HTTP: late, in any order, sometimes twice, sometimes not at all."""
        with Hints(self.url) as hints:
            while not self.stop.is_set():
                arrived, _ = hints.wait(0.1)
                self.count("hints", len(arrived))
                for one in arrived:
                    if self.chance.random() < 0.3:
                        self.count("lost")
                        continue
                    times = 1 + (self.chance.random() < 0.2)
                    self.count("doubled", times - 1)
                    self.held += [one] * times
                self.chance.shuffle(self.held)
                while len(self.held) > 5:
                    self.send(*self.held.pop())
        for one in self.held:
            self.send(*one)

    def send(self, entity, row, version):
        stamp, body = str(int(self.clock.now().timestamp())), b'{"version": %d}' % version
        headers = {
            "Signalroom-Timestamp": stamp,
            "Signalroom-Signature": signature(SECRET.encode(), stamp, entity, row, body),
        }
        answer = self.site.call(
            f"/api/projections/{entity}/{row}/pull", "nobody", "POST", headers=headers, content=body
        )
        assert answer.status_code == 202, answer.text

    def pull(self, seed):
        """Pull, and now and then be killed between the warehouse's commit and the settling of what was queued."""
        chance, follower = random.Random(seed), self.follower()
        while not self.stop.is_set():
            if chance.random() < 0.03:
                follower.close()
                follower = self.follower()
                follower.queue = Forgetful(self.queue)  # what it applied is asked for again
                self.count("restarts")
                self.pulled(follower)
                follower.queue = self.queue
            self.clock.advance(0.05)
            self.pulled(follower)
        follower.close()

    def copy(self):
        """Copy everything anew, again and again: rows that were read a while ago meet rows that were pulled since."""
        with self.follower() as follower:
            while not self.stop.is_set():
                try:
                    self.store.record(follower.replica_entity("page"), replaced(self.store))
                    follower.sweep("page")
                    self.count("copies")
                except RetryableError:
                    self.count("conflicts")  # replay ended its snapshot

    def pulled(self, follower):
        done = follower.pull()
        self.count("applied", done.applied)
        self.count("late", done.late)
        self.count("rounds")

    def pause(self):
        """Pause the replica's replay, and let it go on."""
        while not self.stop.is_set():
            with psycopg.connect(self.replica, autocommit=True) as session:
                session.execute("select pg_wal_replay_pause()")
                self.stop.wait(self.chance.uniform(0, 1))
                session.execute("select pg_wal_replay_resume()")
                self.stop.wait(self.chance.uniform(0, 0.3))

    def differing(self, url):
        """Return how many pages here are not what the app's own query says now."""
        with psycopg.connect(url) as session:
            truth = {row[0]: row[1:] for row in session.execute(
                "select _id::text, name, team_name, total from public.reporting_page_source")}  # fmt: skip
        if "page" not in self.store.states("app"):
            return len(truth)
        found = self.warehouse.query("SELECT _id, name, team_name, total FROM app.page").to_pylist()
        here = {row["_id"]: (row["name"], row["team_name"], row["total"]) for row in found}
        return sum(truth.get(name) != here.get(name) for name in truth.keys() | here.keys())

    def caught_up(self, url):
        """Wait until the standby has replayed everything that the leader has written."""
        with psycopg.connect(url, autocommit=True) as leader, psycopg.connect(self.replica, autocommit=True) as replica:
            end = leader.execute("select pg_current_wal_lsn()::text").fetchone()[0]
            until(lambda: replica.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [end]).fetchone()[0])


class Forgetful:
    """A queue of a follower that dies before it settles anything."""

    def __init__(self, queue):
        self.due, self.defer = queue.due, queue.defer

    def settle(self, *_):
        return


def replaced(store):
    """Return the state of pages with its cursor at the beginning."""
    return dataclasses.replace(store.states("app").get("page", FollowState()), cursor="")


def statement(chance):
    """Return one statement of an app, with its parameters."""
    page = f"00000000-0000-0000-0000-{chance.randint(1, PAGES):012d}"
    kind = chance.random()
    if kind < 0.5:
        return "insert into donations (page_uuid, amount) values (%s, %s)", [page, chance.randint(1, 9)]
    if kind < 0.7:
        return "update pages set name = %s where uuid = %s", [f"page {chance.random():.4f}", page]
    if kind < 0.82:
        moved = "update donations set page_uuid = %s where id = (select min(id) + %s from donations)"
        return moved, [page, chance.randint(0, 50)]
    if kind < 0.92:
        return "delete from pages where uuid = %s", [page]
    return "insert into pages (uuid, name) values (%s, 'reborn') on conflict do nothing", [page]


def until(holds, patience_s=60):
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < patience_s, "it did not come about"
        time.sleep(0.01)


def soak(folder, warehouse_kind, seconds, seed):
    """Run the scene for a while, then judge it; return the figures."""
    figures, began = Figures(warehouse_kind), time.monotonic()
    server_programs = binaries()
    assert server_programs is not None, "no Postgres server is installed"
    with PostgresServer.started(synchronous_commit="on") as server, PostgresServer.started() as own:
        database = server.create_database().rpartition("/")[2]
        with installed(folder, server.dsn(database)) as leader:
            leader.connection.execute(
                "insert into pages (uuid, name) select ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid,"
                " 'page ' || n from generate_series(1, %s) n", [PAGES]
            )  # fmt: skip
        with PrivatePostgres.running(server_programs, copy_of=server) as standby:
            kept = postgres_warehouse(own, folder) if warehouse_kind == "postgres" else duckdb_warehouse(folder)
            with kept as warehouse:
                scene = Scene(folder, server, standby, database, warehouse, figures, seed)
                try:
                    _play(scene, seconds, seed)
                    _judge(scene)
                finally:
                    scene.site.close()
    figures.seconds = time.monotonic() - began
    return figures


def _play(scene, seconds, seed):
    """Let everything run at once, then be quiet."""
    parts = [(scene.write, seed), (scene.write, seed + 1), (scene.relay, seed + 2), (scene.relay, seed + 3)]
    threads = [threading.Thread(target=part, args=(one,), daemon=True) for part, one in parts]
    threads += [threading.Thread(target=scene.pull, args=(seed + one,), daemon=True) for one in (4, 5)]
    threads += [threading.Thread(target=part, daemon=True) for part in (scene.listen, scene.pause, scene.copy)]
    for one in threads:
        one.start()
    scene.stop.wait(seconds)
    scene.stop.set()
    for one in threads:
        one.join()
    with Leader(scene.url) as leader:
        scene.count("relayed", len(leader.drain()))


def _judge(scene):
    """Sweep and compare; be away for three days; let the standby take over from a leader that lost commits."""
    figures = scene.figures
    scene.caught_up(scene.url)
    with scene.follower() as follower:
        while scene.queue.backlog("app"):  # what was hinted at arrives; what was lost is for the sweep
            scene.clock.advance(5)
            scene.pulled(follower)
        figures.differing_before_sweep = scene.differing(scene.url)
        figures.swept += follower.sweep("page").applied
        figures.differing += scene.differing(scene.url)
        # Three days without a follower, and without a single hint that arrives.
        scene.clock.advance(timedelta(days=3).total_seconds())
        _write_some(scene, scene.url, 200)
        scene.caught_up(scene.url)
        figures.swept += follower.sweep("page").applied
        figures.differing += scene.differing(scene.url)
    _fail_over(scene)
    gone = scene.warehouse.query("SELECT count(*) AS n FROM app.page__rows WHERE _deleted")
    figures.tombstones = gone.to_pylist()[0]["n"]


def _fail_over(scene):
    """Kill the leader with commits that only the follower has seen; what the standby says is the truth from then on."""
    figures = scene.figures
    with psycopg.connect(scene.replica, autocommit=True) as session:
        session.execute("select pg_wal_replay_pause()")
        until(lambda: session.execute("select pg_get_wal_replay_pause_state()").fetchone()[0] == "paused")
    # Promotion replays what has arrived: what is to be lost must never leave the leader.
    with psycopg.connect(scene.url, autocommit=True) as session:
        session.execute("alter system set max_wal_senders = 0")
        session.execute("select pg_terminate_backend(pid) from pg_stat_replication")
    with psycopg.connect(scene.replica, autocommit=True) as session:
        session.execute("alter system set primary_conninfo = ''")
        session.execute("select pg_reload_conf()")
        until(lambda: not session.execute("select count(*) from pg_stat_wal_receiver").fetchone()[0])
    figures.lost_commits = _write_some(scene, scene.url, 50)
    with scene.follower(replica=scene.url) as follower:  # it read them from the leader itself
        figures.swept += follower.sweep("page").applied
    scene.leader_server.stop(signal.SIGKILL)
    with psycopg.connect(scene.replica, autocommit=True) as session:
        session.execute("select pg_wal_replay_resume()")
        assert session.execute("select pg_promote()").fetchone()[0]
    _write_some(scene, scene.replica, 20)
    with scene.follower(url=scene.replica) as follower:
        figures.swept += follower.sweep("page").applied
        figures.differing += scene.differing(scene.replica)


def _write_some(scene, url, statements):
    chance = random.Random(statements)
    with psycopg.connect(url, autocommit=True) as session:
        for _ in range(statements):
            session.execute(*statement(chance))
    with Leader(url) as leader:
        leader.drain()
    return statements


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=15)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--warehouse", action="append", choices=("duckdb", "postgres"), help="Both, if left out.")
    options = asked.parse_args()
    broken = False
    for kind in options.warehouse or ("duckdb", "postgres"):
        with tempfile.TemporaryDirectory() as folder:
            figures = soak(Path(folder), kind, options.seconds, options.seed)
        print(figures.told())  # noqa: T201 - figures are what it is for
        broken |= bool(figures.differing or figures.backward)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
