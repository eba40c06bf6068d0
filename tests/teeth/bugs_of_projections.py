"""Bugs of projections: in the leader kit, whose source is SQL, and in the follower; sessions that race must notice each."""

from __future__ import annotations

import inspect
from typing import Any

from integration import test_follower as follower
from integration import test_follower_races as pulls
from integration import test_leader as leader
from integration import test_leader_races as races
from integration import test_tombstones as tombstones
from signalroom.projections import leader_ddl
from signalroom.testing import warehouse_projections as rows
from teeth.planting import Bug, Law

_READ = 'file.read_text(encoding="utf-8")'
_SOURCE = leader_ddl.kit("{schema}")


def kit(name: str, right: str, wrong: str, law: Law, seen: str = "", origin: str = "") -> Bug:
    """Return a bug of the kit's SQL: it is planted where the kit is read."""
    assert _SOURCE.count(right) == 1, f"{name}: the leader kit changed; plant the bug again where it is now"
    return Bug(name, "projections.leader_ddl:kit", _READ, f"{_READ}.replace({right!r}, {wrong!r})", law, seen, origin)


def on_a_leader(law: Law) -> Law:
    """Return a law of the kit, given its sessions by the names they have here."""

    def held(kit_leader: Any, kit_second: Any, kit_app: Any, kit_elsewhere: Any) -> None:
        given = {
            "leader": kit_leader,
            "second": kit_second,
            "app": kit_app,
            "other": kit_app,
            "elsewhere": kit_elsewhere,
        }
        law(**{name: given[name] for name in inspect.signature(law).parameters})

    held.__name__ = law.__name__
    return held


def in_a_race(law: Law) -> Law:
    """Return a law of the kit that begins with two pages, given its sessions."""
    alone = on_a_leader(law)

    def held(kit_leader: Any, kit_pages: Any, kit_second: Any, kit_app: Any, kit_elsewhere: Any) -> None:
        del kit_pages  # they are there
        alone(kit_leader, kit_second, kit_app, kit_elsewhere)

    held.__name__ = law.__name__
    return held


def on_a_copy(law: Law) -> Law:
    """Return a law of the follower, given an app and its copy."""

    def held(kit_world: Any) -> None:
        law(kit_world)

    held.__name__ = law.__name__
    return held


def on_a_swept_copy(law: Law) -> Law:
    """Return a law of the follower, given an app and its copy, which has what there is."""

    def held(kit_world: Any) -> None:
        kit_world.relay()
        kit_world.follower.sweep("page")
        law(kit_world)

    held.__name__ = law.__name__
    return held


def behind_a_replica(law: Law) -> Law:
    """Return a law of the follower, given an app whose replica stands still."""

    def held(kit_behind: Any) -> None:
        law(kit_behind)

    held.__name__ = law.__name__
    return held


