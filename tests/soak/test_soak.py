"""The soak, short: the same program that `make proof` runs for 200 due times."""

import pytest

from soak.soak import soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_every_due_time_runs_once_and_every_report_is_delivered_once(tmp_path):
    figures = soak(tmp_path, runs=2, seed=2, patience_s=240, kills=2, looking=True)
    assert figures.problems == [], figures.told()
    assert sum(figures.kills.values()) >= 1


def test_the_same_holds_for_workers_apart_on_one_postgres(tmp_path, postgres):
    figures = soak(tmp_path, runs=3, seed=34, patience_s=240, dsn=postgres(), kills=2, spared="server")
    assert figures.problems == [], figures.told()
    assert sum(figures.kills.values()) >= 1
