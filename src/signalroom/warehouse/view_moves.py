"""Agencies that are called otherwise now: what of theirs has to move, read off what was noted of each agency's id."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from signalroom.errors import ConfigError
from signalroom.view import ManifestSet, View
from signalroom.warehouse.bookkeeping import Execute
from signalroom.warehouse.view_state import schema_of

DDL = (
    "CREATE TABLE IF NOT EXISTS signalroom.view_agencies (agency_id bigint PRIMARY KEY, slug text NOT NULL)",
)  # fmt: skip
"""The slug under which each agency's views are in this database."""


@dataclass(frozen=True, slots=True)
class Move:
    """An agency whose views go from one schema to another.

    Attributes:
        agency_id: The agency.
        before: Its slug when its views were placed.
        after: Its slug now.
        names: (name before, name now) of the views whose names hold the slug.
    """

    agency_id: int
    before: str
    after: str
    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Moves:
    """What has to happen before views are refreshed.

    Attributes:
        due: Moves, to be made all together: agencies may have exchanged their slugs.
        noted: Agency -> slug, of those of which another slug or none is noted and that need no move.
        blocked: Moves that cannot be made, for the schema of the new slug is there and somebody else's.
    """

    due: tuple[Move, ...]
    noted: Mapping[int, str]
    blocked: tuple[Move, ...]

    def refused(self, views: Sequence[View]) -> dict[str, ConfigError]:
        """Return view -> why it cannot be refreshed, of agencies whose move is blocked."""
        stuck = {one.agency_id: one for one in self.blocked}
        return {
            view.name: ConfigError(
                f"Agency {view.agency_id} is called {view.agency_slug} now, and schema {schema_of(view.agency_slug)} is"
                f" there already: its views stay in {schema_of(stuck[view.agency_id].before)}.",
                mend="Rename that schema, or drop it if nobody reads it, and refresh again.",
            )
            for view in views
            if view.agency_id in stuck
        }


def moves_of(execute: Execute, manifests: ManifestSet, schemas: Collection[str]) -> Moves:
    """Return what has to move.

    Args:
        execute: Runs statements where the views are.
        manifests: Every agency with its slug as it is now, and the manifests of the views there.
        schemas: Names of the schemas there.
    """
    rows = execute("SELECT agency_id, slug FROM signalroom.view_agencies", [])
    held = {int(agency): str(slug) for agency, slug in rows}
    slugs, views = {one.id: one.slug for one in manifests.agencies}, manifests.views()
    due = {
        agency: Move(agency, held[agency], slug, _names(views, agency, held[agency]))
        for agency, slug in sorted(slugs.items())
        if held.get(agency, slug) != slug and schema_of(held[agency]) in schemas
    }
    noted = {agency: slug for agency, slug in slugs.items() if held.get(agency) != slug and agency not in due}
    blocked: list[Move] = []
    while True:  # one that stays may be in the way of another
        leaving = {schema_of(one.before) for one in due.values()}
        stuck = [one for one in due.values() if schema_of(one.after) in set(schemas) - leaving]
        if not stuck:
            return Moves(tuple(due.values()), noted, tuple(blocked))
        blocked += stuck
        due = {agency: one for agency, one in due.items() if one not in stuck}


def write_slugs(execute: Execute, moves: Moves) -> None:
    """Note where views are now, and forget from what those that moved were computed: their queries say other slugs."""
    noted = {**moves.noted, **{one.agency_id: one.after for one in moves.due}}
    for slug in noted.values():  # who had it before and is gone has it no more
        execute("DELETE FROM signalroom.view_agencies WHERE slug = ?", [slug])
    for agency, slug in noted.items():
        execute("DELETE FROM signalroom.view_agencies WHERE agency_id = ?", [agency])
        execute("INSERT INTO signalroom.view_agencies (agency_id, slug) VALUES (?, ?)", [agency, slug])
    for name in sorted({name for one in moves.due for names in one.names for name in names}):
        execute("DELETE FROM signalroom.views WHERE view_name = ?", [name])


def _names(views: Sequence[View], agency: int, before: str) -> tuple[tuple[str, str], ...]:
    mine = [view for view in views if view.agency_id == agency and view.report_type == "canned"]
    return tuple((view.name.removesuffix(view.agency_slug) + before, view.name) for view in mine)
