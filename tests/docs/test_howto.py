"""The how-to's source, dropped into a workspace and synced."""

from __future__ import annotations

import re
from pathlib import Path

from signalroom.engine.inline import run_step
from signalroom.room import Room

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-source.md"


def test_the_source_of_the_how_to_works_as_it_stands(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
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
