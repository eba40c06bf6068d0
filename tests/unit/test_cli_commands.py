"""Each command on a small workspace: what it prints for people, and the one document it prints for programs."""

import json
from decimal import Decimal

import pytest

from shop_workspace import ask, call, make_shop
from signalroom.models.artifacts import BuildResult, ModelResult, TestResult


@pytest.fixture(scope="module")
def synced(tmp_path_factory):
    """A workspace that has been synced, for commands that only read."""
    shop = make_shop(tmp_path_factory.mktemp("shop"))
    call(shop, "sync", "shop")
    return shop


def test_sync_prints_a_table_and_then_that_nothing_is_new(tmp_path):
    shop = make_shop(tmp_path)
    header, row, *notes = call(shop, "sync", "shop").stdout.splitlines()
    assert header.split() == ["stream", "rows", "in", "merged", "superseded", "rejected", "size", "seconds"]
    assert row.split()[:5] == ["shop.orders", "3", "3", "0", "0"]
    assert len(header) == len(row)
    assert notes[0].startswith("note: shop.orders: 4 columns typed from the first load")
    assert call(shop, "sync", "shop").stdout == "Nothing new in shop.orders.\n"


def test_sync_json_is_one_document_with_the_counts_of_each_stream(tmp_path):
    shop = make_shop(tmp_path)
    (shop / "exports/orders/b.csv").write_text("id,day,amount,code\n3,2026-11-19,8.00,009\n4,2026-11-20,1.00,010\n")
    found = call(shop, "sync", "shop.orders", "--json")
    assert found.stderr == ""
    (stream,) = json.loads(found.stdout)["streams"]
    for key in ("stream", "load_id", "rows_in", "rows_merged", "rows_superseded", "rows_rejected", "bytes", "seconds"):
        assert key in stream
    assert stream["rows_in"] == stream["rows_merged"] + stream["rows_superseded"] + stream["rows_rejected"] == 5
    assert stream["rows_superseded"] == 1
    again = ask(shop, "sync", "shop")["streams"][0]
    assert (again["load_id"], again["rows_in"], again["bytes"]) == (None, 0, 0)


def test_pin_writes_the_columns_in_force_and_leaves_what_is_pinned(tmp_path):
    shop = make_shop(tmp_path)
    assert "Pinned schemas/shop.orders.toml." in call(shop, "sync", "shop", "--pin").stdout
    pin = shop / "schemas" / "shop.orders.toml"
    assert 'code = "text"' in pin.read_text()
    pin.write_text("# ours\n" + pin.read_text())
    assert ask(shop, "sync", "shop", "--pin")["pinned"] == []
    assert pin.read_text().startswith("# ours\n")
    (shop / "exports/orders/c.csv").write_text("id,day,amount,code,colour\n9,2026-11-20,1.00,011,red\n")
    assert ask(shop, "sync", "shop", "--pin")["pinned"] == [str(pin)]
    assert 'colour = "text"' in pin.read_text()


def test_rejects_are_told_listed_and_shown(tmp_path):
    shop = make_shop(tmp_path)
    assert call(shop, "rejects").stdout == "No row is set aside.\n"
    call(shop, "sync", "shop", "--pin")
    (shop / "exports/orders/d.csv").write_text("id,day,amount,code\n7,2026-11-20,a lot,012\n8,2026-11-20,1.00,013\n")
    printed = call(shop, "sync", "shop").stdout
    assert "1 row of shop.orders set aside: `signalroom rejects show shop.orders` tells why." in printed
    (counted,) = ask(shop, "rejects", "list", "--source", "shop")["rejects"]
    assert (counted["stream"], counted["column"], counted["rows"]) == ("shop.orders", "amount", 1)
    assert ask(shop, "rejects", "--source", "shop.orders")["rejects"] == [counted]
    (shown,) = ask(shop, "rejects", "show", "shop.orders")["rejects"]
    assert (shown["column"], shown["value"]) == ("amount", "a lot")
    assert "orders/d.csv" in shown["part"]
    assert "a lot" in call(shop, "rejects", "show", "--source", "shop").stdout
    assert "shop.orders" in call(shop, "rejects", "list").stdout
    assert ask(shop, "status")["streams"][0]["rejects"] == 1


