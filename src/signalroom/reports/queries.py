"""A report's SQL file: several SELECTs, each under a line that names it.

::

    -- name: overall one
    select sum(conversions) as conversions from daily_performance where date = :report_date;

    -- name: trend
    select date, revenue from daily_performance where date > :report_date - 14;

``one`` is a single record (or none); ``many``, the default, a list. ``:report_date`` and ``:timezone`` are bound
by the warehouse's driver, never pasted into the text. A line ``-- include: _cpa.sql`` inside a query stands for the
text of that file (:mod:`signalroom.reports.sqlfiles`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from signalroom.errors import ConfigError, nearest

PARAMETERS = ("report_date", "timezone")
RESERVED = ("as_of", "charts", "link", "notes", "report", "report_date", "timezone", "title")
"""Names that templates already have; a query may not take one."""

_TITLE = re.compile(r"^\s*--\s*name\s*:\s*(?P<rest>.*?)\s*$", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*--\s*include\s*:\s*(?P<name>.*?)\s*$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TOKEN = re.compile(
    r"""
    (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | (?P<comment> --[^\n]* | /\*.*?\*/)
  | (?P<cast> ::)
  | (?P<end> ;)
  | (?<![\w:]) : (?P<parameter> [A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Query:
    """One named SELECT of a report.

    Attributes:
        name: The variable that holds its rows in templates.
        sql: The statement, without its final semicolon.
        one: Whether it yields a single record (or None) instead of a list.
        parameters: Which parameters it uses: of :data:`PARAMETERS`, and of the values its file binds.
        line: Where its text starts in the file, counted from 1.
    """

    name: str
    sql: str
    one: bool
    parameters: frozenset[str]
    line: int


def split_queries(
    text: str, where: str, known: Sequence[str] = PARAMETERS, fragment: Callable[[str], str] | None = None
) -> tuple[Query, ...]:
    """Return the named SELECTs of a report's SQL file, in their order.

    Args:
        text: The file's text.
        where: The file as an error should name it.
        known: The parameters that are bound.
        fragment: Returns the text of a file that a query includes; None where nothing can be included.

    Raises:
        ConfigError: A statement without a name, a name used twice or reserved, an unknown parameter, a statement
            that is not one SELECT; each with its line.
    """
    queries: list[Query] = []
    for title, line, body in _sections(text, where):
        name, one = _read_title(title, f"{where} line {line}")
        if name in {query.name for query in queries}:
            raise ConfigError(f"{where} line {line} names a second query {name!r}.", mend="Give each its own name.")
        whole = _with_fragments(body, f"{where}: the query {name!r}", fragment)
        queries.append(_read_query(name, whole, line + 1, one=one, where=where, known=known))
    if not queries:
        raise ConfigError(
            f"{where} holds no query.", mend="Put a line such as `-- name: overall one` above each SELECT."
        )
    return tuple(queries)


def _sections(text: str, where: str) -> Iterator[tuple[str, int, str]]:
    """Yield (title, its line, SQL below it); only comments may stand above the first title."""
    title, start, body = "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        found = _TITLE.match(line)
        if found is None:
            body.append(line)
            continue
        if start:
            yield title, start, "\n".join(body)
        else:
            _only_comments("\n".join(body), where)
        title, start, body = found["rest"], number, []
    if start:
        yield title, start, "\n".join(body)
    else:
        _only_comments("\n".join(body), where)


def _with_fragments(body: str, where: str, fragment: Callable[[str], str] | None) -> str:
    """Return a query's text with each line that includes a file replaced by what is in it."""

    def fill(found: re.Match[str]) -> str:
        if fragment is None:
            raise ConfigError(f"{where} includes {found['name']!r}, and has no folder.", mend="Write it out.")
        text = fragment(found["name"])
        if _TITLE.search(text) or _INCLUDE.search(text):
            raise ConfigError(
                f"{where} includes {found['name']!r}, which is more than a piece of a query.",
                mend="Take the `-- name:` and `-- include:` lines out of it, or include it above the first query.",
            )
        return text.rstrip()

    return _INCLUDE.sub(fill, body)


def _only_comments(text: str, where: str) -> None:
    if _without_comments(text).strip():
        raise ConfigError(
            f"{where} starts with SQL that has no name.", mend="Put a line such as `-- name: overall one` above it."
        )


def _without_comments(sql: str) -> str:
    return _TOKEN.sub(lambda found: " " if found["comment"] else found[0], sql)


def _read_title(title: str, where: str) -> tuple[str, bool]:
    name, _, kind = title.partition(" ")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} is no name.", mend="Use small letters, digits and underscores.")
    if name in RESERVED:
        raise ConfigError(f"{where}: {name!r} already means something in templates.", mend="Choose another name.")
    kind = kind.strip() or "many"
    if kind not in {"one", "many"}:
        raise ConfigError(f"{where}: {kind!r} is neither one nor many.", mend=nearest(kind, ["one", "many"]))
    return name, kind == "one"


def _read_query(name: str, body: str, line: int, *, one: bool, where: str, known: Sequence[str]) -> Query:
    sql = body.strip()
    used: set[str] = set()
    ends: list[int] = []
    for token in _TOKEN.finditer(sql):
        if token["end"]:
            ends.append(token.start())
        if (parameter := token["parameter"]) is None:
            continue
        if parameter not in known:
            raise ConfigError(
                f"{where}: the query {name!r} uses the unknown parameter :{parameter}.",
                mend=nearest(parameter, known) or f"Bound are :{', :'.join(known)}.",
            )
        used.add(parameter)
    if ends:
        if _without_comments(sql[ends[0] :]).strip("; \n\t"):
            raise ConfigError(
                f"{where} line {line}: the query {name!r} is more than one statement.",
                mend="Name each on its own line.",
            )
        sql = sql[: ends[0]].rstrip()
    first = _without_comments(sql).lstrip(" \n\t(").split(maxsplit=1)
    if not first or first[0].lower() not in {"select", "with", "from", "values"}:
        raise ConfigError(f"{where} line {line}: the query {name!r} is not a SELECT.", mend="A report only reads.")
    return Query(name, sql, one, frozenset(used), line)
