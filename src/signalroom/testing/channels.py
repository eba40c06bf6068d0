"""The contract of a channel: what becomes of a message when the wire fails, shipped so that a plugin's author runs it.

A test of a plugin is one function::

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_contract(check, tmp_path):
        clock = HandClock()
        with Ledger.open(str(tmp_path / "ledger.sqlite"), clock=clock) as ledger:
            check(Trial(MyBench(clock), ledger, clock))

A bench is a channel with something behind it that counts what arrived and can be told to misbehave.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypeAlias

from signalroom.channels.base import Channel, Previews
from signalroom.channels.once import ASK_AFTER_S, send_again, send_once
from signalroom.errors import DataError, RetryableError, UnknownOutcomeError
from signalroom.message import Delivery, Image, Message, delivery_key
from signalroom.testing.bench import fails, same

if TYPE_CHECKING:
    from signalroom.ledger.ledger import Ledger

DUE = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)
_LEASE_S = 600.0
_CROWD = 8

MESSAGE = Message(
    report="daily_ccw",
    subject="Daily CCW <summary> & more",
    text="905 conversions\n\n.a line that begins with a dot\nand one of üñïcode",
    html='<html><body><p>905</p><img src="cid:trend.png" alt="Trend"></body></html>',
    blocks=(
        {"type": "header", "text": {"type": "plain_text", "text": "Daily CCW"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "*905* conversions"}},
    ),
    sms="CCW 11/19: 905 conv, $41,230 spend, $45.56 CPA",
    images=(Image("trend.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "Trend of 14 days"),),
    data={"overall": {"conversions": 905}, "_report": {"report_date": "2026-11-19", "as_of": "2026-11-20T12:00:00Z"}},
    load_ids=("l1", "l2"),
)
"""A message in every form."""


class HandClock:
    """A clock that only waiting and the test move."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        self.seconds = 0.0

    def now(self) -> datetime:
        """Return the moment."""
        return self.moment

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let the seconds pass."""
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


class ChannelBench(Protocol):
    """A channel, and what it sends to.

    Attributes:
        channel: The channel, with the clock it was given; its time limit is a fraction of a second.
        askable: Whether it can tell, in the first hours, what arrived.
    """

    channel: Channel
    askable: bool

    def arrived(self, recipient: str = "") -> int:
        """Return how many messages arrived, at all or at one recipient."""
        ...

    def be_busy(self) -> None:
        """Refuse the next message for now; nothing arrives."""
        ...

    def lose_the_answer(self) -> None:
        """Let the next message arrive, and its answer not."""
        ...

    def lose_the_message(self) -> None:
        """Let neither the next message arrive nor an answer: the sender cannot tell it from the other."""
        ...


@dataclass
class Trial:
    """One check's bench, with a fresh ledger (leases of 600 s) and the clock that both were given."""

    bench: ChannelBench
    ledger: Ledger
    clock: HandClock

    @property
    def channel(self) -> Channel:
        """The channel."""
        return self.bench.channel

    def planned(self) -> list[Delivery]:
        """Return a delivery for each recipient, planned, its message archived."""
        digest = self.ledger.archive.put(MESSAGE, DUE)
        planned = [
            Delivery(delivery_key("daily_ccw", DUE, "team", to), "daily_ccw", DUE, "team", to, "pending", digest=digest)
            for to in self.channel.recipients()
        ]
        self.ledger.deliveries.plan(planned)
        return planned

    def send(self, one: Delivery) -> Delivery:
        """Send it once."""
        return send_once(self.ledger, self.channel, one)

    def known(self, one: Delivery) -> Delivery:
        """Return what the ledger has of it."""
        found = self.ledger.deliveries.get(one.key)
        if found is None:
            raise AssertionError("the ledger has no such delivery")
        return found

    def stands(self, one: Delivery, state: str, arrived: int) -> None:
        """Hold that the ledger and the world agree on a delivery."""
        same((self.known(one).state, self.bench.arrived()), (state, arrived), "the state, and what arrived")

    def sent_after_doubt(self, one: Delivery) -> bool:
        """Send on a wire that loses the answer, wait, send again; return whether the channel could tell in the end."""
        try:
            # A channel whose upstream knows a repetition by its key may have repeated it by itself.
            return self.send(one).state == "sent"
        except UnknownOutcomeError as doubt:
            same(doubt.retry_after_s, ASK_AFTER_S + 1, "when to ask")
        arrived = self.bench.arrived()
        self.stands(one, "unknown", arrived)
        fails(RetryableError, lambda: self.send(one), "asking while it may be arriving")
        self.stands(one, "unknown", arrived)
        self.clock.sleep(ASK_AFTER_S + 1)
        if self.bench.askable:
            return self.send(one).state == "sent"
        self.is_left_to_a_person(one)
        return False

    def is_left_to_a_person(self, one: Delivery) -> None:
        """Hold that a delivery stays unknown, however often it is tried, and says what a person can do."""
        arrived = self.bench.arrived()
        for _ in range(2):
            told = fails(DataError, lambda: self.send(one), "sending what may have arrived")
            same(f"deliveries settle {one.key}" in told, wanted=True, what=f"the mend is in {told!r}")
            self.stands(one, "unknown", arrived)


