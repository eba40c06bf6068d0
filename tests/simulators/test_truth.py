"""The truth against a sum over what the upstreams hand out, added up another way."""

import csv
import io
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest

from signalroom.simulators import World
from signalroom.simulators.everflow import everflow_app
from signalroom.simulators.exports import export_bytes, export_files, mapping_bytes
from signalroom.simulators.redtrack import redtrack_app
from signalroom.simulators.server import truth_app

CENT = Decimal("0.01")
ADVERTISER = {"CCW": "1", "EXP": "2"}


def mapped(world):
    rows = csv.DictReader(io.StringIO(mapping_bytes(world).decode("utf-8-sig"), newline=""))
    return [{name: None if value == "n/a" else value for name, value in row.items()} for row in rows]


def cpa(cost, conversions):
    return str((cost / conversions).quantize(CENT, ROUND_HALF_UP)) if conversions else None


def day_sums(world, report, spend, project, day):
    """Return rows (affiliate id -> conversions, revenue, cost), internal ids and unmapped spend."""
    span = {"from": day.isoformat(), "to": day.isoformat()}
    table = report(everflow_app(world), **span).json()["table"]
    costs = spend(redtrack_app(world), date_from=day.isoformat(), date_to=day.isoformat()).json()
    mapping = mapped(world)
    labels = {}
    for row in mapping:
        if row["project"] == project:
            labels.setdefault(row["affiliate.id"], row["affiliate.label"].strip())
    rows = defaultdict(lambda: [0, Decimal(0), Decimal(0), ""])
    for row in table:
        _, affiliate, advertiser = row["columns"]
        if advertiser["id"] == ADVERTISER[project]:
            figures = row["reporting"]
            mine = rows[affiliate["id"]]
            mine[0] += figures["cv"]
            mine[1] += Decimal(str(figures["revenue"]))
            mine[2] += 0 if affiliate["id"] in labels else Decimal(str(figures["payout"]))
            mine[3] = labels.get(affiliate["id"], affiliate["label"].strip())
    owners = {row["redtrack.source_id"]: row for row in mapping}
    unmapped = Decimal(0)
    for row in costs:
        owner = owners.get(row["source_id"])
        if owner is None:
            unmapped += Decimal(str(row["cost"]))
        elif owner["project"] == project:
            rows[owner["affiliate.id"]][2] += Decimal(str(row["cost"]))
    return rows, labels, unmapped


def orders(world, project, day):
    current = {}
    for file in export_files(world):
        if file.prefix != "prospects-create":
            for row in csv.DictReader(io.StringIO(export_bytes(world, file).decode(), newline="")):
                at = file.prefix == "orders-update", file.time
                if row["orders_id"] not in current or at >= current[row["orders_id"]][0]:
                    current[row["orders_id"]] = at, row
    rows = [
        row
        for _, row in current.values()
        if row["order_date"] == day.strftime("%m/%d/%Y") and row["product_category"] == project
    ]
    real = [row for row in rows if row["is_test_cc"] == "NO"]

    def count(status):
        return str(sum(row["order_status"] == status for row in real))

    revenue = sum(int(row["total_amount"]) for row in real if row["order_status"] == "NEW")
    return {
        "orders": str(len(real)),
        "approved": count("NEW"),
        "declined": count("DECLINED"),
        "voided": count("VOID/REFUNDED"),
        "test_orders": str(len(rows) - len(real)),
        "chargebacks": str(sum(row["chargeback_flag"] == "YES" for row in real)),
        "revenue": f"{revenue}.00",
    }


