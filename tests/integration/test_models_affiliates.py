"""The affiliates models, their report queries and their query library, on DuckDB and on Postgres."""

import csv
import io
import itertools
import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest

from affiliates_tables import (
    BEFORE,
    DAY,
    LIBRARY,
    NOON,
    TEMPLATE,
    a_world_of_cases,
    db,
    on_duckdb,
    on_postgres,
)
from signalroom.errors import DataError
from signalroom.simulators.exports import export_bytes, export_files
from signalroom.simulators.order_columns import ORDER_COLUMNS
from signalroom.simulators.world import World
from signalroom.workspace.pins import inspect_pin

__all__ = ["db", "on_duckdb", "on_postgres"]  # fixtures

pytestmark = pytest.mark.slow

CREATE, UPDATE = "orders_create", "orders_update"
NIGHT = datetime(2026, 11, 20, 5, tzinfo=UTC)


def test_mistake_7_unmapped_spend_and_days_without_conversions_keep_their_cost(db):
    a_world_of_cases(db)
    notes = sorted(db.build().notes)
    assert notes == [
        "Test sources_are_claimed_once (tests/sources_are_claimed_once.sql) warns: 1 row.",
        "Test spend_is_mapped (tests/spend_is_mapped.sql) warns: 1 row.",
    ]
    expected = [
        (DAY, "CCW", "House Email", True, 0, "0.00", "0.00", None),
        (DAY, "CCW", "North", False, 3, "0.00", "200.01", "66.67"),
        (DAY, "CCW", "Radio", True, 0, "6.00", "6.00", None),
        (DAY, "CCW", "Search", False, 1, "0.00", "55.50", "55.50"),
        (BEFORE, "CCW", "Social Main", True, 0, "33.33", "33.33", None),
        (DAY, "CCW", "Social Main", True, 4, "12.30", "12.30", "3.08"),
        (DAY, "EXP", "Search EXP", True, 2, "8.00", "8.00", "4.00"),
        (BEFORE, None, "Unmapped: Video", True, 0, "1.00", "1.00", None),
        (DAY, None, "Unmapped: Video", True, 0, "0.37", "0.37", None),
    ]
    assert db.performance() == expected
    payouts, spend = Decimal("200.01") + Decimal("55.50"), Decimal("10.01") + Decimal("2.29") + 8 + Decimal("6.37")
    assert sum(Decimal(row[6]) for row in expected if row[0] == DAY) == payouts + spend
    report = db.report()
    assert report["unmapped"] == {"spend": Decimal("0.37")}
    assert report["overall"] == {"conversions": 8, "revenue": 790, "cost": Decimal("273.81"), "cpa": Decimal("34.23")}
    assert report["internal"] == {"conversions": 4, "cost": Decimal("18.30"), "cpa": Decimal("4.58")}
    # Teeth: a row that goes missing fails the build, and a load that came in meanwhile does not.
    db.connection.execute("delete from public.daily_performance where affiliate_label = 'Radio'")
    assert db.test("total_cost_is_conserved") == "fail"
    db.redtrack(DAY, ("s-main", "Main", 1))
    assert db.test("total_cost_is_conserved") == "pass"


def test_mistake_7_without_conversions_there_is_no_cpa(db):
    db.mapping(("CCW", 11, "Social", "s", None))
    db.redtrack(DAY, ("s", "S", Decimal("12.50")))
    db.build()
    report, nothing = db.report(), {"conversions": 0, "revenue": 0, "cost": 0, "cpa": None}
    assert report["overall"] == {"conversions": 0, "revenue": 0, "cost": Decimal("12.50"), "cpa": None}
    assert report["top"] == []
    assert report["previous"] == nothing
    assert db.report(date(2020, 1, 1))["overall"] == nothing


