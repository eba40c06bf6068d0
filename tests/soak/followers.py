"""The soak of `signalroom follow` itself: its processes are killed -9 while an app is written to and all else fails too.

``python tests/soak/followers.py --seconds 60`` prints the figures for both warehouses; the suite runs the same program
for a few seconds. The fundraising template: writers change all five entities, with rollbacks, deletes, rebirths, rows
that move and tables that are emptied. Relays die in the middle of a transaction. Hints come as signed requests over HTTP
and nowhere else: some are lost, some doubled, their order shuffled. The replica's replay is paused. Followers are killed
from outside and at their own failpoints, two at a time where the warehouse lets them. Then nobody follows for three days;
and the standby is promoted after the leader died with commits that only the follower has seen.

The law: no row differs from what the app's own queries say, and no reader ever sees a row go back to an older version.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_world import Process, wait_for
from ledger_laws import HandClock
from postgres_server import PostgresServer
from signalroom.cli.handover import hand_over
from signalroom.engine.following import follower, projection
from signalroom.errors import RetryableError
from signalroom.projections.leader import Leader
from signalroom.projections.listening import Hints
from signalroom.room import Room
from signalroom.simulators.fundraising import FundraisingApp
from signalroom.simulators.private_postgres import PrivatePostgres, binaries
from signalroom.web.endpoint import Site
from signalroom.web.projections import signature
from signalroom.web.server import WebServer
from signalroom.workspace.init import init
from signalroom.workspace.workspace import Workspace
from soak.app_truth import ENTITIES, differing
from soak.app_writers import write, write_some

SECRET = "a-secret-of-the-app"
FOLLOW = """
[projections.app.follow]
secret = "env:PULL_SECRET"
listen = false
requests_per_s = 100000
batch_rows = 50
sweep_s = 2
reconcile_s = 0
leader_after_s = 86400
tombstones_days = 0.00001
"""
SEEN = " UNION ALL ".join(f"SELECT '{name}' AS e, _id, _version FROM app.{name}__rows" for name in ENTITIES)


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
    followers_killed: int = 0
    at_failpoints: int = 0
    looks: int = 0
    rows: int = 0
    tombstones: int = 0
    swept_at_end: int = 0
    swept_after_days: int = 0
    lost_commits: int = 0
    removed: int = 0
    differing: int = 0
    backward: int = 0
    seconds: float = 0.0

    def told(self):
        return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(self).items())


class Scene:
    """An app with its standby, a workspace that follows it, and everything that happens to them."""

    def __init__(self, root, leader, standby, warehouse_url, figures, seed):
        self.root, self.leader, self.standby = root, leader, standby
        self.figures, self.chance = figures, random.Random(seed)
        self.url, self.replica = leader.dsn(), standby.dsn()
        self.environ = {"PULL_SECRET": SECRET, "WAREHOUSE_URL": warehouse_url}
        self.stop, self.lock, self.held, self.seen = threading.Event(), threading.Lock(), [], {}
        self.warehouse_url = warehouse_url

    def count(self, name, number=1):
        with self.lock:
            setattr(self.figures, name, getattr(self.figures, name) + number)

    @contextlib.contextmanager
    def room(self, clock=None, url="", replica=""):
        """Yield the workspace in this process, at another time perhaps."""
        environ = {**self.environ, "LEADER_URL": url or self.url, "REPLICA_URL": replica or self.replica}
        workspace = Workspace.load(self.root, environ)
        with Room(workspace, clock) if clock else Room(workspace) as room:
            yield room

    def follow_once(self, clock=None, url="", replica=""):
        """Pull what is queued, sweep everything and compare it with the app; return how many rows were brought."""
        with self.room(clock, url, replica) as room, follower(room, projection(room, "app")) as one:
            before = {name: one.state(name) for name in ENTITIES}
            brought = 0
            while (done := one.pull()).wanted:
                brought += done.applied
            for name in ENTITIES:
                brought += one.sweep(name).applied
                assert int(one.state(name).cursor) >= int(before[name].cursor or 0)
            rows, different = differing(room, replica or url or self.url)
            self.figures.rows += rows
            self.figures.differing += different
        return brought

    def write(self, seed):
        """Write as an app does."""
        chance = random.Random(seed)
        with psycopg.connect(self.url) as session:
            while not self.stop.is_set():
                self.count("commits" if write(session, chance) else "rollbacks")

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

    def hint(self, address):
        """Ask for each row over HTTP: late, in any order, sometimes twice, sometimes not at all."""
        with Hints(self.url) as hints, httpx.Client(base_url=address) as client:
            while not self.stop.is_set():
                arrived, _ = hints.wait(0.1)
                self.count("hints", len(arrived))
                kept = [one for one in arrived if self.chance.random() > 0.3]
                self.count("lost", len(arrived) - len(kept))
                twice = [one for one in kept if self.chance.random() < 0.2]
                self.count("doubled", len(twice))
                self.held += kept + twice
                self.chance.shuffle(self.held)
                while len(self.held) > 5:
                    self.ask(client, *self.held.pop())

    @staticmethod
    def ask(client, entity, row, version):
        stamp, body = str(int(time.time())), b'{"version": %d}' % version
        signed = signature(SECRET.encode(), stamp, entity, row, body)
        headers = {"Signalroom-Timestamp": stamp, "Signalroom-Signature": signed}
        answer = client.post(f"/api/projections/{entity}/{row}/pull", headers=headers, content=body)
        assert answer.status_code == 202, answer.text

    def pause(self):
        """Pause the replica's replay, and let it go on."""
        with psycopg.connect(self.replica, autocommit=True) as session:
            while not self.stop.is_set():
                session.execute("select pg_wal_replay_pause()")
                self.stop.wait(self.chance.uniform(0, 0.6))
                session.execute("select pg_wal_replay_resume()")
                self.stop.wait(self.chance.uniform(0, 0.3))

    def follow(self, name, seed):
        """Run `signalroom follow`, again and again, until it is killed or kills itself at a failpoint."""
        chance = random.Random(seed)
        while not self.stop.is_set():
            at = chance.choice((0, chance.randint(1, 40)))
            environ = {"LEADER_URL": self.url, "REPLICA_URL": self.replica, **self.environ}
            process = Process(
                self.root, "follow", name, {**environ, "SIGNALROOM_FAILPOINT_KILL": str(at)}, options=()
            ).start(ready=False)
            wait_for(lambda process=process: process.ended or process.ready or self.stop.is_set(), 60)
            # Its failpoint comes with its work, however slow the machine; without one its time comes by chance.
            ends = time.monotonic() + (60 if at else chance.uniform(0.1, 3))
            while time.monotonic() < ends and not process.ended and not self.stop.wait(0.02):
                pass
            by_itself = process.ended
            process.kill()
            assert process.wait() == -signal.SIGKILL, process.log.read_text()
            self.count("followers_killed")
            self.count("at_failpoints", int(by_itself))

    def watch(self):
        """Read every version as anybody may, and count the rows that went back."""
        while not self.stop.wait(0.05):
            found = self.rows_seen()
            self.count("looks", bool(found))
            for entity, name, version in found:
                self.figures.backward += version < self.seen.get((entity, name), 0)
                self.seen[entity, name] = max(version, self.seen.get((entity, name), 0))

    def rows_seen(self):
        """Return entity, id and version of every row, the gone ones too; nothing while nobody answers."""
        if self.warehouse_url:
            with psycopg.connect(self.warehouse_url) as session:
                return session.execute(SEEN).fetchall()
        if not (self.root / ".signalroom/up.sock").exists():
            return []
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.suppress(RetryableError):  # it was killed meanwhile
            if hand_over(self.root / ".signalroom/up.sock", ["query", "--json", SEEN]) == 0:
                return [tuple(row) for row in json.loads(told.getvalue())["rows"]]
        return []

    def users(self):
        """Return the ids of users that are here, the gone ones too: who came back has another."""
        with self.room() as room:
            found = room.warehouse.query("SELECT _id FROM app.user__rows")
        return set(found["_id"].to_pylist())

    def caught_up(self):
        """Relay everything, and wait until the standby has replayed it."""
        with Leader(self.url) as leader:
            self.count("relayed", len(leader.drain()))
            assert leader.status().intentions.failed == ()
        with psycopg.connect(self.url, autocommit=True) as leader, psycopg.connect(self.replica) as replica:
            replica.autocommit = True
            end = leader.execute("select pg_current_wal_lsn()::text").fetchone()[0]
            asked = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
            wait_for(lambda: replica.execute(asked, [end]).fetchone()[0], 60, 0.01)


