"""A small app with the leader kit in it, for tests: pages with donations, and teams that pages belong to."""

from __future__ import annotations

from pathlib import Path

import psycopg

from signalroom.projections.leader import Leader
from signalroom.workspace.projections import EntitySettings, ProjectionSettings, WatchSettings
from signalroom.workspace.settings import Secret

TABLES = """
create table teams (uuid uuid primary key default gen_random_uuid(), name text);
create table pages (uuid uuid primary key default gen_random_uuid(), name text, team_uuid uuid, note json);
create table donations (id bigint generated always as identity primary key, page_uuid uuid, amount bigint not null);
create index on donations (page_uuid);
create index on pages (team_uuid);
"""
PAGE = """
select p.uuid, p.name, p.note, t.name as team_name,
  (select coalesce(sum(d.amount), 0) from donations d where d.page_uuid = p.uuid)::bigint as total
from pages p left join teams t on t.uuid = p.team_uuid -- whoever has no team raises alone
"""
TEAM = "select t.uuid, t.name, 60 / length(t.name) as share from teams t"  # a team without a name cannot be computed
WATCHES = {
    "page": (
        WatchSettings("pages", "uuid"),
        WatchSettings("donations", "page_uuid"),
        WatchSettings("teams", sql="select p.uuid from changed c join pages p on p.team_uuid = c.uuid"),
    ),
    "team": (WatchSettings("teams", "uuid"),),
}
ONE, TWO = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


def app(
    folder: Path, url: str, *, page: str = PAGE, watches=None, uuids=(), schema: str = "public"
) -> ProjectionSettings:
    """Return what a workspace would declare, its queries written into ``folder``."""
    watches = watches or WATCHES
    entities = {}
    for name, query in (("page", page), ("team", TEAM)):
        (folder / f"{name}.sql").write_text(query)
        entities[name] = EntitySettings("uuid", folder / f"{name}.sql", name, watches.get(name, ()))
    return ProjectionSettings(Secret("env:LEADER_URL", url), entities, schema=schema, uuids=uuids)


def installed(folder: Path, url: str, **declared) -> Leader:
    """Make the app's tables, install the kit, and return the leader, with nothing waiting."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
    leader = Leader(url, declared.get("schema", "public"))
    leader.install(app(folder, url, **declared))
    leader.drain()
    return leader


def call(leader: Leader, expression: str, *params):
    """Return the first value of what an SQL expression gives."""
    return leader.connection.execute(f"select {expression}", params or None).fetchone()[0]


def short(changes) -> list[tuple[str, str, int]]:
    """Return changes as entity, the last digits of the id, and the count of the version within epoch 1."""
    return [(one.entity, one.entity_id[-1], one.version - 2**40) for one in changes]


def page_rows(leader: Leader) -> dict[str, tuple]:
    """Return the rows of pages: id -> name, team, total, version, whether it is gone."""
    rows = leader.connection.execute(
        f"select _id, name, team_name, total, _version & ((1::bigint << 40) - 1), _deleted from {leader.schema}.reporting_page"
    )
    return {row[0]: row[1:] for row in rows}
