"""Generated manifests in two worlds that differ in everybody else's rows: what an agency sees must be the same in both.

``python tests/fuzz_manifests.py --queries 10000 --seed 1`` prints how many queries ran, a third of them in each way, and
each that told the worlds apart. A foreign row need not be shown to be told: a count or a sum that moves is enough.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg

from signalroom.errors import SignalRoomError
from signalroom.view import Agency, CannedReport, Pending, View, ViewLimits
from signalroom.views.guard import check
from signalroom.warehouse import view_parser
from warehouses import duckdb_warehouse, postgres_warehouse

LIMITS = ViewLimits({"clicks": "fuzz.clicks", "spend": "fuzz.spend"}, timeout_s=5, memory_mb=200)
SLUG = "fuzzed"
OWN, OTHERS = Agency(7, SLUG, "Fuzzed"), 8
BATCH = 25
SETUP = """
create schema fuzz;
create table fuzz.clicks (agency_id integer, day date, offer text, n integer, amount decimal(12,2));
create table fuzz.spend (agency_id integer, day date, cost decimal(12,2));
insert into fuzz.clicks select 7, date '2026-11-01' + cast(n % 5 as integer), 'own ' || (n % 3), n % 7, n
    from (select * from generate_series(1, 30) as s(n)) g;
insert into fuzz.spend select 7, date '2026-11-01' + cast(n % 4 as integer), n
    from (select * from generate_series(1, 12) as s(n)) g;
insert into fuzz.clicks select 8 + n % 2, date '2026-11-01' + cast(n % 6 as integer), 'canary {world}', n % 7, n * {world}
    from (select * from generate_series(1, {rows}) as s(n)) g;
insert into fuzz.spend select 8, date '2026-11-01' + cast(n % 6 as integer), n * {world}
    from (select * from generate_series(1, {rows}) as s(n)) g
"""


@dataclass
class Outcome:
    """What a run saw: queries asked, those that answered, and those that told the worlds apart."""

    asked: int = 0
    answered: int = 0
    told_apart: list[str] = field(default_factory=list)

    def compare(self, query: str, answers: Sequence[str]) -> None:
        """Count one query with its answer in each world."""
        self.asked += 1
        self.answered += answers[0] != "refused"
        if answers[0] != answers[1] or "canary" in "".join(answers):
            self.told_apart.append(query)


class Queries:
    """Queries of a seed: plain ones, and ones that reach for what is not theirs."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def query(self) -> str:
        """Return the next query."""
        pick = self._chance.choice
        source = self._source(2)
        key = pick(["c.day", "c.offer", "c.n", "c.agency_id"])
        chosen = ", ".join(f"{self._aggregate()} as v{place}" for place in range(self._chance.randint(1, 3)))
        grouped = f"select {key} as k, {chosen} from {source} {self._where()} group by {key} {self._having()}"
        return pick([
            grouped, grouped,
            f"select {chosen} from {source} {self._where()}",
            f"select c.day, c.offer, c.amount from {source} {self._where()}",
            f"select k, rank() over (order by v0 desc, k) as place from ({grouped}) q",
            f"with w as ({grouped}) select w.k, (select count(*) from {self._table()}) as n from w",
            f"select c.offer from {source} union all select {pick(['offer', 'cast(n as text)'])} from {self._table()}",
            f"select set_config('role', '{pick(['postgres', 'none'])}', true) as r, c.offer from {source}",
        ])  # fmt: skip

    def _table(self) -> str:
        return self._chance.choice(
            ["clicks"] * 6 + ["fuzz.clicks", "agency_fuzzed_rows.clicks", "agency_other_rows.clicks", "signalroom.loads",
             "(select * from clicks where agency_id = 8 or true)", "signalroom_shares_rows.clicks", '"fuzz"."clicks"']
        )  # fmt: skip

    def _source(self, depth: int) -> str:
        source = f"{self._table()} c"
        if depth and self._chance.random() < 0.4:
            join = self._chance.choice(["join", "left join", "full join"])
            source += f" {join} {self._chance.choice(['spend', 'spend', 'clicks', 'fuzz.spend'])} s on s.day = c.day"
        return source

    def _aggregate(self) -> str:
        return self._chance.choice(
            ["count(*)", "sum(c.amount)", "min(c.offer)", "max(c.amount)", "count(distinct c.offer)", "sum(c.n) * 2",
             "sum(c.amount) filter (where c.n > 2)", "max(case when c.n > 3 then c.offer end)", "sum(c.agency_id)"]
        )  # fmt: skip

    def _where(self) -> str:
        return self._chance.choice(
            ["", "", "where c.agency_id = 8", "where c.agency_id <> 7 or true", "where c.n > 2",
             "where 1 / (case when c.agency_id = 8 then 0 else 1 end) = 1", "where c.offer like '%canary%'",
             "where exists (select 1 from clicks x where x.agency_id = 8)", "where c.amount > 500"]
        )  # fmt: skip

    def _having(self) -> str:
        return self._chance.choice(["", "", "having count(*) > 2", "having max(c.agency_id) > 7"])


