"""The affiliates template's source tables, filled by hand the way the loader leaves them, on either engine."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import psycopg
import pytest

import signalroom.workspace
from signalroom.models.dbt import build, run
from signalroom.reports.finding import find_reports
from signalroom.reports.queries import split_queries
from signalroom.workspace.pins import inspect_pin

TEMPLATE = Path(signalroom.workspace.__file__).with_name("templates") / "affiliates"
REPORTS = find_reports(TEMPLATE)
LIBRARY = split_queries((TEMPLATE / "docs/QUERIES.sql").read_text(encoding="utf-8"), "QUERIES.sql")
LINEAGE = (
    "_load_id text, _loaded_at timestamptz, _client_id text, _source_ref text, _file_time timestamptz, _row bigint"
)
TABLES = {
    "everflow.daily_stats": "date date, affiliate_id bigint, affiliate_label text, advertiser_id bigint,"
    " advertiser_label text, clicks bigint, conversions bigint, total_conversions bigint, revenue decimal(18,2),"
    " payout decimal(18,2), profit decimal(18,2)",
    "everflow.on_hold": "date date, converted_at timestamptz, on_hold_id text, status text, held_until timestamptz,"
    " note text, conversion_id text, is_event boolean, advertiser_id bigint, affiliate_id bigint, offer_id bigint,"
    " revenue decimal(18,2), payout decimal(18,2), currency_id text",
    "everflow.adjustments": "date date, adjustment_id bigint, affiliate_id bigint, offer_id bigint, total_clicks bigint,"
    " conversions bigint, revenue decimal(18,2), payout decimal(18,2), notes text, is_deleted boolean,"
    " made_at timestamptz, saved_at timestamptz",
    "everflow.offers": "offer_id bigint, name text, advertiser_id bigint, status text, currency_id text",
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
BEFORE = DAY - timedelta(days=1)


class Db:
    """One engine with empty source tables, and the loads that were recorded."""

    def __init__(self, dialect, connection, profile, target):
        self.dialect, self.connection, self.profile, self.target = dialect, connection, profile, target
        self.loads = 0

    def reset(self):
        for schema in SCHEMAS:
            self.connection.execute(f"drop schema if exists {schema} cascade")
        self.loads = 0

    def create(self):
        """Make the source tables, empty."""
        made = [f"create schema if not exists {schema}" for schema in SCHEMAS]
        made += [f"create table {name} ({ddl}, {LINEAGE})" for name, ddl in TABLES.items()]
        for statement in (*made, *BOOKS):
            self.connection.execute(statement)

    def load(self, table, rows, *, where="1 = 0", file_time=None, partitions=(), observed_at=NOON):
        """Merge one load: rows `where` go, the new ones come, the load and its positions are recorded."""
        self.loads += 1
        source, stream = table.split(".")
        load_id, at = f"L{self.loads:04d}", NOON + timedelta(minutes=self.loads)
        lineage = {"_load_id": load_id, "_loaded_at": at, "_file_time": file_time}
        full = [{**row, **lineage, "_row": number} for number, row in enumerate(rows)]
        names = list(dict.fromkeys(name for row in full for name in row))
        self.connection.execute(f"delete from {table} where {where}")
        if full:
            values = ", ".join(f"({', '.join(literal(row.get(name)) for name in names)})" for row in full)
            self.connection.execute(f"insert into {table} ({', '.join(names)}) values {values}")
        for statement in (
            f"insert into signalroom.loads values ('{load_id}', '{source}', '{stream}', {literal(at)})",
            *(
                f"insert into signalroom.positions values ('{source}', '{stream}', '{partition}',"
                f""" '{{"observed_at": "{observed_at.isoformat()}"}}', '{load_id}')"""
                for partition in partitions
            ),
        ):
            self.connection.execute(statement)

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

    def on_hold(self, *rows):
        fixed = {"date": DAY, "advertiser_id": 1, "currency_id": "USD", "revenue": 40}
        names = ("on_hold_id", "affiliate_id", "status", "held_until", "payout")
        self.load("everflow.on_hold", [fixed | dict(zip(names, row, strict=True)) for row in rows])

    def adjustments(self, *rows):
        fixed = {"date": DAY, "affiliate_id": 101, "offer_id": 501, "conversions": 0, "revenue": 0}
        names = ("adjustment_id", "payout", "made_at", "saved_at", "is_deleted", "notes")
        self.load("everflow.adjustments", [fixed | dict(zip(names, row, strict=True)) for row in rows])

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
        full = [dict(zip(names, row, strict=False)) for row in rows]
        self.load("s3_exports.internal_affiliates", full, where="1 = 1")

    def orders(self, stream, file_time, *rows):
        ids = ", ".join(str(row["orders_id"]) for row in rows)
        fixed = {"order_date": DAY, "product_category": "CCW", "order_status": "NEW", "is_test_cc": False}
        full = [fixed | {"total_amount": Decimal(100), "chargeback_flag": False} | row for row in rows]
        self.load(f"s3_exports.{stream}", full, where=f"orders_id in ({ids})", file_time=file_time)

    def build(self, how=build, **options):
        return how(TEMPLATE / "models", self.profile, target_dir=self.target, **options)

    def test(self, name):
        """Return the status of one test of the project, run on its own."""
        return self.build(run, select=name).tests[0].status

    def select(self, sql, **params):
        mark = {"duckdb": r"$\1", "postgres": r"%(\1)s"}[self.dialect]
        bound = {name: value for name, value in params.items() if re.search(rf":{name}\b", sql)}
        names = "|".join(bound)
        text = (
            re.sub(rf"(?<![:\w]):({names})\b", mark, sql.replace("%", "%%") if mark[0] == "%" else sql)
            if bound
            else sql
        )
        cursor = self.connection.execute(text, bound) if bound else self.connection.execute(text)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def rows(self, sql):
        """Return rows as tuples, money as text."""
        return [
            tuple(str(value) if isinstance(value, Decimal) else value for value in row.values())
            for row in self.select(sql)
        ]

    def performance(self):
        columns = "date, advertiser, affiliate_label, is_internal, conversions, redtrack_cost, cost, cpa"
        return self.rows(f"select {columns} from public.daily_performance order by advertiser, affiliate_label, date")

    def report(self, day=DAY, timezone="America/New_York", name="daily_ccw"):
        return REPORTS[name].collect(lambda sql, params: self.select(sql, **params), report_date=day, timezone=timezone)


def literal(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "cast('YES' as boolean)", False: "cast('No' as boolean)"}[value]
    if isinstance(value, datetime):
        return f"timestamptz '{value.isoformat()}'"
    if isinstance(value, date):
        return f"date '{value}'"
    return str(value) if isinstance(value, int | Decimal) else "'" + str(value).replace("'", "''") + "'"


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
    external = (101, " North ", 3, 300, Decimal("200.01")), (12, "Search", 1, 90, Decimal("55.5"))
    db.everflow(DAY, 1, (11, "Social", 4, 400, 0), (14, "House Email", 0, 0, 0), *external)
    db.everflow(DAY, 2, (12, "Search", 2, 120, 7))
    spend = {"s-main": "10.01", "s-again": "2.29", "s-search": "8", "s-video": "0.37", "s-radio": "6"}
    db.redtrack(DAY, *[(name, f"{name[2:].title()} ", Decimal(cost), 5) for name, cost in spend.items()])
    db.redtrack(BEFORE, ("s-main", "Main", Decimal("33.33"), 9), ("s-video", "Video ", 1))


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
    engine.create()
    return engine
