"""What every source of an HTTP upstream promises, however the upstream behaves: run by the test of each of them."""

import logging
import traceback
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from signalroom.errors import ConfigError, RetryableError, SignalRoomError
from signalroom.position import Position
from signalroom.simulators import EverflowOptions, RedtrackOptions, World, faults, serve
from signalroom.stream import Window
from signalroom.warehouse.casts import cast
from signalroom.warehouse.quoting import literal
from signalroom.workspace.settings import Secret

TODAY = date(2026, 11, 20)
# 15:00 in New York: the last date is under way.
NOW = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)


class WaitingClock:
    """A clock that only waiting and the test move, and that remembers the waits."""

    def __init__(self, moment=NOW):
        self.moment = moment
        self.seconds = 0.0
        self.waits = []

    def now(self):
        return self.moment

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.advance(seconds)

    def advance(self, seconds):
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds

    def set(self, moment):
        self.advance((moment - self.moment).total_seconds())


def key(value, name="UPSTREAM_KEY"):
    return Secret(f"env:{name}", value)


def read(source, window=None):
    (stream,) = source.streams()
    return list(source.read(stream, Position(), window))


def day(of, until=None):
    return Window(of, until or of)


def typed(source, batches):
    """Return the rows as the warehouse types them; a value that does not fit fails the test."""
    (table,) = source.streams()[0].tables
    values, misfits = [], []
    for column in table.columns:
        one = cast(column, f"nullif(json_extract_string(doc, {literal(column.path)}), '')")
        values.append(f"{one.value} AS {column.name}")
        misfits.append(one.misfit)
    rows = []
    with duckdb.connect() as connection:
        for batch in batches:
            (body,) = batch.content.chunks
            docs = f"SELECT CAST(unnest(json_extract(?, {literal(batch.content.records + '[*]')})) AS VARCHAR) AS doc"
            misfit = f"SELECT count(*) FROM ({docs}) WHERE {' OR '.join(misfits)}"
            assert connection.execute(misfit, [body.decode()]).fetchone() == (0,)
            found = connection.execute(f"SELECT {', '.join(values)} FROM ({docs})", [body.decode()])
            names = [column[0] for column in found.description]
            page = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
            assert batch.content.rows == len(page)
            rows += page
    return rows


def answer_through(upstream, change):
    """Let ``change(call, answer)`` have the last word on what an upstream answers."""
    answer = upstream._answer
    upstream._answer = lambda call: change(call, answer(call))


@pytest.fixture
def clock():
    return WaitingClock()


@pytest.fixture
def world(clock):
    return World(7, TODAY, now=clock.now, orders_per_day=120, export_days=2)


@pytest.fixture
def served(world, clock):
    """Serve the world with options of its upstreams; their rate limits look at the test's clock."""
    running = []

    def start(of=world, everflow=None, redtrack=None):
        up = serve(
            of,
            EverflowOptions(clock=clock.monotonic, **(everflow or {})),
            RedtrackOptions(clock=clock.monotonic, **(redtrack or {})),
        )
        running.append(up)
        return up.__enter__()

    yield start
    for up in running:
        up.__exit__(None, None, None)


BROKEN = {
    "429": (faults.status(429), "it answered 429 (as scripted)"),
    "429 and when": (faults.status(429, 3), "it answered 429 (as scripted)"),
    "500": (faults.status(500), "it answered 500 (as scripted)"),
    "503": (faults.status(503), "it answered 503 (as scripted)"),
    "stall": (faults.stall(30), "silent for 0.2 s"),
    "half a body": (faults.half_body(), "the connection failed"),
    "a page for people": (faults.html_page(), "it answered 200 with an HTML page instead of JSON"),
}


