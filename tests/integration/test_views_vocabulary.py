"""The guard's table of functions that one engine has, held against the engines themselves."""

from datetime import date

import duckdb
import psycopg
import pytest

from signalroom.errors import ConfigError
from signalroom.views.guard import check
from signalroom.views.vocabulary import ENGINES, FUNCTIONS, TYPES
from signalroom.warehouse import view_parser

SYNTAX = {
    "count_star",
    "like_escape",
    "greatest",
    "least",
    "nullif",
    "percentile_cont",
    "percentile_disc",
    "trim",
}  # of both parsers
NEWER = {"any_value"}  # Postgres has it from version 16 on


def checked(sql, dialect):
    return check(sql, view_parser.parse(sql), ["clicks"], date(2026, 11, 20), dialect=dialect)


def test_the_table_is_what_the_engines_have(postgres):
    there = {row[0] for row in duckdb.sql("select function_name from duckdb_functions()").fetchall()}
    with psycopg.connect(postgres()) as connection:
        here = {row[0] for row in connection.execute("select proname from pg_proc where not proretset").fetchall()}
        sets = {row[0] for row in connection.execute("select proname from pg_proc where proretset").fetchall()}
    both = FUNCTIONS - SYNTAX - NEWER - set(ENGINES)
    assert (sorted(both - there), sorted(both - here), sorted(both & sets)) == ([], [], [])
    mine = {
        engine: {name for name, (only, _) in ENGINES.items() if only == engine} for engine in ("duckdb", "postgres")
    }
    assert mine["duckdb"] <= there - here
    assert mine["postgres"] - {"octet_length"} <= here - there
    with pytest.raises(duckdb.BinderException):
        duckdb.sql("select octet_length('x')")  # of bytes only, which no table of ours holds


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_what_the_other_engine_lacks_is_refused_with_what_to_write(name):
    engine, instead = ENGINES[name]
    other = {"duckdb": "postgres", "postgres": "duckdb"}[engine]
    sql = f"select {name}(offer, offer) as x from clicks"
    assert checked(sql, engine) == checked(sql, "")
    with pytest.raises(ConfigError, match=f"it calls {name}") as problem:
        checked(sql, other)
    assert problem.value.mend == instead


def test_a_type_is_of_both_engines_but_for_one_spelling(postgres):
    with psycopg.connect(postgres(), autocommit=True) as connection:
        for kind in sorted(TYPES):
            sql = f"select cast(null as {kind}) as x"
            duckdb.sql(sql)
            if kind == "double":
                with pytest.raises(psycopg.errors.UndefinedObject):
                    connection.execute(sql)
            else:
                connection.execute(sql)
    for spelt in ("double", "DOUBLE"):
        with pytest.raises(ConfigError, match="casts to double"):
            checked(f"select cast(n as {spelt}) as x from clicks", "postgres")
    for sql, dialect in (
        ("select cast(n as double) as x from clicks", "duckdb"),
        ("select cast(n as double precision) as x from clicks", "postgres"),
        ("select day, sum(cast(n as double)) as x from clicks group by day", "postgres"),  # written anew
    ):
        assert checked(sql, dialect).tables == ("clicks",)
