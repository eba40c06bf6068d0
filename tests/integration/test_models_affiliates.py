"""The affiliates models, their report queries and their query library, on DuckDB and on Postgres.

Source tables are filled by hand, the way the loader leaves them: typed, with lineage, each load recorded.
"""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import psycopg
import pytest

import signalroom.workspace
from signalroom.errors import DataError
from signalroom.models.dbt import build as run_dbt
from signalroom.reports.queries import split_queries
from signalroom.simulators.exports import export_bytes, export_files
from signalroom.simulators.world import World
from signalroom.workspace.pins import inspect_pin

pytestmark = pytest.mark.slow

TEMPLATE = Path(signalroom.workspace.__file__).with_name("templates") / "affiliates"
REPORT = split_queries((TEMPLATE / "reports/daily_ccw/daily_ccw.sql").read_text(encoding="utf-8"), "daily_ccw.sql")
LIBRARY = split_queries((TEMPLATE / "docs/QUERIES.sql").read_text(encoding="utf-8"), "QUERIES.sql")
LINEAGE = (
    "_load_id text, _loaded_at timestamptz, _client_id text, _source_ref text, _file_time timestamptz, _row bigint"
)
TABLES = {
    "everflow.daily_stats": "date date, affiliate_id bigint, affiliate_label text, advertiser_id bigint,"
    " advertiser_label text, clicks bigint, conversions bigint, total_conversions bigint, revenue decimal(18,2),"
    " payout decimal(18,2), profit decimal(18,2)",
    "redtrack.daily_spend": "date date, source_id text, source_name text, source_alias text, clicks bigint,"
    " conversions bigint, total_conversions bigint, cost decimal(18,2)",
    **{
        f"s3_exports.{name}": ", ".join(
            f"{column.name} {column.type}" for column in inspect_pin(TEMPLATE / f"schemas/s3_exports.{name}.toml")[0]
        )
        for name in ("orders_create", "orders_update", "prospects_create", "internal_affiliates")
    },
}
BOOKS = (
    "create table signalroom.loads (load_id text, source text, stream text, merged_at timestamptz)",
    "create table signalroom.positions (source text, stream text, partition text, value text, load_id text)",
)
SCHEMAS = ("everflow", "redtrack", "s3_exports", "signalroom", "staging", "marts", "public")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = date(2026, 11, 19)


