"""The fundraising template on a simulated app: rows with exactly the columns agreed on, and money to the cent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import signalroom
from leader_app import short
from signalroom.projections.leader import Leader
from signalroom.simulators.fundraising import FundraisingApp
from signalroom.workspace.init import init
from signalroom.workspace.projections import ProjectionSettings
from signalroom.workspace.workspace import Workspace

pytestmark = pytest.mark.slow

COLUMNS = {
    "page": "uuid name slug url campaign_uuid charity_uuid owner_uuid owner_type target country_code currency_code"
    " online_total offline_total total expiry_date status custom_metric_total team_uuid team_position created_at updated_at",
    "team": "uuid name team_page_url target online_total offline_total total created_at updated_at",
    "user": "uuid name birthday email phone address street_address city postal_code locality region country",
    "charity": "uuid name country_code created_at updated_at",
    "campaign": "uuid name created_at updated_at",
}
MONEY = {"online_total", "offline_total", "total"}
TEMPLATE = Path(signalroom.__file__).parent / "workspace" / "templates" / "fundraising"


@pytest.fixture
def app(postgres):
    one = FundraisingApp(postgres())
    one.create()
    one.seed()
    yield one
    one.close()


@pytest.fixture
def leader(app, tmp_path):
    init("fundraising", tmp_path)
    workspace = Workspace.load(tmp_path, {})
    with Leader(app.connection.info.dsn) as one:
        one.install(workspace.configure(ProjectionSettings, workspace.projections["app"]))
        one.drain()
        yield one


def rows(leader, entity) -> dict[str, dict]:
    cursor = leader.connection.execute(f"select * from reporting_{entity} where not _deleted")
    names = [column.name for column in cursor.description]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cursor}


def totals(app, leader) -> dict[int, tuple[int, int]]:
    """Return page id -> online and offline total as the leader has them."""
    held = rows(leader, "page")
    numbers = app.connection.execute("select id, uuid::text from pages").fetchall()
    assert len(held) == len(numbers)
    assert all(row["total"] == row["online_total"] + row["offline_total"] for row in held.values())
    return {number: (held[uuid]["online_total"], held[uuid]["offline_total"]) for number, uuid in numbers}


def test_every_cent_is_where_the_app_put_it(app, leader):
    done = set()
    for _ in range(300):
        done.add(app.act())
        leader.relay(50)
    assert {"donate", "donate, rolled back", "close_page", "change_teams", "correct", "refund"} <= done
    leader.drain()
    assert leader.status().intentions.failed == ()
    assert totals(app, leader) == app.truth.page_totals()
    held = {row["uuid"]: row["total"] for row in rows(leader, "team").values()}
    truth = app.truth.team_totals()
    for number, uuid in app.connection.execute("select id, uuid from teams").fetchall():
        assert held.pop(uuid) == truth.get(number, 0)
    assert held == {}
    counted = sum(row["custom_metric_total"] for row in rows(leader, "page").values())
    assert counted == app.truth.counted.total() > 0


def test_sums_per_currency_count_no_team_money_twice(app, leader):
    for _ in range(40):
        app.donate()
        app.donate_offline()
    leader.drain()
    (query,) = re.findall(r"```sql\n(.*?);\n```", (TEMPLATE / "README.md").read_text(), re.DOTALL)
    assert dict(leader.connection.execute(query).fetchall()) == app.truth.currency_totals()
    every = leader.connection.execute("select sum(total) from reporting_page").fetchone()[0]
    assert every > sum(app.truth.currency_totals().values()), "the seed has team money, which pages show twice"


def test_each_entity_has_exactly_the_columns_agreed_on(leader):
    for entity, columns in COLUMNS.items():
        found = leader.connection.execute("select name from reporting_columns(%s)", [f"reporting_{entity}"]).fetchall()
        assert [name for (name,) in found] == columns.split(), entity
        assert leader.connection.execute(f"select count(*) from reporting_{entity}").fetchone()[0] > 0
    pages = rows(leader, "page").values()
    assert all((row["team_position"] is None) or row["team_uuid"] for row in pages)
    assert {row["owner_type"] for row in pages} == {"User", "Team"}


EVENTS = {
    "a donation received": ("donate", {"page": MONEY, "team": MONEY}),
    "an offline donation received": ("donate_offline", {"page": MONEY, "team": MONEY}),
    "a page updated": ("edit_page", {"page": {"name", "status", "updated_at"}}),
    "a custom counter updated": ("count_custom", {"page": {"custom_metric_total"}}),
    "a user updated": ("edit_user", {"user": {"street_address", "region"}}),
    "a charity updated": ("rename_charity", {"charity": {"name", "updated_at"}}),
    "a team updated": ("edit_team", {"team": {"name", "target", "updated_at"}}),
    "another team": ("change_teams", {"page": MONEY | {"team_uuid", "team_position", "updated_at"}, "team": MONEY}),
}


def test_each_event_changes_the_columns_it_is_said_to_and_no_others(app, leader):
    for _ in range(30):
        app.donate()
    leader.drain()
    for event, (act, allowed) in EVENTS.items():
        seen: dict[str, set[str]] = {}
        for _ in range(6):
            before = {entity: rows(leader, entity) for entity in COLUMNS}
            getattr(app, act)()
            changes = leader.drain()
            for entity in COLUMNS:
                for key, row in rows(leader, entity).items():
                    changed = {name for name in row if row[name] != before[entity][key][name] and name[0] != "_"}
                    if changed:
                        seen.setdefault(entity, set()).update(changed)
                        assert (entity, key) in {(one.entity, one.entity_id) for one in changes}
        assert {entity: columns - allowed.get(entity, set()) for entity, columns in seen.items()} == {
            entity: set() for entity in seen
        }, event
        assert seen.keys() == allowed.keys(), event


def test_two_currencies_are_never_added(app, leader):
    (page, uuid) = app.connection.execute(
        "select id, uuid::text from pages where currency_code = 'AUD' limit 1"
    ).fetchone()
    other = "insert into donations (page_id, amount, currency_code, created_at) values (%s, 500, 'GBP', now())"
    app.connection.execute(other, [page])
    leader.drain()
    failed = {(entity, key): reason for entity, key, reason in leader.status().intentions.failed}
    assert f"page {page} in AUD was given another currency" in failed["page", uuid]
    app.connection.execute(
        "update donations set currency_code = 'AUD' where currency_code = 'GBP' and page_id = %s", [page]
    )
    assert ("page", uuid[-1]) in {one[:2] for one in short(leader.drain())}
    assert leader.status().intentions.failed == ()
