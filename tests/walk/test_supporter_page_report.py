"""The supporter page report: which event of the app changes which of its fields, and what its names and totals are."""

import tomllib
from pathlib import Path

import pytest

from signalroom import steps
from signalroom.engine.following import follower, projection, sweep_all
from signalroom.projections.leader import Leader
from signalroom.room import Room
from signalroom.simulators.fundraising import FundraisingApp
from signalroom.workspace.init import init
from signalroom.workspace.workspace import Workspace

pytestmark = pytest.mark.slow
USER = """update users set name = 'Vera van Dale', birthday = '1999-12-31', email = 'vera@example.org', phone = '555-0199',
    street_address = '1 New Street', address = 'Flat 2', city = 'Elsewhere', postal_code = 'E1', region = 'South',
    country = 'IE' where id = (select owner_id from pages where id = %(page)s)"""
PAGE = """update pages set campaign_id = %(campaign)s, name = 'New name', url = 'https://give.example/new', target = 77,
    expiry_date = '2027-01-01', status = 'paused', team_id = %(team)s, team_position = 42, owner_id = %(user)s
    where id = %(page)s"""
GIFT = "insert into {} (page_id, amount, currency_code, created_at) values (%(member)s, 500, %(currency)s, now())"
EVENTS = {
    "page updated": PAGE,
    "donation received": GIFT.format("donations"),
    "offline donation received": GIFT.format("offline_donations"),
    "custom counter updated": "insert into custom_counters (page_id, counted, created_at) values (%(page)s, 3, now())",
    "team created": None,
    "team updated": "update teams set name = 'Renamed', url = 'https://give.example/t' where id = %(own)s",
    "charity updated": "update charities set name = 'Renamed'",
    "campaign updated": "update campaigns set name = name || ', renamed'",
    "user updated": USER,
    "page created": None,
}


class World:
    """An app, its kit, a workspace that follows it, and the report."""

    def __init__(self, root, url):
        self.app = FundraisingApp(url, seed=3)
        self.app.create()
        self.app.seed(users=8, teams=3, pages=16)
        self.room = Room(Workspace.load(root, {"LEADER_URL": url, "REPLICA_URL": url}))
        settings = projection(self.room, "app")
        self.kit = Leader(url)
        self.kit.install(settings)
        self.follower = follower(self.room, settings)
        self.follow()
        steps.build(self.room)

    def close(self):
        for one in (self.follower, self.kit, self.room, self.app):
            one.close()

    def follow(self):
        self.kit.drain()
        sweep_all(self.follower)

    def report(self):
        self.follow()
        rows = self.room.warehouse.query("SELECT * FROM marts.supporter_page_report").to_pylist()
        return {row["page_id"]: row for row in rows}

    def one(self, query, **params):
        row = self.app.connection.execute(query, params).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory, postgres_server):
    root = tmp_path_factory.mktemp("fundraising") / "workspace"
    init("fundraising", root)
    dsn = postgres_server.create_database()
    made = World(root, dsn)
    yield made
    made.close()
    postgres_server.drop_database(dsn)


def declared():
    template = Path(steps.__file__).parent / "workspace/templates/fundraising/docs/fields.toml"
    return {event["name"]: event for event in tomllib.loads(template.read_text())["events"]}


def test_every_event_is_tried():
    assert set(EVENTS) == set(declared())


