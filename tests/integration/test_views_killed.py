"""A refresh killed at each of its borders: views are whole, runs end as errors, and the next refresh puts it right."""

import dataclasses
import os
import signal
import sys
from datetime import timedelta

import pytest

from agency_views import MANIFESTS, Views
from ledger_laws import HandClock
from signalroom import failpoints
from signalroom.ledger.ledger import Ledger
from warehouses import duckdb_warehouse

pytestmark = pytest.mark.slow

BORDERS = [
    "ledger.views.claim.after", "views.publish.commit", "views.publish.after", "ledger.views.finish.before",
    "ledger.views.finish.after",
]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a warehouse and manifests, nothing refreshed; no file of it is open."""
    folder = tmp_path_factory.mktemp("killed")
    with duckdb_warehouse(folder) as warehouse, Ledger.open(str(folder / "l.sqlite")) as ledger:
        Views(folder, warehouse, ledger, HandClock())
    return folder


def opened(folder, warehouse, ledger, clock):
    views = object.__new__(Views)
    views.warehouse, views.ledger, views.clock = warehouse, ledger, clock
    from signalroom.workspace.workspace import Workspace

    loaded = Workspace.load(folder, {})
    settings = dataclasses.replace(loaded.views, tables=["shop.clicks"], concurrency=1)
    views.workspace = dataclasses.replace(loaded, views=settings)
    return views


@pytest.mark.parametrize("border", BORDERS)
def test_killed_there_and_run_again_everything_is_right(border, prepared, tmp_path):
    for file in prepared.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    clock = HandClock()
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - it ends with the process
        with duckdb_warehouse(tmp_path) as warehouse, Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger:
            failpoints.arm(kill_at=2, only=border)
            opened(tmp_path, warehouse, ledger, clock).refresh()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    clock.advance(timedelta(hours=1).total_seconds())
    with duckdb_warehouse(tmp_path) as warehouse, Ledger.open(str(tmp_path / "l.sqlite"), clock=clock) as ledger:
        views = opened(tmp_path, warehouse, ledger, clock)
        ledger.views.sweep()
        assert "running" not in {one.status for one in ledger.views.statuses().values()}
        result = views.refresh()
        assert result.failed == ()
        assert {one.status for one in ledger.views.statuses().values()} == {"success"}
        assert views.differing() == 0
        past = [row for view in MANIFESTS.views() for row in ledger.views.history(view.name)]
        assert {row["status"] for row in past} <= {"success", "error"}
        assert all("its process ended" in row["errors"] for row in past if row["status"] == "error")
        assert views.refresh().unchanged == len(MANIFESTS.views())
