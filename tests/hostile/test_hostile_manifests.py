"""Hostile manifests on both engines: with the guard, and with the guard taken away, since it is not what protects."""

import contextlib
import dataclasses

import pytest

from agency_views import MANIFESTS, OWN, Views
from hostile_manifests import HOSTILE, PASSES_THE_GUARD
from ledger_laws import HandClock
from signalroom.errors import SignalRoomError
from signalroom.ledger.ledger import Ledger
from signalroom.view import CheckedQuery, Pending, View, ViewLimits
from signalroom.warehouse.sealed import Sealed
from warehouses import duckdb_warehouse, postgres_warehouse

pytestmark = pytest.mark.slow

LIMITS = ViewLimits({"clicks": "shop.clicks"}, timeout_s=2, memory_mb=100)
FOREIGN = (" of 8", " of 9", "canary", "root:")
COUNTS = "select (select count(*) from shop.clicks) as a, (select sum(revenue) from shop.clicks) as b, (select count(*) from private.secrets) as c"
OBJECTS = (
    "select count(*) as n from information_schema.tables where table_schema in ('shop', 'private', 'public', 'main')"
)


@pytest.fixture(params=["duckdb", "postgres"])
def views(request, tmp_path):
    opened = (
        duckdb_warehouse(tmp_path)
        if request.param == "duckdb"
        else postgres_warehouse(request.getfixturevalue("postgres_server"), tmp_path)
    )
    with opened as warehouse, Ledger.open(str(tmp_path / "l.sqlite"), clock=HandClock()) as ledger:
        yield Views(tmp_path, warehouse, ledger, HandClock(), timeout_s=2, memory_mb=100, rest_after=1000)


def state(views):
    return [views.warehouse.query(sql).to_pylist() for sql in (COUNTS, OBJECTS)]


@contextlib.contextmanager
def unguarded(views):
    """Yield a function that lets the warehouse compute a query nobody checked, and returns what it shows."""
    if views.warehouse.dialect == "postgres":
        yield lambda sql: by_role(views, sql)
        return
    with Sealed(LIMITS) as sealed:
        sealed.give("clicks", views.warehouse.query("select * from shop.clicks where agency_id = 7"))
        yield lambda sql: str(sealed.ask(sql).rows.to_pylist())


def by_role(views, sql):
    view = View("hostile", "H", 7, "acme", sql, 91)
    query = CheckedQuery(sql, {}, ("clicks",), uses_today=False, shared=False)
    (done,) = views.warehouse.views().refresh([Pending(view, query, "1")], LIMITS, together=False)
    if done.error is not None:
        raise done.error
    return views.seen()


def test_a_manifest_that_is_its_own_agency_s_is_shown(views):
    with unguarded(views) as ask:
        assert " of 7" in ask("select offer from clicks")
    done = views.ask("select * from clicks")
    assert (done.error, done.rows) == (None, 200)
    assert " of 7" in views.seen()
    assert not any(word in views.seen() for word in FOREIGN)


def test_no_hostile_manifest_is_shown_anything_or_changes_anything(views):
    before = state(views)
    hostile = tuple(
        View(f"hostile_{number}", name, 7, "acme", sql, 100 + number)
        for number, (name, sql) in enumerate(HOSTILE.items())
        if name != "nul"  # neither TOML nor a Postgres ledger can hold one
    )
    views.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(OWN, *hostile)))
    result = views.refresh()
    failed = {one.view.report_name for one in result.failed}
    assert failed >= set(HOSTILE) - PASSES_THE_GUARD - {"nul"}
    assert len(result.refreshed) - len(result.failed) >= len(MANIFESTS.views())
    assert [view.name for view in hostile if any(word in views.seen(view.name) for word in FOREIGN)] == []
    assert state(views) == before
    assert views.differing() == 0


def test_without_the_guard_nothing_foreign_is_shown_and_no_table_is_changed(views):
    before = state(views)
    leaked, ran = [], 0
    with unguarded(views) as ask:
        for name, sql in HOSTILE.items():
            if name.startswith(("no end", "sleep", "deep", "nul")):
                continue  # what a limit ends is looked at with the guard in place
            try:
                seen = ask(sql)
            except SignalRoomError:
                continue
            ran += 1
            if any(word in seen for word in FOREIGN):
                leaked.append((name, seen[:200]))
    assert leaked == []
    assert state(views) == before
    assert ran > 0  # some are harmless where they run, and that is the point