def soak(root, warehouse_kind, seconds, kills, seed):
    """Play it through in a workspace at ``root`` and return the figures."""
    figures, began = Figures(warehouse_kind), time.monotonic()
    server_programs = binaries()
    assert server_programs is not None, "no Postgres server is installed"
    with contextlib.ExitStack() as until_done:
        leader = until_done.enter_context(PostgresServer.started(synchronous_commit="on"))
        prepare(root, leader, warehouse_kind)
        standby = until_done.enter_context(PrivatePostgres.running(server_programs, copy_of=leader))
        own = ""
        if warehouse_kind == "postgres":
            own = until_done.enter_context(PostgresServer.started()).create_database()
        scene = Scene(root, leader, standby, own, figures, seed)
        scene.follow_once()
        play(scene, seconds, kills, seed)
        judge(scene)
    figures.seconds = time.monotonic() - began
    return figures


def prepare(root, leader, warehouse_kind):
    """Make the app with its rows, and a workspace that follows it, the kit installed."""
    init("fundraising", root)
    toml = root / "signalroom.toml"
    text = toml.read_text() + FOLLOW
    if warehouse_kind == "postgres":
        text = text.replace('kind = "duckdb"\npath = ".signalroom/warehouse.duckdb"', POSTGRES)
        assert POSTGRES in text
    toml.write_text(text)
    with contextlib.closing(FundraisingApp(leader.dsn())) as app:
        app.create()
    environ = dict.fromkeys(("LEADER_URL", "REPLICA_URL", "WAREHOUSE_URL"), leader.dsn())
    with Room(Workspace.load(root, {**environ, "PULL_SECRET": SECRET})) as room, Leader(leader.dsn()) as kit:
        kit.install(projection(room, "app"))
        write_some(leader.dsn(), 300, 0)
        kit.drain()


