"""The leader kit as SQL text: what an app's database is given, ready for a migration of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from signalroom.errors import ConfigError
from signalroom.workspace.projections import EntitySettings, ProjectionSettings, WatchSettings

_KIT: Final = tuple(
    Path(__file__).with_name(f"leader_{part}.sql") for part in ("tables", "entities", "triggers", "relay", "purge")
)
_FUNCTION: Final = re.compile(r"create or replace function \{schema\}\.(\w+)")
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_$]*")


def script(settings: ProjectionSettings) -> str:
    """Return everything that `leader install` runs: plain SQL, for one transaction; running it again is harmless.

    Raises:
        ConfigError: The file of an entity's query cannot be read.
    """
    return "\n".join((kit(settings.schema), *declarations(settings)))


def kit(schema: str) -> str:
    """Return the kit's own tables and functions for one schema, which needs no quotes."""
    return "\n".join(file.read_text(encoding="utf-8").replace("{schema}", schema) for file in _KIT)


def removal(schema: str) -> str:
    """Return the SQL that removes the kit from a schema; the app's own tables keep their uuids."""
    # By name, and by no pattern: an app may have functions of its own that begin alike.
    functions = ",".join(sorted(set(_FUNCTION.findall("".join(file.read_text(encoding="utf-8") for file in _KIT)))))
    text = Path(__file__).with_name("leader_removal.sql").read_text(encoding="utf-8")
    return text.replace("{functions}", functions).replace("{schema}", schema)


def declarations(settings: ProjectionSettings) -> Iterator[str]:
    """Yield the statements that declare what the workspace declares, the arming of triggers last.

    Raises:
        ConfigError: The file of an entity's query cannot be read.
    """
    yield "-- What this workspace declares.\n"
    for written in settings.uuids:
        # A table may stand behind its schema; the column is named where there are more parts than that needs.
        yield mint(settings.schema, *_table_and_column(written))
    for entity in settings.entities.values():
        yield declare(settings.schema, entity.name, entity.key, query_of(entity))
    for entity in settings.entities.values():
        for one in entity.watch:
            yield watch(settings.schema, entity.name, one)
    yield arm(settings.schema)


def mint(schema: str, table: str, column: str) -> str:
    """Return the statement that gives every row of a table a stable uuid."""
    return f"select {schema}.reporting_mint({_literal(relation(table))}, {_literal(column)});"


def declare(schema: str, entity: str, key: str, query: str) -> str:
    """Return the statement that declares an entity; its watches follow it."""
    return f"select {schema}.reporting_entity({_literal(entity)}, {_literal(key)}, {_quoted(query)});"


def watch(schema: str, entity: str, one: WatchSettings) -> str:
    """Return the statement that declares a watch; :func:`arm` makes its triggers."""
    way = f"null, {_quoted(one.sql)}" if one.sql else _literal(one.id)
    return f"select {schema}.reporting_watch({_literal(entity)}, {_literal(relation(one.table))}, {way});"


def relation(written: str) -> str:
    """Return the name of a table as SQL: quoted where it must be, if it is not yet."""
    if '"' in written:
        return written
    return ".".join(part if _PLAIN.fullmatch(part) else f'"{part}"' for part in written.split("."))


def arm(schema: str) -> str:
    """Return the statement that makes the triggers of all watches."""
    return f"select {schema}.reporting_arm();"


def _table_and_column(written: str) -> tuple[str, str]:
    table, dot, column = written.rpartition(".")
    return (table, column) if dot else (written, "uuid")


def query_of(entity: EntitySettings) -> str:
    """Return the SELECT of an entity, without blanks and semicolon around it; raises ConfigError for its file."""
    try:
        return entity.sql.read_text(encoding="utf-8").strip().rstrip(";")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"The query of the entity {entity.name!r}, {entity.sql}, cannot be read as UTF-8 text.",
            mend="Write the file, or mend its name under sql.",
        ) from None


def _literal(value: str) -> str:
    """Return a text as SQL, whatever the server's setting for backslashes."""
    quoted = value.replace("'", "''")
    return f"'{quoted}'" if "\\" not in value else "E'" + quoted.replace("\\", "\\\\") + "'"


def _quoted(query: str) -> str:
    """Return a query as a literal that people can still read: between dollars that do not occur in it."""
    tag = "$query$"
    while tag in query:
        tag = tag[:-1] + "_$"
    return f"{tag}\n{query}\n{tag}"