def test_mistake_5_a_real_zero_does_not_fall_through_to_another_measure(db):
    db.everflow(DAY, 1, (101, "North", 0, 0, 0, 7), (102, "South", 2, 10, Decimal("1.15"), 9))
    # 1.15 / 2 is 0.57499… as a float; half up it is 0.58.
    cases = {("0.01", 3): "0.00", ("100.00", 3): "33.33", ("2.05", 2): "1.03", ("0.05", 10): "0.01"}
    db.everflow(BEFORE, 1, *[(at, f"A{at}", n, 0, Decimal(cost)) for at, (cost, n) in enumerate(cases)])
    db.build()
    rows = db.performance()
    assert [(row[2], row[4], row[7]) for row in rows if row[0] == DAY] == [("North", 0, None), ("South", 2, "0.58")]
    assert [row[7] for row in rows if row[0] == BEFORE] == list(cases.values())
    assert db.report()["overall"] == {"conversions": 2, "revenue": 10, "cost": Decimal("1.15"), "cpa": Decimal("0.58")}


def test_mistake_6_flags_are_yes_and_no_and_test_cards_are_not_revenue(db):
    changes = (
        {},
        {"is_test_cc": True, "chargeback_flag": True},
        {"chargeback_flag": True},
        {"order_status": "DECLINED"},
        {"order_status": "VOID/REFUNDED"},
        {"product_category": "exp "},
        {"is_test_cc": None, "chargeback_flag": None, "order_status": None},
    )
    db.orders(CREATE, NIGHT, *[{"orders_id": number, **change} for number, change in enumerate(changes)])
    db.build()
    counts = {"orders": 5, "approved": 2, "declined": 1, "voided": 1, "test_orders": 1, "chargebacks": 1}
    assert db.report()["orders"] == counts | {"revenue": 200}
    assert db.rows("select project, orders from public.daily_orders where project <> 'CCW'") == [("EXP", 1)]


def test_an_update_supersedes_its_order_and_may_come_twice_or_alone(db):
    def states():
        return {row[0]: row[1:] for row in db.rows("select orders_id, status, _stream from marts.orders")}

    db.orders(CREATE, NIGHT, {"orders_id": 1}, {"orders_id": 2}, {"orders_id": 3})
    voided = {"orders_id": 1, "order_status": "VOID/REFUNDED"}
    db.orders(UPDATE, NIGHT, voided, {"orders_id": 9, "order_status": "DECLINED"})
    db.build()
    expected = {1: ("VOID/REFUNDED", UPDATE), 2: ("NEW", CREATE), 3: ("NEW", CREATE), 9: ("DECLINED", UPDATE)}
    assert states() == expected
    db.orders(UPDATE, NIGHT + timedelta(days=1), voided)
    db.build()
    assert states() == expected
    assert db.report()["orders"]["orders"] == 4
    # A corrected re-upload in a later file is newer than the update.
    db.orders(CREATE, NIGHT + timedelta(days=3), {"orders_id": 1, "total_amount": 70})
    db.build()
    assert states() == expected | {1: ("NEW", CREATE)}
    assert db.report()["orders"]["revenue"] == 270


def test_orders_know_their_internal_affiliate_by_offer_before_affiliate(db):
    db.mapping(("CCW", 11, "Social", "s1", None), ("CCW", 11, "Social, winter offer", "s2", 502))
    theirs = {"affid": "11", "afid": "99", "offer_id": 502}
    db.orders(CREATE, NIGHT, {"orders_id": 1, "afid": "11"}, {"orders_id": 2, **theirs}, {"orders_id": 3, "afid": "99"})
    db.build()
    assert db.rows("select orders_id, is_internal, internal_label from marts.orders order by orders_id") == [
        (1, True, "Social"),
        (2, True, "Social, winter offer"),
        (3, False, None),
    ]


