import csv
import io
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from signalroom.simulators import World, write_exports
from signalroom.simulators.exports import MAPPING_PATH, export_bytes, export_files, mapping_bytes
from signalroom.simulators.order_columns import ORDER_COLUMNS

NULLS = {"", "NA", "N/A", "None"}
US_DATE = re.compile(r"\d\d/\d\d/\d{4}")


def read(content):
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert {len(row) for row in rows} == {129}
    assert tuple(rows[0]) == ORDER_COLUMNS
    return [dict(zip(ORDER_COLUMNS, row, strict=True)) for row in rows[1:]]


@pytest.fixture(scope="module")
def big():
    now = datetime(2026, 11, 20, 20, tzinfo=UTC)
    return World(7, date(2026, 11, 20), now=lambda: now, orders_per_day=1_500, export_days=3)


@pytest.fixture(scope="module")
def tables(big):
    read_by_prefix = {}
    for file in export_files(big):
        read_by_prefix.setdefault(file.prefix, []).append((file, read(export_bytes(big, file))))
    return read_by_prefix


def test_files_are_named_by_prefix_and_local_time(world, tmp_path):
    written = write_exports(world, tmp_path)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert len(names) == written.files == 6 * 3 + 1
    assert names.pop(0) == MAPPING_PATH
    form = re.compile(r"(orders-create|orders-update|prospects-create)/report_\d{4}-\d\d-\d\dT\d{4}_[0-9a-f]{8}\.csv")
    assert all(form.fullmatch(name) for name in names)
    assert {name.split("report_")[1][:10] for name in names} == {f"2026-11-{day}" for day in range(15, 21)}
    assert written.size_bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.csv"))


def test_writing_again_adds_only_what_is_new(world, tmp_path):
    world.set_now(datetime(2026, 11, 19, 20, tzinfo=UTC))
    first = write_exports(world, tmp_path)
    assert write_exports(world, tmp_path).files == 1  # the mapping is always written
    world.set_now(datetime(2026, 11, 20, 20, tzinfo=UTC))
    assert write_exports(world, tmp_path).files == 4
    assert first.files == 5 * 3 + 1


def test_lines_end_in_crlf_and_quoted_text_holds_breaks_commas_and_quotes(big, tables):
    file, rows = tables["orders-create"][0]
    content = export_bytes(big, file).decode()
    assert content.endswith("\r\n")
    assert not content.startswith("\ufeff")
    # Outside quotes every line break is CRLF.
    outside = "".join(content.split('"')[::2])
    assert outside.count("\n") == outside.count("\r\n") == len(rows) + 1
    text = [value for row in rows for value in row.values()]
    for mark in ("\n", "\r\n", ",", '"'):
        assert any(mark in value for value in text)
    assert content.count('""') > 10


def test_orders_are_spelled_as_the_crm_spells_them(tables):
    rows = [row for prefix in ("orders-create", "orders-update") for _, part in tables[prefix] for row in part]
    assert {len(row["billing_postcode"]) for row in rows} == {5, 9}
    assert any(row["billing_postcode"].startswith("0") for row in rows)
    assert {len(row["billing_phone"]) for row in rows} == {10, 11}
    assert {":" in row["ip_address"] for row in rows} == {True, False}
    assert all(US_DATE.fullmatch(row["order_date"]) for row in rows)
    assert all(re.fullmatch(r"(0\d|1[0-2]):[0-5]\d [AP]M", row["order_time"]) for row in rows)
    assert all(re.fullmatch(r"(\d{4}-\d\d-\d\d)?", row["customer_creation_date"]) for row in rows)
    assert any(row["customer_creation_date"] == "" for row in rows)
    assert all(re.fullmatch(r"\d\d/\d\d/\d{4} \d\d:\d\d [AP]M", row["acquisition_date"]) for row in rows)
    assert all(re.fullmatch(r"(0[1-9]|1[0-2])\d\d", row["cc_expires"]) for row in rows)
    assert all(row["total_amount"].isdecimal() and row["orders_id"].isdecimal() for row in rows)
    flags = [name for name in ORDER_COLUMNS if name.endswith("_flag") and name != "cancelled_flag"]
    assert {row[name] for row in rows for name in [*flags, "is_test_cc"]} == {"YES", "NO"}
    assert {row["cancelled_flag"] for row in rows} == {"Yes", "No"}
    assert {row["decline_reason"] for row in rows} >= NULLS
    assert {row["product_category"] for row in rows} == {"CCW", "EXP"}
    assert {row["order_status"] for row in rows} == {"DECLINED", "NEW", "VOID/REFUNDED"}
    domains = Counter(row["billing_email"].split("@")[1] for row in rows)
    assert domains["example.con"] > 0
    assert domains.most_common(1)[0][0] == "example.com"


