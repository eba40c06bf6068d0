"""Who hears of an alert: the team's channel, by SMS or the like of a critical one, and never a client's channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from signalroom.alert import Alert
from signalroom.errors import ConfigError
from signalroom.workspace.parts import AlertSettings

_TOLD_LATE: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message about an alert that must have been sent to a channel, once.

    Attributes:
        alert: The alert as it is now.
        what: ``open`` or ``critical`` when it begins or gets worse, ``resolved`` when it is over.
        channel: The channel.
        due_at: The moment that makes it this notice and no other.
    """

    alert: Alert
    what: str
    channel: str
    due_at: datetime

    @property
    def name(self) -> str:
        """What its delivery is keyed on, in place of a report's name."""
        return f"alert {self.alert.key} {self.what} {self.alert.episode}"


def notices(alerts: Iterable[Alert], settings: AlertSettings, now: datetime) -> Iterator[Notice]:
    """Yield what must have been told by now; what was sent before is sent once all the same, by its delivery's key.

    An acknowledged alert says nothing more until it is over, a snoozed one nothing until its time has passed; one that
    was over before anybody heard of it says nothing at all if that was two days ago.

    Args:
        alerts: Those that are not resolved, and those resolved of late.
        settings: ``[alerts]``.
        now: The present moment.
    """
    for alert in alerts:
        usual = alert.channel or settings.channel
        both = [name for name in dict.fromkeys((usual, settings.critical)) if name]
        if alert.state == "resolved":
            if alert.resolved_at is not None and alert.resolved_at > now - _TOLD_LATE:
                told = both if alert.level == "critical" else both[:1] if usual else []
                yield from (Notice(alert, "resolved", name, alert.opened_at) for name in told)
        elif alert.state == "open":
            if usual:
                yield Notice(alert, "open", usual, alert.opened_at)
            if alert.level == "critical" and settings.critical:
                yield Notice(alert, "critical", settings.critical, alert.opened_at)


def refuse_clients(settings: AlertSettings, alerts: Iterable[str], clients: Mapping[str, str]) -> None:
    """Raise ConfigError where an alert would go to a channel that a client's report uses.

    Args:
        settings: ``[alerts]``.
        alerts: Further channels that hear of alerts: those of jobs.
        clients: Channel -> a report that is sent to it and is not ``internal``.
    """
    for channel in (settings.channel, settings.critical, *alerts):
        if channel in clients:
            raise ConfigError(
                f"Alerts would go to the channel {channel!r}, which report {clients[channel]!r} is sent to.",
                mend=f"Give alerts their own, or write internal = true under [reports.{clients[channel]}].",
            )