POSTGRES = 'kind = "postgres"\nurl = "env:WAREHOUSE_URL"'


def play(scene, seconds, kills, seed):
    """Let everything run at once, and all of it fail, for so long and until so many followers were killed."""
    with scene.room() as room, WebServer(Site(room), 0) as web:
        assert room.ledger
        parts = [(scene.write, seed), (scene.write, seed + 1), (scene.relay, seed + 2), (scene.relay, seed + 3)]
        parts += [(scene.hint, web.address), (scene.pause,), (scene.watch,)]
        names = ("follow", "follow 2") if scene.warehouse_url else ("follow",)
        parts += [(scene.follow, name, seed + at) for at, name in enumerate(names, 4)]
        failed = []

        def run(part, *given):
            try:
                part(*given)
            except BaseException as problem:
                failed.append(problem)
                scene.stop.set()

        threads = [threading.Thread(target=run, args=part) for part in parts]
        for one in threads:
            one.start()
        scene.stop.wait(seconds)
        while not scene.stop.wait(0.05) and (scene.figures.followers_killed < kills or not scene.figures.looks):
            pass
        scene.stop.set()
        for one in threads:
            one.join()
        if failed:
            raise failed[0]


def judge(scene):
    """Follow once and compare; be away for three days; let the standby take over from a leader that lost commits."""
    figures = scene.figures
    scene.caught_up()
    figures.swept_at_end = scene.follow_once()
    write_some(scene.url, 200, 1)
    scene.caught_up()
    clock = HandClock()
    clock.advance((datetime.now(UTC) - clock.now() + timedelta(days=3)).total_seconds())
    figures.swept_after_days = scene.follow_once(clock)
    fail_over(scene)


def fail_over(scene):
    """Kill the leader with commits that only the follower has seen; what the standby says is the truth from then on."""
    figures = scene.figures
    with psycopg.connect(scene.replica, autocommit=True) as standby:
        standby.execute("select pg_wal_replay_pause()")
        wait_for(lambda: standby.execute("select pg_get_wal_replay_pause_state()").fetchone()[0] == "paused")
        # Promotion replays what has arrived: what is to be lost must never leave the leader.
        with psycopg.connect(scene.url, autocommit=True) as leader:
            leader.execute("alter system set max_wal_senders = 0")
            leader.execute("select pg_terminate_backend(pid) from pg_stat_replication")
        standby.execute("alter system set primary_conninfo = ''")
        standby.execute("select pg_reload_conf()")
        wait_for(lambda: not standby.execute("select count(*) from pg_stat_wal_receiver").fetchone()[0])
        figures.lost_commits = write_some(scene.url, 60, 2)
        with Leader(scene.url) as kit:
            kit.drain()
        scene.follow_once(replica=scene.url)  # it reads them from the leader itself
        scene.leader.stop(signal.SIGKILL)
        standby.execute("select pg_wal_replay_resume()")
    scene.standby.promote()
    new = {"url": scene.replica, "replica": scene.replica}
    write_some(scene.replica, 20, 3)
    with Leader(scene.replica) as kit:
        kit.drain()
        assert kit.status().epoch == 2
    before = scene.users()
    environ = {**os.environ, **scene.environ, "LEADER_URL": scene.replica, "REPLICA_URL": scene.replica}
    program = [str(Path(sys.executable).with_name("signalroom")), "--workspace", str(scene.root)]
    done = subprocess.run([*program, "follow", "--once"], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    figures.removed = len(before - scene.users())
    assert scene.follow_once(**new) == 0
    with scene.room(**new) as room, follower(room, projection(room, "app")) as one:
        assert all(one.reconcile(name).differing == 0 for name in ENTITIES)
        rows = " UNION ALL ".join(f"SELECT _deleted FROM app.{name}__rows" for name in ENTITIES)
        counted = room.warehouse.query(f"SELECT count(*) AS n FROM ({rows}) r WHERE _deleted").to_pylist()
        figures.tombstones = counted[0]["n"]


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=15)
    asked.add_argument("--kills", type=int, default=3, help="Followers to kill at least, whatever the time.")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--warehouse", action="append", choices=("duckdb", "postgres"), help="Both, if left out.")
    options = asked.parse_args()
    broken = False
    for kind in options.warehouse or ("duckdb", "postgres"):
        with tempfile.TemporaryDirectory() as folder:
            figures = soak(Path(folder, "workspace"), kind, options.seconds, options.kills, options.seed)
        print(figures.told(), flush=True)  # noqa: T201 - figures are what it is for
        broken |= bool(figures.differing or figures.backward)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
