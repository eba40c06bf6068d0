"""A report's SQL file with what it shares: queries of another file, and values that are bound in them.

Two reports that differ in one value share everything else::

    -- The daily EXP summary.
    -- bind: project = EXP
    -- include: _daily.sql

``include`` names a file of ``reports/`` or of the report's own folder that starts with ``_``. Above the first query it
brings that file's queries; inside a query, the line stands for the file's text, so that a calculation has one place::

    -- name: overall one
    select conversions, cost,
      -- include: _cpa.sql
    from day;

A bound value is a text; queries use it as ``:project``, by the driver and never pasted in, and templates as
``project``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from signalroom.errors import ConfigError, nearest
from signalroom.reports.queries import PARAMETERS, RESERVED, Query, split_queries

_DIRECTIVE: Final = re.compile(r"^--\s*(?P<what>include|bind)\s*:\s*(?P<rest>.*?)\s*$")
_BIND: Final = re.compile(r"(?P<name>[a-z][a-z0-9_]*)\s*=\s*(?P<value>\S.*)")
_TITLE: Final = re.compile(r"^\s*--\s*name\s*:", re.MULTILINE)


def read_queries(file: Path, where: str) -> tuple[tuple[Query, ...], Mapping[str, str]]:
    """Return the queries of a report's SQL file, those it includes first, and the values it binds.

    Args:
        file: ``reports/NAME/NAME.sql``.
        where: The file as an error should name it.

    Raises:
        ConfigError: What :func:`~signalroom.reports.queries.split_queries` refuses, a file that is not there, a value
            bound twice or under a name that is taken, two queries of one name.
    """
    text = file.read_text(encoding="utf-8")
    shared, values = _directives(text, where)
    known = (*PARAMETERS, *values)

    def fragment(name: str) -> str:
        return shared_file(file.parent, name, where).read_text(encoding="utf-8")

    queries: list[Query] = []
    for name in shared:
        brought, place = fragment(name), f"reports/{name}"
        if any(_directives(brought, place)):
            raise ConfigError(
                f"{place} includes or binds something for the queries it shares.",
                mend="Do that in the SQL file of each report that includes it.",
            )
        queries += split_queries(brought, place, known, fragment)
    if not shared or _TITLE.search(text):
        queries += split_queries(text, where, known, fragment)
    names = [query.name for query in queries]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where} and what it includes name two queries {name!r}.", mend="Rename one of them.")
        if name in values:
            raise ConfigError(f"{where} binds {name!r}, which is a query too.", mend="Rename one of the two.")
    return tuple(queries), values


def shared_file(folder: Path, name: str, where: str) -> Path:
    """Return the file ``name`` that a report shares: of its own folder, else of ``reports/``; raises ConfigError."""
    places = (folder, folder.parent)
    if name.startswith("_") and "/" not in name:
        for place in places:
            if (place / name).is_file():
                return place / name
    known = sorted({path.name for place in places for path in place.glob(f"_*{Path(name).suffix}")})
    raise ConfigError(
        f"{where} includes {name!r}, which is no shared file.",
        mend=nearest(name, known) or "Shared files are called _NAME and stand in reports/ or beside it.",
    )


def _directives(text: str, where: str) -> tuple[Sequence[str], dict[str, str]]:
    """Return what a file says above its first query: the files whose queries it brings, and what it binds."""
    first = _TITLE.search(text)
    text = text[: first.start()] if first else text
    shared: list[str] = []
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = _DIRECTIVE.match(line.strip())
        if found is None:
            continue
        if found["what"] == "include":
            shared.append(found["rest"])
            continue
        bound = _BIND.fullmatch(found["rest"])
        if bound is None:
            raise ConfigError(f"{where} line {number} binds nothing.", mend="Write e.g. `-- bind: project = CCW`.")
        if bound["name"] in {*values, *RESERVED, *PARAMETERS}:
            raise ConfigError(f"{where} line {number}: {bound['name']!r} is taken.", mend="Choose another name.")
        values[bound["name"]] = bound["value"]
    return shared, values
