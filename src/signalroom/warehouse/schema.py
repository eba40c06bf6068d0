"""Which columns a table has: pinned, in force, or inferred; and what a new one means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from signalroom.errors import ConfigError, DataError, nearest
from signalroom.stream import Column, Table, column_name

LINEAGE: tuple[Column, ...] = (
    Column("_load_id", "text"),
    Column("_loaded_at", "timestamptz"),
    Column("_client_id", "text"),
    Column("_source_ref", "text"),
    Column("_file_time", "timestamptz"),
    Column("_row", "bigint"),
)
"""Columns that every row carries: the load, its commit time, the client, object or request with row, file time, row."""

VALIDITY: tuple[Column, ...] = (
    Column("_valid_from", "timestamptz"),
    Column("_valid_to", "timestamptz"),
    Column("_is_current", "boolean"),
)
"""Columns of a ``history`` table: when a version began, when the next began or the key was deleted, and whether
neither has happened. A date or a time without a zone counts as UTC; a null beginning means since ever."""

CONTROL = ("_op", "_seq", "_unset")
"""Columns of decoded batches that steer the merge and are not stored."""


def unique_names(spellings: Sequence[str]) -> list[str]:
    """Return one name for each spelling; blanks become ``column_N``, repeats get ``_2``, ``_3`` and so on."""
    taken: set[str] = set()
    names: list[str] = []
    for number, spelling in enumerate(spellings, 1):
        base = column_name(spelling) if spelling.strip() else f"column_{number}"
        name, again = base, 1
        while name in taken:
            again += 1
            name = f"{base}_{again}"
        taken.add(name)
        names.append(name)
    return names


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one table for one merge.

    Attributes:
        columns: All columns, in the table's order, lineage left out.
        added: Columns that this merge adds.
        retyped: Columns whose pinned type differs from the one in force.
        discarded: Spellings that the contract leaves in the lake.
        notes: Sentences a person should read.
    """

    columns: tuple[Column, ...]
    added: tuple[Column, ...] = ()
    retyped: tuple[Column, ...] = ()
    discarded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def resolve(table: Table, in_force: Sequence[Column], found: Iterable[Sequence[str]], title: str) -> Schema:
    """Return the columns of ``table`` once these loads are merged.

    Args:
        table: As the source declares it, a pin applied.
        in_force: The columns the warehouse has; empty before the first load.
        found: For each group of parts, the spellings of its fields.
        title: ``source.table``, for messages.

    Raises:
        DataError: Under ``freeze``, when a field is not declared.
        ConfigError: When a key, order or slice column does not exist.
    """
    declared = {column.name: column for column in table.columns}
    columns = dict(declared) or {column.name: column for column in in_force}
    retyped = [declared[c.name] for c in in_force if c.name in declared and declared[c.name].type != c.type]
    for column in in_force:
        columns.setdefault(column.name, column)
    unknown = _unknown(columns.values(), found)
    spelt = [column.path or column.name for column in unknown]
    discarded: tuple[str, ...] = ()
    if unknown and columns and table.contract == "freeze":
        raise DataError(
            f"{title} is frozen and the load brings columns it does not declare: {', '.join(map(repr, spelt))}.",
            mend="Add them to the pinned schema, or set contract = 'evolve' or 'discard'.",
        )
    notes: list[str] = []
    if unknown and columns and table.contract == "discard":
        discarded = tuple(spelt)
    else:
        if unknown and columns:
            notes.append(f"{title}: new columns added as text: {', '.join(column.name for column in unknown)}.")
        columns.update({column.name: column for column in unknown})
    known = {column.name for column in in_force}
    schema = Schema(
        columns=tuple(columns.values()),
        added=tuple(column for name, column in columns.items() if name not in known),
        retyped=tuple(retyped),
        discarded=discarded,
        notes=tuple(notes),
    )
    _require(table, schema, title)
    return schema


def _unknown(columns: Iterable[Column], found: Iterable[Sequence[str]]) -> list[Column]:
    """Return a new text column for each field that no column reads."""
    known = {column.name: column for column in columns}
    new: list[Column] = []
    for spellings in found:
        bound = set(bind(tuple(known.values()), spellings).values())
        first = _first_places(spellings)
        for index, (spelling, wanted) in enumerate(zip(spellings, unique_names(spellings), strict=True)):
            if index in bound:
                continue
            name, again = wanted, 1
            while name in known:
                again += 1
                name = f"{wanted}_{again}"
            # a repeated spelling is told apart by its place, so by its name
            known[name] = Column(name, "text", path=spelling if first[spelling] == index else "")
            new.append(known[name])
    return new


def _require(table: Table, schema: Schema, title: str) -> None:
    names = [column.name for column in schema.columns] + [column.name for column in LINEAGE] + ["_seq"]
    known = bool(schema.columns)  # nothing is known of a table whose first file was empty
    wanted = [*table.key, *table.order, *([table.slice_column] if table.slice_column else [])]
    for name in wanted:
        if known and name not in names:
            raise ConfigError(
                f"{title} has no column {name!r}, which its key, order or slice names.",
                mend=nearest(name, names) or "Correct the stream's settings or its pinned schema.",
            )
    if table.disposition == "merge" and not table.key:
        raise ConfigError(f"{title} is merged but has no key.", mend="Set key = [...] or write = 'append'.")
    if table.disposition == "history":
        _require_moments(table, schema, title)
    if table.disposition == "replace_slice" and not table.slice_column:
        raise ConfigError(f"{title} replaces slices but names no slice_column.", mend="Set the table's slice_column.")


def _require_moments(table: Table, schema: Schema, title: str) -> None:
    if not table.key:
        raise ConfigError(f"{title} is a history but has no key.", mend="Set key = [...].")
    kinds = {column.name: column.type for column in (*LINEAGE, *schema.columns)}
    first = table.order[0] if table.order else ""
    if schema.columns and kinds.get(first, "") not in ("date", "timestamp", "timestamptz"):
        raise ConfigError(
            f"{title} is a history, and {repr(first) + ' is no time' if first else 'it has no order'}: "
            "nothing says when a version began.",
            mend='Let order begin with a date or time, e.g. order = ["updated_at"], or "_file_time", or "_loaded_at".',
        )


def bind(columns: Sequence[Column], spellings: Sequence[str]) -> Mapping[str, int]:
    """Return column name -> index of its field; absent ones are left out.

    A field belongs to the column that spells it exactly; one that nobody spells, to the column of its name.
    """
    exact = _first_places(spellings)
    bound = {c.name: exact[c.path or c.name] for c in columns if (c.path or c.name) in exact}
    taken = set(bound.values())
    named = {name: index for index, name in enumerate(unique_names(spellings)) if index not in taken}
    for column in columns:
        if column.name in named and not is_json_path(column.path):
            bound.setdefault(column.name, named[column.name])
    return bound


def is_json_path(path: str) -> bool:
    """Return whether a column's path leads into a record (``$.a.b``), rather than being a field's spelling."""
    return path.startswith(("$.", "$["))


def _first_places(spellings: Sequence[str]) -> dict[str, int]:
    return {spelling: index for index, spelling in reversed(list(enumerate(spellings)))}


def with_types(columns: Sequence[Column], types: Mapping[str, str]) -> tuple[Column, ...]:
    """Return ``columns`` with inferred types put in."""
    return tuple(replace(column, type=types.get(column.name, column.type)) for column in columns)
