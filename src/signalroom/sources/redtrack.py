"""Redtrack: what was spent, by local day and source, campaign or offer, from its report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, cast

from signalroom.clients.http import Answer, HttpClient, Timeouts
from signalroom.clients.rate import RateLimit
from signalroom.clock import Clock, SystemClock
from signalroom.errors import ConfigError, DataError, RetryableError, SignalRoomError, nearest
from signalroom.position import Position, Slice
from signalroom.sources.days import cut, positions, require_streams, span, trailing_window
from signalroom.stream import Batch, Column, Raw, Stream, Table, Window
from signalroom.workspace.settings import Secret, injected, setting

_PATH = "/report"
_MAX_PER = 1_000
_MAX_DAYS = 31
_MAX_PAGES = 1_000

_BY = {"daily_spend": "source", "daily_campaign_spend": "campaign", "daily_offer_spend": "offer"}


def spend_table(name: str) -> Table:
    """Return the table of a stream: one row per local day and source, campaign or offer.

    ``conversions`` leaves typed events out, ``total_conversions`` has them. Each stream splits the same spend: to add
    two of them up would be to count it twice.
    """
    by = _BY[name]
    alias = (Column("source_alias", "text", path="$.source_alias"),) if by == "source" else ()
    return Table(
        name=name,
        columns=(
            Column("date", "date", path="$.date"),
            Column(f"{by}_id", "text", path=f"$.{by}_id"),
            Column(f"{by}_name", "text", path=f"$.{by}"),
            *alias,
            Column("clicks", "bigint", path="$.clicks"),
            Column("conversions", "bigint", path="$.conversions"),
            Column("total_conversions", "bigint", path="$.total_conversions"),
            Column("cost", "decimal(18,2)", path="$.cost"),
        ),
        key=("date", f"{by}_id"),
        disposition="replace_slice",
        contract="discard",
        slice_column="date",
    )


@dataclass(frozen=True, slots=True)
class Redtrack:
    """Reads daily spend; costs restate for days, so each sync reads a trailing window again."""

    api_key: Secret = setting("API key; it travels in the query and is never shown.", example='"env:REDTRACK_API_KEY"')
    base_url: str = setting(
        "Address of the API; change it for a proxy or a test.",
        default="https://api.redtrack.io",
        example='"https://api.redtrack.io"',
    )
    streams_: tuple[str, ...] = setting(
        "What to read: daily_spend (by source), daily_campaign_spend, daily_offer_spend. Each costs requests of its "
        "own, of 20 a minute.",
        default=("daily_spend",),
        example='["daily_spend", "daily_campaign_spend"]',
    )
    account_timezone: str = setting(
        "IANA zone of the days asked for; the workspace's when left out.", default="", example='"America/New_York"'
    )
    lookback_days: int = setting(
        "How many days before today a sync without a window reads again, because costs restate.",
        default=3,
        unit="days",
        example="3",
    )
    page_rows: int = setting("Rows asked for at once; the vendor gives at most 1000.", default=_MAX_PER, unit="rows")
    timeout_s: float = setting("How long the upstream may be silent within an answer.", default=60.0, unit="s")
    name: str = injected("redtrack")
    timezone: str = injected("UTC")
    clock: Clock = injected(factory=SystemClock)
    # The account's allowance, shared by every read of this source.
    _rate: RateLimit = field(default_factory=lambda: RateLimit(20, 60.0), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse settings no report could be asked with."""
        if not 1 <= self.page_rows <= _MAX_PER:
            raise ConfigError("page_rows is not between 1 and 1000.", mend="Leave it out: the vendor gives 1000.")
        if self.lookback_days < 0:
            raise ConfigError("lookback_days is less than 0.", mend="Use 0 for today alone, 3 for restated costs.")
        require_streams(self.streams_, _BY)

    @property
    def zone(self) -> str:
        """The IANA zone of the days."""
        return self.account_timezone or self.timezone

    def streams(self) -> Sequence[Stream]:
        """Return the streams the workspace names; ``daily_spend`` alone when it names none."""
        return tuple(Stream(self.name, name, (spend_table(name),)) for name in self.streams_)

    def read(self, stream: Stream, since: Position, window: Window | None) -> Iterator[Batch]:  # noqa: ARG002 - windows
        """Yield the report's pages for the window's days, each piece of days only once it is whole.

        Raises:
            RetryableError: A page came twice, rows lie outside the days asked for, or the upstream failed.
            ConfigError: The key or a setting is refused.
            DataError: The answer has rows no report has.
        """
        if stream.name not in _BY:
            raise ConfigError(f"Source {self.name!r} has no stream {stream.name!r}.", mend=nearest(stream.name, _BY))
        with self._client() as client:
            for piece in cut(window or trailing_window(self.clock, self.zone, self.lookback_days), _MAX_DAYS):
                yield from self._pull(client, piece, stream.name)

    def confirm(self, stream: Stream, position: Position) -> None:
        """Do nothing: the upstream forgets nothing."""

    def check(self) -> Sequence[str]:
        """Return what is wrong with the key, the address or the zone; asks for today's first row."""
        try:
            with self._client() as client:
                self._page(client, trailing_window(self.clock, self.zone, 0), 1, by="source", rows=1, attempts=2)
        except SignalRoomError as error:
            return [str(error)]
        return []

    def _client(self) -> HttpClient:
        return HttpClient(
            vendor="Redtrack",
            base_url=self.base_url,
            params={"api_key": self.api_key},
            rate=self._rate,
            clock=self.clock,
            timeouts=Timeouts(read_s=self.timeout_s),
        )

    def _pull(self, client: HttpClient, piece: Window, name: str) -> Iterator[Batch]:
        """Yield the pages of some days; they are one observation, made when the first page was asked for."""
        by = _BY[name]
        whole = self._pages(client, piece, by)
        if whole is None:
            # Rows moved between pages while they were read, as they do when costs restate: once more.
            whole = self._pages(client, piece, by)
        if whole is None:
            raise RetryableError(
                f"Redtrack gave the same {by} of the same day on two pages of {span(piece)}, twice over.",
                mend="Nothing of these days was taken; its costs are being restated, so ask again later.",
            )
        observed, pages = whole
        for answer in pages:
            yield Batch(
                table=name,
                content=Raw([answer.body], "json", records="$", rows=len(answer.document)),
                position=positions(observed),
                replaces=(observed,),
                source_ref=answer.fingerprint,
                request=answer.request,
            )

    def _pages(self, client: HttpClient, piece: Window, by: str) -> tuple[Slice, list[Answer]] | None:
        """Return the pages up to the first short one, or None when a row is on two of them."""
        observed = Slice(self.clock.now(), piece.first_day, piece.last_day)
        pages: list[Answer] = []
        seen: dict[str, int] = {}
        keys: set[tuple[str, str]] = set()
        rows = 0
        for number in range(1, _MAX_PAGES + 1):
            answer = self._page(client, piece, number, by=by, rows=self.page_rows)
            digest = hashlib.sha256(answer.body).hexdigest()
            if answer.document and digest in seen:
                raise RetryableError(
                    f"Redtrack answered page {number} of {span(piece)} with page {seen[digest]} again.",
                    mend="Nothing of these days was taken; ask again later.",
                )
            seen[digest] = number
            found = [_key(row, piece, by) for row in answer.document]
            named = [key for key in found if key[1]]
            keys.update(named)
            rows += len(named)
            if found or not pages:
                pages.append(answer)
            if len(found) < self.page_rows:
                return (observed, pages) if len(keys) == rows else None
        raise DataError(
            f"Redtrack has more than {_MAX_PAGES} pages of {span(piece)}.", mend="Ask for fewer days at once."
        )

    def _page(self, client: HttpClient, piece: Window, number: int, *, by: str, rows: int, attempts: int = 0) -> Answer:
        params = {
            "group": f"date,{by}",
            "date_from": piece.first_day.isoformat(),
            "date_to": piece.last_day.isoformat(),
            "timezone": self.zone,
            "page": str(number),
            "per": str(rows),
        }
        answer = client.get(_PATH, params=params, attempts=attempts)
        if not isinstance(answer.document, list):
            raise RetryableError(
                f"Redtrack answered {_PATH} for {span(piece)} with something other than a list of rows.",
                mend="Nothing of these days was taken; ask again later.",
            )
        found = cast("list[Any]", answer.document)
        if len(found) > rows:
            raise RetryableError(
                f"Redtrack answered page {number} of {span(piece)} with {len(found)} rows instead of {rows} at most.",
                mend="Nothing of these days was taken; ask again later.",
            )
        return answer


def _key(row: Any, piece: Window, by: str) -> tuple[str, str]:
    """Return a row's day and what it is of (empty when it names none); raises for a day nobody asked for."""
    found: dict[str, Any] = row if isinstance(row, dict) else {}
    try:
        day = date.fromisoformat(str(found.get("date"))[:10])
    except ValueError:
        raise DataError(
            f"Redtrack answered with a row of {span(piece)} that has no date.",
            mend="Nothing of these days was taken; its report has changed, or base_url is another service's.",
        ) from None
    if not piece.first_day <= day <= piece.last_day:
        raise RetryableError(
            f"Redtrack answered with rows of {day} when asked for {span(piece)}.",
            mend="Nothing of these days was taken; ask again later.",
        )
    return day.isoformat(), str(found.get(f"{by}_id") or "")