def test_report_is_shown_sent_once_and_sent_where_one_asks(tmp_path):
    shop = make_shop(tmp_path)
    call(shop, "sync", "shop")
    shown = call(shop, "report", "pulse", "--date", "2026-11-19")
    assert "Pulse of Thursday, November 19, 2026" in shown.stdout
    assert "3 orders, $19.75" in shown.stdout
    assert call(shop, "report", "pulse", "--date", "2026-11-19", "--preview").stdout == shown.stdout
    assert not (shop / ".signalroom/outbox").exists(), "a preview sends nothing"
    message = ask(shop, "report", "pulse", "--date", "2026-11-19")
    assert Decimal(message["data"]["overall"]["amount"]) == Decimal("19.75")
    assert message["blocks"]

    first = call(shop, "report", "pulse", "--date", "2026-11-19", "--send").stdout
    assert first.startswith("pulse to outbox (.signalroom/outbox) sent: ")
    again = call(shop, "report", "pulse", "--date", "2026-11-19", "--send").stdout
    assert "was sent before, and was not sent again" in again
    assert len(list((shop / ".signalroom/outbox").glob("pulse/*/*"))) == 1
    (spare,) = ask(shop, "report", "pulse", "--date", "2026-11-19", "--send", "--channel", "spare")["deliveries"]
    assert (spare["channel"], spare["state"]) == ("spare", "sent")
    assert ask(shop, "status")["reports"][0]["report"] == "pulse"


def test_a_job_tells_each_step_as_it_ends_and_stops_at_the_one_that_fails(tmp_path):
    shop = make_shop(tmp_path)
    lines = call(shop, "run", "morning").stdout.splitlines()
    assert lines[0].startswith("✓ sync shop  3 rows, ")
    assert lines[1].startswith("✓ report pulse --date 2026-11-19  outbox sent, ")
    found = call(shop, "run", "broken", code=1)
    assert found.stdout.startswith("✓ sync shop  nothing new, ")
    assert "nowhere" in found.stderr
    steps = ask(shop, "run", "morning")["steps"]
    assert [(step["job"], step["status"]) for step in steps] == [("morning", "success")] * 2


def test_runs_are_listed_and_shown(tmp_path):
    shop = make_shop(tmp_path)
    assert call(shop, "runs").stdout == "Nothing has run yet.\n"
    call(shop, "run", "morning")
    call(shop, "run", "broken", code=1)
    everything = ask(shop, "runs")["runs"]
    assert [run["status"] for run in everything] == ["error", "success", "success", "success"]
    (failed,) = ask(shop, "runs", "list", "--status", "error")["runs"]
    assert failed["job"] == "broken"
    assert "nowhere" in failed["error"]
    assert len(ask(shop, "runs", "--job", "morning")["runs"]) == 2
    assert len(ask(shop, "runs", "--limit", "1")["runs"]) == 1
    assert failed["run_id"] in call(shop, "runs").stdout
    shown = call(shop, "runs", "show", everything[-1]["run_id"]).stdout
    assert '"rows_merged": 3' in shown
    assert ask(shop, "runs", "show", failed["run_id"]) == failed
    assert call(shop, "runs", "--job", "nobody").stdout == "No such run.\n"


def test_status_tells_how_fresh_each_stream_is(tmp_path):
    shop = make_shop(tmp_path)
    (before,) = ask(shop, "status")["streams"]
    assert (before["newest_load_id"], before["rows"], before["pending"]) == (None, 0, 0)
    assert "never" in call(shop, "status").stdout
    call(shop, "sync", "shop")
    found = ask(shop, "status")
    (stream,) = found["streams"]
    assert (stream["stream"], stream["rows"], stream["pending"], stream["loads"]) == ("shop.orders", 3, 0, 1)
    assert 0 <= stream["age_seconds"] < 600
    assert [report["state"] for report in found["reports"]] == [None, None]
    assert "just now" in call(shop, "status").stdout


def test_status_shows_what_it_can_when_a_source_cannot_be_opened(tmp_path):
    shop = make_shop(tmp_path, '\n[sources.crm]\nkind = "files"\nurl = "env:SHOP_TEST_NOWHERE"\n')
    found = ask(shop, "status")
    assert [stream["stream"] for stream in found["streams"]] == ["shop.orders"]
    assert "SHOP_TEST_NOWHERE is not set" in found["problems"][0]


