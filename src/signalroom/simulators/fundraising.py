"""A fundraising app with a database of its own, and seeded supporters who use it; it knows the right totals.

`FundraisingApp.create` makes the app's tables in an empty Postgres database, `seed` fills them, `act` does one thing a
person might do, in one transaction that is now and then rolled back. The truth is kept beside the database, in Python,
from what was committed: it owes nothing to any SQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from signalroom.simulators.chance import stream

if TYPE_CHECKING:
    from random import Random

    import psycopg

_CURRENCIES: Final = (("AU", "AUD"), ("GB", "GBP"), ("IE", "EUR"), ("US", "USD"))
_CHARITIES: Final = ("Harbour Hospice", "Tree Line", "Second Chapter", "Clear Water Fund")
_CAMPAIGNS: Final = ("Coast Walk", "Winter Swim", "Ten Thousand Steps")
_FIRST: Final = ("Ada", "Bram", "Cleo", "Dario", "Edda", "Faye", "Inga", "Milo", "Nora", "Otto", "Zoé")
_LAST: Final = ("Alder", "Birch", "Calder", "de la Rue", "Ellery", "O'Dell", "Sørensen", "Vale")
_TEAMS: Final = ("Night Owls", "Hill Runners", "The Ferry Crew", "Quiet Feet", "Early Tide")
_START: Final = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@dataclass(slots=True)
class Page:
    """What the truth needs of a page: its currency, and the team it counts for or is the page of."""

    currency: str
    team: int | None = None
    is_teams_own: bool = False


@dataclass(slots=True)
class Gift:
    """One donation, in whole minor units."""

    page: int
    amount: int
    is_online: bool


@dataclass(slots=True)
class Event:
    """What the app's code emits when it did something, in the manner of Segment's ``track``.

    Attributes:
        name: What happened, e.g. ``Donation Received``.
        properties: The row that was written, or what of it the event has.
        is_committed: Whether what it tells of was committed; code that emits first cannot know.
    """

    name: str
    properties: dict[str, Any]
    is_committed: bool = True


@dataclass(slots=True)
class Truth:
    """The app as it was committed.

    Attributes:
        pages: Page id -> page.
        gifts: Table and id -> donation.
        counted: Page id -> what its supporter counted beside money.
    """

    pages: dict[int, Page] = field(default_factory=dict[int, Page])
    gifts: dict[tuple[str, int], Gift] = field(default_factory=dict[tuple[str, int], Gift])
    counted: Counter[int] = field(default_factory=Counter[int])

    def page_totals(self) -> dict[int, tuple[int, int]]:
        """Return page id -> online and offline total; a team's own page counts its members' too."""
        teams_own = {page.team: number for number, page in self.pages.items() if page.is_teams_own}
        found = {number: [0, 0] for number in self.pages}
        for gift in self.gifts.values():
            page = self.pages[gift.page]
            counts_for = {gift.page, teams_own.get(page.team, gift.page) if page.team is not None else gift.page}
            for number in counts_for:
                found[number][0 if gift.is_online else 1] += gift.amount
        return {number: (online, offline) for number, (online, offline) in found.items()}

    def team_totals(self) -> dict[int, int]:
        """Return team id -> total of its own page and its members'."""
        found: Counter[int] = Counter()
        for gift in self.gifts.values():
            team = self.pages[gift.page].team
            if team is not None:
                found[team] += gift.amount
        return dict(found)

    def currency_totals(self) -> dict[str, int]:
        """Return currency -> everything given in it, each donation once."""
        found: Counter[str] = Counter()
        for gift in self.gifts.values():
            found[self.pages[gift.page].currency] += gift.amount
        return dict(found)


