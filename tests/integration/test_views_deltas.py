"""Shared reports kept by days: after any change they equal a full recompute, and only the changed days were touched."""

import dataclasses
from datetime import date, timedelta
from types import SimpleNamespace

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from property_profiles import examples
from signalroom.view import Agency, CannedReport, Pending, ViewLimits
from signalroom.views.guard import check
from signalroom.warehouse import view_parser
from signalroom.warehouse.shared_sql import shared_query
from warehouses import duckdb_warehouse, postgres_warehouse

pytestmark = pytest.mark.slow

FIRST = date(2026, 11, 1)
_ROUNDS = 3
LIMITS = ViewLimits({"sales": "mart.sales"}, timeout_s=30)
AGENCIES = [Agency(number, f"shop{number}", f"Shop {number}") for number in (1, 2, 3)]
TABLE = "create table mart.sales (agency_id integer, day date, offer text, units bigint, amount decimal(12,2))"
DAILY = "select day, sum(amount) as amount, count(*) as n from sales group by day"

keys = st.sampled_from(
    [
        ("offer", "offer"),
        ("upper(offer) as kind", "2"),
        ("case when units > 3 then 'many' else 'few' end as size", "size"),
    ]
)
sums = st.sampled_from(
    ["sum(amount) as a", "count(*) as b", "min(units) as c", "max(amount) as d", "count(offer) as e",
     "sum(units) filter (where amount > 5) as f", "sum(amount * units) / count(*) as g", "max(offer) as h",
     "sum(coalesce(units, 0)) + 1 as i", "bool_or(units > 3) as j"]
)  # fmt: skip
wheres = st.sampled_from(
    ["", "where units > 1", "where offer like 'o%' and not (units in (2, 3))", "where day >= date '2026-11-03'"]
)
days = st.one_of(st.none(), st.integers(0, 5).map(lambda one: FIRST + timedelta(days=one)))
rows = st.tuples(
    st.integers(1, 4), days, st.sampled_from(["one", "two", "ox", None]), st.integers(0, 6), st.integers(0, 900)
)
changes = st.one_of(
    st.tuples(st.just("insert"), st.lists(rows, min_size=1, max_size=6)),
    st.tuples(st.just("delete"), days),
    st.tuples(st.just("move"), days, days),
    st.tuples(st.just("change"), st.integers(0, 6)),
    st.tuples(st.just("empty"), st.booleans()),
)


@st.composite
def queries(draw):
    """A grouped query with the day in its key, spelt in one of several ways."""
    day, group = draw(
        st.sampled_from([("day", "day"), ("day", "1"), ("s.day as on_day", "1"), ("day as on_day", "on_day")])
    )
    more = draw(st.none() | keys)
    chosen = [day, *([more[0]] if more else []), *draw(st.lists(sums, min_size=1, max_size=4, unique=True))]
    having = draw(st.sampled_from(["", "having count(*) > 1", "having sum(amount) > 20"]))
    groups = group + (f", {more[1]}" if more else "")
    return f"select {', '.join(chosen)} from sales as s {draw(wheres)} group by {groups} {having}".replace("  ", " ")


def pending(query, version, report=1):
    canned = CannedReport(report, f"r{report}", "R", query)
    checked = check(query, view_parser.parse(query), ["sales"], date(2026, 11, 20))
    return [Pending(canned.view(one.id, one), checked, version) for one in AGENCIES]


def spelt(values):
    return ", ".join("null" if one is None else str(one) if isinstance(one, int) else f"'{one}'" for one in values)


def statement(change):
    kind, *what = change
    if kind == "insert":
        return f"insert into mart.sales values {', '.join(f'({spelt(row)})' for row in what[0])}"
    same = "is null" if what[0] is None else f"= '{what[0]}'"
    return {
        "delete": f"delete from mart.sales where day {same}",
        "move": f"update mart.sales set day = {spelt(what[-1:])} where day {same}",
        "change": f"update mart.sales set amount = amount * 3 + 0.01 where units = {what[0]}",
        "empty": "truncate mart.sales" if what[0] is True else "delete from mart.sales",
    }[kind]


def differing(warehouse, views):
    """How many groups differ from what the query says of the agency's rows, by the warehouse itself."""
    found = 0
    for one in views:
        mine = f"with sales as (select * from mart.sales where agency_id = {one.view.agency_id})"
        shown = f"select * from agency_{one.view.agency_slug}.{one.view.name}"
        for left, right in ((shown, one.view.query), (one.view.query, shown)):
            sql = f"{mine} select count(*) as n from (({left}) except all ({right})) as d"
            found += warehouse.query(sql).to_pylist()[0]["n"]
    return found


