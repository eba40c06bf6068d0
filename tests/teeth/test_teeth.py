"""Every seeded bug is noticed by its law, for the reason it should be; the laws hold where there is no bug."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from crash.mutants import SHOWS
from following import Followed, followed
from integration.test_follower_races import behind_its_replica
from leader_app import ONE, TWO, installed
from ledger_laws import HandClock
from signalroom.errors import DataError, RetryableError
from signalroom.ledger.ledger import Ledger, LedgerSettings
from signalroom.projections.leader import Leader
from signalroom.testing.bench import Bench
from signalroom.warehouse.base import Warehouse
from teeth import bugs_of_projections, bugs_of_steps, bugs_of_tables
from teeth.planting import Bug, plant
from upstream_laws import clock, served, world
from warehouses import duckdb_warehouse

__all__ = ["clock", "served", "world"]  # fixtures

pytestmark = pytest.mark.slow

BUGS = {bug.name: bug for bug in (*bugs_of_tables.BUGS, *bugs_of_steps.BUGS, *bugs_of_projections.BUGS)}
LAWS = {f"{bug.law.__module__}.{getattr(bug.law, '__name__', bug.law)}": bug.law for bug in BUGS.values()}
# What a law says, and what the product's own defences say; an error of any other kind would be a bug of the bug.
NOTICED = (AssertionError, DataError, RetryableError, pytest.fail.Exception)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with duckdb_warehouse(tmp_path_factory.mktemp("teeth")) as opened:
        yield opened


@pytest.fixture
def hold(request: pytest.FixtureRequest, tmp_path) -> Iterator[Callable[[Callable[..., Any]], object]]:
    """Return a function that holds a law: it is given what it names."""
    opened: list[Ledger] = []

    def ledger(hand: HandClock) -> Ledger:
        opened.append(Ledger.open(LedgerSettings(tmp_path, hand, "ledger.sqlite", run_lease_s=300.0)))
        return opened[-1]

    def given(law: Callable[..., Any]) -> object:
        names = inspect.signature(law).parameters
        values: dict[str, object] = {}
        if "ledger" in names:
            values["clock"] = hand = HandClock()
            values["ledger"] = ledger(hand)
        if "bench" in names:
            values["bench"] = Bench(request.getfixturevalue("warehouse"), tmp_path)
        fixtures = {name: request.getfixturevalue(name) for name in names if name not in {*values, "how", "write"}}
        return law(**{name: value for name, value in {**fixtures, **values}.items() if name in names})

    yield given
    for one in opened:
        one.close()


@pytest.fixture
def kit_url(postgres) -> str:
    """Return an app's database in which nobody waits for a lock for long: a bug must not hang."""
    return f"{postgres()}?options=-c%20lock_timeout%3D3s"


@pytest.fixture
def kit_leader(tmp_path, kit_url, kit_app) -> Iterator[Leader]:
    with installed(tmp_path, kit_url) as one:
        yield one


@pytest.fixture
def kit_pages(kit_leader, kit_app) -> None:
    kit_app.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada'), ('{TWO}', 'Ben')")
    kit_leader.drain()


@pytest.fixture
def kit_second(kit_url) -> Iterator[Leader]:
    with Leader(kit_url) as one:
        yield one


@pytest.fixture
def kit_app(kit_url) -> Iterator[psycopg.Connection]:
    with psycopg.connect(kit_url, autocommit=True) as session:
        yield session


@pytest.fixture
def kit_elsewhere() -> Iterator[Callable[..., Any]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


@pytest.fixture
def kit_world(tmp_path, postgres, warehouse) -> Iterator[Followed]:
    with followed(tmp_path, postgres(), warehouse, f"app{uuid4().hex[:8]}") as one:
        one.session.execute(f"insert into pages (uuid, name) values ('{ONE}', 'Ada runs'), ('{TWO}', '')")
        yield one


@pytest.fixture
def kit_behind(kit_world) -> Iterator[Followed]:
    with behind_its_replica(kit_world) as one:
        yield one


def test_the_documentation_lists_every_bug() -> None:
    text = (Path(__file__).parents[2] / "docs/figures.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| ([^|]+) \| `\w+` \|", text, re.MULTILINE))
    assert {*BUGS, *SHOWS} <= listed
    assert len(listed) == len(BUGS) + len(SHOWS) + 1  # and the one that needs a wire to be cut


@pytest.mark.parametrize("law", LAWS.values(), ids=[getattr(law, "__name__", "partial") for law in LAWS.values()])
def test_a_law_holds_without_a_bug(law, hold) -> None:
    hold(law)


@pytest.mark.parametrize("bug", BUGS.values(), ids=list(BUGS))
def test_a_bug_is_noticed(bug: Bug, hold, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        plant(bug, patch)
        with pytest.raises(NOTICED) as noticed:
            hold(bug.law)
    assert bug.seen in str(noticed.value)
