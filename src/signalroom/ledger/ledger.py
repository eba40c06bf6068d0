"""What happened, in a database people can query: runs, deliveries, and every message as it was sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError
from signalroom.ledger.alerts import Alerts
from signalroom.ledger.archive import Archive
from signalroom.ledger.deliveries import Deliveries
from signalroom.ledger.figures import Figures
from signalroom.ledger.keys import Keys
from signalroom.ledger.manifests import Manifests
from signalroom.ledger.pauses import Pauses
from signalroom.ledger.pulls import Pulls
from signalroom.ledger.runs import Runs
from signalroom.ledger.schedules import Schedules
from signalroom.ledger.store import Store
from signalroom.ledger.upgrade import HEAD, upgrade, version
from signalroom.ledger.view_history import HistoryRepository
from signalroom.ledger.view_reads import Monitor
from signalroom.ledger.view_requests import ViewRequests
from signalroom.workspace.settings import Secret, injected, setting

_FORGOTTEN_AT_ONCE = 10_000  # so that nobody waits long for a ledger that is tidied for the first time


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """The ``[ledger]`` table."""

    root: Path = injected()
    clock: Clock = injected()
    url: Secret | str = setting(
        "A SQLite file, or the address of a Postgres database that several machines share.",
        default=".signalroom/ledger.sqlite",
        example='"env:LEDGER_URL"',
    )
    run_lease_s: float = setting(
        "How long a run may be silent before it is taken for lost; a thread of its own reports six times as often.",
        default=15.0,
        unit="s",
    )
    delivery_lease_s: float = setting(
        "How long a delivery may be on its way before another process asks the channel about it; longer than the "
        "slowest channel's time limit.",
        default=600.0,
        unit="s",
    )

    keep_days: int = setting(
        "How long runs and refreshes of views are kept; 0 keeps them for good. Deliveries and messages are kept in any "
        "case.",
        default=400,
        unit="days",
    )

    def __post_init__(self) -> None:
        if self.keep_days < 0:
            raise ConfigError("keep_days must not be negative.", mend="Leave it out, or write 0 to keep everything.")
        for name in ("run_lease_s", "delivery_lease_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be greater than 0.", mend="Leave it out or give it some time.")


class Ledger:
    """An open ledger, usable from any thread. It shows load ids and is never asked what is loaded.

    Attributes:
        runs: Executions of steps.
        deliveries: Reports on their way and arrived.
        archive: Messages as they were sent.
        pauses: Jobs that an operator paused.
        schedules: What a scheduler had in hand, and until when.
        figures: Counts for a metrics page.
        alerts: What is wrong, and was.
        manifests: Report views that are asked for.
        views: What became of each refresh of them.
        monitor: Views and their history as the front end reads them.
        requests: Refreshes that somebody asked for.
        keys: Who may call the API.
        pulls: Rows of apps that are wanted.
    """

    def __init__(self, store: Store, *, run_lease_s: float, delivery_lease_s: float, keep_days: int) -> None:
        self._store = store
        self._kept = timedelta(days=keep_days)
        self.runs = Runs(store, run_lease_s)
        self.deliveries = Deliveries(store, delivery_lease_s)
        self.archive = Archive(store)
        self.pauses = Pauses(store)
        self.schedules = Schedules(store)
        self.figures = Figures(store)
        self.alerts = Alerts(store)
        self.manifests = Manifests(store)
        self.views = HistoryRepository(store)
        self.monitor = Monitor(store)
        self.requests = ViewRequests(store)
        self.keys = Keys(store)
        self.pulls = Pulls(store)

    @classmethod
    def open(cls, settings: LedgerSettings | str, *, clock: Clock | None = None) -> Ledger:
        """Open a ledger and bring its tables to this version.

        Args:
            settings: The workspace's settings; or an address alone: a path, ``sqlite:///path``, ``postgresql://…``.
            clock: Where time comes from; the settings' own when None.

        Raises:
            ConfigError: The address is wrong, the database refuses us, or the ledger is of a newer version.
            RetryableError: The database does not answer.
        """
        if isinstance(settings, str):
            settings = LedgerSettings(Path(), clock or SystemClock(), settings)
        url = settings.url.reveal() if isinstance(settings.url, Secret) else settings.url
        store = Store(url, settings.root, clock or settings.clock)
        try:
            with store.read() as connection:
                ready = version(connection) == HEAD
            if not ready:
                with store.write() as connection:
                    upgrade(connection)
        except BaseException:
            store.close()
            raise
        return cls(
            store,
            run_lease_s=settings.run_lease_s,
            delivery_lease_s=settings.delivery_lease_s,
            keep_days=settings.keep_days,
        )

    def forget(self) -> int:
        """Remove runs and refreshes that ended longer ago than they are kept; return how many, of very many a part."""
        if not self._kept:
            return 0
        before = self._store.clock.now() - self._kept
        return self.runs.forget(before, _FORGOTTEN_AT_ONCE) + self.views.forget(before, _FORGOTTEN_AT_ONCE)

    def close(self) -> None:
        """Release the connections; a closed ledger opens them again when it is used."""
        self._store.close()

    def __repr__(self) -> str:
        return f"Ledger({self._store.title!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
