"""Views that are computed together: those of one grouped canned report, else those of one agency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signalroom.view import Pending


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