def test_a_changed_mapping_mends_history_and_keeps_what_it_said_before(db):
    def history():
        columns = "affiliate_label, source_id, valid_from, valid_to"
        return db.rows(f"select {columns} from marts.affiliate_mapping order by valid_from, affiliate_label")

    db.mapping(("CCW", 11, "Social ", "s1", None), ("CCW", 12, "Search", None, None))
    db.redtrack(DAY, ("s1", "One", 5), ("s2", "Two", 7))
    db.build()
    assert [row[2] for row in db.performance()] == ["Social", "Unmapped: Two"]
    first, second = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    db.mapping(("CCW", 12, "Search", "s2", None), ("CCW", 11, "Social", "s1", None))
    db.build()
    assert [(row[2], row[6]) for row in db.performance()] == [("Search", "7.00"), ("Social", "5.00")]
    was = [("Search", None, first, second), ("Social", "s1", first, None), ("Search", "s2", second, None)]
    assert history() == was
    assert db.rows("select file_row from marts.affiliate_mapping where affiliate_label = 'Social'") == [(1,)]
    db.mapping(("CCW", 11, "Social", "s1", None), ("CCW", 12, "Search", None, None))
    db.build(full_refresh=True)
    assert [row[2] for row in db.performance()] == ["Social", "Unmapped: Two"]
    third = NOON + timedelta(minutes=4)
    assert history() == [*was[:2], ("Search", "s2", second, third), ("Search", None, third, None)]


def test_incremental_builds_equal_one_from_nothing(db):
    a_world_of_cases(db)
    db.orders(CREATE, NIGHT, {"orders_id": 1}, {"orders_id": 2, "order_date": DAY - timedelta(days=9)})
    db.build()
    db.everflow(DAY, 1, (101, "North Media", 5, 1, 2))  # restated, and three rows vanished
    db.redtrack(BEFORE)  # a whole day vanished
    db.redtrack(DAY - timedelta(days=40), ("s-main", "Main", 3))  # an old day came late
    db.orders(UPDATE, NIGHT, {"orders_id": 2, "order_date": DAY, "order_status": "DECLINED"})
    db.build()

    def marts():
        names = ("public.daily_performance", "public.daily_orders", "marts.affiliate_mapping")
        return {name: sorted(map(repr, db.rows(f"select * from {name}"))) for name in names}

    after = marts()
    assert len(after["public.daily_orders"]) == 1
    assert len(after["public.daily_performance"]) == 6
    for name in ("public.daily_performance", "public.daily_orders"):
        db.connection.execute(f"drop table {name}")
    db.build()
    assert marts() == after


def test_an_hour_without_exports_reads_no_order_and_a_lost_one_fails_the_build(db):
    db.orders(CREATE, NIGHT, {"orders_id": 1})
    db.build()
    # An order that no load accounts for is not read, and that is said.
    db.connection.execute(f"insert into s3_exports.orders_create (orders_id, order_date) values (2, '{DAY}')")
    with pytest.raises(DataError, match=r"orders_are_conserved \(tests/orders_are_conserved.sql\) found 1 row"):
        db.build()
    compiled = (db.target / "compiled/affiliates/marts/daily_orders.sql").read_text(encoding="utf-8")
    assert "stg_s3_exports__orders" not in compiled
    db.orders(CREATE, NIGHT, {"orders_id": 3})
    db.build()
    assert db.rows("select project, orders from public.daily_orders order by 1") == [("CCW", 2), ("Unknown", 1)]


def test_a_workspace_builds_before_anything_was_loaded(db):
    db.reset()
    db.connection.execute("create schema staging")
    db.connection.execute("create view staging.stg_everflow__daily_stats as select 1 as of_an_earlier_template")
    assert {model.status for model in db.build().models} == {"success"}
    assert db.performance() == []
    db.create()
    a_world_of_cases(db)
    db.build()
    assert len(db.performance()) == 9


def test_pins_and_models_have_the_columns_of_the_exports():
    declared = (TEMPLATE / "models/macros/order_columns.sql").read_text(encoding="utf-8")
    in_models = re.findall(r"\('(\w+)', '([^']+)'\)", declared)
    for stream in (CREATE, UPDATE, "prospects_create"):
        columns, problems = inspect_pin(TEMPLATE / f"schemas/s3_exports.{stream}.toml")
        assert problems == []
        assert tuple(column.path or column.name for column in columns) == ORDER_COLUMNS
        assert [(column.name, column.type.replace(",", ", ")) for column in columns] == in_models