@contextmanager
def worlds(server: Any) -> Iterator[list[Any]]:
    """Yield two warehouses, on Postgres where a server is given: the agency's rows are equal, all others are not."""
    with ExitStack() as stack:
        made: list[Any] = []
        for world, rows in ((1_000, 40), (7_000, 90)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signalroom-fuzz-")))
            opened = postgres_warehouse(server, folder) if server else duckdb_warehouse(folder)
            warehouse = stack.enter_context(opened)
            warehouse.positions("fuzz", "clicks")
            for statement in SETUP.format(world=world, rows=rows).split(";\n"):
                warehouse.run(statement)
            made.append(warehouse)
        yield made


def stored(seed: int, count: int, made: Sequence[Any]) -> Outcome:
    """Let the warehouses keep views of generated queries: custom ones and canned ones, shared with another agency."""
    outcome, queries = Outcome(), Queries(seed)
    for start in range(0, count, BATCH):
        asked = [queries.query() for _ in range(min(BATCH, count - start))]
        answers = [_kept(warehouse, asked, start) for warehouse in made]
        for place, query in enumerate(asked):
            outcome.compare(query, [one[place] for one in answers])
    return outcome


def _kept(warehouse: Any, asked: Sequence[str], start: int) -> list[str]:
    pending: list[Pending] = []
    shared: list[list[Pending]] = []
    for place, query in enumerate(asked):
        try:
            checked = check(query, view_parser.parse(query), list(LIMITS.tables), date(2026, 11, 20))
        except SignalRoomError:
            continue
        name, inputs = f"v{place}", f"{start}"
        if checked.shared:
            report = CannedReport(place, name, "Fuzzed", query)
            other = Agency(OTHERS, "fuzzed_too", "Other")
            shared.append([Pending(report.view(place, one), checked, inputs) for one in (OWN, other)])
        else:
            pending.append(Pending(View(name, "Fuzzed", OWN.id, SLUG, query, place), checked, inputs))
    store = warehouse.views()
    done = {one.view.name: one for one in store.refresh(pending, LIMITS, together=False)}
    done |= {one.view.name: one for views in shared for one in store.refresh(views, LIMITS, together=True)}
    answers: list[str] = []
    for place in range(len(asked)):
        found = done.get(f"v{place}") or done.get(f"v{place}__{SLUG}")
        if found is None or found.error is not None:
            answers.append("refused")
        else:
            shown = warehouse.query(f"select * from agency_{SLUG}.{found.view.name}").to_pylist()
            answers.append(str(sorted(map(str, shown))))
    return answers


def asked_directly(seed: int, count: int, made: Sequence[Any]) -> Outcome:
    """Let the agency log in and ask the queries itself, with no guard between."""
    outcome, queries = Outcome(), Queries(seed)
    with ExitStack() as stack:
        lines = []
        for warehouse in made:
            _kept(warehouse, ["select c.offer from clicks c"], 0)  # its roles are made
            address = warehouse.url.reveal().replace("//postgres@", f"//signalroom_login_{SLUG}@")
            lines.append(stack.enter_context(psycopg.connect(address, autocommit=True)))
        for _ in range(count):
            query = queries.query()
            outcome.compare(query, [_answer(line, query) for line in lines])
    return outcome


def _answer(connection: psycopg.Connection[Any], query: str) -> str:
    statement: Any = query
    try:
        return str(sorted(map(str, connection.execute(statement).fetchall())))
    except psycopg.Error:
        return "refused"


def main() -> None:
    """Run as many queries as the command line says, a third of them in each way."""
    from postgres_server import PostgresServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1000, help="how many; 100,000 for a release")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    count, seed = -(-options.queries // 3), 3 * options.seed
    with PostgresServer.started() as server:
        with worlds(server) as made:
            found = {"Postgres, logged in": asked_directly(seed, count, made)}
            found["Postgres, kept"] = stored(seed + 1, count, made)
        with worlds(None) as made:
            found["DuckDB, kept"] = stored(seed + 2, count, made)
    told = [
        f"{name}: {one.asked:,} queries, {one.answered:,} answered, {len(one.told_apart)} told the worlds apart"
        for name, one in found.items()
    ]
    asked, apart = sum(one.asked for one in found.values()), sum(len(one.told_apart) for one in found.values())
    told.append(f"manifests, seed {options.seed}: {asked:,} queries, {apart} that saw what is not their agency's")
    shown = [f"    {query}" for one in found.values() for query in one.told_apart[:20]]
    print("\n".join([*told, *shown]))  # noqa: T201 - figures are what it is for
    raise SystemExit(any(one.told_apart for one in found.values()))


if __name__ == "__main__":
    main()
