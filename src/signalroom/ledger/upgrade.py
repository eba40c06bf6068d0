"""Bring a ledger's tables to this version, once, whoever opens it first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from signalroom.errors import ConfigError
from signalroom.failpoints import failpoint
from signalroom.ledger.tables import place

HEAD = "0009"
"""The newest revision: a ledger that has it needs nothing, and Alembic is not even imported."""

_VERSION_TABLE = "ledger_version"
# Any number no other program would lock; every process that may upgrade a ledger takes this one.
_LOCK = 0x51674C65


def version(connection: sa.Connection) -> str:
    """Return the revision a database's ledger is at; empty where there is none yet."""
    schema, prefix = place(connection.dialect.name)
    name = prefix + _VERSION_TABLE
    if not sa.inspect(connection).has_table(name, schema=schema):
        return ""
    found = connection.execute(sa.select(sa.column("version_num")).select_from(sa.table(name, schema=schema)))
    return str(found.scalar() or "")


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that a ledger lacks, inside the caller's write transaction.

    Two processes that open an empty ledger at once take turns; the second finds nothing to do.

    Raises:
        ConfigError: The ledger was written by a newer version of this package.
    """
    schema, prefix = place(connection.dialect.name)
    if schema is not None:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    current = version(connection)
    if current == HEAD:
        return
    # Asked first: IF NOT EXISTS wants the right to create even where there is nothing to create.
    if schema is not None and not sa.inspect(connection).has_schema(schema):
        connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(Path(__file__).with_name("migrations")))
    if current and current not in {revision.revision for revision in script.walk_revisions()}:
        raise ConfigError(
            f"The ledger is at revision {current}, which this version does not know.",
            mend="Install the newer version of signalroom that wrote it.",
        )

    def steps(revision: Any, context: Any) -> Any:
        del context
        return script._upgrade_revs(HEAD, revision)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - what alembic's own `upgrade` command calls

    failpoint("ledger.upgrade.before")
    with EnvironmentContext(Config(), script, fn=steps, destination_rev=HEAD) as environment:
        environment.configure(
            connection=connection,
            version_table=prefix + _VERSION_TABLE,
            version_table_schema=schema,
            transactional_ddl=True,  # SQLite too: we begin the transaction ourselves
        )
        environment.run_migrations()
    failpoint("ledger.upgrade.after")
