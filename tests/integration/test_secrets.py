"""No secret leaves the process that uses it: every one is a canary, everything fails once, everything is searched."""

import io
import logging
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest

from affiliates import Clock, make_affiliates, small_world
from canaries import files_below, find, spellings
from echoing import echoing
from signalroom import telemetry
from signalroom.engine import inline
from signalroom.errors import SignalRoomError
from signalroom.room import Room
from signalroom.simulators import serve, write_exports
from signalroom.simulators.everflow import EverflowOptions
from signalroom.simulators.faults import half_body, html_page, status
from signalroom.simulators.redtrack import RedtrackOptions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CANARIES = {
    "EVERFLOW_API_KEY": "cnry-Everflow7Qx9Zt4Lm/+=",
    "REDTRACK_API_KEY": "cnry&Redtrack3Kp8Wd5Hs+%/=",
    "AWS_ACCESS_KEY_ID": "AKIACANARY7HB2ND8MX4",
    "AWS_SECRET_ACCESS_KEY": "cnry/Bucket6Jt1Vc9Rf/+abc",
    "LAKE_ACCESS_KEY": "AKIACANARYLAKE5KD8RE",
    "LAKE_SECRET_KEY": "cnry/Lake2Yp7Gn3Sb/+def",
    "WAREHOUSE_PASSWORD": "cnry:Warehouse8Tz4Qk1Xv@/#%",
    "LEDGER_PASSWORD": "cnry:Ledger5Mw2Bj6Pc@/#%",
}
SHORT = {name: text[5:20] for name, text in CANARIES.items()}  # a part of one is a leak as well
COMMAND = Path(sys.executable).with_name("signalroom")
DUCKDB = 'kind = "duckdb"\npath = ".signalroom/warehouse.duckdb"'
POSTGRES = {DUCKDB: 'kind = "postgres"\nurl = "env:WAREHOUSE_URL"\n\n[ledger]\nurl = "env:LEDGER_URL"'}
ON_S3 = {
    'url = ".signalroom/lake"          # or s3://bucket/prefix': """url = "env:LAKE_URL"
endpoint = "env:LAKE_ENDPOINT"
access_key = "env:LAKE_ACCESS_KEY"
secret_key = "env:LAKE_SECRET_KEY\"""",
    'url = "env:EXPORTS_URL"           # s3://bucket or a folder': """url = "env:EXPORTS_URL"
endpoint = "env:EXPORTS_ENDPOINT\"""",
}


class Said:
    """Everything a process says: output, log lines of every library at DEBUG, errors with their tracebacks."""

    def __init__(self, capfd):
        self._capfd, self._log, self.errors = capfd, io.StringIO(), []
        self.handler = logging.StreamHandler(self._log)
        self.handler.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def failed(self, room, step, *words):
        """Run a step that must fail with one of our errors that says ``words``."""
        with pytest.raises(SignalRoomError) as caught:
            inline.run_step(room, step)
        self.keep(caught.value)
        assert all(word in str(caught.value) for word in words), caught.value
        return caught.value

    def keep(self, problem):
        self.errors += [str(problem), repr(problem), *traceback.format_exception(problem)]

    def places(self):
        out, err = self._capfd.readouterr()
        said = {
            "standard output": out,
            "standard error": err,
            "log": self._log.getvalue(),
            "errors": "".join(self.errors),
        }
        return {name: text.encode() for name, text in said.items()}


@pytest.fixture
def said(capfd):
    made, root = Said(capfd), logging.getLogger()
    level = root.level
    root.addHandler(made.handler)
    root.setLevel(logging.DEBUG)
    yield made
    root.setLevel(level)
    root.removeHandler(made.handler)


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The canaries in the environment, and a folder of one's own for temporary files."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(telemetry, "_forms", {})  # nothing is masked that this test did not open
    monkeypatch.setattr(telemetry, "_pattern", None)
    return monkeypatch


@pytest.fixture
def upstreams(tmp_path, environment):
    clock = Clock()
    world = small_world(clock)
    write_exports(world, tmp_path / "exports")
    environment.setenv("EXPORTS_URL", str(tmp_path / "exports"))
    keys = EverflowOptions(api_key=CANARIES["EVERFLOW_API_KEY"]), RedtrackOptions(api_key=CANARIES["REDTRACK_API_KEY"])
    with serve(world, *keys) as up:
        environment.setenv("EVERFLOW_BASE_URL", up.everflow_url)
        environment.setenv("REDTRACK_BASE_URL", up.redtrack_url)
        yield up, clock