class Db:
    """One engine with empty source tables, and the loads that were recorded."""

    def __init__(self, dialect, connection, profile, target):
        self.dialect, self.connection, self.profile, self.target = dialect, connection, profile, target
        self.loads = 0

    def reset(self, *, tables=True):
        for schema in SCHEMAS:
            self.connection.execute(f"drop schema if exists {schema} cascade")
            self.connection.execute(f"create schema {schema}") if tables else None
        for statement in [f"create table {name} ({ddl}, {LINEAGE})" for name, ddl in TABLES.items()] + list(BOOKS):
            self.connection.execute(statement) if tables else None
        self.loads = 0

    def load(self, table, rows, *, where="1 = 0", file_time=None, partitions=(), observed_at=NOON):
        """Merge one load: rows `where` go, the new ones come, the load and its positions are recorded."""
        self.loads += 1
        source, stream = table.split(".")
        load_id, at = f"L{self.loads:04d}", NOON + timedelta(minutes=self.loads)
        self.connection.execute(f"delete from {table} where {where}")
        for number, row in enumerate(rows):
            full = {**row, "_load_id": load_id, "_loaded_at": at, "_file_time": file_time, "_row": number}
            values = ", ".join(literal(value) for value in full.values())
            self.connection.execute(f"insert into {table} ({', '.join(full)}) values ({values})")
        self.connection.execute(
            f"insert into signalroom.loads values ('{load_id}', '{source}', '{stream}', {literal(at)})"
        )
        for partition in partitions:
            self.connection.execute(
                f"insert into signalroom.positions values ('{source}', '{stream}', '{partition}',"
                f""" '{{"observed_at": "{observed_at.isoformat()}"}}', '{load_id}')"""
            )

    def everflow(self, day, advertiser, *rows, observed_at=NOON):
        names = ("affiliate_id", "affiliate_label", "conversions", "revenue", "payout", "total_conversions")
        fixed = {"date": day, "advertiser_id": advertiser, "advertiser_label": {1: "CCW", 2: "EXP "}[advertiser]}
        self.load(
            "everflow.daily_stats",
            [fixed | dict(zip(names, row, strict=False)) for row in rows],
            where=f"date = {literal(day)} and advertiser_id = {advertiser}",
            partitions=[f"{day}|advertiser_id={advertiser}"],
            observed_at=observed_at,
        )

    def redtrack(self, day, *rows, observed_at=NOON):
        names = ("source_id", "source_name", "cost", "clicks")
        self.load(
            "redtrack.daily_spend",
            [{"date": day, "clicks": 0} | dict(zip(names, row, strict=False)) for row in rows],
            where=f"date = {literal(day)}",
            partitions=[str(day)],
            observed_at=observed_at,
        )

    def mapping(self, *rows):
        names = ("project", "affiliate_id", "affiliate_label", "redtrack_source_id", "everflow_offer_id")
        self.load(
            "s3_exports.internal_affiliates", [dict(zip(names, row, strict=False)) for row in rows], where="1 = 1"
        )

    def orders(self, stream, file_time, *rows):
        ids = ", ".join(str(row["orders_id"]) for row in rows)
        fixed = {"order_date": DAY, "product_category": "CCW", "order_status": "NEW", "is_test_cc": False}
        full = [fixed | {"total_amount": Decimal(100), "chargeback_flag": False} | row for row in rows]
        self.load(f"s3_exports.{stream}", full, where=f"orders_id in ({ids})", file_time=file_time)

    def build(self, **options):
        return run_dbt(TEMPLATE / "models", self.profile, target_dir=self.target, **options)

    def select(self, sql, **params):
        mark = {"duckdb": r"$\1", "postgres": r"%(\1)s"}[self.dialect]
        bound = {name: value for name, value in params.items() if re.search(rf":{name}\b", sql)}
        text = re.sub(r"(?<![:\w]):(report_date|timezone)\b", mark, sql) if bound else sql
        cursor = self.connection.execute(text, bound) if bound else self.connection.execute(text)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def table(self, name, columns="*"):
        return sorted(map(repr, (tuple(row.values()) for row in self.select(f"select {columns} from {name}"))))

    def report(self, day=DAY, timezone="America/New_York"):
        found = {query.name: self.select(query.sql, report_date=day, timezone=timezone) for query in REPORT}
        return {query.name: found[query.name][0] if query.one else found[query.name] for query in REPORT}


def literal(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "cast('YES' as boolean)", False: "cast('No' as boolean)"}[value]
    if isinstance(value, datetime):
        return f"timestamptz '{value.isoformat()}'"
    return str(value) if isinstance(value, int | Decimal) else "'" + str(value).replace("'", "''") + "'"


