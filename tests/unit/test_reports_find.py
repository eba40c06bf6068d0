"""Reports as folders and functions; SQL files as named queries."""

from datetime import date

import pytest

from signalroom.errors import ConfigError, DataError
from signalroom.reports.finding import find_reports
from signalroom.reports.queries import split_queries

SQL = """\
-- A comment of the whole file.
-- name: overall one
select sum(x) as x, ':not_one' as y, z::date from t where day = :report_date; -- done

-- name: trend
with a as (select 1 /* :nor_this */) select * from a where zone = :timezone and day > :report_date
"""


def put(root, name, text):
    path = root / "reports" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_queries_are_split_by_name():
    overall, trend = split_queries(SQL, "a.sql")
    assert (overall.name, overall.one, overall.parameters, overall.line) == ("overall", True, {"report_date"}, 3)
    assert overall.sql.endswith(":report_date")
    assert (trend.name, trend.one, trend.parameters) == ("trend", False, {"report_date", "timezone"})


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("", "holds no query"),
        ("select 1", "no name"),
        ("-- name: a\nselect 1\n-- name: a\nselect 2", "second query 'a'"),
        ("-- name: a onee\nselect 1", "Did you mean 'one'"),
        ("-- name: as_of\nselect 1", "already means"),
        ("-- name: A b\nselect 1", "no name"),
        ("-- name: a\nselect :reprot_date", "Did you mean 'report_date'"),
        ("-- name: a\nselect 1; select 2", "more than one statement"),
        ("-- name: a\ndelete from t", "not a SELECT"),
        ("-- name: a\n", "not a SELECT"),
    ],
)
def test_a_wrong_sql_file_says_what_is_wrong(sql, said):
    with pytest.raises(ConfigError, match=r"a\.sql") as caught:
        split_queries(sql, "a.sql")
    assert said in str(caught.value)


def test_a_folder_is_a_report(tmp_path):
    put(tmp_path, "daily_ccw/daily_ccw.sql", SQL)
    put(tmp_path, "daily_ccw/daily_ccw.slack.j2", "hi")
    put(tmp_path, "daily_ccw/_part.j2", "part")
    put(tmp_path, "_shared.j2", "shared")
    put(tmp_path, "daily_ccw/charts.toml", '[c]\ntitle = "T"\ndata = "trend"\nx = "d"\nlines = ["r"]\n')
    put(tmp_path, "daily_ccw/README.md", "notes")
    found = find_reports(tmp_path)["daily_ccw"]
    assert found.title == "Daily CCW"
    assert list(found.templates) == ["slack"]
    assert set(found.parts) == {"_part.j2", "_shared.j2", "_mail.mjml"}
    assert found.charts[0].lines == ("r",)


def test_no_reports_folder_is_no_reports(tmp_path):
    assert find_reports(tmp_path) == {}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a/a.slack.j2": "x"}, "has no reports/a/a.sql"),
        ({"a/a.sql": SQL}, "no template to send"),
        ({"a/a.sql": SQL, "a/a.slak.j2": "x"}, "Did you mean 'a.slack.j2'"),
        ({"a/a.sql": SQL, "a/a.email.mjml.j2": "x"}, "Did you mean 'a.email.mjml'"),
        (
            {"a/a.sql": SQL, "a/a.sms.j2": "x", "a/charts.toml": '[c]\ntitle="T"\ndata="tred"\nx="d"\nlines=["r"]'},
            "'trend'",
        ),
        ({"a/a.sql": SQL, "a/a.sms.j2": "x", "a/charts.toml": '[c]\ntitel="T"'}, "Did you mean 'title'"),
        ({"a/a.sql": SQL, "a/a.sms.j2": "x", "a/charts.toml": "[c"}, "is not TOML"),
        ({"a/a.sql": SQL, "a/a.sms.j2": "x", "a/charts.toml": '[c]\ntitle="T"\ndata="trend"\nx="d"'}, "one to 4 lines"),
        (
            {"b.py": "from signalroom.reports.report import report\n@report(name='b')\ndef b(): return {}"},
            "has no templates",
        ),
        ({"b.py": "1 / 0"}, "cannot be imported: ZeroDivisionError"),
        (
            {
                "a/a.sql": SQL,
                "a/a.sms.j2": "x",
                "a.py": "from signalroom.reports.report import report\n@report(name='a')\ndef a(): return {}",
            },
            "both",
        ),
        ({"b.py": "from signalroom.reports.report import report\n@report(name='b')\ndef b(day): ..."}, "nothing fills"),
    ],
)
def test_what_is_wrong_with_a_report_is_said(tmp_path, files, said):
    for name, text in files.items():
        put(tmp_path, name, text)
    with pytest.raises(ConfigError) as caught:
        find_reports(tmp_path)
    assert said in str(caught.value)