def address(dsn, password):
    """Return a database's address with a password in it; the test's server asks for none."""
    return dsn.replace("postgres@", f"postgres:{quote(password, safe='')}@")


def dumped(room):
    """Return every table of the warehouse as text."""
    names = room.warehouse.query(
        "SELECT table_schema AS s, table_name AS t FROM information_schema.tables"
        " WHERE table_schema NOT IN ('information_schema', 'pg_catalog')"
    ).to_pylist()
    return {
        f"{row['s']}.{row['t']}": str(
            room.warehouse.query(f'SELECT * FROM "{row["s"]}"."{row["t"]}"').to_pylist()
        ).encode()
        for row in names
    }


def ledger_of(room):
    kept = [room.ledger.runs.list(1000), room.ledger.deliveries.list(), room.ledger.archive.list()]
    kept += [room.ledger.archive.get(one.digest) for one in room.ledger.archive.list()]
    return {"the ledger": repr(kept).encode()}


def assert_nowhere(*places):
    for found in places:
        assert find(CANARIES, found) == []
        assert [name for name, part in SHORT.items() for where, text in found.items() if part.encode() in text] == []


def test_the_search_finds_what_is_there():
    for name, canary in CANARIES.items():
        for _, text in spellings(canary):
            assert find({name: canary}, {"somewhere": b"before" + text + b"after"})


@pytest.fixture(params=["duckdb", "postgres"])
def databases(request):
    """What makes a database, for Postgres; the server starts before ``environment`` moves the temporary files."""
    return request.getfixturevalue("postgres") if request.param == "postgres" else None


def test_the_whole_job_with_everything_failing_once(databases, tmp_path, environment, upstreams, said):
    up, clock = upstreams
    if databases is not None:
        create = databases
        environment.setenv("WAREHOUSE_URL", address(create(), CANARIES["WAREHOUSE_PASSWORD"]))
        environment.setenv("LEDGER_URL", address(create(), CANARIES["LEDGER_PASSWORD"]))
    root = make_affiliates(tmp_path / "work", POSTGRES if databases is not None else None)
    days = "--window 2026-11-15..2026-11-19"
    with Room.open(root, clock=clock) as room:
        for upstream, step in ((up.everflow, f"sync everflow {days}"), (up.redtrack, f"sync redtrack {days}")):
            for fault, word in (
                (status(401), "refused the key"),
                (status(500), "did not answer"),
                (status(400), "400"),
            ):
                upstream.faults.push(fault, times=20)
                said.failed(room, step, word)
                upstream.faults.clear()
            for fault in (half_body(), html_page(), status(429, retry_after_s=1)):
                upstream.faults.push(fault)
            clock.sleep(60)
            inline.run_step(room, step)
        inline.run_step(room, "sync s3_exports")
        inline.run_step(room, "build")
        model = root / "models/marts/broken.sql"
        model.write_text("select 1 / nowhere as x from {{ ref('orders') }}\n", encoding="utf-8")
        said.failed(room, "build", "broken")
        model.unlink()
        report = root / "reports/_daily.sql"
        text = report.read_text(encoding="utf-8")
        report.write_text(text.replace("from ", "from nowhere_", 1), encoding="utf-8")
        room.__dict__.pop("reports", None)
        said.failed(room, "report daily_ccw --date 2026-11-18")
        report.write_text(text, encoding="utf-8")
        room.__dict__.pop("reports", None)
        inline.run_step(room, "report daily_ccw --date 2026-11-18")
        inline.run_step(room, "replay")
        tables, ledger = dumped(room), ledger_of(room)
    left = files_below(tmp_path)
    assert len(tables) > 12
    assert any(name.endswith("message.json") for name in left)
    assert any("dbt/" in name for name in left)
    assert b"refused the key" in ledger["the ledger"]
    assert_nowhere(said.places(), tables, ledger, left)


def test_upstreams_that_echo_what_they_are_told(tmp_path, environment, upstreams, said):
    _, clock = upstreams
    root = make_affiliates(tmp_path / "work")
    with echoing() as (url, statuses):
        environment.setenv("EVERFLOW_BASE_URL", url)
        environment.setenv("REDTRACK_BASE_URL", url)
        with Room.open(root, clock=clock) as room:
            for source in ("everflow", "redtrack"):
                for code in (400, 401, 403, 404, 422, 429, 500, 302, 307, 200):
                    statuses[:] = [code] * 10
                    said.failed(room, f"sync {source} --window today")
            ledger = ledger_of(room)
    assert ledger["the ledger"].count(b"status='error'") == 20
    assert_nowhere(said.places(), ledger, files_below(tmp_path))