@pytest.fixture(scope="module")
def on_duckdb(tmp_path_factory):
    root = tmp_path_factory.mktemp("duckdb")
    with duckdb.connect(str(root / "w.duckdb")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        profile = {"type": "duckdb", "path": str(root / "w.duckdb"), "schema": "main", "threads": 2}
        yield Db("duckdb", connection, profile, root / "dbt")


@pytest.fixture(scope="module")
def on_postgres(postgres_server, tmp_path_factory):
    dsn = postgres_server.create_database()
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        place = {"host": "127.0.0.1", "port": postgres_server.port, "dbname": dsn.rpartition("/")[2]}
        profile = {"type": "postgres", **place, "user": "postgres", "password": "", "schema": "public", "threads": 2}
        yield Db("postgres", connection, profile, tmp_path_factory.mktemp("postgres") / "dbt")


@pytest.fixture(params=["on_duckdb", "on_postgres"])
def db(request):
    engine = request.getfixturevalue(request.param)
    engine.reset()
    return engine


def performance(db, columns="date, advertiser, affiliate_label, is_internal, conversions, redtrack_cost, cost, cpa"):
    return [
        tuple(str(value) if isinstance(value, Decimal) else value for value in row.values())
        for row in db.select(
            f"select {columns} from public.daily_performance order by advertiser, affiliate_label, date"
        )
    ]


def a_world_of_cases(db):
    """Fill every case once: two sources for one affiliate, spend alone, unmapped spend, external, both projects."""
    db.mapping(
        ("CCW", 11, "Social Main ", "s-main", 501),
        ("CCW", 11, "Social Retargeting", "s-again", None),
        ("CCW", 14, "House Email", None, None),
        ("EXP ", 12, "Search EXP", "s-search", None),
        ("CCW", None, "Radio", "s-radio", None),
        ("EXP", 12, "Search EXP, second claim", "s-main", None),
    )
    db.everflow(
        DAY, 1, (11, "Social", 4, 400, 0), (14, "House Email", 0, 0, 0), (101, " North ", 3, 300, Decimal("200.01")),
        (12, "Search", 1, 90, Decimal("55.5")),
    )  # fmt: skip
    db.everflow(DAY, 2, (12, "Search", 2, 120, 7))
    db.redtrack(
        DAY, ("s-main", "Main", Decimal("10.01"), 5), ("s-again", "Again", Decimal("2.29"), 1),
        ("s-search", "Search", 8), ("s-video", "Video ", Decimal("0.37")), ("s-radio", "Radio", 6),
    )  # fmt: skip
    db.redtrack(DAY - timedelta(days=1), ("s-main", "Main", Decimal("33.33"), 9), ("s-video", "Video ", 1))


def test_mistake_7_unmapped_spend_and_days_without_conversions_keep_their_cost(db):
    a_world_of_cases(db)
    notes = db.build().notes
    assert notes == ("Test spend_is_mapped (tests/spend_is_mapped.sql) warns: 1 row.",)
    before = DAY - timedelta(days=1)
    assert performance(db) == [
        (DAY, "CCW", "House Email", True, 0, "0.00", "0.00", None),
        (DAY, "CCW", "North", False, 3, "0.00", "200.01", "66.67"),
        (DAY, "CCW", "Radio", True, 0, "6.00", "6.00", None),
        (DAY, "CCW", "Search", False, 1, "0.00", "55.50", "55.50"),
        (before, "CCW", "Social Main", True, 0, "33.33", "33.33", None),
        (DAY, "CCW", "Social Main", True, 4, "12.30", "12.30", "3.08"),
        (DAY, "EXP", "Search EXP", True, 2, "8.00", "8.00", "4.00"),
        (before, None, "Unmapped: Video", True, 0, "1.00", "1.00", None),
        (DAY, None, "Unmapped: Video", True, 0, "0.37", "0.37", None),
    ]
    spend, payout = Decimal("10.01") + Decimal("2.29") + 8 + Decimal("0.37") + 6, Decimal("200.01") + Decimal("55.50")
    assert db.select(f"select sum(cost) as c from public.daily_performance where date = {literal(DAY)}") == [
        {"c": spend + payout}
    ]
    assert db.report()["overall"] == {
        "conversions": 8, "revenue": Decimal("790.00"), "cost": Decimal("273.81"), "cpa": Decimal("34.23")
    }  # fmt: skip
    assert db.report()["unmapped"] == {"spend": Decimal("0.37")}


def test_mistake_7_without_conversions_there_is_no_cpa(db):
    db.mapping(("CCW", 11, "Social", "s", None))
    db.redtrack(DAY, ("s", "S", Decimal("12.50")))
    db.build()
    report = db.report()
    assert report["overall"] == {"conversions": 0, "revenue": 0, "cost": Decimal("12.50"), "cpa": None}
    assert report["top"] == []
    nothing = {"conversions": 0, "revenue": 0, "cost": 0, "cpa": None}
    assert report["previous"] == nothing
    assert db.report(date(2020, 1, 1))["overall"] == nothing


def test_cost_per_conversion_is_half_up_to_the_cent(db):
    # 1.15 / 2 is 0.57499… as a float; half up it is 0.58.
    cases = {
        ("1.15", 2): "0.58",
        ("0.01", 3): "0.00",
        ("100.00", 3): "33.33",
        ("2.05", 2): "1.03",
        ("0.05", 10): "0.01",
    }
    rows = [(100 + at, f"A{at}", n, 0, Decimal(cost)) for at, (cost, n) in enumerate(cases)]
    db.everflow(DAY, 1, *rows)
    db.build()
    assert [row[-1] for row in performance(db)] == list(cases.values())
    db.everflow(DAY, 1, rows[0])
    db.build()
    assert db.report()["overall"]["cpa"] == Decimal("0.58")


def test_mistake_5_a_real_zero_does_not_fall_through_to_another_measure(db):
    db.everflow(DAY, 1, (101, "North", 0, 0, 0, 7), (102, "South", 2, 10, 4, 9))
    db.build()
    assert [(row[2], row[4]) for row in performance(db)] == [("North", 0), ("South", 2)]


def test_mistake_6_flags_are_yes_and_no_and_test_cards_are_not_revenue(db):
    morning = datetime(2026, 11, 20, 4, 11, tzinfo=UTC)
    db.orders(
        "orders_create", morning, {"orders_id": 1}, {"orders_id": 2, "is_test_cc": True, "chargeback_flag": True},
        {"orders_id": 3, "chargeback_flag": True}, {"orders_id": 4, "order_status": "DECLINED"},
        {"orders_id": 5, "order_status": "VOID/REFUNDED"}, {"orders_id": 6, "product_category": "exp"},
        {"orders_id": 7, "is_test_cc": None, "chargeback_flag": None, "order_status": None},
    )  # fmt: skip
    db.build()
    assert db.report()["orders"] == {
        "orders": 5, "approved": 2, "declined": 1, "voided": 1, "test_orders": 1, "revenue": 200, "chargebacks": 1
    }  # fmt: skip
    assert db.select("select project, orders from public.daily_orders where project <> 'CCW'") == [
        {"project": "EXP", "orders": 1}
    ]


def test_an_update_supersedes_its_order_and_may_come_twice_or_alone(db):
    days = [datetime(2026, 11, 20 + n, 5, tzinfo=UTC) for n in range(4)]
    states = lambda: {  # noqa: E731 - asked again after each load
        row["orders_id"]: (row["status"], row["_stream"])
        for row in db.select("select orders_id, status, _stream from marts.orders")
    }
    db.orders("orders_create", days[0], {"orders_id": 1}, {"orders_id": 2}, {"orders_id": 3})
    voided = {"orders_id": 1, "order_status": "VOID/REFUNDED"}
    db.orders("orders_update", days[0], voided, {"orders_id": 9, "order_status": "DECLINED"})
    db.build()
    create, update = "orders_create", "orders_update"
    expected = {1: ("VOID/REFUNDED", update), 2: ("NEW", create), 3: ("NEW", create), 9: ("DECLINED", update)}
    assert states() == expected
    db.orders("orders_update", days[1], voided)
    db.build()
    assert states() == expected
    assert db.report()["orders"]["orders"] == 4
    # A corrected re-upload in a later file is newer than the update.
    db.orders("orders_create", days[3], {"orders_id": 1, "total_amount": 70})
    db.build()
    assert states() == expected | {1: ("NEW", create)}
    assert db.report()["orders"]["revenue"] == 270


def test_orders_know_their_internal_affiliate_by_offer_before_affiliate(db):
    db.mapping(("CCW", 11, "Social", "s1", None), ("CCW", 11, "Social, winter offer", "s2", 502))
    at = datetime(2026, 11, 20, 5, tzinfo=UTC)
    db.orders("orders_create", at, {"orders_id": 1, "afid": "11", "offer_id": 501},
              {"orders_id": 2, "affid": "11", "afid": "99", "offer_id": 502}, {"orders_id": 3, "afid": "99"})  # fmt: skip
    db.build()
    found = db.select("select orders_id, is_internal, internal_label from marts.orders order by orders_id")
    assert [tuple(row.values()) for row in found] == [
        (1, True, "Social"), (2, True, "Social, winter offer"), (3, False, None)
    ]  # fmt: skip


def test_a_changed_mapping_mends_history_and_keeps_what_it_said_before(db):
    db.mapping(("CCW", 11, "Social ", "s1", None), ("CCW", 12, "Search", None, None))
    db.redtrack(DAY, ("s1", "One", 5), ("s2", "Two", 7))
    db.build()
    assert [row[2] for row in performance(db)] == ["Social", "Unmapped: Two"]
    first, second = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    db.mapping(("CCW", 12, "Search", "s2", None), ("CCW", 11, "Social", "s1", None))
    db.build()
    assert [(row[2], row[6]) for row in performance(db)] == [("Search", "7.00"), ("Social", "5.00")]
    history = "select affiliate_label, source_id, valid_from, valid_to from marts.affiliate_mapping order by 1, 2, 3"
    expected = [("Search", "s2", second, None), ("Search", None, first, second), ("Social", "s1", first, None)]
    by_label = sorted((tuple(row.values()) for row in db.select(history)), key=str)
    assert by_label == sorted(expected, key=str)
    db.build(full_refresh=True)
    assert sorted((tuple(row.values()) for row in db.select(history)), key=str) == by_label
    db.mapping(("CCW", 11, "Social", "s1", None), ("CCW", 12, "Search", None, None))
    db.build()
    assert [row[2] for row in performance(db)] == ["Social", "Unmapped: Two"]
    assert len(db.select(history)) == 4


def test_incremental_builds_equal_a_full_refresh(db):
    a_world_of_cases(db)
    at = datetime(2026, 11, 20, 5, tzinfo=UTC)
    db.orders("orders_create", at, {"orders_id": 1}, {"orders_id": 2, "order_date": DAY - timedelta(days=9)})
    db.build()
    db.everflow(DAY, 1, (101, "North Media", 5, 1, 2))  # restated, and three rows vanished
    db.redtrack(DAY - timedelta(days=1))  # a whole day vanished
    db.redtrack(DAY - timedelta(days=40), ("s-main", "Main", 3))  # an old day came late
    db.orders("orders_update", at, {"orders_id": 2, "order_date": DAY, "order_status": "DECLINED"})
    db.build()
    marts = ("public.daily_performance", "public.daily_orders", "marts.affiliate_mapping")
    after = {name: db.table(name) for name in marts}
    assert len(after["public.daily_orders"]) == 1
    db.build(full_refresh=True)
    assert {name: db.table(name) for name in marts} == after
    db.build()
    assert {name: db.table(name) for name in marts} == after


def test_an_hour_without_exports_reads_no_order_and_a_lost_one_fails_the_build(db):
    at = datetime(2026, 11, 20, 5, tzinfo=UTC)
    db.orders("orders_create", at, {"orders_id": 1})
    db.build()
    db.everflow(DAY, 1, (101, "North", 1, 1, 1))
    db.build()
    compiled = (db.target / "compiled/affiliates/marts/daily_orders.sql").read_text(encoding="utf-8")
    assert "stg_s3_exports__orders" not in compiled
    # An order that no load accounts for is not counted, and that is said.
    db.connection.execute(f"insert into s3_exports.orders_create (orders_id, order_date) values (2, {literal(DAY)})")
    with pytest.raises(DataError, match=r"orders_are_conserved \(tests/orders_are_conserved.sql\) found 1 row"):
        db.build()
    db.orders("orders_create", at, {"orders_id": 3})
    db.build()
    assert db.report()["orders"]["orders"] == 3
    db.connection.execute("delete from public.daily_performance")
    with pytest.raises(DataError, match="total_cost_is_conserved"):
        db.build(select="total_cost_is_conserved")


def test_a_workspace_builds_before_anything_was_loaded(db):
    db.reset(tables=False)
    assert {model.status for model in db.build().models} == {"success"}
    assert performance(db) == []
    db.reset()
    a_world_of_cases(db)
    db.build()
    assert len(performance(db)) == 9


def test_dependents_and_grants_survive_a_build(on_postgres):
    db = on_postgres
    db.reset()
    a_world_of_cases(db)
    db.build()
    for name in ("public.daily_performance", "marts.orders", "staging.stg_redtrack__daily_spend"):
        db.connection.execute(f"create view public.on_{name.replace('.', '_')} as select * from {name}")
        db.connection.execute(f"grant select on {name} to public")
    db.redtrack(DAY, ("s-main", "Main", 1))
    db.build()
    assert db.select("select sum(redtrack_cost) as c from public.on_public_daily_performance")[0]["c"] == Decimal(
        "35.33"
    )
    granted = "select count(*) as n from information_schema.role_table_grants where grantee = 'PUBLIC' and table_schema"
    assert db.select(f"{granted} in ('public', 'marts', 'staging')") == [{"n": 3}]


def test_report_queries_agree_on_both_engines(on_duckdb, on_postgres):
    for db in (on_duckdb, on_postgres):
        db.reset()
        a_world_of_cases(db)
        db.everflow(DAY - timedelta(days=3), 1, *[(200 + n, label, 5, 50, n) for n, label in enumerate("aÄB_b Z")])
        db.orders("orders_create", datetime(2026, 11, 20, 5, tzinfo=UTC), {"orders_id": 1}, {"orders_id": 2})
        db.build()
    for back in range(16):
        assert on_duckdb.report(DAY - timedelta(days=back)) == on_postgres.report(DAY - timedelta(days=back))
    assert [row["label"] for row in on_postgres.report(DAY - timedelta(days=3))["top"]] == ["B", "Z", "_", "a", "b"]
    trend = on_duckdb.report()["trend"]
    assert [row["date"] for row in trend] == [DAY - timedelta(days=back) for back in range(13, -1, -1)]
    assert trend[0] == {"date": DAY - timedelta(days=13), "conversions": 0, "revenue": 0, "cost": 0}
    assert [set(row) for row in on_duckdb.report()["top"]][0] == {"label", "conversions", "cpa", "is_internal"}
    for query in LIBRARY:
        assert len(on_duckdb.select(query.sql)) == len(on_postgres.select(query.sql)), query.name
    assert len(LIBRARY) >= 12


def test_freshness_knows_when_a_number_is_final(db):
    day = date(2026, 11, 1)  # 25 hours long in New York: it ends at 05:00 UTC
    end = datetime(2026, 11, 2, 5, tzinfo=UTC)
    second = timedelta(seconds=1)
    db.everflow(day, 1, (101, "North", 1, 1, 1), observed_at=end - second)
    db.everflow(day, 2, (101, "North", 1, 1, 1), observed_at=end + timedelta(days=9))
    db.redtrack(day, ("s", "S", 1), observed_at=end + timedelta(days=2) - second)
    db.orders("orders_create", end - second, {"orders_id": 1})
    db.build()
    seen = {row["source"]: row for row in db.report(day)["freshness"]}
    assert list(seen) == ["everflow", "redtrack", "s3_exports"]
    assert seen["everflow"]["as_of"] == end - second
    assert seen["s3_exports"]["as_of"] == end - second
    assert [row["is_final"] for row in seen.values()] == [False, False, False]
    assert all(row["note"] for row in seen.values())
    db.everflow(day, 1, (101, "North", 1, 1, 1), observed_at=end)
    db.redtrack(day, ("s", "S", 1), observed_at=end + timedelta(days=2))
    db.orders("orders_update", end, {"orders_id": 1})
    assert [(row["is_final"], row["note"]) for row in db.report(day)["freshness"]] == [(True, "")] * 3
    assert [row["as_of"] for row in db.report(date(2020, 1, 1))["freshness"]][:2] == [None, None]


def test_the_summary_equals_the_simulated_truth(db):
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    world = World(7, DAY + timedelta(days=1), now=lambda: now, days=17, orders_per_day=40, export_days=9)
    labels = {affiliate.id: affiliate.label for affiliate in world.cast.affiliates}
    names = {source.id: source.label for source in world.cast.sources}
    for back in range(15):
        day = DAY - timedelta(days=back)
        totals = world.truth_totals(day)
        for advertiser in (1, 2):
            db.everflow(day, advertiser, *[
                (affiliate, labels[affiliate], *figures)
                for (owner, affiliate), figures in totals["by_affiliate"].items() if owner == advertiser
            ])  # fmt: skip
        db.redtrack(day, *[(source, names[source], cost) for source, cost in totals["spend_by_source"].items()])
    db.mapping(*[(r.project, r.affiliate_id, r.affiliate_label, r.source_id, r.offer_id) for r in world.cast.mapping])
    for file in export_files(world):
        if file.prefix != "prospects-create":
            rows = {
                row["orders_id"]: typed(row) for row in csv.DictReader(io.StringIO(export_bytes(world, file).decode()))
            }
            db.orders(file.prefix.replace("-", "_"), file.time, *rows.values())
    db.build()
    for day in (DAY, DAY - timedelta(days=1), DAY - timedelta(days=5)):
        truth, report = world.truth_daily("CCW", day), db.report(day)
        text = lambda value: value if value is None or isinstance(value, bool) else str(value)  # noqa: E731
        for name in ("overall", "internal", "external", "orders"):
            assert {key: text(value) for key, value in report[name].items()} == truth[name], name
        for name in ("top", "trend"):
            found = [{key: text(value) for key, value in row.items()} for row in report[name]]
            assert found[-len(truth[name]) :] == truth[name], name
        assert str(report["unmapped"]["spend"]) == truth["unmapped_spend"]


def typed(row):
    return {
        "orders_id": int(row["orders_id"]),
        "order_date": datetime.strptime(row["order_date"], "%m/%d/%Y").date(),
        "product_category": row["product_category"],
        "order_status": row["order_status"],
        "is_test_cc": row["is_test_cc"] == "YES",
        "chargeback_flag": row["chargeback_flag"] == "YES",
        "total_amount": Decimal(row["total_amount"]),
        "afid": row["afid"],
    }
