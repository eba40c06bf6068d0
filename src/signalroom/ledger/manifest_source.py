"""The tables of manifests in another database, read as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from signalroom.errors import ConfigError
from signalroom.ledger.store import address_of

TABLES: Mapping[str, tuple[str, ...]] = {
    "agency": ("id", "slug", "name"),
    "seeder_canned_report": ("id", "table_name", "report_name", "query", "database_id"),
    "seeder_canned_report_manifest": ("id", "agency_id", "agency_slug", "canned_report_id"),
    "seeder_custom_report_manifest": (
        "id", "table_name", "report_name", "agency_id", "agency_slug", "query", "database_id", "enabled",
    ),
}  # fmt: skip
"""Table -> the columns that are read of it."""


def read_source(url: str, root: Path, schema: str) -> dict[str, list[dict[str, Any]]]:
    """Return table -> its rows, by id, as one moment of a database has them; nothing is written there.

    Args:
        url: Its address: Postgres, or the path of a SQLite file below ``root``, which has no schemas.
        root: The workspace.
        schema: Where the tables are on Postgres.

    Raises:
        ConfigError: It cannot be reached or read, or a table or column is not there.
    """
    address = address_of(url, root)
    engine = sa.create_engine(address, hide_parameters=True)
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    elif not Path(address.database or "").is_file():
        raise ConfigError("The database to import from is not there.", mend="Name its file, or env:NAME of an address.")
    place = schema if engine.dialect.name == "postgresql" else None
    try:
        with engine.connect() as connection:
            return {name: _rows(connection, name, columns, place) for name, columns in TABLES.items()}
    except exc.DBAPIError as problem:
        said = str(problem.orig).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"The manifests of that database cannot be read: {said}.", mend="Mend its address, --schema or its rights."
        ) from problem
    finally:
        engine.dispose()


def _rows(connection: sa.Connection, name: str, columns: Sequence[str], schema: str | None) -> list[dict[str, Any]]:
    table = sa.table(name, *(sa.column(one) for one in columns), schema=schema)
    found = connection.execute(sa.select(table).order_by(sa.text("id"))).mappings()
    return [dict(row) for row in found]