def test_stores_and_databases_that_refuse_us(tmp_path, environment, upstreams, said):
    _, clock = upstreams
    with echoing() as (url, statuses):
        for name, value in {"LAKE_URL": "s3://raw/lake", "LAKE_ENDPOINT": url, "EXPORTS_ENDPOINT": url}.items():
            environment.setenv(name, value)
        root = make_affiliates(tmp_path / "s3", ON_S3)
        for exports in ("s3://exports", str(tmp_path / "exports")):
            environment.setenv("EXPORTS_URL", exports)
            with Room.open(root, clock=clock) as room:
                for code in (400, 403, 404):
                    statuses[:] = [code] * 40
                    said.failed(room, "sync s3_exports.orders_create")
                    clock.sleep(60)
                ledger = ledger_of(room)
            assert_nowhere(ledger)
    password, other = quote(CANARIES["WAREHOUSE_PASSWORD"], safe=""), quote(CANARIES["LEDGER_PASSWORD"], safe="")
    for number, url in enumerate(
        [
            f"postgresql://app:{password}@127.0.0.1:1/nowhere",
            f"postgresql://app:{CANARIES['WAREHOUSE_PASSWORD']}@127.0.0.1:1/nowhere",  # not quoted, as people write it
            f"postgresql//app:{password}@127.0.0.1:1/nowhere",
            f"host=127.0.0.1 port=1 password='{CANARIES['WAREHOUSE_PASSWORD']}' what=ever",
            f"postgresql://app:{password}@127.0.0.1:1/nowhere?no_such_option=1",
        ]
    ):
        environment.setenv("WAREHOUSE_URL", url)
        root = make_affiliates(tmp_path / f"pg{number}", {DUCKDB: 'kind = "postgres"\nurl = "env:WAREHOUSE_URL"'})
        with Room.open(root, clock=clock) as room:
            said.failed(room, "sync redtrack --window today")
            said.failed(room, "build")
            problems = room.warehouse.check()
            assert problems
            said.errors += problems
            assert_nowhere(ledger_of(room))
        environment.setenv("LEDGER_URL", url.replace(password, other).replace(CANARIES["WAREHOUSE_PASSWORD"], other))
        root = make_affiliates(tmp_path / f"ledger{number}", {DUCKDB: f'{DUCKDB}\n\n[ledger]\nurl = "env:LEDGER_URL"'})
        with Room.open(root, clock=clock) as room:
            said.failed(room, "sync redtrack --window today")
    assert_nowhere(said.places(), files_below(tmp_path))


def test_the_command_line_at_its_most_talkative(tmp_path, upstreams, environment):
    up, _ = upstreams
    root = make_affiliates(tmp_path / "work")
    environment.setenv("WAREHOUSE_URL", f"postgresql//app:{quote(CANARIES['WAREHOUSE_PASSWORD'], safe='')}@127.0.0.1/x")
    down = make_affiliates(tmp_path / "down", {DUCKDB: 'kind = "postgres"\nurl = "env:WAREHOUSE_URL"'})
    places: dict[str, bytes] = {}

    def call(folder, *words, code):
        done = subprocess.run(
            [COMMAND, "--workspace", str(folder), "--debug", "--log-level", "debug", *words],
            capture_output=True,
            env=os.environ,
            check=False,
        )
        assert (done.returncode == 0) == (code == 0), done.stderr.decode()[-2000:]
        places[" ".join(words)] = done.stdout + done.stderr

    call(root, "check", code=0)
    up.everflow.faults.push(status(401), times=5)
    call(root, "sync", "everflow", "--window", "today", code=1)
    up.everflow.faults.clear()
    call(root, "sync", "redtrack", "--window", "today", "--json", code=0)
    call(root, "query", "select * from nowhere", code=1)
    call(root, "runs", "--json", code=0)
    for words in (["check"], ["sync", "redtrack"], ["build"]):
        call(down, *words, code=1)
    assert all(text for text in places.values())
    assert any(b"Traceback" in text for text in places.values())
    assert_nowhere(places, files_below(tmp_path))
