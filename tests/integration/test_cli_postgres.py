"""Commands on a Postgres warehouse: what they read of its own tables, and that a query only reads."""

import pytest

from shop_workspace import ask, call, make_shop

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(tmp_path, postgres, monkeypatch):
    monkeypatch.setenv("SHOP_WAREHOUSE_URL", postgres())
    return make_shop(tmp_path, '\n[warehouse]\nkind = "postgres"\nurl = "env:SHOP_WAREHOUSE_URL"\n')


def test_the_commands_work_on_postgres(shop):
    (stream,) = ask(shop, "sync", "shop", "--pin")["streams"]
    assert (stream["rows_in"], stream["rows_merged"]) == (3, 3)
    assert 'amount = "decimal(18,2)"' in (shop / "schemas/shop.orders.toml").read_text()
    (shop / "exports/orders/d.csv").write_text("id,day,amount,code\n7,2026-11-20,a lot,012\n")
    call(shop, "sync", "shop")
    (reject,) = ask(shop, "rejects", "show", "shop.orders")["rejects"]
    assert (reject["column"], reject["value"]) == ("amount", "a lot")
    (seen,) = ask(shop, "status")["streams"]
    assert (seen["rows"], seen["loads"], seen["rejects"], seen["pending"]) == (3, 2, 1, 0)
    assert "3 orders, $19.75" in call(shop, "report", "pulse", "--date", "2026-11-19").stdout
    assert ask(shop, "replay", "--source", "shop")["streams"][0]["rows_in"] == 4
    checked = {one["what"]: one for one in ask(shop, "check", code=2)["checks"]}
    assert "fsync = off" in checked["warehouse"]["problems"][0], (
        "the test's own server is not a safe one, and is told so"
    )
    assert checked["clock"]["ok"]


def test_a_query_only_reads(shop):
    call(shop, "sync", "shop")
    for sql in (
        "drop table shop.orders",
        "select 1; select 2",
        "commit; drop table shop.orders",
        "commit",
        "create table public.mine (a int)",
        "copy shop.orders to '/dev/null'",
        "",
    ):
        found = call(shop, "query", sql, code=2)
        assert "A query is one SELECT and nothing else." in found.stderr, sql
    assert ask(shop, "query", "select count(*) from shop.orders;")["rows"] == [[3]]