def test_rejects_are_retried_once_the_pin_is_mended(tmp_path):
    shop = make_shop(tmp_path / "shop")
    ask(shop, "sync", "shop", "--pin")
    (shop / "exports/orders/b.csv").write_text("id,day,amount,code\n4,2026-11-20,1.125,010\n5,2026-11-20,lots,011\n")
    ask(shop, "sync", "shop")
    assert "2 rows of shop.orders set aside" in call(shop, "rejects", "retry").stdout
    pin = next((shop / "schemas").iterdir())
    pin.write_text(pin.read_text().replace("decimal(18,2)", "decimal(18,3)"))
    (stream,) = ask(shop, "rejects", "retry", "shop.orders")["streams"]
    assert [stream[f"rows_{name}"] for name in ("in", "merged", "superseded", "rejected")] == [2, 1, 0, 1]
    assert ask(shop, "query", "select amount from shop.orders where id = 4")["rows"] == [["1.125"]]
    (kept,) = ask(shop, "rejects", "show")["rejects"]
    assert (kept["row"], kept["value"]) == (2, "lots")
    assert ask(shop, "rejects", "retry", "shop", "--load", "nobody")["streams"] == []
    steps = [run["step"] for run in ask(shop, "runs")["runs"]]
    assert steps[:3] == ["retry shop --load nobody", "retry shop.orders", "retry"]
    assert "Did you mean 'orders'" in call(shop, "rejects", "retry", "shop.order", code=2).output


def test_replay_rebuilds_the_tables_and_says_so(tmp_path):
    shop = make_shop(tmp_path)
    assert call(shop, "replay").stdout == "The lake holds no load of these days.\n"
    call(shop, "sync", "shop")
    (stream,) = ask(shop, "replay", "--source", "shop", "--no-deliveries")["streams"]
    assert (stream["stream"], stream["rows_in"], stream["rows_merged"]) == ("shop.orders", 3, 3)
    assert ask(shop, "replay", "--to", "2001-01-01")["streams"] == []
    assert "shop.orders" in call(shop, "replay", "--from", "2001-01-01").stdout


def test_query_prints_a_table_or_columns_and_rows(synced):
    sql = "select id, amount, code, cast(null as text) as n from shop.orders order by id"
    lines = call(synced, "query", sql).stdout.splitlines()
    assert lines[0].split() == ["id", "amount", "code", "n"]
    assert lines[1].split() == ["1", "10.50", "007"]
    assert lines[-1] == "3 rows"
    found = ask(synced, "query", sql)
    assert found["columns"] == ["id", "amount", "code", "n"]
    assert found["rows"][0] == [1, "10.50", "007", None]
    assert ask(synced, "query", "select 1 as a, 2 as a")["rows"] == [[1, 2]]
    assert ask(synced, "query", "select 1.10::decimal(9,2) as money, date '2026-11-19' as day")["rows"] == [
        ["1.10", "2026-11-19"]
    ]
    assert ask(synced, "query", "select 1 as a where false") == {"columns": ["a"], "rows": []}
    assert "2 of 3 rows; --limit 0 shows all." in call(synced, "query", sql, "--limit", "2").stdout
    assert call(synced, "query", "-", stdin="select 'from stdin' as said").stdout.splitlines()[1] == "from stdin"


@pytest.mark.parametrize("sql", ["select * from shop.nowhere", "selec 1"])
def test_a_query_that_fails_says_why(synced, sql):
    found = call(synced, "query", sql, code=1)
    assert found.stdout == ""
    assert "The query failed" in found.stderr
    assert "Correct the SQL." in found.stderr


@pytest.mark.parametrize("sql", ["delete from shop.orders", "copy shop.orders to '/dev/null'", "set threads = 1", ""])
def test_a_query_only_reads(synced, sql):
    call(synced, "query", sql, code=2)
    assert ask(synced, "query", "select count(*) from shop.orders")["rows"] == [[3]]


def test_build_prints_models_tests_and_notes(synced, monkeypatch):
    asked = {}

    def build(models_dir, profile, *, target_dir, select, full_refresh):
        asked.update(models_dir=models_dir, select=select, full_refresh=full_refresh)
        return BuildResult(
            (ModelResult("daily", "success", 12, 0.4, "", "daily.sql"), ModelResult("wide", "success", None, 0.2, "")),
            (TestResult("daily_is_whole", "pass", 0, "", "t.sql"), TestResult("odd", "warn", 2, "", "odd.sql")),
            1.25,
        )  # fmt: skip

    monkeypatch.setattr("signalroom.models.dbt.build", build)
    printed = call(synced, "build", "--select", "daily+", "--full-refresh").stdout
    assert asked == {"models_dir": synced / "models", "select": "daily+", "full_refresh": True}
    assert printed.splitlines()[1].split() == ["daily", "success", "12", "0.4"]
    assert "2 models built, 1 test passed in 1.2 s." in printed
    assert "note: Test odd (odd.sql) warns: 2 rows." in printed
    found = ask(synced, "build")
    assert [model["name"] for model in found["models"]] == ["daily", "wide"]
    assert found["notes"] == ["Test odd (odd.sql) warns: 2 rows."]
    assert ask(synced, "runs", "--limit", "2")["runs"][1]["step"] == "build --select daily+ --full-refresh"