@pytest.mark.parametrize(
    ("project", "day", "asked_on"),
    [
        ("CCW", date(2026, 11, 19), datetime(2026, 11, 20, 12, tzinfo=UTC)),
        ("EXP", date(2026, 11, 19), datetime(2026, 11, 28, 12, tzinfo=UTC)),
        ("CCW", date(2026, 11, 20), datetime(2026, 11, 20, 18, 30, tzinfo=UTC)),
        ("EXP", date(2026, 11, 1), datetime(2026, 11, 20, 18, 30, tzinfo=UTC)),
        ("CCW", date(2026, 11, 15), datetime(2026, 11, 16, 3, 30, tzinfo=UTC)),
    ],
)
def test_truth_is_what_the_upstreams_say(world, report, spend, project, day, asked_on):
    world.set_now(asked_on)
    truth = world.truth_daily(project, day)
    rows, labels, unmapped = day_sums(world, report, spend, project, day)
    for side, ids in (
        ("overall", set(rows)),
        ("internal", set(rows) & set(labels)),
        ("external", set(rows) - set(labels)),
    ):
        conversions = sum(rows[one][0] for one in ids)
        cost = sum((rows[one][2] for one in ids), Decimal(0))
        assert truth[side]["conversions"] == str(conversions)
        assert truth[side]["cost"] == str(cost.quantize(CENT))
        assert truth[side]["cpa"] == cpa(cost, conversions)
    assert truth["overall"]["revenue"] == str(sum(row[1] for row in rows.values()).quantize(CENT))
    assert truth["unmapped_spend"] == str(unmapped.quantize(CENT))
    ranking = sorted((-row[0], row[3], one) for one, row in rows.items() if row[0])
    assert truth["top"] == [
        {
            "label": label,
            "conversions": str(rows[one][0]),
            "cpa": cpa(rows[one][2], rows[one][0]),
            "is_internal": one in labels,
        }
        for _, label, one in ranking[:5]
    ]
    assert truth["orders"] == orders(world, project, day)


def test_the_trend_is_fourteen_dates_that_agree_with_their_own_summaries(world):
    truth = world.truth_daily("CCW", date(2026, 11, 18))
    assert [row["date"] for row in truth["trend"]] == [
        (date(2026, 11, 5) + timedelta(days=step)).isoformat() for step in range(14)
    ]
    for row in truth["trend"]:
        alone = world.truth_daily("CCW", date.fromisoformat(row["date"]))["overall"]
        assert row == {"date": row["date"]} | {name: alone[name] for name in ("conversions", "revenue", "cost")}


def test_the_traps_are_there(world):
    days = [date(2026, 11, 1) + timedelta(days=step) for step in range(19)]
    display = next(source.id for source in world.cast.sources if source.alias == "display")
    display_lab = {one.affiliate_id for day in days for one in world.conversions(day) if one.affiliate_id == 15}
    quiet = [day for day in days if all(one.affiliate_id != 15 for one in world.conversions(day))]
    assert display_lab
    assert quiet
    assert all(world.cost(day, display) > 0 for day in quiet)
    # House Email converts and is in the mapping, but nothing is spent on it.
    house = next(row for row in world.cast.mapping if row.affiliate_id == 14)
    assert house.source_id is None
    assert any(one.affiliate_id == 14 for one in world.conversions(days[-1]))
    assert all(Decimal(world.truth_daily("CCW", day)["unmapped_spend"]) > 0 for day in days[-3:])


def test_totals_hold_every_cent(world):
    day = date(2026, 11, 19)
    totals = world.truth_totals(day)
    both = [world.truth_daily(project, day) for project in ("CCW", "EXP")]
    cost = sum(Decimal(truth["overall"]["cost"]) for truth in both)
    assert cost + Decimal(totals["unmapped_spend"]) == Decimal(totals["spend"]) + Decimal(totals["payout"])
    assert Decimal(totals["revenue"]) == sum(Decimal(truth["overall"]["revenue"]) for truth in both)
    assert sum(map(Decimal, totals["spend_by_source"].values())) == Decimal(totals["spend"])
    assert sum(int(row[0]) for row in totals["by_affiliate"].values()) == int(totals["conversions"])


