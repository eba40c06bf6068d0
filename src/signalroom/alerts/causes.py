"""Findings by cause: an upstream that is out is one alert, not one for each table and report behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, get_args

from signalroom.alert import Finding, Kind

_ORDER: Final[Mapping[Kind, int]] = {kind: place for place, kind in enumerate(get_args(Kind))}
_SHOWN: Final = 12


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding a cause, by cause.

    A finding joins the first of its upstream causes that is found too, and what joins that, joins it as well. The most
    upstream kind gives the title and the mend, the worst the level, the oldest the moment; details name them all.
    """
    given = list(findings)
    known = {one.cause: one.upstream for one in given}
    groups: dict[str, list[Finding]] = {}
    for one in given:
        groups.setdefault(_root(one.cause, known, ()), []).append(one)
    return [_joined(cause, groups[cause]) for cause in sorted(groups)]


def _root(cause: str, known: Mapping[str, tuple[str, ...]], trail: tuple[str, ...]) -> str:
    for upstream in known[cause]:
        if upstream in known and upstream not in {cause, *trail}:
            return _root(upstream, known, (*trail, cause))
    return cause


def _joined(cause: str, group: Sequence[Finding]) -> Finding:
    # What is of the cause itself tells it; what joined it is a consequence.
    ranked = sorted(group, key=lambda one: (one.cause != cause, _ORDER[one.kind], one.title))
    lead = ranked[0]
    lines = [lead.details, *(f"{one.title}. {one.details}".strip() for one in ranked[1:_SHOWN])]
    if len(ranked) > _SHOWN:
        lines.append(f"And {len(ranked) - _SHOWN} more.")
    return replace(
        lead,
        cause=cause,
        level="critical" if any(one.level == "critical" for one in group) else "warning",
        details="\n".join(line for line in lines if line),
        since=min(one.since for one in group),
        channel=next((one.channel for one in ranked if one.channel), ""),
    )
