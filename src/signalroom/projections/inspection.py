"""What is wrong with an app's database and its replica, told before anybody follows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from signalroom.clients.postgres import connect, explained
from signalroom.projections.leader_ddl import query_of, relation

if TYPE_CHECKING:
    import psycopg

    from signalroom.workspace.projections import ProjectionSettings

_INSTALL: Final = "Run `signalroom leader install`."
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Database:
    """A connection that is only read, and the schema of the kit in it."""

    connection: psycopg.Connection[tuple[Any, ...]]
    schema: str

    def rows(self, statement: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        text: Any = statement
        with explained("read the leader kit"):
            return self.connection.execute(text, list(params) or None).fetchall()


def inspect(settings: ProjectionSettings, *, timeout_s: int = 15, patience_s: float = _PATIENCE_S) -> list[str]:
    """Return what is wrong with an app's database and its replica, each a sentence with its mend.

    Args:
        settings: The app, as the workspace declares it.
        timeout_s: How long connecting to either may take.
        patience_s: How long an intention may wait, and how far the replica may be behind.

    Raises:
        ConfigError: A database refuses us, or the file of a query cannot be read.
        RetryableError: A database does not answer.
    """
    with closing(connect(settings.url.reveal(), timeout_s=timeout_s)) as opened:
        leader = _Database(opened, settings.schema)
        if _is_bare(leader):
            return [f"The leader kit is not installed in the schema {settings.schema}. {_INSTALL}"]
        problems = [*_declared(leader, settings), *_triggers(leader), *_intentions(leader, patience_s)]
        if settings.replica is not None:
            ((written, server),) = leader.rows(
                "select pg_current_wal_lsn()::text, (select system_identifier from pg_control_system())"
            )
            with closing(connect(settings.replica.reveal(), timeout_s=timeout_s)) as other:
                problems += _replica(_Database(other, settings.schema), written, server, patience_s)
    return problems


def _is_bare(database: _Database) -> bool:
    return bool(database.rows("select to_regclass(%s) is null", [f"{database.schema}.reporting_intentions"])[0][0])


def _declared(leader: _Database, settings: ProjectionSettings) -> Iterator[str]:
    """Yield the entities that are installed otherwise than the workspace declares them."""
    entities = {
        name: (key, query.strip())
        for name, key, query in leader.rows(f"select entity, key, query from {leader.schema}.reporting_entities")
    }
    watched = {
        (entity, relation, column, query and query.strip())
        for entity, relation, column, query in leader.rows(
            f"select entity, relation, id_column, query from {leader.schema}.reporting_watches"
        )
    }
    for name, entity in settings.entities.items():
        if name not in entities:
            yield f"The entity {name} is not installed. {_INSTALL}"
            continue
        asked = {
            (name, _full_name(leader, relation(one.table)), one.id or None, one.sql.strip() or None)
            for one in entity.watch
        }
        if entities[name] != (entity.key, query_of(entity)):
            yield f"The query of {name} is another one in the app's database than here. {_INSTALL}"
        if not asked <= watched:
            yield f"What {name} watches is not what is watched in the app's database. {_INSTALL}"


def _full_name(leader: _Database, table: str) -> str | None:
    found = leader.rows(
        "select format('%%I.%%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.oid = to_regclass(%s)",
        [table],
    )
    return found[0][0] if found else None


def _triggers(leader: _Database) -> Iterator[str]:
    missing = leader.rows(
        "select coalesce(member::text, relation || ', which is gone or renamed') || ': ' || event"
        f" from {leader.schema}.reporting_triggers()"
        " where not (is_there and fires_always) order by 1"
    )
    if missing:
        named = ", ".join(name for (name,) in missing)
        yield f"Triggers are missing or do not always fire ({named}): what is written there is not seen. {_INSTALL}"


def _intentions(leader: _Database, patience_s: float) -> Iterator[str]:
    ((pending, oldest_s),) = leader.rows(
        "select count(*), extract(epoch from clock_timestamp() - min(created_at))::float8"
        f" from {leader.schema}.reporting_intentions where state = 'pending'"
    )
    if pending and oldest_s > patience_s:
        yield (
            f"No relay keeps up: {pending:,} intentions wait, the first for {oldest_s:,.0f} s. "
            "Run `signalroom up` or `signalroom leader relay`."
        )
    failed = leader.rows(
        "select count(*) over (), entity, entity_id, error"
        f" from {leader.schema}.reporting_intentions where state = 'failed' order by id limit 1"
    )
    for number, entity, row, reason in failed:
        yield (
            f"{number:,} rows cannot be computed, the first of them {entity} {row}: {reason}. "
            "Correct the row or the query; `signalroom leader status` lists them."
        )


def _replica(replica: _Database, written: str, server: int, patience_s: float) -> Iterator[str]:
    """Yield what is wrong with a replica of a leader that had ``written`` its log up to there."""
    if _is_bare(replica):
        yield "The replica has no leader kit. Look whether it is a replica of this app, and whether it replays."
        return
    ((is_standby, other),) = replica.rows(
        "select pg_is_in_recovery(), (select system_identifier from pg_control_system())"
    )
    if not is_standby:
        return
    if other != server:
        yield "The replica is that of another server than the app's database. Correct `replica`."
        return
    ((is_behind, behind_s),) = replica.rows(
        "select pg_last_wal_replay_lsn() < %s::pg_lsn,"
        " coalesce(extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()), 0)::float8",
        [written],
    )
    if is_behind and behind_s > patience_s:
        yield f"The replica is {behind_s:,.0f} s behind. Look at its replication; rows are late by as much."
