"""The soak at a tenth of an hour's patience: the same program that `make proof` runs for 200 due times."""

import pytest

from soak.soak import soak


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_due_time_runs_once_and_every_report_is_delivered_once(tmp_path):
    figures = soak(tmp_path, runs=10, seed=7, patience_s=240)
    assert figures.problems == [], figures.told()
    assert sum(figures.kills.values()) >= 1
