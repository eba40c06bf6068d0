"""A warehouse with the rows of three agencies, manifests over them, and what a refresher of them needs."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from typing import Any

from signalroom.errors import DataError
from signalroom.run import ignore_progress
from signalroom.view import Agency, CannedReport, ManifestSet, View
from signalroom.views.refresh import Refresher
from signalroom.workspace.workspace import Workspace

AGENCIES = (Agency(7, "acme", "Acme"), Agency(8, "bolt", "Bolt"), Agency(9, "crow", "Crow"))
DAY = date(2026, 11, 20)
DAILY = CannedReport(
    1, "daily", "Daily", "select day, count(*) as clicks, sum(revenue) as revenue from clicks group by day"
)
TOP = CannedReport(
    2, "top", "Top offers", "select offer, revenue, rank() over (order by revenue desc) as place from clicks"
)
OWN = View("acme_offers", "Offers", 7, "acme", "select offer, sum(revenue) as revenue from clicks group by offer", 1)
MANIFESTS = ManifestSet(
    AGENCIES, (OWN,), (DAILY, TOP), tuple((i, agency.id, report) for i, (agency, report) in enumerate(
        ((agency, report) for agency in AGENCIES for report in (1, 2)), 1)),
)  # fmt: skip

SETUP = """
create schema shop;
create schema private;
create table shop.clicks (agency_id integer, day date, offer text, revenue decimal(12,2));
create table private.secrets (agency_id integer, word text);
insert into private.secrets values (7, 'canary-of-the-house');
insert into shop.clicks
    select 7 + n % 3, date '2026-11-10' + cast(n % 10 as integer), 'offer ' || (n % 5) || ' of ' || (7 + n % 3), n * 0.37
    from (select * from generate_series(1, 600) as s(n)) numbers;
insert into signalroom.loads values ('L1', 'shop', 'clicks', now(), now(), 1, 600);
"""
NEW_LOAD = "insert into signalroom.loads values ('{}', 'shop', 'clicks', now(), now(), 1, 1)"


class Views:
    """A warehouse and a ledger with the manifests above."""

    def __init__(self, root: Any, warehouse: Any, ledger: Any, clock: Any, **settings: Any) -> None:
        (root / "signalroom.toml").write_text('name = "t"\ntimezone = "America/New_York"\n')
        loaded = Workspace.load(root, {})
        views = dataclasses.replace(loaded.views, tables=["shop.clicks"], **settings)
        self.workspace = dataclasses.replace(loaded, views=views)
        self.warehouse, self.ledger, self.clock = warehouse, ledger, clock
        warehouse.positions("shop", "clicks")  # its own tables are made
        for statement in SETUP.split(";\n"):
            if statement.strip():
                warehouse.run(statement)
        ledger.manifests.bring(MANIFESTS)

    def refresher(self, today: date = DAY) -> Refresher:
        return Refresher(self.workspace, self.ledger, self.warehouse.views(), self.clock.now(), today)

    def refresh(self, target: str = "", *, force: bool = False, today: date = DAY) -> Any:
        return self.refresher(today).refresh(target, ignore_progress, force=force)

    def ask(self, query: str, number: int = 90) -> Any:
        """Make a custom manifest of acme's of a query and refresh it; return its result."""
        view = View("hostile", "H", 7, "acme", query, number)
        self.ledger.manifests.bring(dataclasses.replace(MANIFESTS, custom=(OWN, view)))
        result = self.refresh("hostile", force=True)
        return next((one for one in result.refreshed if one.view.name == "hostile"), None)

    def rows(self, name: str, slug: str, order: str = "1") -> list[dict[str, Any]]:
        return self.warehouse.query(f"select * from agency_{slug}.{name} order by {order}").to_pylist()

    def load(self, name: str) -> None:
        """Let it look as if a load had come in."""
        self.warehouse.run(NEW_LOAD.format(name))

    def differing(self) -> int:
        """How many rows of the views differ from a recomputation by the warehouse itself."""
        different = 0
        for view in MANIFESTS.views():
            inner = view.query.replace("from clicks", f"from shop.clicks where agency_id = {view.agency_id}")
            table = f"agency_{view.agency_slug}.{view.name}"
            for left, right in ((f"select * from {table}", inner), (inner, f"select * from {table}")):
                sql = f"select count(*) as n from (({left}) except all ({right})) d"
                different += self.warehouse.query(sql).to_pylist()[0]["n"]
        return different

    def seen(self, name: str = "hostile", slug: str = "acme") -> str:
        """Return everything a view shows as one text; empty where there is none."""
        try:
            return str(self.warehouse.query(f"select * from agency_{slug}.{name}").to_pylist())
        except DataError:
            return ""


def moment() -> datetime:
    return datetime(2026, 11, 20, 12, tzinfo=UTC)
