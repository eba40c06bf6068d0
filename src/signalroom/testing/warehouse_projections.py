"""The contract of a warehouse, sixth part: rows of an app's entities, guarded by their versions."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from signalroom.errors import DataError
from signalroom.projection import CHANGED_AT, Bucket, Entity, FollowState, Upserted
from signalroom.stream import Column
from signalroom.testing.bench import Bench, same

if TYPE_CHECKING:
    import pyarrow as pa

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_PAGE = (Column("name"), Column("total", "bigint"), Column("at", "timestamptz"))


def entity_of(bench: Bench, *columns: Column) -> Entity:
    """Return the entity ``page`` of a projection that no other check uses."""
    return Entity(bench.source, "page", columns or _PAGE)


def pulled(entity: Entity, *rows: tuple[str, int, Mapping[str, str | None] | None]) -> pa.Table:
    """Return rows as they arrive: (id, version, values), all of it text; no values at all mean a deletion."""
    import pyarrow as pa

    columns: dict[str, list[str | None]] = {
        "_id": [name for name, _, _ in rows],
        "_version": [str(version) for _, version, _ in rows],
        "_deleted": ["t" if values is None else "f" for _, _, values in rows],
        "_hash": [str(hash_of(name, version)) for name, version, _ in rows],
    }
    for column in entity.columns:
        columns[column.name] = [(values or {}).get(column.name) for _, _, values in rows]
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def hash_of(name: str, version: int) -> int:
    """Return a hash for a row as a leader might: any 64 bits that differ between versions."""
    return (sum(name.encode()) * 1_000_003 + version * 7_919) ** 3 % (1 << 63) - (1 << 62)


def live(bench: Bench, entity: Entity) -> list[tuple[Any, ...]]:
    """Return id, version and name of what a reader sees, sorted."""
    found = bench.warehouse.query(f"SELECT _id, _version, name FROM {entity.title} ORDER BY _id").to_pylist()
    return [tuple(row.values()) for row in found]


def only_a_newer_version_is_applied(bench: Bench) -> None:
    """An equal version is a no-op, an older one too; a batch says what became of each of its rows."""
    entity, store = entity_of(bench), bench.warehouse.projections()
    first = pulled(entity, ("a", 2, {"name": "a2", "total": "5"}), ("b", 1, {"name": "b1"}))
    same(store.upsert(entity, first, _AT), Upserted(applied=2), "the first batch")
    same(store.upsert(entity, first, _AT + timedelta(days=1)), Upserted(stale=2), "the same again")
    mixed = pulled(entity, ("a", 1, {"name": "a1"}), ("b", 3, {"name": "b3"}), ("c", 1, {"name": ""}))
    same(store.upsert(entity, mixed, _AT), Upserted(applied=2, stale=1), "older, newer and new")
    same(live(bench, entity), [("a", 2, "a2"), ("b", 3, "b3"), ("c", 1, "")], "rows")
    times = bench.warehouse.query(f"SELECT DISTINCT _synced_at FROM {entity.title}").to_pylist()
    same([row["_synced_at"] for row in times], [_AT], "moments: a no-op writes nothing")


def a_deletion_is_a_row(bench: Bench) -> None:
    """What is deleted is not seen, a late update cannot bring it back, and a newer version can."""
    entity, store = entity_of(bench), bench.warehouse.projections()
    store.upsert(entity, pulled(entity, ("a", 1, {"name": "a1"}), ("b", 1, {"name": "b1"})), _AT)
    same(store.upsert(entity, pulled(entity, ("a", 3, None)), _AT), Upserted(applied=1), "the deletion")
    same(store.upsert(entity, pulled(entity, ("a", 2, {"name": "a2"})), _AT), Upserted(stale=1), "a late update")
    same(live(bench, entity), [("b", 1, "b1")], "rows")
    same(store.versions(entity, ())["a"], (3, hash_of("a", 3)), "the deletion's version")
    store.upsert(entity, pulled(entity, ("a", 4, {"name": "a4"})), _AT)
    same(live(bench, entity), [("a", 4, "a4"), ("b", 1, "b1")], "rows after its rebirth")


def the_order_of_arrival_does_not_matter(bench: Bench) -> None:
    """Whatever the order and the batches in which versions arrive, doubled ones included, the newest is there."""
    history: list[Any] = [("a", 1, {"name": "a1"}), ("a", 2, None), ("a", 3, {"name": "a3"})]
    store = bench.warehouse.projections()
    for number, order in enumerate(itertools.permutations(history)):
        entity = dataclasses.replace(entity_of(bench), name=f"page{number % 3}")  # some start from what is there
        store.upsert(entity, pulled(entity, order[0]), _AT)
        store.upsert(entity, pulled(entity, order[1], order[2], order[1]), _AT)
        same(live(bench, entity), [("a", 3, "a3")], f"rows after {order}")


def a_row_that_does_not_fit_is_set_aside(bench: Bench) -> None:
    """The others of its batch go on; a newer version heals it; an older one that comes late is forgotten."""
    entity, store = entity_of(bench), bench.warehouse.projections()
    store.upsert(entity, pulled(entity, ("a", 1, {"name": "a1"})), _AT)
    poison = pulled(entity, ("a", 2, {"name": "a2", "total": "1e3"}), ("b", 1, {"name": "b1", "at": "infinity"}),
                    ("c", 1, {"name": "c1"}))  # fmt: skip
    same(store.upsert(entity, poison, _AT), Upserted(applied=1, rejected=2), "a batch with two that do not fit")
    same(store.upsert(entity, poison, _AT), Upserted(stale=1, rejected=2), "the same again")
    same(live(bench, entity), [("a", 1, "a1"), ("c", 1, "c1")], "rows")
    same(bench.rejects("part", "row_number", "column_name", "value"),
         [("a", 2, "total", "1e3"), ("b", 1, "at", "infinity")], "rejects")  # fmt: skip
    same(store.waiting(entity), {"a": 2, "b": 1}, "rows that wait")
    same(store.upsert(entity, pulled(entity, ("a", 3, {"name": "a3"}), ("b", 2, None)), _AT), Upserted(2), "newer ones")
    same(bench.rejects("part"), [], "rejects after it")
    same(store.upsert(entity, poison, _AT), Upserted(stale=1, rejected=2), "the old ones, late")
    same(bench.rejects("part"), [], "rejects of what a newer version healed before")


def columns_may_come_and_go(bench: Bench) -> None:
    """A new column is added, one that is gone stays and is null from then on; a changed type is refused whole."""
    entity, store = entity_of(bench), bench.warehouse.projections()
    store.upsert(entity, pulled(entity, ("a", 1, {"name": "a1", "total": "1"})), _AT)
    wider = dataclasses.replace(entity, columns=(Column("name"), Column("goal", "decimal(12,2)")))
    store.upsert(wider, pulled(wider, ("a", 2, {"name": "a2", "goal": "0.10"})), _AT)
    found = bench.warehouse.query(f"SELECT name, total, CAST(goal AS text) AS goal FROM {entity.title}").to_pylist()
    same(found, [{"name": "a2", "total": None, "goal": "0.10"}], "rows")
    retyped = dataclasses.replace(entity, columns=(Column("name"), Column("total")))
    state = FollowState("99", "leader")
    try:
        store.upsert(retyped, pulled(retyped, ("a", 3, {"name": "a3", "total": "x"})), _AT, state=state)
    except DataError as problem:
        same(entity.title in str(problem), True, "the sentence names the entity")
    else:
        raise AssertionError("a column of another type was taken")
    same(store.states(bench.source)["page"].cursor, "", "cursor: it moves with the rows or not at all")
    same((store.fits(wider), store.fits(retyped)), (True, False), "whether its table can take the columns")
    store.rebuild(retyped)
    store.upsert(retyped, pulled(retyped, ("a", 3, {"name": "a3", "total": "x"})), _AT, state=state)
    same(live(bench, entity), [("a", 3, "a3")], "rows after it was built anew")
    same(store.states(bench.source)["page"], state, "state")


def what_the_leader_lost_can_be_undone(bench: Bench) -> None:
    """A version that the leader lost makes room for an older one, and a row that it does not know can be taken out.

    Only the version that was looked at: what came meanwhile stays.
    """
    entity, store = entity_of(bench), bench.warehouse.projections()
    store.upsert(entity, pulled(entity, ("a", 5, {"name": "lost"}), ("b", 1, {"name": "b"}), ("x", 1, None)), _AT)
    again = pulled(entity, ("a", 4, {"name": "kept"}), ("b", 1, {"name": "b"}))
    same(store.upsert(entity, again, _AT, undo={"a": 6}), Upserted(stale=2), "another version was looked at")
    same(store.remove(entity, {"x": 2}), (0, 0), "rows taken out that were looked at in another version")
    same(store.upsert(entity, again, _AT, undo={"a": 5}), Upserted(applied=1, stale=1), "the version that was lost")
    same(store.remove(entity, {"x": 1, "b": 1, "never": 1}), (1, 1), "live rows and tombstones taken out")
    same(live(bench, entity), [("a", 4, "kept")], "rows")
    same(sorted(store.versions(entity, ())), ["a"], "ids")


def checksums_tell_where_rows_differ(bench: Bench) -> None:
    """A bucket is named by the first digits of the md5 of an id; its sums are those of its rows."""
    entity, store = entity_of(bench), bench.warehouse.projections()
    rows: list[Any] = [(f"id{number}", number + 1, {"name": ""} if number % 3 else None) for number in range(40)]
    store.upsert(entity, pulled(entity, *rows), _AT)
    whole = Bucket(40, sum(range(1, 41)), sum(hash_of(name, version) for name, version, _ in rows))
    same(store.buckets(entity, 0, ()), {"": whole}, "all in one")
    fine = store.buckets(entity, 2, ())
    same(sum(one.rows for one in fine.values()), 40, "rows of all buckets")
    same(fine["64"].rows >= 1, True, "id0 is in the bucket that its md5 begins with")
    within = sorted(fine)[:3]
    same(
        set(store.buckets(entity, 4, within)),
        {one for one in store.buckets(entity, 4, ()) if one[:2] in within},
        "finer",
    )
    same(sum(fine[one].versions for one in within),
         sum(version for version, _ in store.versions(entity, within).values()), "versions of the rows")  # fmt: skip


def a_state_is_kept(bench: Bench) -> None:
    """What is remembered of an entity comes back as it was, moments included."""
    entity, store = entity_of(bench), bench.warehouse.projections()
    same(store.states(bench.source), {}, "states before the first row")
    store.upsert(entity, pulled(entity), _AT, state=FollowState("7", "leader", _AT))
    state = FollowState("8", "other", _AT, _AT + timedelta(microseconds=1))
    store.record(entity, state)
    same(store.states(bench.source), {"page": state}, "states")


def the_lag_of_what_is_applied_is_measured(bench: Bench) -> None:
    """The slowest row that was applied is kept; what was here already, or brings no moment, measures nothing."""
    import pyarrow as pa

    entity, store = entity_of(bench), bench.warehouse.projections()

    def lag_s(changed_at: tuple[str, ...], *rows: tuple[str, int, Mapping[str, str | None] | None]) -> float | None:
        timed = pulled(entity, *rows)
        if changed_at:
            timed = timed.append_column(CHANGED_AT, pa.array(changed_at, pa.string()))
        store.upsert(entity, timed, _AT)
        return store.states(bench.source)["page"].lag_s

    same(lag_s((), ("a", 1, {}), ("b", 1, {})), None, "a copy of all")
    slow, quick = "2025-12-31 23:59:57.5+00", "2025-12-31 23:59:59+00"
    same(lag_s((slow, quick), ("a", 2, {}), ("b", 2, {})), 2.5, "two rows")
    same(lag_s((slow, quick), ("a", 2, {}), ("b", 3, {})), 1.0, "a stale row beside a newer one")
    same(lag_s((slow,), ("a", 1, {})), 1.0, "nothing new")
    same(lag_s(("2026-01-01 00:00:09+00",), ("a", 3, {})), 0.0, "the app's clock is ahead")


CHECKS = (
    only_a_newer_version_is_applied,
    a_deletion_is_a_row,
    the_order_of_arrival_does_not_matter,
    a_row_that_does_not_fit_is_set_aside,
    columns_may_come_and_go,
    what_the_leader_lost_can_be_undone,
    checksums_tell_where_rows_differ,
    a_state_is_kept,
    the_lag_of_what_is_applied_is_measured,
)
"""This part of the contract."""
