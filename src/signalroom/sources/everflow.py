"""Everflow: clicks, conversions and money by local day, affiliate and advertiser, from its network reports.

A table of the vendor's ends at 10,000 rows and says so in ``incomplete_results``; there are no pages. What is cut
short is asked for again by fewer days, and one day by fewer affiliates. Each pull has to add up to the vendor's own
summary of the same days before any of it is handed over.

Single conversions with their status, and the names behind the ids, are lists with pages; see ``everflow_lists``. What
is still on hold, and what people adjusted in the reports afterwards, is in ``everflow_settling``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from signalroom.clients.http import ATTEMPTS, HttpClient, Timeouts
from signalroom.clients.rate import RateLimit
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, SignalRoomError, nearest
from signalroom.position import Position, Slice
from signalroom.sources.days import cut, positions, require_streams, trailing_window
from signalroom.sources.everflow_lists import Listed, conversions, conversions_table, entities, entity_table
from signalroom.sources.everflow_report import Part, Pull, Report, names_of, timezone_id
from signalroom.sources.everflow_settling import adjustments, adjustments_table, on_hold, on_hold_table
from signalroom.stream import Batch, Column, Raw, Stream, Table, Window
from signalroom.workspace.settings import Secret, injected, setting

ENTITIES = ("affiliates", "advertisers", "offers")
STREAMS = ("daily_stats", "conversions", "on_hold", "adjustments", *ENTITIES)

_MAX_DAYS = 31
_MAX_LOOKBACK_DAYS = 364  # the vendor lists holds of the prior 365 days
_MONEY = "decimal(18,2)"
_LISTS = {
    "conversions": ("$.conversions", conversions),
    "on_hold": ("$.conversions", on_hold),
    "adjustments": ("$.adjustments", adjustments),
}
"""Of each list of days: where its records are in an answer, and how some days of it are asked for."""


def daily_stats(zone: str) -> Table:
    """Return the table of one row per local day of ``zone``, affiliate and advertiser; money in the currency asked for.

    ``conversions`` are the approved base conversions (``cv``), ``total_conversions`` the vendor's ``total_cv``: two
    measures, neither of which stands in for the other.
    """
    return Table(
        name="daily_stats",
        columns=(
            Column("date", "date", path="$.columns[0].id", format=f"epoch@{zone}"),
            Column("affiliate_id", "bigint", path="$.columns[1].id"),
            Column("affiliate_label", "text", path="$.columns[1].label"),
            Column("advertiser_id", "bigint", path="$.columns[2].id"),
            Column("advertiser_label", "text", path="$.columns[2].label"),
            Column("clicks", "bigint", path="$.reporting.total_click"),
            Column("conversions", "bigint", path="$.reporting.cv"),
            Column("total_conversions", "bigint", path="$.reporting.total_cv"),
            Column("revenue", _MONEY, path="$.reporting.revenue"),
            Column("payout", _MONEY, path="$.reporting.payout"),
            Column("profit", _MONEY, path="$.reporting.profit"),
        ),
        key=("date", "affiliate_id", "advertiser_id"),
        disposition="replace_slice",
        contract="discard",
        slice_column="date",
    )


@dataclass(frozen=True, slots=True)
class Everflow:
    """Reads a network's daily statistics; conversions change their status for days, so a trailing window is re-read."""

    api_key: Secret = setting("A network's API key (not an affiliate's).", example='"env:EVERFLOW_API_KEY"')
    base_url: str = setting(
        "Address of the API, with or without /v1; change it for a proxy or a test.",
        default="https://api.eflow.team",
        example='"https://api.eflow.team"',
    )
    account_timezone: str = setting(
        "IANA zone of the days asked for; the workspace's when left out.", default="", example='"America/New_York"'
    )
    currency_id: str = setting("Currency of the money.", default="USD", example='"USD"')
    streams_: tuple[str, ...] = setting(
        "What to read: daily_stats, conversions (each with its status), on_hold (conversions that do not count yet), "
        "adjustments (what people changed in the reports; of all advertisers), affiliates, advertisers, offers. Each "
        "costs requests of its own.",
        default=("daily_stats",),
        example='["daily_stats", "conversions", "offers"]',
    )
    lookback_days: int = setting(
        "How many days before today a sync without a window reads again, because conversions change their status.",
        default=3,
        unit="days",
        example="3",
    )
    holding_days: int = setting(
        "For on_hold: the longest holding period; a sync without a window reads that many more days again, so that "
        "each hold is seen when it ends.",
        default=30,
        unit="days",
        example="45",
    )
    adjustable_days: int = setting(
        "For adjustments: how many days before today a sync without a window reads again, because a day may be "
        "adjusted long after it.",
        default=90,
        unit="days",
        example="120",
    )
    advertisers: tuple[int, ...] = setting(
        "Ids of the advertisers to read; all when empty.", default=(), example="[1, 2]"
    )
    timeout_s: float = setting("How long the upstream may be silent within an answer.", default=60.0, unit="s")
    name: str = injected("everflow")
    timezone: str = injected("UTC")
    clock: Clock = injected(factory=SystemClock)
    # Half of the vendor's 20 a second: the account's other users share them.
    _rate: RateLimit = field(default_factory=lambda: RateLimit(10, 1.0), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse settings no report could be asked with."""
        if self.lookback_days < 0:
            raise ConfigError("lookback_days is less than 0.", mend="Use 0 for today alone, 3 for late changes.")
        for name, days in (("holding_days", self.holding_days), ("adjustable_days", self.adjustable_days)):
            if not 0 <= days <= _MAX_LOOKBACK_DAYS - self.lookback_days:
                raise ConfigError(
                    f"{name} is {days}, and with lookback_days it reaches back from 0 to {_MAX_LOOKBACK_DAYS} days.",
                    mend="The vendor lists the prior 365 days only; use fewer.",
                )
        if len(set(self.advertisers)) < len(self.advertisers):
            raise ConfigError("advertisers names one id twice.", mend="Name each advertiser once.")
        require_streams(self.streams_, STREAMS)

    @property
    def zone(self) -> str:
        """The IANA zone of the days."""
        return self.account_timezone or self.timezone

    def streams(self) -> Sequence[Stream]:
        """Return the streams the workspace names; ``daily_stats`` alone when it names none."""
        return tuple(Stream(self.name, name, (self._table(name),)) for name in self.streams_)

    def _table(self, name: str) -> Table:
        if name in ENTITIES:
            return entity_table(name)
        if name == "adjustments":
            return adjustments_table()
        return {"daily_stats": daily_stats, "conversions": conversions_table, "on_hold": on_hold_table}[name](self.zone)

    def read(self, stream: Stream, since: Position, window: Window | None) -> Iterator[Batch]:  # noqa: ARG002 - windows
        """Yield the window's days, each slice only once it is whole; names are all read, whatever the window.

        Raises:
            RetryableError: A table does not add up, came twice, has rows nobody asked for, or the upstream failed.
            ConfigError: The key, the zone or another setting is refused.
            DataError: One affiliate's day is still cut short, or the answers are none of a report.
        """
        if stream.name not in STREAMS:
            raise ConfigError(
                f"Source {self.name!r} has no stream {stream.name!r}.", mend=nearest(stream.name, STREAMS)
            )
        if stream.name in ENTITIES:
            with self._client() as client:
                yield from _listed(stream.name, f"$.{stream.name}", entities(client, stream.name))
            return
        window = window or trailing_window(self.clock, self.zone, self._lookback_days(stream.name))
        with self._client() as client:
            report = Report(client, self.zone, timezone_id(client, self.zone), self.currency_id, self.clock)
            if stream.name == "adjustments":  # they name no advertiser, and no filter is documented
                yield from _observed("adjustments", report, window, None)
                return
            for advertiser_id in self.advertisers or (None,):
                if stream.name == "daily_stats":
                    yield from self._slices(report, window, advertiser_id)
                else:
                    yield from _observed(stream.name, report, window, advertiser_id)

    def _lookback_days(self, stream: str) -> int:
        """Return how far back a stream's rows still change."""
        more = {"on_hold": self.holding_days, "adjustments": self.adjustable_days}
        return self.lookback_days + more.get(stream, 0)

    def confirm(self, stream: Stream, position: Position) -> None:
        """Do nothing: the upstream forgets nothing."""

    def check(self) -> Sequence[str]:
        """Return what is wrong with the key, the address, the zone or the advertisers."""
        problems: list[str] = []
        try:
            with self._client(attempts=2) as client:
                timezone_id(client, self.zone)
                known = names_of(client, "advertisers") if self.advertisers else {}
        except SignalRoomError as error:
            return [str(error)]
        for advertiser_id in self.advertisers:
            if str(advertiser_id) not in known:
                has = ", ".join(f"{number} ({name})" for number, name in list(known.items())[:10])
                problems.append(f"Everflow has no advertiser {advertiser_id}: use some of {has}.")
        return problems

    def _client(self, attempts: int = ATTEMPTS) -> HttpClient:
        return HttpClient(
            vendor="Everflow",
            base_url=self.base_url.rstrip("/").removesuffix("/v1"),
            headers={"X-Eflow-API-Key": self.api_key},
            rate=self._rate,
            clock=self.clock,
            timeouts=Timeouts(read_s=self.timeout_s),
            attempts=attempts,
        )

    def _slices(self, report: Report, window: Window, advertiser_id: int | None) -> Iterator[Batch]:
        """Yield one advertiser's tables: as many days at once as the vendor gives whole."""
        day, days = window.first_day, _MAX_DAYS
        while day <= window.last_day:
            asked = Window(day, min(day + timedelta(days=days - 1), window.last_day))
            pull = report.pull(Part(asked, advertiser_id))
            if pull is None:
                days = ((asked.last_day - asked.first_day).days + 1) // 2
                continue
            yield from _batches(pull)
            day = asked.last_day + timedelta(days=1)


def _observed(table: str, report: Report, window: Window, advertiser_id: int | None) -> Iterator[Batch]:
    """Yield one advertiser's rows of a list, some days at once; the pages of some days are one observation."""
    records, ask = _LISTS[table]
    for piece in cut(window, _MAX_DAYS):
        part = Part(piece, advertiser_id)
        observed_at, pages = ask(report, part)
        yield from _listed(table, records, pages, _slice(part, observed_at))


def _listed(table: str, records: str, pages: Sequence[Listed], observed: Slice | None = None) -> Iterator[Batch]:
    for page in pages:
        yield Batch(
            table=table,
            content=Raw([page.answer.body], "json", records=records, rows=page.rows),
            position=positions(observed) if observed else {},
            replaces=(observed,) if observed else (),
            source_ref=page.answer.fingerprint,
            request=page.answer.request,
        )


def _slice(part: Part, observed_at: datetime) -> Slice:
    filters = () if part.advertiser_id is None else (("advertiser_id", part.advertiser_id),)
    return Slice(observed_at, part.window.first_day, part.window.last_day, filters)


def _batches(pull: Pull) -> Iterator[Batch]:
    """Yield the tables of a pull; the same slice on each makes them one observation of its days."""
    observed = _slice(pull.part, pull.observed_at)
    for page in pull.pages:
        yield Batch(
            table="daily_stats",
            content=Raw([page.answer.body], "json", records="$.table", rows=page.rows),
            position=positions(observed),
            replaces=(observed,),
            source_ref=page.answer.fingerprint,
            request=page.answer.request,
        )
