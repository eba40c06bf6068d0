"""Views that are computed together: those of one grouped canned report, else those of one agency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from signalroom.view import Pending

if TYPE_CHECKING:
    from signalroom.ledger.view_history import ViewStatus

_ALIKE = timedelta(hours=1)  # one wave refreshes views within minutes of one another: they have waited alike


@dataclass(frozen=True, slots=True)
class Group:
    """Views for one process.

    Attributes:
        pending: The views.
        together: Whether one query answers for all of them.
    """

    pending: tuple[Pending, ...]
    together: bool


def groups_of(pending: Sequence[Pending]) -> tuple[Group, ...]:
    """Return the views in groups: a canned report's where one query can answer for all, the others by agency."""
    shared: dict[str, list[Pending]] = {}
    own: dict[int, list[Pending]] = {}
    for one in pending:
        if one.view.report_type == "canned" and one.query.shared:
            shared.setdefault(one.view.query, []).append(one)
        else:
            own.setdefault(one.view.agency_id, []).append(one)
    return (
        *(Group(tuple(views), together=True) for views in shared.values()),
        *(Group(tuple(views), together=False) for views in own.values()),
    )


def in_turn(groups: Sequence[Group], statuses: Mapping[str, ViewStatus], now: datetime) -> tuple[Group, ...]:
    """Return groups in the order in which they are computed.

    Those with a view that failed come first, then those that were computed longest ago, by whole hours, then those that
    took longest the last time: begun last, they would be what everybody waits for at the end.
    """

    def place(group: Group) -> tuple[bool, int, int, int]:
        held = [statuses[one.view.name] for one in group.pending]
        waited = max((now - one.updated_at) // _ALIKE for one in held)
        took = [one.seconds for one in held]
        lasts = max(took) if group.together else sum(took)
        return not any(one.failures for one in held), -waited, -lasts, -len(held)

    return tuple(sorted(groups, key=place))
