"""What a manifest's SQL may be made of; whatever is not listed here is refused."""

from __future__ import annotations

from collections.abc import Mapping

CONSTRUCTS = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "BASE_TABLE", "JOIN", "SUBQUERY", "EMPTY", "EXPRESSION_LIST"}
)
"""Query nodes and sources of rows, as DuckDB's parser calls them."""

EXPRESSIONS = frozenset(
    {
        "COLUMN_REF", "CONSTANT", "FUNCTION", "COMPARISON", "CONJUNCTION", "OPERATOR", "CAST", "CASE", "WINDOW",
        "SUBQUERY", "BETWEEN", "STAR", "TYPE",
    }
)  # fmt: skip
"""Classes of expressions, likewise."""

OPERATORS = frozenset({"+", "-", "*", "/", "%", "||", "~~", "!~~", "~~*", "!~~*", "->>", "->"})
"""Operators that the parser hands over as functions."""

AGGREGATES = frozenset(
    {
        "any_value", "avg", "bool_and", "bool_or", "corr", "count", "count_star", "max", "min", "mode",
        "percentile_cont",
        "percentile_disc", "quantile_cont", "quantile_disc", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum",
        "var_pop", "var_samp", "variance",
    }
)  # fmt: skip
"""Aggregates."""

FUNCTIONS = AGGREGATES | frozenset(
    {
        "abs", "age", "array_agg", "btrim", "ceil", "ceiling", "char_length", "character_length", "concat", "concat_ws",
        "cume_dist", "date_part", "date_trunc", "dense_rank", "exp", "first_value", "floor", "initcap", "lag",
        "last_value", "lead", "left", "length", "like_escape", "ln", "log", "lower", "ltrim", "make_date", "md5", "mod",
        "nth_value", "ntile", "nullif", "octet_length", "percent_rank", "position", "power", "rank", "regexp_matches",
        "regexp_replace", "replace", "reverse", "right", "round", "row_number", "rtrim", "sign", "split_part", "sqrt",
        "starts_with", "strftime", "strpos", "substr", "substring", "to_char", "trim", "trunc", "upper", "greatest",
        "least",
    }
)  # fmt: skip
"""Functions: none reads or writes anything, waits, or makes more than it is given."""

ENGINES: Mapping[str, tuple[str, str]] = {
    "btrim": ("postgres", "Write trim(…)."),
    "initcap": ("postgres", "Write upper(left(…, 1)) || lower(substr(…, 2))."),
    "octet_length": ("postgres", "Write length(…), which counts characters."),
    "quantile_cont": ("duckdb", "Write percentile_cont(…) WITHIN GROUP (ORDER BY …)."),
    "quantile_disc": ("duckdb", "Write percentile_disc(…) WITHIN GROUP (ORDER BY …)."),
    "regexp_matches": ("duckdb", "There it returns rows: write LIKE, or regexp_replace(…)."),
    "strftime": ("duckdb", "Write to_char(…, 'YYYY-MM-DD')."),
    "to_char": ("postgres", "Write strftime(…, '%Y-%m-%d')."),
}
"""Functions of one engine only: which, and what to write on the other."""

CLOCKS = frozenset(
    {
        "current_date", "current_time", "current_timestamp", "clock_timestamp", "get_current_time",
        "get_current_timestamp", "localtime", "localtimestamp", "now", "statement_timestamp", "today",
        "transaction_timestamp",
    }
)  # fmt: skip
"""What asks for the time; only ``current_date`` may be asked for."""

IDENTITIES = frozenset(
    {"current_catalog", "current_database", "current_role", "current_schema", "current_user", "session_user", "user"}
)
"""Words that are no columns and tell who runs a query and where."""

TYPES = frozenset(
    {
        "bigint", "boolean", "bool", "date", "decimal", "double", "double precision", "float", "int", "int4", "int8",
        "integer", "interval", "numeric", "real", "smallint", "text", "time", "timestamp", "timestamp with time zone",
        "timestamptz", "varchar",
    }
)  # fmt: skip
"""Types that a value may be cast to."""

REASONS: Mapping[str, str] = {
    "DELETE_QUERY_NODE": "WITH deletes rows, and a manifest only reads",
    "INSERT_QUERY_NODE": "WITH writes rows, and a manifest only reads",
    "UPDATE_QUERY_NODE": "WITH changes rows, and a manifest only reads",
    "RECURSIVE_CTE_NODE": "it is recursive, and may never end",
    "TABLE_FUNCTION": "it reads from a function, which may be a file, a server or no end of rows",
    "SHOW_REF": "it asks what the database holds",
    "PIVOT": "its columns would depend on its rows",
    "LAMBDA": "it has a function of its own",
    "PARAMETER": "it has a parameter, and nobody is there to give it a value",
    "COLLATE": "it names a collation, which engines do not share",
}
"""Why a construct is refused, where its name does not say it."""
