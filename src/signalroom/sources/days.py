"""Local days: what a window is when nobody names one, and how it is cut; and which streams are read of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from signalroom.clock import Clock
from signalroom.errors import ConfigError, nearest
from signalroom.position import Json, Slice
from signalroom.stream import Window
from signalroom.workspace.jobs import local_today


def trailing_window(clock: Clock, zone: str, lookback_days: int) -> Window:
    """Return the local days from ``lookback_days`` ago to today, both included."""
    today = local_today(clock, zone)
    return Window(today - timedelta(days=lookback_days), today)


def cut(window: Window, days: int) -> Iterator[Window]:
    """Yield the window in pieces of at most ``days`` days, oldest first."""
    first = window.first_day
    while first <= window.last_day:
        last = min(first + timedelta(days=days - 1), window.last_day)
        yield Window(first, last)
        first = last + timedelta(days=1)


def span(window: Window) -> str:
    """Return the window as people read it: one day, or first to last."""
    if window.first_day == window.last_day:
        return str(window.first_day)
    return f"{window.first_day} to {window.last_day}"


def require_streams(named: Sequence[str], known: Iterable[str]) -> None:
    """Refuse a ``streams`` setting that names nothing, a stream nobody knows, or one twice."""
    offered = list(known)
    if not named or len(set(named)) < len(named):
        raise ConfigError("streams names no stream, or one twice.", mend=f"Use some of {', '.join(offered)}.")
    for name in named:
        if name not in offered:
            mend = nearest(name, offered) or f"Use some of {', '.join(offered)}."
            raise ConfigError(f"streams names {name!r}, which is none.", mend=mend)


def positions(piece: Slice) -> dict[str, Json]:
    """Return the positions that record when each day of a slice was observed."""
    return {piece.partition(day): {"observed_at": piece.observed_at.isoformat()} for day in piece.days()}
