"""What the how-tos write down, dropped into a workspace and run."""

from __future__ import annotations

import re
from pathlib import Path

from shop_workspace import make_shop
from signalroom.engine.inline import run_step
from signalroom.room import Room
from signalroom.view import CheckedQuery

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def test_the_source_of_the_how_to_works_as_it_stands(tmp_path):
    text = (PAGES / "add-a-source.md").read_text(encoding="utf-8")
    code, settings = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml"))
    assert code
    assert settings
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "rates.py").write_text(code[1])
    (tmp_path / "signalroom.toml").write_text(f'name = "how"\ntimezone = "UTC"\n{settings[1]}')
    window = "--window 2026-11-01..2026-11-03"
    with Room.open(tmp_path) as room:
        first = run_step(room, f"sync rates {window}").streams[0].merge
        again = run_step(room, f"sync rates {window}").streams[0].merge
        rows = room.warehouse.query("select count(*) as n, sum(rate) as s from rates.daily").to_pylist()[0]
    assert (first.rows_in, first.rows_merged) == (6, 6)
    assert (again.rows_in, again.rows_merged) == (6, 6)  # asked again, the slice is replaced and not doubled
    assert (rows["n"], float(rows["s"])) == (6, 7.5)


def test_the_settings_of_the_alerts_page_watch_a_workspace(tmp_path):
    page = (PAGES / "hear-of-what-is-wrong.md").read_text(encoding="utf-8")
    watching, waiting = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    shop = make_shop(tmp_path)
    file = shop / "signalroom.toml"
    waits = waiting.replace("[reports.pulse]\n", "").replace('channels = ["outbox"]\n', "")
    file.write_text(f"{file.read_text()}{watching}".replace("[reports.pulse]\n", f"[reports.pulse]\n{waits}"))
    (shop / "exports/orders/b.csv").write_text("id,day,amount,code\n9,2026-11-19,9000,1\n")
    with Room.open(shop) as room:
        run_step(room, "sync shop")
        run_step(room, "watch")
        assert [one.title for one in room.ledger.alerts.list()] == ["Orders above 5,000 is 1"]
        assert len(run_step(room, "watch --digest").deliveries) == 1
        assert room.workspace.reports["pulse"].needs == {"shop": "2h"}


def test_the_manifests_of_the_how_to_work_as_they_stand(tmp_path, monkeypatch):
    text = (PAGES / "report-views.md").read_text(encoding="utf-8")
    settings, manifests, databases = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "all.toml").write_text(manifests)
    (tmp_path / "views" / "harbor_offers.sql").write_text("select offer, sum(revenue) from clicks group by offer")
    (tmp_path / "signalroom.toml").write_text(f'name = "how"\ntimezone = "UTC"\n{settings}{databases}')
    monkeypatch.setenv("ARCHIVE_URL", "postgresql://127.0.0.1/archive")
    with Room.open(tmp_path) as room:
        views = room.refresher.views()
        assert [view.name for view in views] == ["daily__harbor", "harbor_offers"]
        assert all(isinstance(room.refresher.ready(view), CheckedQuery) for view in views)