def test_queries_run_in_order_with_their_own_parameters(tmp_path):
    put(tmp_path, "a/a.sql", SQL)
    put(tmp_path, "a/a.sms.j2", "x")
    asked = []

    def ask(sql, params):
        asked.append(params)
        return [{"x": 1}]

    about = {"report_date": date(2026, 1, 2), "timezone": "UTC"}
    found = find_reports(tmp_path)["a"].collect(ask, **about)
    assert found == {"overall": {"x": 1}, "trend": [{"x": 1}]}
    assert asked == [{"report_date": date(2026, 1, 2)}, about]


def test_one_record_is_one_or_none(tmp_path):
    put(tmp_path, "a/a.sql", "-- name: overall one\nselect 1")
    put(tmp_path, "a/a.sms.j2", "x")
    found = find_reports(tmp_path)["a"]
    about = {"report_date": date(2026, 1, 2), "timezone": "UTC"}
    assert found.collect(lambda *_: [], **about) == {"overall": None}
    with pytest.raises(DataError, match="returned 2 records, not one"):
        found.collect(lambda *_: [{}, {}], **about)


def test_a_function_is_a_report(tmp_path):
    put(
        tmp_path,
        "pulse.py",
        "from signalroom.reports.report import report\n"
        "@report(name='pulse', schedule='0 7 * * *', channels=['team'], title='The pulse')\n"
        "def pulse(ask, report_date):\n"
        "    return {'day': {'on': report_date}, 'rows': ask('select 1')}\n",
    )
    put(tmp_path, "pulse/pulse.sms.j2", "x")
    found = find_reports(tmp_path)["pulse"]
    assert (found.title, found.declared.schedule, found.declared.channels) == ("The pulse", "0 7 * * *", ("team",))
    rows = found.collect(lambda sql, params: [{"sql": sql}], report_date=date(2026, 1, 2), timezone="UTC")
    assert rows == {"day": {"on": date(2026, 1, 2)}, "rows": [{"sql": "select 1"}]}


SHARED = "-- name: overall one\nselect 1 as x from t where project = :project and day = :report_date\n"


def test_reports_share_queries_and_charts_and_differ_in_what_they_bind(tmp_path):
    put(tmp_path, "_daily.sql", SHARED)
    put(tmp_path, "_daily.charts.toml", '[c]\ntitle = "T"\ndata = "more"\nx = "d"\nlines = ["r"]\n')
    for name, project in (("one", "CCW"), ("two", "O'Neil; drop")):
        put(
            tmp_path,
            f"{name}/{name}.sql",
            f"-- bind: project = {project}\n-- include: _daily.sql\n-- name: more\nselect 2 as d",
        )
        put(tmp_path, f"{name}/{name}.sms.j2", "{{ project }}")
        put(tmp_path, f"{name}/charts.toml", 'include = "_daily.charts.toml"\n')
    found = find_reports(tmp_path)
    asked = []
    for name in ("one", "two"):
        assert [query.name for query in found[name].queries] == ["overall", "more"]
        assert [chart.name for chart in found[name].charts] == ["c"]
        found[name].collect(
            lambda sql, params: asked.append(params) or [], report_date=date(2026, 1, 2), timezone="UTC"
        )
    assert asked[::2] == [
        {"project": "CCW", "report_date": date(2026, 1, 2)},
        {"project": "O'Neil; drop", "report_date": date(2026, 1, 2)},
    ]


