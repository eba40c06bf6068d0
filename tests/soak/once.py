"""One report, once: senders that share a ledger go through many due times together and are killed at random borders.

``python tests/soak/once.py --due 100000`` prints the figures; the suite runs the same program with 60. Two to eight
processes at a time (schedulers, and a person beside them) send everything that is due; each is killed with SIGKILL at
a random failpoint, again and again, and started anew. Time stands still while they run, so that no living sender is
taken for dead, and passes between rounds. The law: where the channel can be asked, every message arrives exactly once;
where it cannot, never twice, and what nobody can tell is ``unknown`` and shown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from signalroom import failpoints
from signalroom.channels.once import send_once
from signalroom.errors import DataError, RetryableError
from signalroom.failpoints import failpoint
from signalroom.ledger.ledger import Ledger, LedgerSettings
from signalroom.message import Delivery, Message, delivery_key

FIRST = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROUND = 100
_LEASE_S = 600.0
_WAVES = 12  # of killings; where nobody can be asked, what is unknown is looked at again by every sender of each
_context = multiprocessing.get_context("fork")


@dataclass
class Figures:
    """What was sent: due times, senders that were killed, messages that lack, doubles, and what nobody can tell."""

    due: int = 0
    kills: int = 0
    missed: int = 0
    doubled: int = 0
    unknown: int = 0
    dishonest: int = 0

    def told(self, name: str, seconds: float) -> str:
        return (
            f"{name}: {self.due:,} due times, {self.kills:,} senders killed: {self.missed} missed, "
            f"{self.doubled} doubled, {self.unknown} unknown and shown, {self.dishonest} told wrongly; {seconds:.0f} s"
        )

    @property
    def kept(self) -> bool:
        return not (self.missed or self.doubled or self.dishonest)


class Inbox:
    """A channel whose other side is a file a message: each arrival is one line, appended at once."""

    def __init__(self, folder: Path, *, askable: bool):
        self.folder, self._askable = folder, askable

    def recipients(self):
        return ("team",)

    def send(self, message, recipient, key):
        failpoint("inbox.before")
        handle = os.open(self.folder / key, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.write(handle, b"arrived\n")
        os.close(handle)
        failpoint("inbox.taken")  # it is there, and nobody has been told
        return key

    def find(self, key, recipient, since):
        if not self._askable:
            raise NotImplementedError
        return key if self.arrived(key) else None

    def arrived(self, key):
        file = self.folder / key
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def check(self):
        return []


class HeldClock:
    """A clock that stands still within a round; who waits on it has waited at once."""

    def __init__(self, moment):
        self.moment, self.waited_s = moment, 0.0

    def now(self):
        return self.moment

    def monotonic(self):
        return self.waited_s

    def sleep(self, seconds):
        self.waited_s += seconds


def open_ledger(root: Path, moment: datetime) -> Ledger:
    return Ledger.open(LedgerSettings(root, HeldClock(moment), "ledger.sqlite", delivery_lease_s=_LEASE_S))


def planned(numbers, digest):
    for number in numbers:
        due = FIRST + timedelta(minutes=number)
        key = delivery_key("daily", due, "inbox", "team")
        yield Delivery(key, "daily", due, "inbox", "team", "pending", digest=digest)


def sender(root: Path, moment: datetime, work: list[Delivery], inbox: Inbox, kill_at: int, only: str) -> None:
    """Send everything that is due, as a scheduler's process does; it is killed at its Nth border, or Nth ``only``."""
    failpoints.arm(kill_at=kill_at, only=only)
    with open_ledger(root, moment) as ledger:
        for one in work:
            known = ledger.deliveries.get(one.key)
            if known is not None and known.state == "sent":  # as the step looks first
                continue
            try:
                send_once(ledger, inbox, one)
            except (RetryableError, DataError):
                continue  # another has it, or died with it; or nobody can tell
    os._exit(0)  # nothing of the parent's is the child's to tidy up


def one_round(root: Path, numbers: range, inbox: Inbox, chance: random.Random, figures: Figures) -> None:
    moment = FIRST + timedelta(days=400)
    with open_ledger(root, moment) as ledger:
        digest = ledger.archive.put(Message("daily", "Daily", "905 conversions"), FIRST)
        work = list(planned(numbers, digest))
        ledger.deliveries.plan(work)
    killed, only, waves = 1, "inbox.taken", 0  # at first everybody dies where it hurts most, having sent one message
    while killed:  # until all of them came to the end, as in the last wave all may
        before = figures.kills
        crowd = []
        for _ in range(chance.randint(2, 8)):
            kill_at = 1 if only else chance.randint(1, 2 * len(work)) if waves < _WAVES else 0
            process = _context.Process(target=sender, args=(root, moment, work, inbox, kill_at, only))
            process.start()
            crowd.append(process)
        for process in crowd:
            process.join()
            figures.kills += process.exitcode == -signal.SIGKILL
            if process.exitcode not in (0, -signal.SIGKILL):
                raise SystemExit(f"a sender failed with {process.exitcode}")
        killed, only, waves = figures.kills - before, "", waves + 1
        moment += timedelta(seconds=_LEASE_S + 1)
    with open_ledger(root, moment) as ledger:
        for one in work:
            settle_account(ledger, inbox, one, figures)


def settle_account(ledger: Ledger, inbox: Inbox, one: Delivery, figures: Figures) -> None:
    known, arrived = ledger.deliveries.get(one.key), inbox.arrived(one.key)
    figures.due += 1
    figures.doubled += arrived > 1
    if known is None or known.state not in {"sent", "unknown"}:
        figures.missed += 1
    elif known.state == "unknown":
        figures.unknown += 1
    else:
        figures.missed += arrived == 0
        figures.dishonest += known.receipt != one.key


def run(root: Path, due: int, seed: int, *, askable: bool) -> Figures:
    """Go through ``due`` due times and return what was seen."""
    chance, figures = random.Random(seed), Figures()
    inbox = Inbox(root / "inbox", askable=askable)
    inbox.folder.mkdir()
    for first in range(0, due, ROUND):
        one_round(root, range(first, min(first + ROUND, due)), inbox, chance, figures)
    if askable:
        figures.missed += figures.unknown  # it could have been found out
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--due", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    kept = True
    for name, askable in (("a channel that can be asked", True), ("one that cannot", False)):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="signalroom-once-") as root:
            figures = run(Path(root), args.due, args.seed, askable=askable)
        print(figures.told(name, time.monotonic() - began), flush=True)  # noqa: T201 - figures are what it is for
        kept = kept and figures.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
