"""An app with the leader kit and a follower of it, for tests: the app's own session, a clock in hand, and the law."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from pathlib import Path

import psycopg

from leader_app import app, installed
from ledger_laws import HandClock
from signalroom.ledger.ledger import Ledger
from signalroom.projections.follower import Follower
from signalroom.workspace.following import FollowSettings


@dataclasses.dataclass
class Followed:
    """An app and the copy of it.

    Attributes:
        leader: The kit, to relay with.
        session: A session of the app's own.
        follower: What is tested.
        warehouse: Where the copy is.
        clock: The follower's clock.
    """

    leader: object
    session: psycopg.Connection
    follower: Follower
    warehouse: object
    clock: HandClock

    def relay(self):
        """Project what is due and return the hints."""
        return [(one.entity, one.entity_id, one.version) for one in self.leader.drain()]

    def pages(self):
        """Return id -> name and total of the live pages in the warehouse."""
        rows = self.warehouse.query(f"SELECT _id, name, total FROM {self.follower.name}.page").to_pylist()
        return {row["_id"]: (row["name"], row["total"]) for row in rows}

    def wanted(self):
        """Return how many rows are queued."""
        return sum(one.rows for one in self.follower.queue.backlog(self.follower.name).values())

    def differences(self):
        """Return the pages whose row here is not the one that the app's own query gives, or not in the same version."""
        truth = {
            row[0]: row[1:]
            for row in self.session.execute(
                "SELECT _id, name, total, _version FROM public.reporting_page WHERE NOT _deleted"
            )
        }
        rows = self.warehouse.query(f"SELECT _id, name, total, _version FROM {self.follower.name}.page").to_pylist()
        here = {row["_id"]: (row["name"], row["total"], row["_version"]) for row in rows}
        return {one for one in truth.keys() | here.keys() if truth.get(one) != here.get(one)}


@contextmanager
def followed(folder: Path, url: str, warehouse, projection: str, **follow):
    """Yield an app in a database of its own, followed into ``warehouse`` as ``projection``."""
    clock = HandClock()
    with (
        installed(folder, url) as leader,
        psycopg.connect(url, autocommit=True) as session,
        Ledger.open(str(folder / "ledger.sqlite"), clock=clock) as ledger,
    ):
        settings = dataclasses.replace(app(folder, url), name=projection, follow=FollowSettings(**follow))
        with Follower(settings, warehouse.projections(), ledger.pulls, clock) as follower:
            yield Followed(leader, session, follower, warehouse, clock)