def test_dependents_and_grants_survive_a_build(on_postgres):
    db = on_postgres
    db.reset()
    db.create()
    a_world_of_cases(db)
    db.build()
    for name in ("public.daily_performance", "marts.orders", "staging.stg_redtrack__daily_spend"):
        db.connection.execute(f"create view public.on_{name.replace('.', '_')} as select * from {name}")
        db.connection.execute(f"grant select on {name} to public")
    db.redtrack(DAY, ("s-main", "Main", 1))
    db.build(full_refresh=True)
    assert db.rows("select sum(redtrack_cost) from public.on_public_daily_performance") == [("35.33",)]
    grants = "select count(*) from information_schema.role_table_grants where grantee = 'PUBLIC' and table_schema"
    assert db.rows(f"{grants} in ('public', 'marts', 'staging')") == [(3,)]


def test_report_queries_agree_on_both_engines(on_duckdb, on_postgres):
    third = DAY - timedelta(days=3)
    for engine in (on_duckdb, on_postgres):
        engine.reset()
        engine.create()
        a_world_of_cases(engine)
        engine.everflow(third, 1, *[(200 + n, label, 5, 50, n) for n, label in enumerate("aÄB_b Z")])
        engine.orders(CREATE, NIGHT, {"orders_id": 1, "afid": "11"}, {"orders_id": 2, "order_status": "DECLINED"})
        engine.on_hold(("a", 101, "on_hold", NOON, 1))
        engine.adjustments((1, 1, NOON + timedelta(days=1), NOON + timedelta(days=1), False, ""))
        engine.load(
            "s3_exports.prospects_create", [{"prospects_id": 1, "order_date": DAY, "billing_email": "a@b.example"}]
        )
        engine.build()
    for back in range(16):
        assert on_duckdb.report(DAY - timedelta(days=back)) == on_postgres.report(DAY - timedelta(days=back))
    assert [row["label"] for row in on_postgres.report(third)["top"]] == ["Affiliate 205", "B", "Z", "_", "a"]
    trend = on_duckdb.report()["trend"]
    assert [row["date"] for row in trend] == [DAY - timedelta(days=back) for back in range(13, -1, -1)]
    assert trend[0] == {"date": DAY - timedelta(days=13), "conversions": 0, "revenue": 0, "cost": 0}
    assert set(on_duckdb.report()["top"][0]) == {"label", "conversions", "cpa", "is_internal"}
    for query in LIBRARY:
        assert on_duckdb.select(query.sql) == on_postgres.select(query.sql), query.name
        assert on_duckdb.select(query.sql), query.name
    assert len(LIBRARY) >= 12


def test_freshness_knows_when_a_number_is_final(db):
    day = date(2026, 11, 1)  # 25 hours long in New York: it ends at 05:00 UTC
    end, second = datetime(2026, 11, 2, 5, tzinfo=UTC), timedelta(seconds=1)
    db.everflow(day, 1, (101, "North", 1, 1, 1), observed_at=end - second)
    db.everflow(day, 2, (101, "North", 1, 1, 1), observed_at=end + timedelta(days=9))
    db.redtrack(day, ("s", "S", 1), observed_at=end + timedelta(days=2) - second)
    db.orders(CREATE, end - second, {"orders_id": 1})
    db.build()
    seen = {row["source"]: row for row in db.report(day)["freshness"]}
    assert list(seen) == ["everflow", "redtrack", "s3_exports"]
    assert seen["everflow"]["as_of"] == seen["s3_exports"]["as_of"] == end - second
    assert [row["is_final"] for row in seen.values()] == [False, False, False]
    assert all(row["note"] for row in seen.values())
    db.everflow(day, 1, (101, "North", 1, 1, 1), observed_at=end)
    db.redtrack(day, ("s", "S", 1), observed_at=end + timedelta(days=2))
    db.orders(UPDATE, end, {"orders_id": 1})
    assert [(row["is_final"], row["note"]) for row in db.report(day)["freshness"]] == [(True, "")] * 3
    assert [row["as_of"] for row in db.report(date(2020, 1, 1))["freshness"]][:2] == [None, None]


