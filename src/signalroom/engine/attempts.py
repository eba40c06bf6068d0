"""How often a step is tried, how long is waited in between, and which failures before it a step goes on after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from signalroom.workspace.jobs import Job, StepCall

if TYPE_CHECKING:
    from signalroom.workspace.parts import ReportSettings

_FIRST_WAIT_S: Final = 1.0
_GROWTH: Final = 7.0
_LONGEST_WAIT_S: Final = 300.0
_LOOKS: Final = 8  # each halves what is left until a deadline: enough for one a day away
_GO_ON: Final = frozenset({"sync", "build", "refresh", "watch", "report"})


def wait_s(attempt: int) -> float:
    """Return the seconds after a failed attempt (the first is 1): 1, 7, 49, then 300; five outlast six minutes."""
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * _GROWTH ** (attempt - 1))


def attempts_of(job: Job, call: StepCall, reports: Mapping[str, ReportSettings]) -> int:
    """Return how often a step of a job is tried; a report's looks before its deadline do not use up the job's own."""
    settings = reports.get(call.target) if call.verb == "report" else None
    return job.retries + (_LOOKS if settings and settings.deadline else 0)


def borne_by(job: Job, reports: Mapping[str, ReportSettings]) -> list[frozenset[int]]:
    """Return for each step the indices of the steps before it whose failure does not keep it from running.

    A report with a deadline goes out without the sources that it names in ``needs``, and says what is late: their
    syncs may fail, and what stands between them and the report is done all the same. Nothing reads what a report or a
    watch leaves, so what comes after one that failed goes on.

    Args:
        job: The job.
        reports: ``[reports.NAME]`` by name.
    """
    steps = job.steps
    alone = frozenset(index for index, call in enumerate(steps) if call.verb in {"report", "watch"})
    stated = [_stated(steps, index, reports) for index in range(len(steps))]
    borne: list[frozenset[int]] = []
    for index, call in enumerate(steps):
        syncs = stated[index] if call.verb == "report" else frozenset[int]().union(*stated[index + 1 :])
        borne.append(frozenset(one for one in alone | syncs if one < index) if call.verb in _GO_ON else frozenset())
    return borne


def _stated(steps: tuple[StepCall, ...], index: int, reports: Mapping[str, ReportSettings]) -> frozenset[int]:
    """Return the syncs before a step which is a report that says itself when what they read is late."""
    settings = reports.get(steps[index].target) if steps[index].verb == "report" else None
    if settings is None or not settings.deadline:
        return frozenset()
    sources = {name.partition(".")[0] for name in settings.needs}
    return frozenset(
        before
        for before, call in enumerate(steps[:index])
        if call.verb == "sync" and call.target.partition(".")[0] in sources
    )
