"""The leader kit from an app that is written with SQLAlchemy: declared beside its models, or in Alembic migrations.

::

    entity(Base.metadata, "page", key="uuid", query="select uuid, name from pages")
    watch(Page, "page", id="uuid")
    watch(Donation, "page", id="page_uuid")

``Base.metadata.create_all`` then makes the kit too. Each call returns its statement, for a migration:
``op.execute(watch(Donation, "page", id="page_uuid"))``. On other databases than Postgres nothing happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from signalroom.projections import leader_ddl
from signalroom.workspace.projections import WatchSettings, check_entity

if TYPE_CHECKING:
    from sqlalchemy import DDL, Connection, MetaData, Table
    from sqlalchemy.orm import DeclarativeBase, Session

_HAS_KIT: Final = "signalroom.leader_kit"


def touch(session: Session | Connection, entity: str, entity_id: object, *, schema: str = "public") -> None:
    """Say, in the session's own transaction, that an entity may have changed where no trigger sees it.

    Args:
        session: The session or connection that makes the change.
        entity: Name of the entity.
        entity_id: Its id; its text counts.
        schema: Schema that holds the kit.
    """
    from sqlalchemy import text

    statement = text(f"select {schema}.reporting_touch(:entity, :entity_id)")
    session.execute(statement, {"entity": entity, "entity_id": str(entity_id)})


def entity(metadata: MetaData, name: str, *, key: str, query: str, schema: str = "public") -> DDL:
    """Declare an entity, to be made after the metadata's tables; its watches are declared after it.

    Args:
        metadata: That of the app's models.
        name: Name of the entity.
        key: Column of the query that is its id.
        query: The SELECT that computes its rows.
        schema: Schema that holds the kit.

    Raises:
        ConfigError: The name cannot be that of an entity.
    """
    check_entity(name)
    if not metadata.info.get(_HAS_KIT):
        metadata.info[_HAS_KIT] = True
        _after_create(metadata, leader_ddl.kit(schema))
    return _after_create(metadata, leader_ddl.declare(schema, name, key, query))


def watch(
    model: type[DeclarativeBase] | Table, entity: str, *, id: str = "", sql: str = "", schema: str = "public"  # noqa: A002 - as in the workspace file
) -> DDL:  # fmt: skip
    """Have the changes of a model's table change an entity, from the table's creation on.

    Args:
        model: A model or a table.
        entity: Name of the entity, declared before.
        id: Column of the table that holds the entity's id.
        sql: Or a query from the changed rows, the table ``changed``, to ids.
        schema: Schema that holds the kit.

    Raises:
        ConfigError: Neither ``id`` nor ``sql`` is given, or both are.
    """
    found: Any = getattr(model, "__table__", model)
    table: Table = found
    one = WatchSettings(table.fullname, id, sql)
    return _after_create(table.metadata, leader_ddl.watch(schema, entity, one) + "\n" + leader_ddl.arm(schema))


def _after_create(metadata: MetaData, statements: str) -> DDL:
    from sqlalchemy import DDL, event

    made = DDL(statements.replace("%", "%%"))
    listener: Any = made.execute_if(dialect="postgresql")
    event.listen(metadata, "after_create", listener)
    return made