BUGS = (
    # ---------------------------------------------------------------------------------------------- the leader kit
    kit(
        "a version rises though the row did not change",
        "where row(%sp._deleted) is distinct from row(%sexcluded._deleted)",
        "where row(%sp._deleted) is distinct from row(%sexcluded._deleted) or true",
        on_a_leader(leader.test_what_changes_nothing_raises_no_version),
    ),
    kit(
        "a row that comes back begins at its first version",
        "greatest(p._version + 1, excluded._version)", "excluded._version",
        on_a_leader(leader.test_a_row_that_goes_leaves_a_tombstone_and_may_come_back),
    ),
    kit(
        "a row that goes leaves no tombstone",
        "where f._id is not null or exists (select from %s t where t._id = w.id)",
        "where f._id is not null or exists (select from %s t where false)",
        on_a_leader(leader.test_a_row_that_goes_leaves_a_tombstone_and_may_come_back),
        origin="Estuary flow PR 2716: deletes missed",
    ),
    kit(
        "the parent that a row left is not computed",
        "format('select %1$L, %2$I::pg_catalog.text from old_rows where %2$I is not null'\n"
        "        ' union select",
        "format('select",
        on_a_leader(leader.test_a_child_that_moves_changes_both_parents),
    ),
    kit(
        "a table that is emptied changes nothing",
        "'{insert,update,delete,truncate}'", "'{insert,update,delete}'",
        on_a_leader(leader.test_a_table_that_is_emptied_changes_all_that_hung_on_it),
    ),
    kit(
        "writers in the role of a replica are not seen",
        "enable always trigger", "enable trigger",
        on_a_leader(leader.test_writers_are_seen_whatever_their_rights_and_roles),
    ),
    kit(
        "two relays take the same work",
        "order by i.id limit n for update skip locked", "order by i.id limit n",
        in_a_race(races.test_two_relays_share_the_work_and_neither_waits), "lock timeout",
    ),
    kit(
        "rows are computed from before the lock was had",
        "<> 'read committed'", "= 'serializable'",
        in_a_race(races.test_a_relay_whose_snapshot_would_be_from_before_the_lock_is_refused), "DID NOT RAISE",
    ),
    kit(
        "a promoted standby gives versions that the lost leader gave",
        "'update %s set _version = (select epoch << 40 from {schema}.reporting_state) + 1, _txid",
        "'update %s set _version = _version, _txid",
        in_a_race(races.test_another_server_begins_another_epoch),
    ),
    kit(
        "each of two relays begins an epoch",
        "    where (s.system_identifier, s.timeline) <> (here.system_identifier, here.timeline);\n  if not found",
        ";\n  if not found",
        in_a_race(races.test_two_relays_begin_one_epoch),
    ),
    kit(
        "a relay waits where a writer will not notify",
        "pg_try_advisory_lock_shared({schema}.reporting_relay_lock()) then\n    perform pg_advisory_unlock_shared",
        "false then\n    perform pg_advisory_unlock_shared",
        in_a_race(races.test_whoever_writes_while_a_relay_waits_notifies_and_nobody_else),
    ),
    kit(
        "a tombstone is purged that a follower has not passed",
        "where p.entity = of_entity order by p.xid limit 1", "where p.entity = of_entity order by p.xid desc limit 1",
        on_a_swept_copy(tombstones.test_a_tombstone_goes_when_its_days_are_over_and_every_follower_has_passed_it),
    ),
    kit(
        "who comes back after a purge is older than the tombstone",
        "set purged_version = greatest(e.purged_version, purged.version),", "set",
        on_a_swept_copy(tombstones.test_who_comes_back_after_the_purge_is_newer_than_the_tombstone),
    ),
    kit(
        "a new server purges by what followers said to the old one",
        "delete from {schema}.reporting_pulls;", "",
        on_a_swept_copy(tombstones.test_a_new_server_purges_nothing_by_what_followers_said_to_the_old_one),
    ),
    Bug(
        "a warehouse from before a purge keeps what is gone", "projections.follower:Follower.sweep",
        "int(since) <= self._replica.purged(name)", "False",
        on_a_swept_copy(tombstones.test_a_warehouse_from_before_the_purge_finds_out), "",
    ),
    # ------------------------------------------------------------------------------------------------ the follower
    Bug(
        "of two pulls the one that ends last wins", "warehouse.duckdb_projections:_apply",
        "OR t._version < s._version", "OR true",
        on_a_copy(pulls.test_of_two_pulls_the_one_that_read_later_wins), "",
    ),
    Bug(
        "an older version overwrites a newer one", "warehouse.duckdb_projections:_apply",
        "OR t._version < s._version", "OR t._version <> s._version",
        rows.only_a_newer_version_is_applied, "older, newer and new",
    ),
    Bug(
        "a late update brings a deleted row back", "warehouse.duckdb_projections:_apply",
        "OR t._version < s._version", "OR t._deleted OR t._version < s._version",
        rows.a_deletion_is_a_row, "a late update",
    ),
    Bug(
        "an undo takes what came meanwhile", "warehouse.projecting:withdraw",
        " AND t._version = u.version", "",
        rows.what_the_leader_lost_can_be_undone, "another version was looked at",
    ),
    Bug(
        "a sweep passes over a transaction that is under way", "projections.replica:Replica._snapshot",
        "pg_snapshot_xmin(", "pg_snapshot_xmax(",
        on_a_copy(follower.test_a_sweep_skips_no_transaction_that_is_under_way), "", "kamu-cli #1398, Dekaf PR 2374",
    ),
    Bug(
        "a hint that comes before its replica is forgotten", "projections.follower:_arrived",
        "here.get(one.id, -1) >= one.version", "True",
        behind_a_replica(pulls.test_a_hint_before_its_replica_waits_and_then_asks_the_leader), "",
    ),
    Bug(
        "what a replica lacks is taken for lost", "projections.reconcile:reconcile",
        "known = leader.versions(entity, (), ids)", "known = replica.versions(entity, (), ids)",
        behind_a_replica(pulls.test_a_replica_that_is_behind_undoes_nothing), "",
    ),
    Bug(
        "a promoted standby is taken for the leader that was lost", "projections.follower:Follower.sweep",
        'state.leader not in ("", seen.leader)', "False",
        on_a_copy(follower.test_a_new_epoch_copies_everything_and_takes_lost_rows_out), "",
    ),
)  # fmt: skip
