"""A grouped query written again for all agencies at once, in Postgres' SQL, from the tree the guard has read.

What is written comes from the tree and from the lists below, never from the manifest's text. A construct that is not
listed is no mistake: its query is computed for each agency on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from signalroom.view import AGENCY_COLUMN, CheckedQuery
from signalroom.warehouse.quoting import ident, literal

WHOSE = "signalroom_agency"
"""Column of a shared table: whose the row is."""

_FEW = 8  # above, Postgres looks a value up in a hash table, and still plans as if it went through the list
_MERGEABLE = frozenset({"sum", "count", "count_star", "min", "max", "avg", "bool_and", "bool_or"})
_FUNCTIONS = _MERGEABLE | {
    "abs", "ceil", "ceiling", "concat", "date_trunc", "floor", "greatest", "least", "left", "length", "lower", "ltrim",
    "mod", "nullif", "replace", "reverse", "right", "round", "rtrim", "sign", "stddev_pop", "stddev_samp", "substr",
    "trunc", "upper", "var_pop", "var_samp",
}  # fmt: skip
_AGGREGATES = _MERGEABLE | {"stddev_pop", "stddev_samp", "var_pop", "var_samp"}
_BINARY = frozenset({"+", "-", "*", "/", "%", "||", "~~", "!~~", "~~*", "!~~*"})
_COMPARISONS: Mapping[str, str] = {
    "COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<", "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM", "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}  # fmt: skip
_TYPES: Mapping[str, str] = {
    **{name: name for name in ("bigint", "boolean", "date", "decimal", "integer", "numeric", "smallint", "text",
                               "timestamp", "varchar")},
    "bool": "boolean", "double": "double precision", "int": "integer", "int4": "integer", "int8": "bigint",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SharedQuery:
    """One grouped SELECT over one table, in parts.

    Attributes:
        table: The table, by its name in a manifest.
        days: (column of the table, column of the answer) of each grouping column, if a group whose column is a day can
            be computed again from the rows of that day; empty where it cannot.
        keys: Columns of the answer that name a row of an agency; empty where the groups are not all shown.
    """

    table: str
    days: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]
    _alias: str
    _chosen: str
    _where: str
    _groups: str
    _having: str

    def select(self, source: str, agencies: Sequence[int], day: str = "", days: Iterable[date | None] = ()) -> str:
        """Return the SELECT over ``source`` (a quoted name) for these agencies, of some days of a column or of all."""
        alias = ident(self._alias)
        whose = f"{alias}.{ident(AGENCY_COLUMN)}"
        wanted = [_whose(whose, agencies), *([on_days(f"{alias}.{ident(day)}", days)] if day else []), self._where]
        filters = " AND ".join(one for one in wanted if one)
        return (
            f"SELECT {self._chosen}, {whose} AS {ident(WHOSE)} FROM {source} AS {alias} WHERE {filters}"
            f" GROUP BY {self._groups}, {whose}{self._having}"
        )


def among(column: str, agencies: Sequence[int]) -> str:
    """Return the condition that a row is one of these agencies'."""
    return f"{column} = ANY({_array(agencies)})"


def _array(agencies: Sequence[int]) -> str:
    return f"ARRAY[{', '.join(str(int(one)) for one in agencies)}]::bigint[]"


def _whose(column: str, agencies: Sequence[int]) -> str:
    """Return the same for a large table: of many agencies as a join, whose cost the planner knows."""
    return among(column, agencies) if len(agencies) <= _FEW else f"{column} IN (SELECT unnest({_array(agencies)}))"


def on_days(column: str, days: Iterable[date | None]) -> str:
    """Return the condition that a day is one of these; None is the group of rows without a day."""
    listed = list(days)
    named = ", ".join(literal(one.isoformat()) for one in listed if one is not None)
    found = f"{column} = ANY(ARRAY[{named}]::date[])"
    return f"({found} OR {column} IS NULL)" if None in listed else found


def shared_query(query: CheckedQuery) -> SharedQuery | None:
    """Return a checked query for all agencies at once; None where it has to be asked for each on its own."""
    if not query.shared:
        return None
    node: Mapping[str, Any] = query.tree["node"]
    source: Mapping[str, Any] = node["from_table"]
    table = str(source["table_name"]).lower()
    if source.get("column_name_alias"):
        return None
    try:
        chosen = ", ".join(_chosen(one) for one in node["select_list"])
        groups = ", ".join(_write(one) for one in node["group_expressions"])
        where = _write(node["where_clause"]) if node.get("where_clause") else ""
        having = f" HAVING {_write(node['having'])}" if node.get("having") else ""
        alias = _name(source["alias"] or table)
    except _ElsewhereError:
        return None
    days = tuple(_days(node)) if _mergeable(node) else ()
    return SharedQuery(table, days, _keys(node), alias, chosen, where, groups, having)


class _ElsewhereError(Exception):
    """A construct that is not written here."""


def _name(name: str) -> str:
    # The parser keeps the case of a name and forgets its quotes; Postgres folds what had none.
    if not name or name != name.lower():
        raise _ElsewhereError
    return name


def _chosen(tree: Mapping[str, Any]) -> str:
    return f"{_write(tree)} AS {ident(_name(tree['alias']))}" if tree["alias"] else _write(tree)


def _write(tree: Mapping[str, Any]) -> str:
    writer = _WRITERS.get(tree["class"])
    if writer is None:
        raise _ElsewhereError
    return writer(tree)


def _column(tree: Mapping[str, Any]) -> str:
    return ".".join(ident(_name(one)) for one in tree["column_names"])


