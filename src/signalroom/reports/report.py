"""A report: named queries (or a function) whose rows fill one template per channel.

A report is a folder ``reports/NAME/`` of the workspace:

* ``NAME.sql``: its queries (:mod:`signalroom.reports.queries`), some of them shared with other reports
  (:mod:`signalroom.reports.sqlfiles`);
* ``NAME.slack.j2``, ``NAME.email.mjml``, ``NAME.sms.j2``: a template per kind of channel, at least one;
* ``NAME.subject.j2``, ``NAME.text.j2``: the subject line and the plain text, when the defaults do not do;
* ``charts.toml``: its charts (:mod:`signalroom.reports.charts`);
* ``_*.j2``, ``_*.mjml``: parts that templates include, of this folder, of ``reports/``, or shipped.

Where SQL is not enough, a function in ``reports/*.py`` returns the rows and the folder holds templates only::

    @report(name="pulse", schedule="0 7 * * *", channels=["team"])
    def pulse(ask, report_date):
        return {"overall": ask("select count(*) as orders from orders")[0]}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from signalroom.errors import ConfigError, DataError
from signalroom.reports.charts import Chart
from signalroom.reports.queries import PARAMETERS, Query

Record: TypeAlias = Mapping[str, Any]
"""One row: column -> value (int, Decimal, str, bool, date, datetime or None)."""

Rows: TypeAlias = Mapping[str, "Sequence[Record] | Record | None"]
"""What a report shows: query name -> its records, its one record, or None when there is none."""

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Sequence[Record]]
"""Runs one SELECT with named parameters and returns its records."""

_F = TypeVar("_F", bound=Callable[..., Rows])
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MARK = "__signalroom_report__"


@dataclass(frozen=True, slots=True)
class Declared:
    """What ``@report`` says about a function.

    Attributes:
        name: Name of the report.
        function: Returns the rows; may take ``ask``, ``report_date`` and ``timezone``.
        wants: Which of those three it takes.
        schedule: Cron line of a job of its own; empty for none.
        channels: Names of the channels it goes to, unless the workspace file overrides them.
        title: What people call it; empty to derive it from the name.
    """

    name: str
    function: Callable[..., Rows]
    wants: tuple[str, ...]
    schedule: str = ""
    channels: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A report as its folder declares it.

    Attributes:
        name: The folder's name, and what deliveries are keyed on.
        root: Its folder.
        title: What people call it, e.g. ``Daily CCW``.
        queries: Its named SELECTs; empty for a function.
        templates: Form (``slack``, ``email``, ``sms``, ``subject``, ``text``) -> template file.
        parts: File name -> path of what the templates may include.
        charts: The charts that templates may show.
        declared: The function that returns its rows, when it is one.
        values: What its SQL file binds beside the day and the zone; templates see it too.
    """

    name: str
    root: Path
    title: str
    queries: tuple[Query, ...] = ()
    templates: Mapping[str, Path] = field(default_factory=dict[str, Path])
    parts: Mapping[str, Path] = field(default_factory=dict[str, Path])
    charts: tuple[Chart, ...] = ()
    declared: Declared | None = None
    values: Mapping[str, str] = field(default_factory=dict[str, str])

    def collect(self, ask: Ask, *, report_date: date, timezone: str) -> dict[str, list[Record] | Record | None]:
        """Run the report's queries, or its function, and return the rows its templates show.

        Args:
            ask: Runs one SELECT with named parameters (``:name``); called once per query, in order.
            report_date: The local day the report is about.
            timezone: IANA name of the zone that day is in.

        Raises:
            DataError: A query of one record returned several, or the function returned something else than rows.
        """
        bound: dict[str, Any] = {**self.values, "report_date": report_date, "timezone": timezone}
        if self.declared is not None:
            return _call(self.declared, ask, bound)
        rows: dict[str, list[Record] | Record | None] = {}
        for query in self.queries:
            found = list(ask(query.sql, {name: bound[name] for name in query.parameters}))
            if query.one and len(found) > 1:
                raise DataError(
                    f"The query {query.name!r} of the report {self.name!r} returned {len(found)} records, not one.",
                    mend=f"Aggregate it, or write `-- name: {query.name} many`.",
                )
            rows[query.name] = (found[0] if found else None) if query.one else found
        return rows


def report(*, name: str, schedule: str = "", channels: Sequence[str] = (), title: str = "") -> Callable[[_F], _F]:
    """Declare the decorated function to be a report; the function itself is returned unchanged.

    Args:
        name: Name of the report, and of the folder with its templates.
        schedule: Cron line, in the workspace's zone, of a job of its own; empty for none.
        channels: Names of channels in the workspace; ``[reports.NAME]`` in ``signalroom.toml`` overrides them.
        title: What people call it; by default derived from the name.

    Raises:
        ConfigError: An unusable name, or a parameter of the function that nothing fills.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for a report.", mend="Use small letters, digits and underscores.")
    if isinstance(channels, str):
        raise ConfigError(f"The channels of the report {name!r} are a text.", mend=f'Write channels=["{channels}"].')

    def mark(function: _F) -> _F:
        import inspect

        wants = tuple(inspect.signature(function).parameters)
        if strange := [want for want in wants if want not in {"ask", *PARAMETERS}]:
            raise ConfigError(
                f"The report {name!r} takes the parameter {strange[0]!r}, which nothing fills.",
                mend="It may take ask, report_date and timezone.",
            )
        setattr(function, _MARK, Declared(name, function, wants, schedule, tuple(channels), title))
        return function

    return mark


def declared_by(value: object) -> Declared | None:
    """Return what ``@report`` said about ``value``, or None when it is no report."""
    found = getattr(value, _MARK, None)
    return found if isinstance(found, Declared) else None


def _call(declared: Declared, ask: Ask, bound: Mapping[str, Any]) -> dict[str, list[Record] | Record | None]:
    offered: dict[str, Any] = {**bound, "ask": lambda sql, params=None: ask(sql, params or {})}
    # What a stranger's function returns is checked, whatever its annotation says.
    rows = cast("object", declared.function(**{want: offered[want] for want in declared.wants}))
    if not isinstance(rows, Mapping):
        raise DataError(
            f"The report {declared.name!r} returned {type(rows).__name__}, not a dict.",
            mend="Return a dict of name -> records.",
        )
    returned = cast("Mapping[str, Any]", rows)
    return {
        name: value if value is None or isinstance(value, Mapping) else list(value) for name, value in returned.items()
    }