def params(world):
    """Return a supporter's page without a team, a member of a team, and where they may go."""
    page = world.one("select min(id) from pages where owner_type = 'User' and team_id is null")
    member = world.one("select min(id) from pages where team_id is not null")
    return {
        "page": page,
        "member": member,
        "own": world.one("select team_id from pages where id = %(member)s", member=member),
        "currency": world.one("select currency_code from pages where id = %(member)s", member=member),
        "campaign": world.one("select max(id) from campaigns where id <> (select campaign_id from pages where id = %(page)s)", page=page),
        "user": world.one("select max(id) from users where id <> (select owner_id from pages where id = %(page)s)", page=page),
        "team": world.one(
            "select owner_id from pages where owner_type = 'Team' and currency_code = (select currency_code from pages"
            " where id = %(page)s) union all select max(id) from teams limit 1",
            page=page,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("event", [name for name, statement in EVENTS.items() if statement])
def test_an_event_changes_its_fields_and_no_other(world, event):
    before, told = world.report(), declared()[event]
    world.app.connection.execute(EVENTS[event], params(world))
    after = world.report()
    assert before.keys() == after.keys()
    changed = {name for page, row in after.items() for name, value in row.items() if value != before[page][name]}
    assert set(told["fields"]) <= changed
    assert changed <= {*told["fields"], *told.get("follows", ())}


def test_a_campaign_that_moves_to_another_charity_takes_its_pages_along(world):
    before = world.report()
    campaign = world.one("select campaign_id from pages order by id limit 1")
    uuid = str(world.one("select uuid from campaigns where id = %(campaign)s", campaign=campaign))
    world.app.connection.execute("update charities set name = 'Charity ' || id")
    world.app.connection.execute(
        "update campaigns set charity_id = (select min(id) from charities where id <> charity_id) where id = %s",
        [campaign],
    )
    after = world.report()
    moved = {page for page, row in after.items() if row["campaign_id"] == uuid}
    truth = world.one(
        "select c.name from charities c join campaigns m on m.charity_id = c.id where m.id = %(campaign)s",
        campaign=campaign,
    )
    assert moved
    assert {after[page]["charity_name"] for page in moved} == {truth}
    assert truth not in {before[page]["charity_name"] for page in moved}


def test_a_created_page_and_team_have_their_creation_dates_from_then_on(world):
    before = world.report()
    world.app.found_team()
    after = world.report()
    (page,) = after.keys() - before.keys()
    fields = {*declared()["page created"]["fields"], *declared()["team created"]["fields"]}
    assert all(after[page][name] is not None for name in fields)
    world.app.connection.execute("update pages set name = name || '!'")
    world.app.connection.execute("update teams set name = name || '!'")
    later = world.report()
    assert later[page]["page_name"] == after[page]["page_name"] + "!"
    assert {name: later[page][name] for name in fields} == {name: after[page][name] for name in fields}


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("Ada Birch", "Ada", "Birch"), ("Cleo de la Rue", "Cleo", "de la Rue"), ("Otto", "Otto", None),
     ("  Nora   Vale ", "Nora", "Vale"), ("", "", None)],
)  # fmt: skip
def test_a_name_is_split_at_its_first_blank(world, name, first, last):
    page = world.one("select min(id) from pages where owner_type = 'User'")
    uuid = str(world.one("select uuid from pages where id = %(page)s", page=page))
    world.app.connection.execute(
        "update users set name = %s where id = (select owner_id from pages where id = %s)", [name, page]
    )
    row = world.report()[uuid]
    assert ((row["supporter_first_name"] or ""), row["supporter_last_name"]) == (first, last)


def test_the_state_is_the_region_else_the_locality(world):
    page = world.one("select max(id) from pages where owner_type = 'User'")
    uuid = str(world.one("select uuid from pages where id = %(page)s", page=page))
    update = "update users set region = %s, locality = %s where id = (select owner_id from pages where id = %s)"
    for region, locality, state in ((None, "North", "North"), ("West", "North", "West"), (None, None, None)):
        world.app.connection.execute(update, [region, locality, page])
        assert world.report()[uuid]["supporter_state"] == state


def test_money_of_a_team_is_counted_once_and_currencies_are_never_added(world):
    world.report()
    found = world.room.warehouse.query("SELECT * FROM marts.totals_by_currency").to_pylist()
    given = world.app.rows(
        """select p.currency_code::text as currency_code, sum(g.amount)::bigint as total from pages p join
        (select page_id, amount from donations union all select page_id, amount from offline_donations) g
        on g.page_id = p.id group by 1"""
    )
    totals = {}
    for row in found:
        totals[row["currency_code"]] = totals.get(row["currency_code"], 0) + row["total"]
    assert {key: value for key, value in totals.items() if value} == {
        row["currency_code"]: row["total"] for row in given
    }