Check: TypeAlias = Callable[[Trial], None]
"""One law; raises AssertionError where the channel breaks it."""


def arrives_once_and_keeps_its_receipt(trial: Trial) -> None:
    """Sent again, it is not sent again."""
    same(_has_its_role(trial.channel), wanted=True, what="it has the methods of its role")
    same(list(trial.channel.check()), [], "what is wrong with it")
    one = trial.planned()[0]
    sent = trial.send(one)
    same((sent.state, bool(sent.receipt)), ("sent", True), "the delivery")
    same(trial.send(one), sent, "the delivery, sent again")
    trial.stands(one, "sent", 1)


def each_recipient_has_a_message(trial: Trial) -> None:
    """Every recipient is served once, under a key of their own."""
    for one in trial.planned():
        same(trial.send(one).state, "sent", f"the delivery to {one.recipient}")
        same(trial.bench.arrived(one.recipient), 1, f"what arrived at {one.recipient}")
    same(trial.bench.arrived(), len(trial.channel.recipients()), "what arrived")


def one_refused_for_now_is_sent_later(trial: Trial) -> None:
    """What certainly was not accepted is failed, not unknown, and the next attempt sends it."""
    one = trial.planned()[0]
    trial.bench.be_busy()
    try:
        trial.send(one)
    except UnknownOutcomeError as doubt:
        raise AssertionError("a refusal left it in doubt") from doubt
    except RetryableError:
        trial.stands(one, "failed", 0)
        trial.send(one)
    trial.stands(one, "sent", 1)


def when_the_answer_is_lost_there_is_one_message(trial: Trial) -> None:
    """It is never doubled; where the channel can tell, it is found."""
    one = trial.planned()[0]
    trial.bench.lose_the_answer()
    trial.stands(one, "sent" if trial.sent_after_doubt(one) else "unknown", 1)


def when_the_message_is_lost_it_is_never_forgotten(trial: Trial) -> None:
    """Where the channel can tell, it is sent again; elsewhere it stays unknown until a person decides."""
    one = trial.planned()[0]
    trial.bench.lose_the_message()
    if not trial.sent_after_doubt(one):
        trial.stands(one, "unknown", 0)
        send_again(trial.ledger, trial.channel, trial.known(one))
    trial.stands(one, "sent", 1)


def a_sender_that_died_after_sending_doubles_nothing(trial: Trial) -> None:
    """Another finds the message once the dead one's time has passed, or says that nobody can tell."""
    one = trial.planned()[0]
    if trial.ledger.deliveries.claim(one) is None:
        raise AssertionError("it could not be claimed")
    trial.channel.send(MESSAGE, one.recipient, one.key)
    fails(RetryableError, lambda: trial.send(one), "sending what another process has")
    trial.clock.sleep(_LEASE_S + 1)
    if trial.bench.askable:
        trial.send(one)
        trial.stands(one, "sent", 1)
    else:
        trial.is_left_to_a_person(one)
        trial.stands(one, "unknown", 1)


def many_senders_at_once_send_one(trial: Trial) -> None:
    """A schedule, another scheduler and a person who all send now."""
    one = trial.planned()[0]
    barrier = threading.Barrier(_CROWD)

    def attempt(_: int) -> str:
        barrier.wait()
        try:
            return trial.send(one).state
        except RetryableError:
            return "busy"

    with ThreadPoolExecutor(_CROWD) as pool:
        states = set(pool.map(attempt, range(_CROWD)))
    same(states | {"busy"}, {"sent", "busy"}, "what the senders were told")
    trial.stands(one, "sent", 1)


def what_arrived_can_be_sent_again_on_purpose(trial: Trial) -> None:
    """A repetition has a key and a row of its own; the first stays as it was."""
    first = trial.send(trial.planned()[0])
    again = send_again(trial.ledger, trial.channel, first)
    same((again.state, again.key != first.key, again.digest), ("sent", True, first.digest), "the repetition")
    same(trial.known(first), first, "the first")
    trial.stands(again, "sent", 2)


def it_shows_what_it_would_send(trial: Trial) -> None:
    """A preview sends nothing, and finds no fault in a message that is sent."""
    if isinstance(trial.channel, Previews):
        shown = trial.channel.preview(MESSAGE)
        same((bool(shown.text), bool(shown.facts), shown.problems), (True, True, ()), "the preview")
    same(trial.bench.arrived(), 0, "what arrived")


def _has_its_role(found: object) -> bool:
    return isinstance(found, Channel)


CHECKS: tuple[Check, ...] = (
    arrives_once_and_keeps_its_receipt,
    each_recipient_has_a_message,
    one_refused_for_now_is_sent_later,
    when_the_answer_is_lost_there_is_one_message,
    when_the_message_is_lost_it_is_never_forgotten,
    a_sender_that_died_after_sending_doubles_nothing,
    many_senders_at_once_send_one,
    what_arrived_can_be_sent_again_on_purpose,
    it_shows_what_it_would_send,
)
"""The whole contract."""


def name_of(check: Check) -> str:
    """Return the name of a check, as pytest shows it."""
    return check.__name__