@pytest.fixture(scope="module", params=["postgres", "duckdb"])
def stage(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deltas")
    opened = (
        duckdb_warehouse(folder)
        if request.param == "duckdb"
        else postgres_warehouse(request.getfixturevalue("postgres_server"), folder)
    )
    with opened as warehouse:
        warehouse.positions("mart", "sales")
        warehouse.run("create schema mart")
        warehouse.run(TABLE)
        yield SimpleNamespace(warehouse=warehouse, count=0, store=warehouse.views())


@examples(quick=4, many=1000)
@given(st.data())
def test_after_any_change_every_group_equals_a_recompute(stage, data):
    stage.count += 1
    stage.warehouse.run("delete from mart.sales")
    stage.warehouse.run(statement(("insert", data.draw(st.lists(rows, min_size=1, max_size=30)))))
    query = data.draw(queries())
    views = pending(query, f"{stage.count}", stage.count)
    assert shared_query(views[0].query).days
    for turn in range(_ROUNDS + 1):
        asked = [dataclasses.replace(one, inputs=f"{one.inputs} {turn}") for one in views]
        if turn:
            for change in data.draw(st.lists(changes, min_size=1, max_size=3)):
                stage.warehouse.run(statement(change))
            # one agency may be refreshed alone: the others then have more to catch up with
            asked = data.draw(st.sampled_from([asked, asked[:1], asked[1:]])) if turn < _ROUNDS else asked
            asked = [dataclasses.replace(one, anew=True) for one in asked] if data.draw(st.booleans()) else asked
        done = stage.store.refresh(asked, LIMITS, together=True)
        assert [str(one.error) for one in done if one.error] == []
        assert differing(stage.warehouse, asked) == 0
        for one in done:
            shown = f"select count(*) as n from agency_{one.view.agency_slug}.{one.view.name}"
            assert stage.warehouse.query(shown).to_pylist()[0]["n"] == one.rows


@pytest.fixture
def sales(tmp_path, postgres_server):
    with postgres_warehouse(postgres_server, tmp_path) as warehouse:
        warehouse.positions("mart", "sales")
        warehouse.run("create schema mart")
        warehouse.run(TABLE)
        warehouse.run(
            """insert into mart.sales select 1 + n % 3, date '2026-11-01' + n % 10, 'o' || n % 4, n % 5, n
            from generate_series(1, 300) n"""
        )
        yield warehouse


def ask(warehouse, sql):
    with psycopg.connect(warehouse.url.reveal(), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def written(warehouse):
    """Day -> the transactions that wrote its rows of the one shared table."""
    sql = f"select day, array_agg(distinct xmin::text) from signalroom_shares.{table_of(warehouse)} group by day"
    return dict(ask(warehouse, sql))


def refreshed(warehouse, query=DAILY, version="1"):
    done = warehouse.views().refresh(pending(query, version), LIMITS, together=True)
    assert [str(one.error) for one in done if one.error] == []
    return done


def test_only_the_days_that_changed_are_written_again(sales):
    refreshed(sales)
    before = written(sales)
    ask(sales, "update mart.sales set day = '2026-11-03' where day = '2026-11-05' and agency_id = 2")
    ask(sales, "insert into mart.sales values (1, '2026-12-24', 'o1', 1, 5)")
    # a change that is committed after a later one, and after a refresh that did not see it, is not lost
    with psycopg.connect(sales.url.reveal()) as late:
        late.execute("delete from mart.sales where day = '2026-11-07' and agency_id = 3")
        refreshed(sales)
        late.commit()
    changed = {day for day, by in written(sales).items() if by != before.get(day)}
    assert changed == {date(2026, 11, 3), date(2026, 11, 5), date(2026, 12, 24)}
    done = refreshed(sales)
    assert {day for day, by in written(sales).items() if by != before.get(day)} == changed | {date(2026, 11, 7)}
    assert [one.rows for one in done] == [11, 9, 9]
    size = "pg_column_size(day) + pg_column_size(amount) + pg_column_size(n)"
    held = ask(sales, f"select sum({size}) from signalroom_shares.{table_of(sales)}")[0][0]
    assert sum(one.bytes for one in done) == held


def table_of(warehouse):
    return ask(warehouse, "select relname from pg_class where relname like 's\\_%' and relkind = 'r'")[0][0]


def test_what_cannot_be_told_is_computed_in_full(sales):
    refreshed(sales)
    for surprise in (
        "truncate mart.sales",
        "alter table mart.sales disable trigger all",
        """create table mart.other as select * from mart.sales; drop table mart.sales cascade;
            alter table mart.other rename to sales""",
    ):
        ask(sales, surprise)
        ask(sales, "insert into mart.sales values (2, '2026-11-02', 'o1', 1, 9.5)")
        done = refreshed(sales, version=surprise)
        assert differing(sales, pending(DAILY, "1")) == 0
        assert len(done) == 3


def test_a_table_nobody_may_watch_is_computed_in_full(sales):
    refreshed(sales, version="")  # nothing is known of what is loaded into it
    assert ask(sales, "select count(*) from pg_trigger where tgname like 'signalroom%'") == [(0,)]
    ask(sales, "update mart.sales set amount = 1")
    refreshed(sales, version="")
    assert differing(sales, pending(DAILY, "1")) == 0


def test_a_log_is_not_kept_for_ever_for_one_who_left(sales):
    refreshed(sales)
    left, *stay = pending(DAILY, "2")
    ask(sales, "update mart.sales set amount = amount + 1 where day = '2026-11-03'")
    sales.views().refresh(stay, LIMITS, together=True)
    for age, kept in (("2 days", 2), ("31 days", 0)):
        ask(sales, f"update signalroom.view_changes set noted_at = now() - interval '{age}'")
        sales.views().refresh(stay, LIMITS, together=True)
        assert ask(sales, "select count(*) from signalroom.view_changes") == [(kept,)]
    sales.views().refresh([left], LIMITS, together=True)
    assert differing(sales, pending(DAILY, "1")) == 0


def test_what_is_forced_is_computed_in_full(sales):
    refreshed(sales)
    ask(sales, f"delete from signalroom_shares.{table_of(sales)} where day = '2026-11-03'")  # somebody's hand
    refreshed(sales)
    assert differing(sales, pending(DAILY, "1")) > 0
    forced = [dataclasses.replace(one, anew=True) for one in pending(DAILY, "1")]
    assert [one.rows for one in sales.views().refresh(forced, LIMITS, together=True)] == [10, 10, 10]
    assert differing(sales, pending(DAILY, "1")) == 0


def test_what_is_computed_in_full_writes_what_differs_and_no_more(sales):
    ask(sales, "alter table mart.sales alter amount type numeric")
    ask(sales, "insert into mart.sales values (1, null, 'o1', 1, 5), (1, '2026-12-24', 'o1', 1, 5.0)")
    refreshed(sales)
    before = written(sales)
    ask(sales, "update mart.sales set amount = 5.00 where day = '2026-12-24'")  # equal, and not the same
    ask(sales, "insert into mart.sales values (1, '2026-12-25', 'o1', 1, 5)")
    ask(sales, "delete from mart.sales where day = '2026-11-07'")
    forced = [dataclasses.replace(one, anew=True) for one in pending(DAILY, "2")]
    assert [one.rows for one in sales.views().refresh(forced, LIMITS, together=True)] == [12, 9, 9]
    after = written(sales)
    assert {day for day in before | after if before.get(day) != after.get(day)} == {
        None, date(2026, 11, 7), date(2026, 12, 24), date(2026, 12, 25)
    }  # fmt: skip
    shown = ask(sales, "select amount::text from agency_shop1.r1__shop1 where day = '2026-12-24'")
    assert (shown, differing(sales, forced)) == ([("5.00",)], 0)


def test_groups_that_are_not_all_shown_do_not_name_a_row():
    def keys_of(sql):
        return shared_query(check(sql, view_parser.parse(sql), ["sales"], date(2026, 11, 20))).keys

    assert keys_of("select upper(offer) as kind, day as d, sum(units) as n from sales group by 1, day") == ("kind", "d")
    assert keys_of("select day, sum(units) as n from sales group by day, offer") == ()
    assert keys_of("select sum(units) as day, offer as q from sales group by day, offer") == ()  # of the column, here
    assert keys_of("select upper(offer), sum(units) as n from sales group by 1") == ()


def test_a_table_of_an_older_release_is_written_by_difference_too(sales):
    refreshed(sales)
    role = ask(
        sales, "select rolname from pg_roles where rolname = 'signalroom_reports_' || left(md5(current_database()), 12)"
    )
    ask(sales, f"revoke delete on signalroom_shares.{table_of(sales)} from {role[0][0]}")
    ask(sales, "delete from mart.sales where day = '2026-11-07'")
    forced = [dataclasses.replace(one, anew=True) for one in pending(DAILY, "2")]
    assert [str(one.error) for one in sales.views().refresh(forced, LIMITS, together=True) if one.error] == []
    assert differing(sales, forced) == 0


def test_what_does_not_decompose_is_told_from_the_parse():
    def days_of(sql):
        found = shared_query(check(sql, view_parser.parse(sql), ["sales"], date(2026, 11, 20)))
        return None if found is None else [column for column, _ in found.days]

    assert days_of("select day, offer, sum(amount) from sales group by 2, day") == ["offer", "day"]
    assert days_of("select day as d, max(units) from sales group by d") == ["day"]
    assert days_of("select day, count(distinct offer) from sales group by day") == []
    assert days_of("select date_trunc('month', day) as day, sum(units) from sales group by 1") == []
    assert days_of("select sum(units) from sales group by day") == []
    for whole in (
        "select day, rank() over (order by sum(units)) from sales group by day",
        "select day, percentile_cont(0.5) within group (order by units) from sales group by day",
        "select day, sum(units) from sales group by day order by 2 limit 3",
        "select day, string_agg(offer, ',') from sales group by day",
        "select distinct day from sales",
        "select a.day, sum(a.units) from sales a join sales b on a.day = b.day group by a.day",
        "select extract(year from day), sum(units) from sales group by 1",
        'select "Day", sum(units) from sales group by "Day"',
    ):
        assert days_of(whole) is None, whole