def test_truth_follows_deliberate_changes_from_their_moment_on(world):
    day, before = date(2026, 11, 19), world.now() - timedelta(minutes=1)
    old = world.truth_daily("CCW", day)
    order = next(
        one
        for one in world.orders.placed_on(date(2026, 11, 18))
        if one.category == "CCW" and not one.is_test and one.deliveries[-1].kind == "declined"
    )
    approved = next(
        one
        for one in world.conversions(day)
        if one.status(before.timestamp()) == "approved" and one.affiliate_id == 101
    )
    world.reject_conversion(approved.id)
    world.restate_cost(day, world.cast.sources[0].id, Decimal("0.01"))
    new = world.truth_daily("CCW", day)
    assert int(new["overall"]["conversions"]) == int(old["overall"]["conversions"]) - 1
    assert Decimal(new["internal"]["cost"]) < Decimal(old["internal"]["cost"])
    assert world.truth_daily("CCW", day, before) == old
    placed = world.truth_daily("CCW", order.day)["orders"]
    world.amend_order(order.id, "recovered", at=world.now() - timedelta(days=1))
    amended = world.truth_daily("CCW", order.day)["orders"]
    assert int(amended["approved"]) == int(placed["approved"]) + 1
    assert Decimal(amended["revenue"]) == Decimal(placed["revenue"]) + order.amount


def test_a_date_without_anything_has_no_cpa(world):
    truth = world.truth_daily("CCW", date(2026, 1, 1))
    assert truth["overall"] == {"conversions": "0", "revenue": "0.00", "cost": "0.00", "cpa": None}
    assert truth["top"] == []


def test_truth_over_http(world, ask):
    app = truth_app(world)

    def get(**params):
        return ask(app, "GET", "/truth/daily", params=params)

    day = {"project": "EXP", "date": "2026-11-19"}
    assert get(**day).json() == world.truth_daily("EXP", date(2026, 11, 19))
    earlier = get(**day, as_of="2026-11-19T12:00:00-05:00").json()
    assert int(earlier["overall"]["conversions"]) < int(get(**day).json()["overall"]["conversions"])
    for bad in ({"project": "EXP"}, {**day, "date": "yesterday"}, {**day, "project": "ABC"}, {**day, "x": "1"}):
        assert get(**bad).status_code == 400
    assert get(**day, as_of="2026-11-19T12:00:00").status_code == 400
    assert ask(app, "GET", "/truth").status_code == 404


def test_equal_seeds_make_equal_worlds_and_other_seeds_others():
    def one(seed, today=date(2026, 11, 20), days=21):
        now = datetime(2026, 11, 20, 20, tzinfo=UTC)
        return World(seed, today, now=lambda: now, days=days, orders_per_day=40)

    day = date(2026, 11, 19)
    first, same, other = one(3), one(3), one(4)
    # What was asked for before makes no difference.
    same.truth_daily("EXP", date(2026, 11, 2))
    assert first.truth_daily("CCW", day) == same.truth_daily("CCW", day)
    assert first.conversions(day) == same.conversions(day)
    assert first.truth_daily("CCW", day) != other.truth_daily("CCW", day)
    # Nor does how long the world is, or which date is its last.
    assert one(3, date(2026, 11, 22), 15).conversions(day) == first.conversions(day)


def test_a_world_goes_on(world):
    tomorrow = date(2026, 11, 21)
    world.set_now(datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert world.conversions(tomorrow) == []
    yesterday = world.truth_totals(date(2026, 11, 19))
    assert world.advance() == tomorrow
    assert world.conversions(tomorrow)
    assert world.truth_totals(date(2026, 11, 19)) == yesterday
    assert max(file.day for file in export_files(world)) == tomorrow


def test_a_clock_without_a_zone_is_refused(world):
    with pytest.raises(ValueError, match="no time zone"):
        world.set_now(datetime(2026, 11, 20, 12))
    with pytest.raises(KeyError):
        world.reject_conversion("nobody")