def _constant(tree: Mapping[str, Any]) -> str:
    kind, text = tree["literal"]["kind"], str(tree["literal"]["text"])
    if kind == "STRING":
        return literal(text)
    if kind == "INTEGER" and text.isdecimal():
        return text
    if kind == "NUMERIC" and text.replace(".", "", 1).isdecimal():
        return text
    if kind in {"NULL_LITERAL", "BOOLEAN"}:
        return text.upper() if kind == "BOOLEAN" and text in {"true", "false"} else "NULL"
    raise _ElsewhereError


def _function(tree: Mapping[str, Any]) -> str:
    name = str(tree["function_name"]).lower()
    if tree["order_bys"]["orders"] or tree.get("schema") or tree.get("catalog"):
        raise _ElsewhereError
    arguments = [_write(one["expression"]) for one in tree["arguments"]]
    if name in _BINARY and len(arguments) in {1, 2}:
        return f"({f' {name} '.join(arguments)})" if len(arguments) == 2 else f"({name} {arguments[0]})"
    if name not in _FUNCTIONS or (tree.get("filter") and name not in _AGGREGATES):
        raise _ElsewhereError
    called = "count(*)" if name == "count_star" else f"{name}({_distinct(tree)}{', '.join(arguments)})"
    return called + (f" FILTER (WHERE {_write(tree['filter'])})" if tree.get("filter") else "")


def _distinct(tree: Mapping[str, Any]) -> str:
    return "DISTINCT " if tree.get("distinct") else ""


def _comparison(tree: Mapping[str, Any]) -> str:
    if tree["type"] not in _COMPARISONS:
        raise _ElsewhereError
    return f"({_write(tree['left'])} {_COMPARISONS[tree['type']]} {_write(tree['right'])})"


def _conjunction(tree: Mapping[str, Any]) -> str:
    word = " AND " if tree["type"] == "CONJUNCTION_AND" else " OR "
    return f"({word.join(_write(one) for one in tree['children'])})"


def _operator(tree: Mapping[str, Any]) -> str:
    kind, parts = tree["type"], [_write(one) for one in tree["children"]]
    if kind in {"COMPARE_IN", "COMPARE_NOT_IN"}:
        return f"({parts[0]} {'NOT ' if kind == 'COMPARE_NOT_IN' else ''}IN ({', '.join(parts[1:])}))"
    if kind == "OPERATOR_COALESCE":
        return f"coalesce({', '.join(parts)})"
    shapes = {
        "OPERATOR_NOT": "(NOT {})",
        "OPERATOR_IS_NULL": "({} IS NULL)",
        "OPERATOR_IS_NOT_NULL": "({} IS NOT NULL)",
    }
    if kind not in shapes or len(parts) != 1:
        raise _ElsewhereError
    return shapes[kind].format(parts[0])


def _case(tree: Mapping[str, Any]) -> str:
    whens = " ".join(f"WHEN {_write(one['when_expr'])} THEN {_write(one['then_expr'])}" for one in tree["case_checks"])
    return f"CASE {whens} ELSE {_write(tree['else_expr'])} END"


def _between(tree: Mapping[str, Any]) -> str:
    return f"({_write(tree['input'])} BETWEEN {_write(tree['lower'])} AND {_write(tree['upper'])})"


def _cast(tree: Mapping[str, Any]) -> str:
    kind = tree["type_expr"]
    name, sizes = _TYPES.get(str(kind["type_name"]).lower()), [_write(one) for one in kind["children"]]
    if name is None or tree.get("try_cast") or not all(one.isdecimal() for one in sizes):
        raise _ElsewhereError
    size = f"({', '.join(sizes)})" if sizes else ""
    return f"CAST({_write(tree['child'])} AS {name}{size})"


_WRITERS = {
    "COLUMN_REF": _column, "CONSTANT": _constant, "FUNCTION": _function, "COMPARISON": _comparison,
    "CONJUNCTION": _conjunction, "OPERATOR": _operator, "CASE": _case, "BETWEEN": _between, "CAST": _cast,
}  # fmt: skip


def _mergeable(tree: Any) -> bool:
    """Tell whether every aggregate is one of the plain ones, over all values."""
    if isinstance(tree, list):
        return all(_mergeable(one) for one in tree)
    if not isinstance(tree, dict):
        return True
    if tree.get("class") == "FUNCTION":
        name = str(tree["function_name"]).lower()
        if tree.get("distinct") or (name in _AGGREGATES and name not in _MERGEABLE):
            return False
    return all(_mergeable(one) for one in tree.values())


def _days(node: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield (column of the table, column of the answer) of each grouping column that is shown as it is."""
    for group in node["group_expressions"]:
        found = _shown(group, node["select_list"])
        if found is not None and found["class"] == "COLUMN_REF":
            yield found["column_names"][-1], found["alias"] or found["column_names"][-1]


def _keys(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns of the answer that are its groups; none where a group is not shown, or has no name."""
    found = [_shown(group, node["select_list"]) for group in node["group_expressions"]]
    names = [one and (one["alias"] or (one.get("column_names") or [""])[-1]) for one in found]
    return tuple(map(str, names)) if all(names) else ()


def _shown(group: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the expression of the answer that is surely this group; None where there is none."""
    if group["class"] == "CONSTANT":
        place = int(group["literal"]["text"]) - 1
        return next(iter(chosen[place : place + 1]), None) if place >= 0 else None
    if group["class"] != "COLUMN_REF":
        return None
    name, shown = group["column_names"][-1], [one for one in chosen if one["class"] == "COLUMN_REF"]
    found = [one for one in shown if one["column_names"][-1] == name]
    found = found or [one for one in shown if one["alias"] == name]  # a column wins over an alias of its name
    return found[0] if found else None
