"""Each channel beside each fault of its wire: what it says of it, and that nothing is doubled and nothing forgotten."""

import contextlib
import shutil

import pytest

import channel_benches as benches
from signalroom.channels.once import send_again
from signalroom.errors import ConfigError, DataError, RetryableError, UnknownOutcomeError
from signalroom.ledger.ledger import Ledger
from signalroom.simulators import faults
from signalroom.testing.channels import HandClock, Trial

pytestmark = pytest.mark.slow

HTTP = {
    "slack": benches.slack,
    "slack webhook": benches.slack_webhook,
    "sms": benches.sms,
    "resend": benches.resend,
    "webhook": benches.webhook,
}
READERS = tuple(f"reader{number}@example.com" for number in range(10))
PHONES = tuple(f"+1500555010{number}" for number in range(10))


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture(scope="module")
def fresh_ledger(tmp_path_factory):
    """The file of a ledger whose tables are made already."""
    file = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    Ledger.open(str(file), clock=HandClock()).close()
    return file


@pytest.fixture
def ledger(tmp_path, clock, fresh_ledger):
    shutil.copy(fresh_ledger, tmp_path / "ledger.sqlite")
    with Ledger.open(str(tmp_path / "ledger.sqlite"), clock=clock) as opened:
        yield opened


def refused(error, code):
    """What a status means that every vendor uses alike: the type of the error, and the state it leaves."""
    return pytest.param(faults.status(code), error, "failed", id=f"status {code}")


@pytest.mark.parametrize("channel", HTTP)
@pytest.mark.parametrize(
    ("fault", "error", "state"),
    [
        refused(RetryableError, 429),
        refused(ConfigError, 401),
        pytest.param(faults.status(500), UnknownOutcomeError, "unknown", id="status 500"),
        pytest.param(faults.hidden(502), UnknownOutcomeError, "unknown", id="taken, and 502"),
        pytest.param(faults.half_body(), UnknownOutcomeError, "unknown", id="taken, and cut"),
        pytest.param(faults.late(5.0), UnknownOutcomeError, "unknown", id="taken, and silent"),
        pytest.param(faults.cut(), UnknownOutcomeError, "unknown", id="lost, and cut"),
    ],
)
def test_a_fault_leaves_the_state_it_means(clock, ledger, channel, fault, error, state):
    """Whether it was taken is never guessed: a refusal is failed, a doubt unknown, and a person can always go on."""
    with HTTP[channel](clock, timeout_s=0.3) as bench:
        trial = Trial(bench, ledger, clock)
        one = trial.planned()[0]
        bench.upstream.faults.push(fault, path=bench.path, times=20 if state == "failed" or channel == "resend" else 1)
        with pytest.raises(error) as caught:
            trial.send(one)
        assert isinstance(caught.value, UnknownOutcomeError) == (state == "unknown")
        taken = bench.arrived()
        assert taken == (fault.kind in {"hidden", "half body", "late"})
        trial.stands(one, state, taken)
        bench.upstream.faults.clear()
        clock.sleep(7200)
        settled(trial, one)
        # What arrived is never sent again by itself; only where nobody can tell may a person's word double it.
        doubled = taken if state == "unknown" and not bench.askable else 0
        trial.stands(one, "sent", 1 + doubled)


def settled(trial, one):
    """Send again as a job does; where nobody can tell what arrived, as a person does who decides so."""
    try:
        trial.send(one)
    except DataError:
        trial.stands(one, "unknown", trial.bench.arrived())
        send_again(trial.ledger, trial.channel, trial.known(one))


def smtp_that_refuses(clock):
    bench = benches.smtp(clock, to=READERS)
    return bench, READERS, lambda opened: opened.server.refused.update({READERS[3]: "550 5.7.1 not today"})


def resend_that_refuses(clock):
    bench = benches.resend(clock, to=READERS)
    return bench, READERS, lambda opened: opened.world.suppressed.add(READERS[3])


def sms_that_refuses(clock):
    return benches.sms(clock, to=PHONES), PHONES, lambda opened: opened.world.opted_out.add(PHONES[3])


@pytest.mark.parametrize("make", [smtp_that_refuses, resend_that_refuses, sms_that_refuses])
def test_one_of_ten_is_refused_and_nine_have_it_once(clock, ledger, make):
    opening, readers, refuse = make(clock)
    with opening as bench:
        refuse(bench)
        trial = Trial(bench, ledger, clock)
        planned = trial.planned()
        for _ in range(2):  # and again, as the job's next attempt does
            for one in planned:
                with pytest.raises(DataError) if one.recipient == readers[3] else contextlib.nullcontext():
                    trial.send(one)
        assert {one.recipient: trial.known(one).state for one in planned} == {
            reader: "failed" if reader == readers[3] else "sent" for reader in readers
        }
        assert [bench.arrived(reader) for reader in readers] == [reader != readers[3] for reader in readers]
