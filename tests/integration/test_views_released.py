"""Tables that are typed or made anew beneath agencies' views on Postgres: the views stay, with who may read them."""

import shutil
from datetime import date

import psycopg
import pytest

from affiliates_tables import TEMPLATE
from signalroom.errors import ConfigError
from signalroom.models.dbt import build
from signalroom.stream import Column
from signalroom.testing.bench import Bench, csv
from signalroom.view import Agency, CannedReport, Pending, View, ViewLimits
from signalroom.views.guard import check
from signalroom.warehouse import view_parser
from warehouses import postgres_warehouse

pytestmark = pytest.mark.slow

OWN = "select k, v from t"
KEYED = "select v, count(distinct k) as n from t group by v"
DAILY = "select day, count(*) as n, max(v) as v from t group by day"
FIRST = "agency_id,k,v,day\n7,1,10,2026-11-01\n7,2,9,2026-11-02\n8,3,8,2026-11-01\n"
WHOLE = (Column("agency_id", "bigint"), Column("k", "bigint"))


@pytest.fixture
def bench(tmp_path, postgres_server):
    with postgres_warehouse(postgres_server, tmp_path) as warehouse:
        bench = Bench(warehouse, tmp_path)
        bench.declare(*WHOLE, Column("v"), Column("day", "date"), key=("k",))
        bench.take(csv(FIRST))
        yield bench


