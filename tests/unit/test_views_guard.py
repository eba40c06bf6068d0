"""The guard: what a manifest may be, told by examples that pass and by every hostile one that must not."""

from datetime import date

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile_manifests import HOSTILE, PASSES_THE_GUARD
from signalroom.errors import ConfigError, DataError, SignalRoomError
from signalroom.views.guard import check
from signalroom.warehouse import view_parser

TODAY = date(2026, 11, 20)


def checked(sql):
    return check(sql, view_parser.parse(sql), ["clicks", "spend"], TODAY)


PLAIN = [
    "select * from clicks",
    "select day, sum(n) filter (where n > 0) as n from clicks group by day having count(*) > 1 order by 2 desc limit 10;",
    "with a as (select day from clicks), b as (select day from a) select b.day from b join spend using (day)",
    "select c.day, round(cost::decimal(12,2) / nullif(n, 0), 2) from clicks as c left join spend s on s.day = c.day",
    "select day from clicks union all select day from spend",
    "select case when n > 1 then 'many' else 'it''s few' end, \"n\" from clicks where offer ilike '%a%' or n in (1, 2)",
    "select rank() over (partition by day order by n desc) from clicks -- the best first",
    "select extract(year from day), date_trunc('month', day), day + interval '1 day' from clicks /* by year */",
    "select day, (select max(cost) from spend where spend.day = clicks.day) from clicks where exists (select 1 from spend)",
    "select count(distinct offer), string_agg(offer, ', ' order by offer) from clicks where day >= current_date - 30",
]


@pytest.mark.parametrize("sql", PLAIN)
def test_plain_reports_pass_and_mean_the_same_once_written_again(sql):
    query = checked(sql)
    assert set(query.tables) <= {"clicks", "spend"}
    again = checked(view_parser.write(query.tree))
    assert view_parser.write(again.tree) == view_parser.write(query.tree)


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - PASSES_THE_GUARD))
def test_what_is_not_listed_is_refused_with_a_mend(name):
    with pytest.raises((ConfigError, DataError)) as told:
        checked(HOSTILE[name])
    assert told.value.mend
    assert len(str(told.value)) < 500


def test_the_author_hears_why():
    for sql, said in (
        ("select * from click", "it reads 'click'.*Did you mean 'clicks'"),
        ("select * from shop.clicks", r"it names shop\.clicks with its schema.*Write clicks alone"),
        ("select smu(n) from clicks", r"it calls smu\(\).*Did you mean 'sum'"),
        ("with d as (delete from clicks returning *) select * from d", "WITH deletes rows, and a manifest only reads"),
        ("select now() from clicks", "use current_date"),
        ("select n from clicks where", "cannot be read"),
        ("select n from clicks\nwhere n = $1", "in line 2 is not plain SQL"),
    ):
        with pytest.raises(SignalRoomError, match=f"(?s){said}"):
            checked(sql)


def test_the_date_is_the_workspace_s_and_asks_for_a_new_answer_each_day():
    query = checked("select current_date as today, n from clicks where day = current_date")
    assert query.uses_today
    assert view_parser.write(query.tree).count("'2026-11-20'") == 2
    assert not checked("select day from clicks").uses_today


def test_what_can_be_computed_for_all_agencies_at_once():
    for sql, shared, keys in (
        ("select day, sum(n) as n from clicks group by day", True, ("day",)),
        ("select day as d, offer, sum(n) from clicks group by 1, offer", True, ("d", "offer")),
        ("select sum(n) from clicks group by day", True, ()),
        ("select sum(n) from clicks", False, ()),
        ("select * from clicks", False, ()),
        ("select day, n from clicks", False, ()),
        ("select day, sum(n) from clicks group by day limit 3", False, ("day",)),
        ("select day, sum(n), rank() over (order by sum(n)) from clicks group by day", False, ("day",)),
        ("select day, sum(n) from clicks group by rollup(day)", False, ()),
        ("select clicks.day, sum(n) from clicks join spend using (day) group by clicks.day", False, ("day",)),
        ("select agency_id, sum(n) from clicks group by agency_id", False, ("agency_id",)),
        ("select day, max(n) as agency_id from clicks group by day", False, ("day",)),
        ("with clicks as (select * from spend) select day, sum(n) from clicks group by day", False, ("day",)),
        ("select day, (select max(n) from spend) from clicks group by day", False, ("day",)),
    ):
        query = checked(sql)
        assert (query.shared, query.keys) == (shared, keys), sql


@pytest.fixture(scope="module")
def held():
    """A database with the tables a manifest may read, and with others that it may not."""
    with duckdb.connect() as connection:
        connection.execute("create schema shop")
        for table in ("secrets", "pg_roles", "x", "shop.clicks", "shop.x"):
            connection.execute(f"create table {table} as select 'canary' as x")
        for table in ("clicks", "spend"):
            connection.execute(f"create table {table} as select unnest([1, 2]) as x")
        yield connection


@given(st.lists(st.sampled_from([
    "select", "*", "from", "clicks", "secrets", "pg_roles", "(", ")", ",", "with", "as", "x", "union all", "join", "on",
    "true", "delete", "returning", "pg_sleep", "read_csv", "'/etc/passwd'", "shop", ".", "where", "1", "=", "group by",
    "count", "::", "regclass", "lateral", "values", ";", "table", "using", "sample", "$$", "E'\\''", "--", "/*", "*/",
]), max_size=25).map(" ".join))  # fmt: skip
def test_whatever_passes_reads_listed_tables_alone(held, sql):
    try:
        query = checked("select " + sql)
    except SignalRoomError:
        return
    assert set(query.tables) <= {"clicks", "spend"}
    try:
        rows = held.execute(view_parser.write(query.tree)).fetchall()
    except duckdb.Error:
        return
    assert "canary" not in str(rows)
    assert held.execute("select count(*) from clicks").fetchone() == (2,)


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("select c.day from clicks c", ("c", "day")),
        ("select c from clicks as c", None),
        ("select Clicks from clicks", None),
        ("select count(clicks) from clicks", None),
    ],
)
def test_a_table_as_a_value_is_all_of_its_columns(query, columns):
    assert check(query, view_parser.parse(query), ["clicks"], date(2026, 11, 20)).columns == columns
