"""An Everflow source over a simulated network, and what its tests ask of both."""

from datetime import date

import pytest

from signalroom.sources.everflow import Everflow
from upstream_laws import key

KEY = "everflow-network-key"
YESTERDAY = date(2026, 11, 19)
TABLE, SUMMARY = "/v1/networks/reporting/entity/table", "/v1/networks/reporting/entity/summary"


def everflow(up, clock, **settings):
    given = {"api_key": key(KEY), "base_url": up.everflow_url, "timezone": "America/New_York", "clock": clock}
    return Everflow(**(given | settings))


@pytest.fixture
def up(served):
    return served()


@pytest.fixture
def upstream(up):
    return up.everflow


@pytest.fixture
def make(up, clock):
    return lambda **settings: everflow(up, clock, **settings)


def asked(upstream, path):
    return [call.json() for call in upstream.calls if call.path == path]


def by_affiliate(rows, of):
    return {
        (row["advertiser_id"], row["affiliate_id"]): (
            str(row["conversions"]), f"{row['revenue']:.2f}", f"{row['payout']:.2f}",
        )
        for row in rows
        if row["date"] == of and row["conversions"]
    }  # fmt: skip


def assert_true(world, rows, days):
    for of in days:
        assert by_affiliate(rows, of) == world.truth_totals(of)["by_affiliate"]