def ask(bench, sql):
    with psycopg.connect(bench.warehouse.url.reveal(), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def refresh(bench, version, table=""):
    def pending(query, view):
        return Pending(view, check(query, view_parser.parse(query), ["t"], date(2026, 11, 20)), version)

    daily = CannedReport(1, "daily", "D", DAILY)
    asked = [
        pending(OWN, View("own", "O", 7, "remade", OWN, 1)),
        pending(KEYED, View("keyed", "K", 7, "remade", KEYED, 2)),
        *(pending(DAILY, daily.view(one.id, one)) for one in (Agency(7, "remade", "R"), Agency(8, "other", "O"))),
    ]
    done = bench.warehouse.views().refresh(asked, ViewLimits({"t": table or bench.title}, timeout_s=30), together=False)
    assert [str(one.error) for one in done if one.error] == []


def shown(bench):
    return [ask(bench, f"select * from agency_remade.{name} order by 1") for name in ("own", "keyed", "daily__remade")]


def let_others_read(bench):
    ask(bench, "drop role if exists reader_of_remade")
    ask(bench, "create role reader_of_remade; grant select on agency_remade.own to reader_of_remade")
    ask(bench, "create view public.theirs as select k from agency_remade.own")


def others_may_read(bench):
    (held,) = ask(bench, "select has_table_privilege('reader_of_remade', 'agency_remade.own', 'select')")
    return held[0] and len(ask(bench, "select * from public.theirs")) == 2


def left_behind(bench):
    return ask(bench, "select relname from pg_class where relname like 'signalroom\\_past%'")


def test_a_column_is_typed_anew_beneath_views(bench):
    refresh(bench, "1")
    let_others_read(bench)
    before = shown(bench)
    bench.declare(*WHOLE, Column("v", "bigint"), Column("day", "date"), key=("k",))
    bench.merge(*bench.lake.loads(bench.source, "stream"), replay=True)
    assert shown(bench) == before  # until a refresh they are what they were
    assert others_may_read(bench)
    refresh(bench, "2")
    assert shown(bench) == [
        [(1, 10), (2, 9)], [(9, 1), (10, 1)], [(date(2026, 11, 1), 1, 10), (date(2026, 11, 2), 1, 9)],
    ]  # fmt: skip
    assert others_may_read(bench)
    assert left_behind(bench) == []
    ask(bench, "drop owned by reader_of_remade; drop role reader_of_remade")


def test_a_day_that_becomes_text_keeps_nobody_from_writing(bench):
    refresh(bench, "1")
    assert ask(bench, "select count(*) from pg_trigger where tgname like 'signalroom%'") == [(5,)]
    bench.declare(*WHOLE, Column("v"), Column("day"), key=("k",))
    bench.merge(*bench.lake.loads(bench.source, "stream"), replay=True)
    refresh(bench, "2")
    ask(bench, f"alter table {bench.title} rename column day to on_day")
    ask(bench, f"update {bench.title} set v = '11' where k = 1")
    ask(bench, f"alter table {bench.title} rename column on_day to day")
    refresh(bench, "3")
    assert shown(bench)[2] == [("2026-11-01", 1, "11"), ("2026-11-02", 1, "9")]


def test_another_s_view_is_named_before_anything_happens(bench):
    refresh(bench, "1")
    ask(bench, f"create view public.staged as select v from {bench.title}")
    bench.declare(*WHOLE, Column("v", "bigint"), Column("day", "date"), key=("k",))
    loads = bench.lake.loads(bench.source, "stream")
    with pytest.raises(ConfigError, match=r"read by VIEW public\.staged.*DROP VIEW public\.staged"):
        bench.merge(*loads, replay=True)
    assert ask(bench, "select count(*) from agency_remade_rows.t") == [(2,)]
    ask(bench, "drop view public.staged")
    assert bench.merge(*loads, replay=True).rows_merged == 3


def test_a_table_may_be_given_up_and_another_take_its_name(bench):
    refresh(bench, "1")
    let_others_read(bench)
    title, name = bench.title, bench.title.partition(".")[2]
    ask(bench, f"create table {title}_next as select agency_id, v, k + 1 as k, day from {title}")
    with psycopg.connect(bench.warehouse.url.reveal()) as connection:  # as dbt makes a table anew
        connection.execute(f"alter table {title} rename to {name}_past")
        connection.execute(f"alter table {title}_next rename to {name}")
        connection.execute(f"select signalroom.let_go('{title}_past')")
        connection.execute(f"drop table {title}_past cascade")
    assert others_may_read(bench)
    refresh(bench, "2")
    assert shown(bench)[0] == [(2, "10"), (3, "9")]
    assert others_may_read(bench)
    assert left_behind(bench) == []
    ask(bench, "drop owned by reader_of_remade; drop role reader_of_remade")


def test_a_table_that_was_dropped_with_its_readers_comes_back_to_those_it_is_for(bench):
    refresh(bench, "1")
    ask(bench, "drop role if exists reader_of_remade; create role reader_of_remade")
    whose = "alter default privileges for role signalroom_agency_remade in schema agency_remade"
    ask(bench, f"{whose} grant select on tables to reader_of_remade")
    ask(bench, f"create table public.other as table {bench.title}; drop table {bench.title} cascade")
    ask(bench, f"alter table public.other set schema {bench.source}; alter table {bench.source}.other rename to t")
    refresh(bench, "2")
    assert [len(one) for one in shown(bench)] == [2, 2, 2]
    for role in ("reader_of_remade", "agency_reader", "signalroom_login_remade"):
        for view in ("own", "keyed"):
            assert ask(bench, f"select has_table_privilege('{role}', 'agency_remade.{view}', 'select')") == [(True,)]
    ask(bench, "drop owned by reader_of_remade; drop role reader_of_remade")


def test_dbt_makes_a_table_anew_beneath_views(bench, tmp_path):
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    (project / "macros").mkdir()
    (project / "dbt_project.yml").write_text("name: remade\nprofile: signalroom\n")
    shutil.copy(TEMPLATE / "models" / "macros" / "kept_readers.sql", project / "macros")
    model = "{{ config(materialized='table') }} select agency_id, k %s as k, v, day from " + bench.title
    for more in ("", "+ 1"):
        (project / "models" / "made.sql").write_text(model % more)
        build(project, bench.warehouse.dbt_profile(), target_dir=tmp_path / "dbt")
        if not more:
            refresh(bench, "1", "main.made")
            let_others_read(bench)
    assert others_may_read(bench)
    assert shown(bench)[0] == [(1, "10"), (2, "9")]
    refresh(bench, "2", "main.made")
    assert shown(bench)[0] == [(2, "10"), (3, "9")]
    assert others_may_read(bench)
    ask(bench, "drop owned by reader_of_remade; drop role reader_of_remade")