def test_prospects_have_a_person_and_no_order(tables):
    rows = [row for _, part in tables["prospects-create"] for row in part]
    assert all(row["orders_id"] in NULLS and row["total_amount"] in NULLS for row in rows)
    assert all(row["prospects_id"].isdecimal() and US_DATE.fullmatch(row["order_date"]) for row in rows)
    assert len({row["prospects_id"] for row in rows}) == len(rows)
    assert {row["product_category"] for row in rows} == {"CCW", "EXP"}
    assert {row["cancelled_flag"] for row in rows} == {"No"}
    assert {row["chargeback_flag"] for row in rows} == {"NO"}


def test_shares(tables):
    rows = [row for _, part in tables["orders-create"] for row in part]
    assert 0.035 < sum(row["is_test_cc"] == "YES" for row in rows) / len(rows) < 0.065
    assert 0.72 < sum(row["order_status"] == "DECLINED" for row in rows) / len(rows) < 0.78
    sizes = [len(part) for files in tables.values() for _, part in files]
    assert all(1_400 < size < 1_900 for size in sizes)


def test_updates_supersede_and_are_delivered_twice(tables):
    created = {row["orders_id"]: row for _, part in tables["orders-create"] for row in part}
    deliveries = [(row["orders_id"], tuple(row.values())) for _, part in tables["orders-update"] for row in part]
    changed = [row for order_id, row in deliveries if order_id in created]
    assert any(created[row[0]]["order_status"] == "NEW" and "VOID/REFUNDED" in row for row in changed)
    again = Counter(deliveries)
    assert max(again.values()) == 2
    last = {row["orders_id"]: row for _, part in tables["orders-update"] for row in part}
    assert any(row["chargeback_flag"] == "YES" and row["order_status"] == "NEW" for row in last.values())
    assert any(row["refund_flag"] == "YES" and row["refund_amount"] == row["total_amount"] for row in last.values())
    # What was true at the sale stays as it was.
    for order_id, row in last.items():
        if order_id in created:
            for name in ("billing_email", "total_amount", "order_date", "is_test_cc", "product_category"):
                assert row[name] == created[order_id][name]


def test_a_file_is_the_same_whatever_was_asked_before(big):
    other = World(7, date(2026, 11, 21), now=big.now, orders_per_day=1_500, export_days=9)
    for file in export_files(big)[-3:]:
        same = next(one for one in export_files(other) if one.path == file.path)
        assert export_bytes(other, same) == export_bytes(big, file)


def test_an_amended_order_is_the_last_row_about_it(world):
    order = next(one for one in world.orders.placed_on(date(2026, 11, 16)) if not one.is_test)
    world.amend_order(order.id, "charged back", at=datetime(2026, 11, 19, 15, tzinfo=UTC))
    rows = [
        row
        for file in export_files(world)
        if file.prefix != "prospects-create"
        for row in read(export_bytes(world, file))
        if row["orders_id"] == str(order.id)
    ]
    assert rows[-1]["chargeback_flag"] == "YES"
    assert rows[-1]["chargeback_date"] == "11/19/2026"
    with pytest.raises(KeyError):
        world.amend_order(order.id + 90_000, "void")
    with pytest.raises(ValueError, match="was placed on"):
        world.amend_order(order.id, "void", at=world.now() - timedelta(days=9))


def test_the_mapping_file(world):
    content = mapping_bytes(world)
    assert content.startswith(b"\xef\xbb\xbfproject,")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert list(rows[0]) == [
        "project", "affiliate.id", "affiliate.label", "redtrack.source_id", "redtrack.source_name",
        "everflow.offer_id", "notes",
    ]  # fmt: skip
    assert {row["project"] for row in rows} == {"CCW", "EXP"}
    assert any(row["redtrack.source_id"] == "n/a" for row in rows)
    assert any(row["affiliate.label"].endswith(" ") for row in rows)
    twice = Counter((row["project"], row["affiliate.id"]) for row in rows)
    assert max(twice.values()) == 2
    sources = [row["redtrack.source_id"] for row in rows if row["redtrack.source_id"] != "n/a"]
    assert len(set(sources)) == len(sources)
    assert {source.id for source in world.cast.sources} > set(sources)


def test_the_demo_has_three_hundred_thousand_rows():
    world = World(7, date(2026, 11, 20))
    placed, prospects = (len(world.orders.placed_on(date(2026, 11, 19))), 0.97 * world.orders.orders_per_day)
    updates = len(world.orders.updates_in(date(2026, 11, 20)))
    assert (placed + prospects + updates) * 18 > 300_000