def test_a_calculation_has_one_place_that_queries_include(tmp_path):
    put(tmp_path, "_cpa.sql", "-- Never by zero;\n  cost / nullif(n, 0) as cpa -- a ratio\n")
    put(
        tmp_path, "_daily.sql", "-- name: overall one\nselect\n  -- include: _cpa.sql\nfrom t where d = :report_date;\n"
    )
    own = "-- name: own\nselect *,\n    --include : _cpa.sql  \nfrom u;\n-- name: last\nselect 1"
    put(tmp_path, "one/one.sql", f"-- include: _daily.sql\n{own}")
    put(tmp_path, "one/one.sms.j2", "hi")
    cpa = "-- Never by zero;\n  cost / nullif(n, 0) as cpa -- a ratio"
    assert [(query.name, query.sql, query.line) for query in find_reports(tmp_path)["one"].queries] == [
        ("overall", f"select\n{cpa}\nfrom t where d = :report_date", 2),
        ("own", f"select *,\n{cpa}\nfrom u", 3),
        ("last", "select 1", 7),
    ]
    with pytest.raises(ConfigError, match="has no folder"):
        split_queries(own, "a.sql")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("-- include: _dayly.sql", "Did you mean '_daily.sql'"),
        ("-- include: ../secret.sql", "no shared file"),
        ("-- bind: project\n-- include: _daily.sql", "line 1 binds nothing"),
        ("-- bind: timezone = UTC\n-- include: _daily.sql", "'timezone' is taken"),
        ("-- bind: project = a\n-- bind: project = b\n-- include: _daily.sql", "'project' is taken"),
        ("-- include: _daily.sql", "reports/_daily.sql: the query 'overall' uses the unknown parameter :project"),
        ("-- bind: project = a\n-- include: _daily.sql\n-- name: overall\nselect 1", "two queries 'overall'"),
        ("-- bind: overall = a\n-- bind: project = a\n-- include: _daily.sql", "which is a query too"),
        ("-- include: _binds.sql", "reports/_binds.sql includes or binds something"),
        ("-- name: a\nselect\n-- include: _none.sql", "includes '_none.sql', which is no shared file"),
        (
            "-- name: a\nselect\n-- include: _daily.sql",
            "the query 'a' includes '_daily.sql', which is more than a piece",
        ),
        ("-- name: a\nselect\n-- include: _nested.sql", "which is more than a piece"),
        ("-- name: a\nselect 1 as x\n-- include: _piece.sql", "uses the unknown parameter :zone"),
    ],
)
def test_what_is_shared_wrongly_is_named(tmp_path, sql, said):
    put(tmp_path, "_daily.sql", SHARED)
    put(tmp_path, "_binds.sql", f"-- bind: project = a\n{SHARED}")
    put(tmp_path, "_nested.sql", "1 as x,\n  -- include: _piece.sql\n")
    put(tmp_path, "_piece.sql", "-- A piece.\n, :zone as y\n")
    put(tmp_path, "one/one.sql", sql)
    put(tmp_path, "one/one.sms.j2", "hi")
    with pytest.raises(ConfigError) as caught:
        find_reports(tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        ('include = "_none.toml"', "no shared file"),
        ("include = 3", "includes 3"),
        ('[c]\nkind = "pie"\ntitle = "T"\ndata = "more"\nx = "d"\nlines = ["r"]', "unknown kind 'pie'"),
        ('[c]\nkind = "states"\ntitle = "T"\ndata = "more"\nx = "d"\nlines = ["r", "s"]', "a map shows one column"),
    ],
)
def test_a_wrong_chart_is_named(tmp_path, chart, said):
    put(tmp_path, "one/one.sql", "-- name: more\nselect 1")
    put(tmp_path, "one/one.sms.j2", "hi")
    put(tmp_path, "one/charts.toml", chart)
    with pytest.raises(ConfigError) as caught:
        find_reports(tmp_path)
    assert said in str(caught.value)
