import asyncio
from datetime import UTC, date, datetime

import httpx
import pytest

from signalroom.simulators import World

TODAY = date(2026, 11, 20)
# 15:00 in New York: the last date is under way.
NOW = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)


@pytest.fixture
def world():
    return World(7, TODAY, now=lambda: NOW, orders_per_day=120, export_days=6)


@pytest.fixture(scope="session")
def ask():
    """Send one request to an ASGI app without a socket."""

    def send(app, method, path, **request):
        async def once():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://upstream") as client:
                return await client.request(method, path, **request)

        return asyncio.run(once())

    return send


@pytest.fixture(scope="session")
def report(ask):
    """Ask the network for a report the proper way; keywords replace or add fields of the body."""

    def send(app, what="table", zone="America/New_York", key="everflow-network-key", **fields):
        headers = {"X-Eflow-API-Key": key}
        found = ask(app, "GET", "/v1/meta/timezones", headers=headers).json()["timezones"]
        body = {
            "from": "2026-11-19",
            "to": "2026-11-19",
            "timezone_id": next(row["timezone_id"] for row in found if row["timezone"] == zone),
            "currency_id": "USD",
            "columns": [{"column": "date"}, {"column": "affiliate"}, {"column": "advertiser"}],
        }
        body = {name: value for name, value in (body | fields).items() if value is not ...}
        return ask(app, "POST", f"/v1/networks/reporting/entity/{what}", json=body, headers=headers)

    return send


@pytest.fixture(scope="session")
def spend(ask):
    """Ask the tracker for a report the proper way; keywords replace or add parameters."""

    def send(app, **parameters):
        asked = {
            "api_key": "redtrack-key",
            "group": "date,source",
            "date_from": "2026-11-19",
            "date_to": "2026-11-19",
            "timezone": "America/New_York",
            "per": "1000",
        }
        asked = {name: value for name, value in (asked | parameters).items() if value is not ...}
        return ask(app, "GET", "/report", params=asked)

    return send
