"""What a manifest's SQL may be: one SELECT over the tables it is given, of constructs and functions that are listed.

The guard reads the syntax tree, never the text, and refuses whatever it does not know: a construct that a later parser
brings is refused until somebody adds it here. It is there to explain at authoring time; what keeps agencies apart is
where the query runs: on DuckDB a sealed process that holds the agency's rows only, on Postgres a role that may read
nothing else. On Postgres the text runs as written, so text that two lexers could read differently is refused as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NoReturn

from signalroom.errors import ConfigError, nearest
from signalroom.position import Json
from signalroom.view import AGENCY_COLUMN, CheckedQuery
from signalroom.views.vocabulary import (
    CLOCKS,
    CONSTRUCTS,
    ENGINES,
    EXPRESSIONS,
    FUNCTIONS,
    IDENTITIES,
    OPERATORS,
    REASONS,
    TYPES,
)

_TITLES = {"duckdb": "DuckDB", "postgres": "Postgres"}
_MAX_CHARS = 50_000
_MAX_DEPTH = 60
# Tokens that every lexer reads alike. What is left out on purpose: dollar quotes, prefixed texts (E, U&), parameters,
# comments in comments, and anything beyond ASCII outside quotes.
_TOKEN = re.compile(
    r"""\s+ | --[^\n]* | /\*(?:(?!/\*|\*/).)*\*/ | '(?:[^']|'')*' | "(?:[^"]|"")+" | [A-Za-z_][A-Za-z0-9_]*(?!['"$])
    | \d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![A-Za-z_$]) | \.\d+(?![A-Za-z_$]) | [-+*/%<>=!~|,.()\[\]:]""",
    re.ASCII | re.DOTALL | re.VERBOSE,
)
_CTE_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]*")


def check(sql: str, statements: Json, tables: Sequence[str], today: date, *, dialect: str = "") -> CheckedQuery:
    """Return a manifest's query, checked.

    Args:
        sql: The query as it was written.
        statements: The same, as DuckDB's parser serializes it.
        tables: Names of the tables it may read.
        today: The local date that ``current_date`` stands for.
        dialect: Where it will run, ``duckdb`` or ``postgres``: what only the other knows is refused. Empty for both.

    Raises:
        ConfigError: It is or does something a manifest may not; the sentence says what and why.
    """
    text = _plain(sql)
    listed: Any = statements
    if len(listed) != 1:
        _refuse("it holds several statements", "A manifest is one SELECT: remove what is behind the first semicolon.")
    if listed[0].get("named_param_map"):
        _refuse("it has a parameter", "Nobody is there to give it a value: write the value.")
    guard = _Guard(tables, today, dialect)
    tree = guard.node(listed[0]["node"], frozenset(), 0)
    shared, keys = _grouping(tree, guard.read)
    if guard.casts_to_double and dialect == "postgres" and not shared:  # what is shared is written anew, and spelt so
        _refuse("it casts to double, which Postgres does not know", "Write double precision.")
    return CheckedQuery(
        text, {**listed[0], "node": tree}, tuple(sorted(guard.read)), guard.uses_today, shared and not guard.ctes, keys,
        None if guard.reads_whole_rows else tuple(sorted(guard.columns)),
    )  # fmt: skip


def _refuse(what: str, mend: str) -> NoReturn:
    raise ConfigError(f"A manifest may not be this query: {what}.", mend=mend)


def _plain(sql: str) -> str:
    """Return the text without its last semicolon; refuse what Postgres and the parser could read differently."""
    if len(sql) > _MAX_CHARS:
        _refuse(f"it is longer than {_MAX_CHARS:,} characters", "Shorten it, or build a model for it.")
    if "\0" in sql:
        _refuse("it holds a NUL character", "Remove it.")
    text = sql.strip().removesuffix(";").rstrip()
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            shown = text[place : place + 12].split("\n")[0]
            _refuse(
                f"{shown!r} in line {text.count(chr(10), 0, place) + 1} is not plain SQL",
                "Use plain 'texts' and names, no parameters, no nested comments, and one statement.",
            )
        place = found.end()
    return text


class _Guard:
    """Walks a tree, refuses what is not listed, and notes what it reads."""

    def __init__(self, tables: Sequence[str], today: date, dialect: str) -> None:
        self._tables = frozenset(tables)
        self._today, self._dialect = today, dialect
        self.casts_to_double = False
        self.read: set[str] = set()
        self.ctes = False
        self.uses_today = self.whole_rows = False
        self.columns: set[str] = set()
        self._alone: set[str] = set()  # names that stand alone: of columns, or of a table for its whole row
        self._sources: set[str] = set()

    @property
    def reads_whole_rows(self) -> bool:
        """Whether it reads columns that it does not name: by a star, or by the name of a table as a value."""
        return self.whole_rows or not self._alone.isdisjoint(self._sources)

    def node(self, tree: Any, scope: frozenset[str], depth: int) -> Any:
        """Return the tree with ``current_date`` as a literal; raises ConfigError for what is not listed."""
        if depth > _MAX_DEPTH:
            _refuse("it is nested too deeply", "Build a model for it.")
        if isinstance(tree, list):
            return [self.node(one, scope, depth + 1) for one in tree]
        if not isinstance(tree, dict):
            return tree
        if "class" in tree:
            return self._expression(tree, scope, depth)
        kind = tree.get("type")
        if isinstance(kind, str) and kind not in CONSTRUCTS and not _is_enum(kind):
            _refuse(REASONS.get(kind, f"it has a {kind.lower().replace('_', ' ')}"), "Write a plain SELECT.")
        if kind == "BASE_TABLE":
            self._table(tree, scope)
        if tree.get("sample"):
            _refuse("it takes a sample", "Its rows would differ from one refresh to the next: read them all.")
        walked: dict[str, Any] = {}
        if "cte_map" in tree:
            walked["cte_map"], scope = self._with(tree["cte_map"], scope, depth)
        return {
            name: walked[name] if name in walked else self.node(one, scope, depth + 1) for name, one in tree.items()
        }

    def _with(self, ctes: Mapping[str, Any], scope: frozenset[str], depth: int) -> tuple[Any, frozenset[str]]:
        """Walk a WITH: each query sees the names before its own, and what follows sees them all."""
        entries: list[Any] = []
        for entry in ctes["map"]:
            self.ctes = True
            if _CTE_NAME.fullmatch(entry["key"]) is None:
                _refuse(f"WITH gives the name {entry['key']!r}", "Use lower case letters, digits and underscores.")
            entries.append({**entry, "value": self.node(entry["value"], scope, depth + 1)})
            scope |= {entry["key"]}
        return {**ctes, "map": entries}, scope

    def _table(self, tree: Mapping[str, Any], scope: frozenset[str]) -> None:
        name = tree["table_name"].lower()
        if tree.get("schema_name") or tree.get("catalog_name"):
            place = f"{tree.get('schema_name') or tree['catalog_name']}.{name}"
            _refuse(f"it names {place} with its schema", f"Write {name} alone: a manifest sees its agency's tables.")
        if tree.get("at_clause"):
            _refuse("it asks for an earlier version of a table", "Read the table as it is.")
        if name in scope:
            return
        if name not in self._tables:
            known = ", ".join(sorted(self._tables)) or "none"
            mend = nearest(name, self._tables) or f"It may read: {known}. [views] tables says so."
            _refuse(f"it reads {name!r}", mend)
        self.read.add(name)
        self._sources.add((tree.get("alias") or name).lower())

    def _expression(self, tree: Mapping[str, Any], scope: frozenset[str], depth: int) -> Any:
        kind = tree["class"]
        if kind not in EXPRESSIONS:
            _refuse(REASONS.get(kind, f"it has a {kind.lower().replace('_', ' ')}"), "Write it another way.")
        self.whole_rows |= kind == "STAR"
        if kind == "COLUMN_REF" and len(tree["column_names"]) == 1:
            self._alone.add(tree["column_names"][0].lower())
        self.columns |= {name.lower() for name in tree.get("column_names", ())}
        if kind in {"FUNCTION", "WINDOW"}:
            self._function(tree)
        if kind == "TYPE" and (tree["type_name"].lower() not in TYPES or tree.get("schema") or tree.get("catalog")):
            _refuse(f"it casts to {tree['type_name'].lower()}", f"Cast to one of: {', '.join(sorted(TYPES))}.")
        if kind == "TYPE" and tree["type_name"].lower() == "double":  # the parser reads double precision likewise
            self.casts_to_double |= tree.get("query_location_length") == len("double")
        if (clock := _clock(tree)) is not None:
            if clock != "current_date":
                _refuse(f"it asks for {clock}", "Its answer would change with every refresh: use current_date.")
            self.uses_today = True
            return _date_literal(tree, self._today)
        if kind == "COLUMN_REF" and tree["column_names"][0].lower() in IDENTITIES and len(tree["column_names"]) == 1:
            _refuse(f"it asks for {tree['column_names'][0]}", "Who runs a view is nothing a report shows.")
        return {name: self.node(one, scope, depth + 1) for name, one in tree.items()}

    def _function(self, tree: Mapping[str, Any]) -> None:
        name = tree["function_name"].lower()
        if tree.get("schema") or tree.get("catalog"):
            _refuse(f"it calls {tree['schema'] or tree['catalog']}.{name} with its schema", "Write the name alone.")
        if name in CLOCKS and name != "current_date":
            _refuse(f"it asks for {name}()", "Its answer would change with every refresh: use current_date.")
        known = OPERATORS if tree.get("is_operator") else FUNCTIONS
        if name not in known and name not in OPERATORS and name not in CLOCKS:
            mend = nearest(name, FUNCTIONS) or "`signalroom views functions` lists those that a manifest may call."
            _refuse(f"it calls {name}()", mend)
        only, instead = ENGINES.get(name, (self._dialect, ""))
        if self._dialect not in ("", only):
            _refuse(f"it calls {name}(), which only {_TITLES[only]} has", instead)


def _is_enum(kind: str) -> bool:
    """Tell the values of parser settings that share the key ``type`` from constructs."""
    return kind.startswith(("ORDER_", "LIMIT_", "DISTINCT_", "CTE_", "ASCENDING", "DESCENDING"))


def _clock(tree: Mapping[str, Any]) -> str | None:
    """Return which clock an expression reads, spelt as a column or as a call; None for none."""
    names = tree.get("column_names") or [tree.get("function_name", "")]
    return names[0].lower() if len(names) == 1 and names[0].lower() in CLOCKS else None


def _date_literal(tree: Mapping[str, Any], today: date) -> dict[str, Any]:
    place = {"query_location": tree.get("query_location", 0), "query_location_length": 0}
    text = {"kind": "STRING", "text": today.isoformat()}
    constant = {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", **place, "literal": text}
    kind = {
        "class": "TYPE", "type": "TYPE", "alias": "", **place, "catalog": "", "schema": "", "type_name": "DATE",
        "children": [], "qualified_name": {"path": ["DATE"]},
    }  # fmt: skip
    alias = tree.get("alias") or ""
    return {
        "class": "CAST", "type": "OPERATOR_CAST", "alias": alias, **place, "child": constant, "try_cast": False,
        "type_expr": kind,
    }  # fmt: skip


def _grouping(tree: Mapping[str, Any], tables: set[str]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a query can be computed for all agencies at once, and the output columns that name its rows."""
    if tree["type"] != "SELECT_NODE":
        return False, ()
    chosen = tree["select_list"]
    groups = tree["group_expressions"]
    whole = len(tree["group_sets"]) == 1 and len(tree["group_sets"][0]) == len(groups)
    if not groups or not whole or any(one["class"] == "STAR" for one in chosen):
        return False, ()
    keys = [_grouped(one, chosen) for one in groups]
    named = tuple(str(key) for key in keys) if all(keys) else ()
    simple = (
        tree["from_table"]["type"] == "BASE_TABLE"
        and len(tables) == 1
        and all(one["type"] == "ORDER_MODIFIER" for one in tree["modifiers"])
        and not tree.get("qualify")
        and not any(one.get("class") in {"WINDOW", "SUBQUERY"} for one in _walk(tree))
        and not any(AGENCY_COLUMN in (_last(one), str(one.get("alias", "")).lower()) for one in _walk(tree))
    )
    return simple, named


def _grouped(group: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of the output column that one grouping expression is; None where it is not shown."""
    literal = group.get("literal") or {}
    if group["class"] == "CONSTANT" and literal.get("kind") == "INTEGER":
        place = int(literal["text"]) - 1
        return _output(chosen[place]) if 0 <= place < len(chosen) else None
    names = group.get("column_names") or [None]
    named = [one for one in chosen if one.get("column_names", [""])[-1] == names[-1]]
    named += [one for one in chosen if one["alias"] == names[-1]]  # a column wins over an alias of its name
    return _output(named[0]) if named else None


def _output(one: Mapping[str, Any]) -> str | None:
    return one["alias"] or (one["column_names"][-1] if one["class"] == "COLUMN_REF" else None)


def _last(one: Mapping[str, Any]) -> str:
    return str((one.get("column_names") or [""])[-1]).lower()


def _walk(tree: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for one in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _walk(one)