class FundraisingApp:
    """The app and those who use it.

    Args:
        url: Address of its database.
        seed: Equal seeds do equal things.
        emits: Whether ``events`` holds what it does as events, in the order of its doings.
    """

    def __init__(self, url: str, seed: int = 7, *, emits: bool = False) -> None:
        import psycopg

        self.connection: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(url, autocommit=True)
        self.truth = Truth()
        self.events: list[Event] = []
        self._emits = emits
        self._chance: Random = stream(seed, "fundraising")
        self._now = _START
        self._names = 0
        self._users: list[int] = []
        self._campaigns: list[int] = []
        self._charities: list[int] = []
        self._team_currency: dict[int, str] = {}

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query on the app's tables, by column."""
        from psycopg.rows import dict_row

        asked: Any = query
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(asked).fetchall()

    def create(self) -> None:
        """Make the app's tables in an empty database."""
        statements: Any = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
        self.connection.execute(statements)

    def seed(self, users: int = 12, teams: int = 4, pages: int = 20) -> None:
        """Fill the tables with charities, campaigns, users, teams with a page each, and supporters' pages."""
        for number, name in enumerate(_CHARITIES):
            country = _CURRENCIES[number % len(_CURRENCIES)][0]
            self._charities.append(self._insert("charities", uuid=self._uuid(), name=name, country_code=country))
            self._emit("Charity Created", "charities", self._charities[-1])
        for name in _CAMPAIGNS:
            charity = self._chance.choice(self._charities)
            self._campaigns.append(self._insert("campaigns", uuid=self._uuid(), charity_id=charity, name=name))
            self._emit("Campaign Created", "campaigns", self._campaigns[-1])
        for _ in range(users):
            self.join()
        for _ in range(teams):
            self.found_team()
        for _ in range(pages):
            self.open_page()

    def act(self) -> str:
        """Do one thing a person might do, in one transaction; return what. One in twelve is rolled back."""
        import psycopg

        acts: tuple[Callable[[], None], ...] = (
            *(self.donate,) * 8, *(self.donate_offline,) * 3, *(self.edit_page,) * 2, *(self.count_custom,) * 2,
            self.change_teams, self.refund, self.correct, self.join, self.open_page, self.close_page, self.edit_user,
            self.edit_team, self.rename_charity, self.found_team,
        )  # fmt: skip
        chosen = self._chance.choice(acts)
        if self._chance.randrange(12):
            with self.connection.transaction():
                chosen()
            return chosen.__name__
        before, emitted = (self.truth, list(self._users), dict(self._team_currency)), len(self.events)
        self.truth = deepcopy(self.truth)
        with self.connection.transaction():
            chosen()
            self.truth, self._users, self._team_currency = before
            raise psycopg.Rollback
        for event in self.events[emitted:]:
            event.is_committed = False
        return f"{chosen.__name__}, rolled back"

    def donate(self) -> None:
        """Give to a page, online."""
        self._give("donations", is_online=True)

    def donate_offline(self) -> None:
        """Note cash for a page."""
        self._give("offline_donations", is_online=False)

    def refund(self) -> None:
        """Take a donation away."""
        if gift := self._any(self.truth.gifts):
            self._emit("Donation Refunded", *gift)
            self._run(f"delete from {gift[0]} where id = %s", gift[1])
            del self.truth.gifts[gift]

    def correct(self) -> None:
        """Find that a donation was meant for another page of the same currency."""
        if gift := self._any(self.truth.gifts):
            given = self.truth.gifts[gift]
            currency = self.truth.pages[given.page].currency
            page = self._any([number for number, one in self.truth.pages.items() if one.currency == currency])
            self._run(f"update {gift[0]} set page_id = %s, amount = amount + 1 where id = %s", page, gift[1])
            self.truth.gifts[gift] = Gift(page, given.amount + 1, given.is_online)
            self._emit("Donation Corrected", *gift)

    def count_custom(self) -> None:
        """Count something beside money, kilometres say."""
        page, counted = self._any(self.truth.pages), self._chance.randint(1, 42)
        added = "insert into custom_counters (page_id, counted, created_at) values (%s, %s, %s) returning id"
        self._emit("Custom Counter Updated", "custom_counters", self._run(added, page, counted, self._moment())[0][0])
        self.truth.counted[page] += counted

    def join(self) -> None:
        """Sign up, with as much of an address as one likes to give."""
        name = f"{self._chance.choice(_FIRST)} {self._chance.choice(_LAST)}"
        self._names += 1
        told: dict[str, Any] = {"birthday": date(1980, 1, 1) + timedelta(self._chance.randrange(9000))}
        told |= {"phone": f"555-01{self._names % 100:02}", "city": "Alderhaven", "country": "GB", "locality": "North"}
        kept = {key: value for key, value in told.items() if self._chance.random() < 0.7}
        email = f"supporter{self._names}@example.org"
        self._users.append(self._insert("users", uuid=self._uuid(), name=name, email=email, **kept))
        self._emit("User Created", "users", self._users[-1])

    def edit_user(self) -> None:
        """Move house."""
        user = self._any(self._users)
        self._run("update users set street_address = %s, region = 'West', updated_at = %s where id = %s",
                  f"{self._chance.randint(1, 99)} Mill Street", self._moment(), user)  # fmt: skip
        self._emit("User Updated", "users", user)

    def found_team(self) -> None:
        """Found a team, with a page of its own."""
        self._names += 1
        name = f"{self._chance.choice(_TEAMS)} {self._names}"
        url = f"https://give.example/teams/{self._names}"
        team = self._insert("teams", name=name, url=url, target=500_00)
        self._emit("Team Created", "teams", team)
        country, currency = self._chance.choice(_CURRENCIES)
        self._team_currency[team] = currency
        page = self._page(country, currency, owner_type="Team", owner_id=team)
        self.truth.pages[page] = Page(currency, team, is_teams_own=True)

    def edit_team(self) -> None:
        """Raise a team's target."""
        self._run("update teams set target = target + 10000, name = name || '!', updated_at = %s where id = %s",
                  self._moment(), team := self._any(self._team_currency))  # fmt: skip
        self._emit("Team Updated", "teams", team)

    def open_page(self) -> None:
        """Begin to raise, for a team of the same currency perhaps."""
        country, currency = self._chance.choice(_CURRENCIES)
        team = self._team_of(currency)
        position = self._chance.randint(1, 9) if team else None
        user = self._any(self._users)
        page = self._page(
            country, currency, owner_type="User", owner_id=user, team_id=team, team_position=position
        )  # fmt: skip
        self.truth.pages[page] = Page(currency, team)

    def change_teams(self) -> None:
        """Leave a team, or join another."""
        page = self._supporters_page()
        team = self._team_of(self.truth.pages[page].currency)
        self._run("update pages set team_id = %s, team_position = %s, updated_at = %s where id = %s",
                  team, 1 if team else None, self._moment(), page)  # fmt: skip
        self._emit("Page Updated", "pages", page)
        self.truth.pages[page].team = team

    def edit_page(self) -> None:
        """Rename a page, or end it."""
        self._run("update pages set name = name || '.', status = %s, updated_at = %s where id = %s",
                  self._chance.choice(("active", "expired")), self._moment(),
                  page := self._any(self.truth.pages))  # fmt: skip
        self._emit("Page Updated", "pages", page)

    def close_page(self) -> None:
        """Delete a page, and what was given to it."""
        page = self._supporters_page()
        self._emit("Page Deleted", "pages", page)
        self._run("delete from pages where id = %s", page)
        del self.truth.pages[page]
        self.truth.gifts = {key: gift for key, gift in self.truth.gifts.items() if gift.page != page}
        del self.truth.counted[page]

    def rename_charity(self) -> None:
        """Give a charity another name."""
        self._run("update charities set name = name || '*', updated_at = %s where id = %s",
                  self._moment(), charity := self._any(self._charities))  # fmt: skip
        self._emit("Charity Updated", "charities", charity)

    def rename_campaign(self, name: str) -> UUID:
        """Give the first campaign another name; return its uuid."""
        renamed = "update campaigns set name = %s, updated_at = now() where id = (select min(id) from campaigns)"
        return self._run(f"{renamed} returning uuid", name)[0][0]

    def _give(self, table: str, *, is_online: bool) -> None:
        page, amount = self._any(self.truth.pages), self._chance.randint(100, 50_000)
        (number,) = self._run(
            f"insert into {table} (page_id, amount, currency_code, created_at) values (%s, %s, %s, %s) returning id",
            page, amount, self.truth.pages[page].currency, self._moment(),
        )[0]  # fmt: skip
        self.truth.gifts[table, number] = Gift(page, amount, is_online)
        self._emit("Donation Received" if is_online else "Offline Donation Received", table, number)

    def _page(self, country: str, currency: str, **owner: Any) -> int:
        self._names += 1
        slug = f"page-{self._names}"
        page = self._insert(
            "pages", campaign_id=self._any(self._campaigns), name=f"Page {self._names}", slug=slug,
            url=f"https://give.example/{slug}", target=self._chance.randint(1, 90) * 100_00, country_code=country,
            currency_code=currency, expiry_date=date(2026, 12, 24), status="active", **owner,
        )  # fmt: skip
        self._emit("Page Created", "pages", page)
        return page

    def _emit(self, name: str, table: str, number: int | None) -> None:
        """Note an event with the row that it is about."""
        if self._emits and number is not None:
            (row,) = self.rows(f"select * from {table} where id = {number:d}")
            kind = {"is_online": table == "donations"} if "donations" in table else {}
            self.events.append(Event(name, {**row, **kind}))

    def _supporters_page(self) -> int:
        return self._any([number for number, page in self.truth.pages.items() if not page.is_teams_own])

    def _team_of(self, currency: str) -> int | None:
        same = [team for team, own in self._team_currency.items() if own == currency]
        return self._any(same) if same and self._chance.random() < 0.6 else None

    def _any(self, among: Any) -> Any:
        """Return one of a list or of a dictionary's keys; None where there is none."""
        return self._chance.choice(list(among)) if among else None

    def _uuid(self) -> UUID:
        return UUID(int=self._chance.getrandbits(128), version=4)

    def _moment(self) -> datetime:
        self._now += timedelta(seconds=self._chance.randint(1, 600))
        return self._now

    def _insert(self, table: str, **row: Any) -> int:
        row["created_at"] = row["updated_at"] = self._moment()
        names, places = ", ".join(row), ", ".join(["%s"] * len(row))
        return self._run(f"insert into {table} ({names}) values ({places}) returning id", *row.values())[0][0]

    def _run(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        text: Any = statement
        cursor = self.connection.execute(text, params)
        return cursor.fetchall() if cursor.description else []