class UpstreamLaws:
    """Needs ``make`` (a source, its settings as keywords), ``upstream``, ``path`` (of its report) and ``secret``."""

    @pytest.mark.parametrize("kind", BROKEN)
    def test_what_stays_broken_is_asked_five_times_and_then_one_clear_error(
        self, make, upstream, path, secret, kind, caplog, capfd
    ):
        caplog.set_level(logging.DEBUG)
        fault, cause = BROKEN[kind]
        source = make(timeout_s=0.2) if kind == "stall" else make()
        upstream.faults.push(fault, times=100, path=path)
        (stream,) = source.streams()
        batches = source.read(stream, Position(), None)
        with pytest.raises(RetryableError) as caught:
            next(batches)
        assert next(batches, None) is None
        assert cause in caught.value.message
        assert "in 5 attempts" in caught.value.message
        assert caught.value.message.count("\n") == 0
        assert caught.value.mend
        assert upstream.faults.pending == 95
        said = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
        assert secret not in said
        assert any(record.name == "signalroom.http" for record in caplog.records)
        assert capfd.readouterr() == ("", "")

    def test_what_recovers_is_read_as_if_nothing_had_been(self, make, upstream, path, world, clock):
        world.set_now(NOW)  # waiting moves our clock, and the numbers of today would move with it
        source = make()
        clean = [batch.content.chunks for batch in read(source)]
        asked = len(upstream.calls)
        for kind in ("429 and when", "half a body", "503", "a page for people"):
            upstream.faults.push(BROKEN[kind][0], path=path)
        began = clock.now()
        assert [batch.content.chunks for batch in read(source)] == clean
        assert len(upstream.calls) == 2 * asked + 4
        assert clock.now() >= began + timedelta(seconds=3)

    def test_a_refused_key_is_asked_once_and_the_mend_names_the_variable(self, make, upstream):
        source = make(api_key=key("not-the-key"))
        with pytest.raises(ConfigError, match="refused the key") as caught:
            read(source)
        assert "UPSTREAM_KEY" in caught.value.mend
        assert "not-the-key" not in str(caught.value)
        assert [call.status for call in upstream.calls] == [401]
        (told,) = source.check()
        assert "refused the key" in told
        assert "UPSTREAM_KEY" in told

    @pytest.mark.parametrize("value", [None, "", "two words", "line\n", "n\u00f6"])
    def test_a_key_that_is_no_key_is_never_sent(self, make, upstream, value):
        source = make(api_key=key(value))
        (told,) = source.check()
        assert "UPSTREAM_KEY" in told
        with pytest.raises(ConfigError) as caught:
            read(source)
        assert not value or value not in str(caught.value)
        assert upstream.calls == []

    def test_a_connection_that_is_right(self, make):
        assert make().check() == []

    def test_an_address_that_answers_nothing_or_something_else(self, make, up):
        (told,) = make(base_url="not an address").check()
        assert "Check" in told or "Write" in told
        (told,) = make(base_url=up.truth_url).check()
        assert "404" in told
        assert "base_url" in told

    def test_streams_ask_nobody(self, make, upstream):
        (stream,) = make(name="mine").streams()
        assert stream.source == "mine"
        (table,) = stream.tables
        assert table.disposition == "replace_slice"
        assert table.slice_column in table.key
        assert set(table.key) <= {column.name for column in table.columns}
        assert make().confirm(stream, Position()) is None
        assert upstream.calls == []

    def test_reading_another_stream_names_the_nearest(self, make):
        source = make()
        (stream,) = source.streams()
        wrong = type(stream)(stream.source, stream.name[:-1], stream.tables)
        with pytest.raises(ConfigError, match=f"Did you mean '{stream.name}'"):
            next(source.read(wrong, Position(), None))

    def test_a_zone_nobody_has(self, make, upstream):
        source = make(timezone="Mars/Olympus")
        assert "Mars/Olympus" in source.check()[0]
        with pytest.raises(SignalRoomError, match="Mars/Olympus"):
            read(source)

    def test_a_setting_overrides_the_workspace_zone(self, make):
        assert make(account_timezone="UTC").zone == "UTC"
        assert make().zone == "America/New_York"

    def test_a_negative_lookback_is_refused(self, make):
        with pytest.raises(ConfigError, match="lookback_days"):
            make(lookback_days=-1)

    def test_the_batches_of_a_read_carry_their_slice_its_positions_and_their_request(self, make, clock, secret):
        began = clock.now()
        for batch in read(make()):
            (piece,) = batch.replaces
            assert piece.observed_at >= began
            assert (piece.first_day, piece.last_day) == (TODAY - timedelta(days=3), TODAY)
            assert batch.position == {
                piece.partition(one): {"observed_at": piece.observed_at.isoformat()} for one in piece.days()
            }
            assert batch.source_ref.startswith(f"{batch.request['method']} {batch.request['path']} ")
            assert secret not in repr(batch.request) + batch.source_ref