def test_the_summary_equals_the_simulated_truth(db):
    world = World(7, DAY + timedelta(days=1), now=lambda: NOON, days=17, orders_per_day=40, export_days=9)
    labels = {affiliate.id: affiliate.label for affiliate in world.cast.affiliates}
    names = {source.id: source.label for source in world.cast.sources}
    for back in range(15):
        day = DAY - timedelta(days=back)
        totals = world.truth_totals(day)
        came = totals["by_affiliate"].items()
        for advertiser in (1, 2):
            rows = [(who, labels[who], *numbers) for (owner, who), numbers in came if owner == advertiser]
            db.everflow(day, advertiser, *rows)
        db.redtrack(day, *[(source, names[source], cost) for source, cost in totals["spend_by_source"].items()])
    db.mapping(*[(r.project, r.affiliate_id, r.affiliate_label, r.source_id, r.offer_id) for r in world.cast.mapping])
    for file in export_files(world):
        if file.prefix != "prospects-create":
            text = export_bytes(world, file).decode()
            rows = {row["orders_id"]: typed(row) for row in csv.DictReader(io.StringIO(text))}
            db.orders(file.prefix.replace("-", "_"), file.time, *rows.values())
    db.build()
    for day, (project, name) in itertools.product((DAY, BEFORE), (("CCW", "daily_ccw"), ("EXP", "daily_exp"))):
        truth, report = world.truth_daily(project, day), db.report(day, name=name)
        for query in ("overall", "internal", "external", "orders", "top", "trend"):
            assert as_text(report[query]) == truth[query], (name, query)
        assert as_text(report["unmapped"]["spend"]) == truth["unmapped_spend"]
    the_week_equals_its_days(db, world)


def the_week_equals_its_days(db, world):
    """Hold the reports of a week against the truth of its days."""

    def added(first, last, *path):
        found = [
            world.truth_daily(project, DAY - timedelta(days=back))
            for project in ("CCW", "EXP")
            for back in range(first, last)
        ]
        return sum(Decimal(one[path[0]][path[1]]) for one in found)

    week, board, states = (db.report(name=n) for n in ("weekly_rollup", "affiliate_leaderboard", "state_heatmap"))
    for record, days in ((week["week"], (0, 7)), (week["week_before"], (7, 14))):
        assert record["revenue"] == added(*days, "overall", "revenue") > 0
        assert record["conversions"] == added(*days, "overall", "conversions")
        unmapped = sum(
            Decimal(world.truth_daily("CCW", DAY - timedelta(days=n))["unmapped_spend"]) for n in range(*days)
        )
        assert record["cost"] == added(*days, "overall", "cost") + unmapped
        assert record["cpa"] == (record["cost"] / record["conversions"]).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert sum(row["revenue"] for row in week["projects"]) == week["week"]["revenue"]
    assert sum(row["cost"] for row in week["projects"]) == week["week"]["cost"]
    assert [row["date"] for row in week["days"]] == [DAY - timedelta(days=n) for n in range(6, -1, -1)]
    assert sum(row["revenue"] for row in week["days"]) == week["week"]["revenue"]
    assert sum(row["revenue_before"] for row in week["days"]) == week["week_before"]["revenue"]
    assert all(row["moved"] == row["revenue"] - row["revenue_before"] != 0 for row in week["movers"])
    assert (board["totals"]["revenue"], board["totals"]["cost"]) == (week["week"]["revenue"], week["week"]["cost"])
    assert [row["place"] for row in board["board"]] == list(range(1, len(board["board"]) + 1))
    revenues = [row["revenue"] for row in board["board"]]
    assert revenues == sorted(revenues, reverse=True)
    if len(revenues) < 15:
        assert sum(revenues) == board["totals"]["revenue"]
    assert states["totals"]["orders"] == added(0, 7, "orders", "orders") > 0
    assert (
        states["totals"]["revenue"]
        == added(0, 7, "orders", "revenue")
        == sum(row["revenue"] for row in states["states"])
    )
    assert week["orders"]["approved"] == states["totals"]["approved"]
    assert {row["state"] for row in states["mapped"]} == {row["state"] for row in states["states"]} - {"None given"}


def as_text(value):
    if isinstance(value, list):
        return [as_text(item) for item in value]
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool) else str(value)


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
        "billing_state": row["billing_state"],
    }
