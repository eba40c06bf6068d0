"""The ``[projections.NAME]`` tables: an app's database, and what of it is kept for reports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signalroom.errors import ConfigError
from signalroom.workspace.following import FollowSettings
from signalroom.workspace.settings import Secret, injected, setting

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST_ENTITY: Final = 44
"""Characters: the kit's longest name around it, ``reporting_project_``, must fit into the 63 of Postgres."""
_TAKEN: Final = {"intentions", "state", "entities", "watches", "pulls"}


def check_entity(name: str) -> None:
    """Raise ConfigError for a name that cannot be an entity's: the kit makes names of it."""
    taken = name in _TAKEN or name.endswith("_source") or len(name) > _LONGEST_ENTITY
    if taken or _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} cannot be the name of an entity.",
            mend=f"Use at most {_LONGEST_ENTITY} lower case letters, digits and underscores, not ending in _source,"
            f" and none of {', '.join(sorted(_TAKEN))}.",
        )


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """One entry of an entity's ``watch``: a table of the app whose changes change the entity."""

    table: str = setting("Table of the app; its schema in front where it is not on the path.", example='"donations"')
    id: str = setting("Its column that holds the entity's id.", default="", example='"page_uuid"')
    sql: str = setting(
        "Or a query from the changed rows, the table ``changed``, to ids of the entity, one column.",
        default="",
        example='"select p.uuid from pages p join changed c on c.uuid = p.team_uuid"',
    )

    def __post_init__(self) -> None:
        if bool(self.id) == bool(self.sql):
            raise ConfigError(f"the watch of {self.table!r} needs either id or sql.", mend='Write id = "page_uuid".')


@dataclass(frozen=True, slots=True)
class EntitySettings:
    """A ``[projections.NAME.entities.ENTITY]`` table: one kind of reporting row."""

    key: str = setting("Column of the query that is the entity's id; unique and stable.", example='"uuid"')
    sql: Path = setting("File with the SELECT that computes its rows.", example='"projections/page.sql"')
    name: str = injected()
    watch: tuple[WatchSettings, ...] = setting(
        "Tables of the app whose changes change it, each with the way from a row to ids.",
        example='[{ table = "pages", id = "uuid" }, { table = "donations", id = "page_uuid" }]',
    )

    def __post_init__(self) -> None:
        check_entity(self.name)


@dataclass(frozen=True, slots=True)
class ProjectionSettings:
    """A ``[projections.NAME]`` table: an app whose reporting rows are followed."""

    url: Secret = setting("Address of the app's database, where the kit is installed.", example='"env:LEADER_URL"')
    entities: Mapping[str, EntitySettings] = setting("What is kept, by name: see below.", factory=dict)
    replica: Secret | None = setting(
        "Address rows are read from; the app's database itself when left out.",
        default=None,
        example='"env:REPLICA_URL"',
    )
    schema: str = setting("Schema of the app's database that holds the kit.", default="public")
    uuids: tuple[str, ...] = setting(
        "Tables that are to have a stable uuid; ``table.column`` where it is not called ``uuid``; with a schema"
        " in front always with its column.",
        default=(),
        example='["pages", "teams.public_id"]',
    )
    follow: FollowSettings = setting("How it is followed: see below.", factory=FollowSettings)
    name: str = injected("")

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.schema) is None:
            raise ConfigError(
                f"schema: {self.schema!r} is no name of a schema that needs no quotes.",
                mend="Use lower case letters, digits and underscores.",
            )
